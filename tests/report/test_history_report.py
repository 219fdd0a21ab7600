"""Reports of a history: text, JSON, OpenMetrics with its dashboard, and the page, in a real browser too."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from costplan.history.entry import Entry, Kind
from costplan.history.summary import ServiceHistory, summaries
from costplan.report.history_json import report_json
from costplan.report.history_metrics import METRICS, openmetrics
from costplan.report.history_text import entries_text, report_text
from costplan.report.style import Style

ROOT = Path(__file__).resolve().parents[2]
EVIL = 'rag"\\ <img src=x onerror=alert(1)>{{x}}'


def entry(day: int, usd: float, kind: Kind, service: str, **more: Any) -> Entry:
    at = datetime(2026, 8, 3, 12, tzinfo=UTC) + timedelta(days=day)
    return Entry(service, kind, at, "test", f"{kind}{day}", usd, usd * 3.6, 1000.0, **more)


@pytest.fixture
def kept() -> list[Entry]:
    """Two services over five weeks; the cost of one jumps on the last day."""
    found = []
    for name in ("chat", EVIL):
        found.append(entry(0, 1.0, Kind.PLAN, name, low90=0.9, high90=1.3, configuration="2 x h100"))
        found += [entry(d, 1.1 * (1 + 0.01 * (d % 3)) * (1.5 if d == 34 and name == "chat" else 1), Kind.ACTUAL, name,
                        ttft_p99_s=0.4) for d in range(1, 35)]
    return sorted(found, key=lambda e: e.at)


@pytest.fixture
def services(kept: list[Entry]) -> tuple[ServiceHistory, ...]:
    return summaries(kept)


def test_text_says_who_needs_a_look_first(services: tuple[ServiceHistory, ...]) -> None:
    text = report_text(services, Style(120))
    assert text.startswith("2 services watched, 1 with an alert at the newest point: chat; 1 outside the plan's 90% "
                           "interval: chat\n")
    flat = " ".join(text.split())
    assert flat.index("chat $1.67") < flat.index("rag")
    for said in ("jump: +50%", "false alarms per point", "steady", "2026-09-06", "400 ms"):
        assert said in flat
    assert report_text((), Style(80)) == "The history is empty\n"


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_no_line_is_too_wide(services: tuple[ServiceHistory, ...], kept: list[Entry], width: int) -> None:
    for text in (report_text(services, Style(width)), entries_text(kept, Style(width))):
        assert [line for line in text.splitlines() if len(line) > width or line != line.rstrip()] == []


def test_json_is_strict_and_holds_the_same(services: tuple[ServiceHistory, ...]) -> None:
    found = json.loads(json.dumps(report_json(services), allow_nan=False))
    chat, other = found["services"]
    assert chat["alert"]["kind"] == "jump" and other["alert"] is None
    assert chat["alerts"][-1]["at"] == chat["latest"]["at"] == "2026-09-06T12:00:00Z"
    assert len(chat["compared"]) == 34 and chat["compared"][-1]["inside90"] is False
    assert sum(w["count"] for w in chat["weeks"]) == chat["points"] == 34


def test_metrics_are_read_back_by_a_strict_parser(services: tuple[ServiceHistory, ...]) -> None:
    parser = pytest.importorskip("prometheus_client.openmetrics.parser", reason="prometheus-client is not installed")
    families = list(parser.text_string_to_metric_families(openmetrics(services)))
    assert {f.name for f in families} == set(METRICS)
    samples = {(s.name, s.labels["service"], s.labels.get("kind")): s.value for f in families for s in f.samples}
    latest = services[0].latest
    assert samples["costplan_usd_per_million_output_tokens", "chat", "actual"] == latest.usd_per_mtok_out
    assert samples["costplan_cost_alert", "chat", None] == 1 and samples["costplan_cost_alert", EVIL, None] == 0
    assert samples["costplan_entry_time_seconds", "chat", "actual"] == latest.at.timestamp()
    assert openmetrics(()).strip() == "# EOF"


def test_the_dashboard_asks_for_metrics_that_are_there() -> None:
    page = json.loads((ROOT / "configs" / "grafana-dashboard.json").read_text(encoding="utf-8"))
    asked = [t["expr"] for p in page["panels"] for t in p["targets"]]
    asked.append(page["templating"]["list"][1]["query"]["query"])
    named = set(re.findall(r"costplan_\w+", " ".join(asked)))
    assert named == set(METRICS)
    assert len({p["id"] for p in page["panels"]}) == len(page["panels"])
    for p in page["panels"]:
        assert p["gridPos"]["x"] + p["gridPos"]["w"] <= 24


def test_page_is_whole_and_safe(services: tuple[ServiceHistory, ...]) -> None:
    for name in ("vl_convert", "jinja2"):
        pytest.importorskip(name, reason=f"{name} is not installed (extra html)")
    html5lib = pytest.importorskip("html5lib", reason="html5lib is not installed (extra dev)")
    from costplan.report.html.history_page import history_page
    from costplan.report.html.page import rendered

    page = rendered(history_page(services))
    root = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)
    assert page == rendered(history_page(services))
    figures = list(root.iter("figure"))
    assert ["".join(f.find("figcaption/strong").itertext()) for f in figures] == ["chat", EVIL]  # the alert first
    assert not {"script", "img", "b"} & {x.tag for x in root.iter()}
    assert "empty" in rendered(history_page(()))


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_page_fits_a_real_browser(browser: Any, services: tuple[ServiceHistory, ...], tmp_path: Path, width: int,
                                  theme: str) -> None:
    pytest.importorskip("jinja2", reason="jinja2 is not installed (extra html)")
    from costplan.report.html.history_page import history_page
    from costplan.report.html.page import rendered

    path = tmp_path / "history.html"
    path.write_text(rendered(history_page(services)), encoding="utf-8")
    browser.show(path, width, theme)
    assert browser.complaints() == []
    assert browser.ask("document.documentElement.scrollWidth") <= width == browser.ask("innerWidth")
    assert browser.ask("document.querySelectorAll('svg').length") == 2

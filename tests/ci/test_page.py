"""The page of `costplan ci`: strict HTML whatever names say, a waterfall that adds up, a job that needs no plots."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import html5lib
import pytest

from costplan.ci.charts import MOST_BARS, overview, waterfall
from costplan.ci.page import MOST_DRAWN, page
from costplan.ci.report_file import parse_report, report_json
from costplan.ci.types import Outcome, Report, WorkloadDiff
from costplan.cli.app import main
from costplan.report.html.page import rendered

from .conftest import PRICES, Repo, Run
from .test_goldens import made_report
from .test_hostile_names import hostile, report


@pytest.fixture(autouse=True)
def _extra() -> None:
    for name in ("vl_convert", "jinja2"):
        pytest.importorskip(name, reason=f"{name} is not installed (extra html)")


def shape(text: str) -> list[str]:
    """Elements and their attributes in order; a strict parse."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    return [f"{e.tag} {sorted(e.attrib)}" for e in parser.parse(text).iter() if isinstance(e.tag, str)]


def many(n: int) -> Report:
    """``n`` workloads that differ in name and change."""
    made = made_report()
    chat = next(w for w in made.workloads if w.name == "chat-eu")
    return replace(made, workloads=tuple(replace(chat, name=f"w{i}") for i in range(n)))


def steps(w: WorkloadDiff) -> list[dict[str, Any]]:
    chart = waterfall(w, "why0")
    assert chart is not None
    found: list[dict[str, Any]] = chart.spec["data"]["values"]
    return found


def test_a_waterfall_leads_from_base_to_head() -> None:
    """Each bar begins where the one before ended, and the last ends at the head."""
    chat = next(w for w in made_report().workloads if w.name == "chat-eu")
    first, *bars, last = steps(chat)
    metric = chat.metrics["cost_usd_per_mtok_out"]
    assert [b["step"] for b in bars] == ["engine block_size 16 → 256", "workload lengths.isl.mean 900 → 980",
                                         "together"]
    at = first["to"]
    for b in bars:
        assert b["from"] == pytest.approx(at) and b["to"] > b["from"]
        at = b["to"]
    assert first["to"] == metric.base and at == pytest.approx(last["to"], rel=1e-3) and last["to"] == metric.head


def test_latencies_fall_in_milliseconds_and_nothing_is_drawn_of_nothing() -> None:
    chat = next(w for w in made_report().workloads if w.name == "chat-eu")
    slower = replace(chat, cause_metric="ttft_p99_s")
    assert steps(slower)[0]["to"] == pytest.approx(610) and "610 ms" in steps(slower)[0]["name"]
    for none in (replace(chat, causes=()), replace(chat, cause_metric="unheard_of"), replace(chat, cause_metric=None)):
        assert waterfall(none, "k") is None
    assert overview(replace(made_report(), workloads=(chat,))) is None


def test_hundreds_of_workloads_are_all_in_the_table_and_some_are_drawn() -> None:
    text = rendered(page(many(60)))
    assert text.count('<figure>') == MOST_DRAWN + 1
    assert all(f">w{i}<" in text for i in range(60))
    chart = overview(many(60))
    assert chart is not None and len(chart.spec["data"]["values"]) == MOST_BARS and len(chart.rows) == 60
    assert "40 more are in the table" in chart.says


def test_render_draws_it_from_the_file_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rendered(page(made_report())) == rendered(page(made_report()))
    text = report_json(made_report())
    (tmp_path / "report.json").write_text(text, encoding="utf-8")
    assert main(["ci", "render", str(tmp_path / "report.json"), "--html"]) == 0
    assert capsys.readouterr().out == rendered(page(parse_report(text.encode(), "report.json")))


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.NEW, Outcome.UNCHANGED])
def test_names_change_no_element(outcome: Outcome) -> None:
    plain = shape(rendered(page(report("x", outcome))))
    for name in [*hostile(6, seed=11), '"><script>alert(1)</script>', "</style></title><b>", "{{ 7 * 7 }}", "datum.x"]:
        assert shape(rendered(page(report(name, outcome)))) == plain


def test_without_the_extra_everything_else_is_written(repo: Repo, run: Run, quick: list[str], tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """And a page of an earlier run does not stay as if it were of this one."""
    repo.commit({"prices.csv": PRICES.format(usd=3)})
    kept = ("--base", "main", "--out-dir", str(tmp_path / "kept"))
    monkeypatch.chdir(repo.folder)
    assert main(["ci", *kept]) == 1 and (tmp_path / "kept" / "report.html").is_file()
    monkeypatch.setattr("costplan.cli.page.missing", lambda: "vl-convert-python")
    assert main(["ci", *kept]) == 1 and not (tmp_path / "kept" / "report.html").exists()
    found = run(repo, "--base", "main")
    assert found.code == 1 and found.comment and found.summary
    assert found.err == "no report.html: vl-convert-python is not installed; pip install 'costplan[html]'\n"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_in_a_browser_it_fits_and_nothing_complains(browser: Any, tmp_path: Path, width: int, theme: str) -> None:
    made = many(3)
    long = tuple(replace(w, name="a-name-that-never-ends-" * 9 + w.name, reason="z" * 400) for w in made.workloads)
    path = tmp_path / "report.html"
    path.write_text(rendered(page(replace(made, workloads=(*long, *made_report().workloads)))), encoding="utf-8")
    browser.show(path, width, theme)
    assert browser.complaints() == []
    assert browser.ask("innerWidth") == width >= browser.ask("document.documentElement.scrollWidth")
    assert browser.ask("document.scripts.length + performance.getEntriesByType('resource').length") == 0
    wide = "[...document.querySelectorAll('svg,figure,table,dl,h1,.tiles')].filter(e => {const r = " \
           "e.getBoundingClientRect(); return r.left < -1 || r.right > innerWidth + 1}).length"
    assert browser.ask(wide) == 0
    outside = "[...document.querySelectorAll('svg text')].filter(t => {const r = t.getBoundingClientRect(), " \
              "s = t.ownerSVGElement.getBoundingClientRect(); return r.right > s.right + 4 || r.left < s.left - 4})" \
              ".map(t => t.textContent)"
    assert browser.ask(outside) == []
    paper = browser.ask("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 29)"}[theme]

"""The HTML of reports: one whole file, safe with hostile names, readable without eyes, colours that contrast."""

from __future__ import annotations

import re
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import combinations, pairwise
from math import log
from random import Random
from typing import Any
from xml.etree import ElementTree

import pytest

from costplan.core.errors import InputError
from costplan.plan.day import hours
from costplan.plan.types import PlanSet
from costplan.report.columns import Column
from costplan.report.html import palette
from costplan.report.html.machine_charts import INNER, roofline
from costplan.report.html.page import Block, Page, Tile, rendered, style_sheet
from costplan.report.html.plan_page import plan_page
from costplan.report.plan_details import Section
from costplan.report.plan_sections import headline
from costplan.report.roofline_text import RooflineView
from costplan.report.style import plain

for name in ("vl_convert", "jinja2", "html5lib"):
    pytest.importorskip(name, reason=f"{name} is not installed (extras html and dev)")

Drawn = Callable[[PlanSet], str]
Steps = dict[str, RooflineView]
HOSTILE = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style><b>", "{{ 7*7 }}", "'onload='x", "&lt;",
    "</title></svg><a href=javascript:x>", "a\x00\x1b[2J\u202e\ud800b", "${1+1}", "<!--", "]]>", "%3Cb%3E", "datum.x")


def parsed(page: str) -> ElementTree.Element:
    """The page as a browser reads it; any parse error raises."""
    import html5lib

    root: ElementTree.Element = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)
    return root


def tags(node: ElementTree.Element) -> Iterator[str]:
    for x in node.iter():
        if isinstance(x.tag, str):
            yield f"{x.tag} {sorted(x.attrib)}"


def text(node: ElementTree.Element | None) -> str:
    assert node is not None
    return " ".join("".join(node.itertext()).split())


def test_it_is_one_file_that_asks_for_nothing(planset: PlanSet, drawn: Drawn) -> None:
    page = drawn(planset)
    root = parsed(page)
    assert not re.search(r"https?:|//[a-z]|url\((?!#)|@import|javascript:", re.sub(r"skypilot\S+", "", page))
    found = list(root.iter())
    names = {x.tag.split("}")[-1] for x in found if isinstance(x.tag, str)}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "foreignObject", "image"}
    assert [x.attrib for x in found if any(a == "style" or a.startswith("on") for a in x.attrib)] == []
    assert [x.get("href") for x in found if x.get("href") and not x.get("href", "").startswith("#")] == []


def test_policy_names_the_style_and_nothing_else(planset: PlanSet, drawn: Drawn) -> None:
    page = drawn(planset)
    inside = re.search(r"<style>(.*?)</style>", page, re.S)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert inside is not None and policy is not None and "<" not in inside[1]
    digest = b64encode(sha256(inside[1].encode()).digest()).decode()
    allowed = policy[1].replace("&#39;", "'")
    assert allowed == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert page.index("Content-Security-Policy") < page.index("<style>")


def test_the_same_plan_gives_the_same_bytes(planset: PlanSet, drawn: Drawn) -> None:
    assert drawn(planset) == drawn(planset)


def test_the_answer_comes_first(planset: PlanSet, drawn: Drawn) -> None:
    root = parsed(drawn(planset))
    assert text(root.find(".//h1")) == headline(planset)
    first = text(root.find(".//section"))
    for said in ("$1.67", "90%: $0.833", "$4,380", "60%", "may well miss", "70% interpolated", "vllm"):
        assert said in first
    headings = [text(h) for h in root.iter("h2")]
    assert headings == [
        "plans, cheapest first, and what moves the cost", "Pareto front", "latency, and load over the day",
        "where the money goes", "memory of one GPU", "roofline", "KV page size", "robustness", "why others lost",
        "left out", "sources"]


def test_every_plot_has_words_and_its_numbers(planset: PlanSet, drawn: Drawn) -> None:
    root = parsed(drawn(planset))
    ids = [x.get("id") for x in root.iter() if x.get("id")]
    assert len(ids) == len(set(ids))
    figures = list(root.iter("figure"))
    assert len(figures) == 10
    for figure in figures:
        drawing = next(x for x in figure.iter() if str(x.tag).endswith("svg"))
        assert drawing.get("role") == "img"
        named = drawing.get("aria-labelledby", "").split()
        assert len(named) == 2 and set(named) <= set(ids)
        assert sum(str(x.tag).endswith("}text") for x in drawing.iter()) >= 3
        caption = text(figure.find("figcaption"))
        assert all(text(next(x for x in drawing if x.get("id") == n)) in caption for n in named)
        assert figure.find("details/summary") is not None
        assert len(list(figure.iter("td"))) >= 2
    assert all(th.get("scope") == "col" for th in root.iter("th"))
    links = {a.get("href", "")[1:] for a in root.iter("a")}
    assert links <= set(ids) and {"plans", "sources", "answer"} <= links


def test_plots_hold_the_numbers_of_the_plan(planset: PlanSet, steps: Steps) -> None:
    page = plan_page(planset, steps=steps, hours=(), behind={}, inputs={})
    charts = {c.key: c for b in page.blocks for c in b.charts}
    assert "day" not in charts
    drawn = charts["intervals"].spec["data"]["values"]
    for row, p in zip(drawn, planset.plans, strict=True):
        assert row["value"] == p.money.usd_per_mtok_out.value
        assert row["open"] is (p.money.i90_usd_per_mtok_out.high is None)
    bars = charts["bill"].spec["data"]["values"]
    assert bars[0]["from"] == 0 and bars[-1]["to"] == pytest.approx(planset.plans[0].money.usd_per_mtok_out.value)
    assert all(a["to"] == b["from"] for a, b in pairwise(bars))
    stack = charts["memory"].spec["data"]["values"]
    assert sum(r["size"] for r in stack) == pytest.approx(planset.plans[0].memory.total_bytes)
    points = charts["roofline"].spec["layer"][2]["data"]["values"]
    assert [r["flops"] for r in points] == [4.0e14, 4.0e14]  # 2e11 FLOP in 5e-4 s; the all-reduce computes nothing
    knobs = charts["knobs"].spec["data"]["values"]
    assert [r["delta"] for r in knobs] == [-0.83, 0.03]


def test_names_on_the_roofline_touch_neither_marks_nor_names(steps: Steps) -> None:
    """Twelve kernels, most of them close together; the largest is named."""
    draw = Random(3)
    first = steps["decode"].rows[0]
    rows = [replace(first, name=f"kernel_{i}", flops=first.flops * draw.uniform(0.4, 1))
            for i in range(12)]
    rows[5] = replace(rows[5], calls=400.0)
    chart = roofline({"decode": replace(steps["decode"], rows=rows)})
    assert chart is not None
    layers = chart.spec["layer"]
    (left, right), (bottom, top) = (layers[2]["encoding"][c]["scale"]["domain"] for c in ("x", "y"))

    def at(r: dict[str, Any]) -> tuple[float, float]:
        return (INNER[0] * log(r["intensity"] / left) / log(right / left),
                INNER[1] * log(r["flops"] / bottom) / log(top / bottom))

    names = {r["name"]: at(r) for r in layers[4]["data"]["values"]}
    assert "kernel_5" in names and len(names) < 12
    for (ax, ay), (bx, by) in combinations(names.values(), 2):
        assert abs(ay - by) >= 12 or abs(ax - bx) >= 50
    for x, y in map(at, layers[2]["data"]["values"]):
        assert all(abs(y - b) > 6 or not a < x < a + 50 for a, b in names.values())


def test_a_day_counts_spares_as_idle(planset: PlanSet) -> None:
    best = planset.plans[0]
    asked = replace(planset.workload, diurnal=tuple([0.5] * 12 + [1.5] * 12))
    day = hours(replace(best, spare_replicas=1), asked)
    assert [h.requests_per_s for h in day] == [2.5] * 12 + [7.5] * 12
    assert {h.static_requests_per_s for h in day} == {5.0}
    assert [h.autoscaled_requests_per_s for h in day] == [0.0] * 8 + [5.0] * 16
    assert hours(best, planset.workload) == ()
    assert hours(replace(best, money=replace(best.money, diurnal=None)), asked) == ()


def test_infeasible_says_so_and_names_the_ways_out(infeasible: PlanSet, drawn: Drawn) -> None:
    root = parsed(drawn(infeasible))
    assert "infeasible" in text(root.find(".//h1"))
    assert "ttft p95 1.4 s" in text(root.find(".//section[@id='relaxations']"))
    assert list(root.iter("figure")) == []


def html_tags(root: ElementTree.Element) -> list[str]:
    return [t for t in tags(root) if "svg" not in t and "}" not in t]


def test_no_name_adds_or_moves_a_tag(planset: PlanSet, drawn: Drawn) -> None:
    same = html_tags(parsed(drawn(planset)))
    allowed = {"svg", "g", "path", "line", "text", "rect", "title", "desc", "defs", "clipPath"}
    for evil in HOSTILE:
        found = parsed(drawn(named(planset, evil)))
        assert html_tags(found) == same, evil
        assert plain(evil) in text(found.find(".//section[@id='answer']")) or " " in evil
        assert {str(x.tag).split("}")[1] for x in found.iter() if "}" in str(x.tag)} <= allowed, evil


def named(s: PlanSet, evil: str) -> PlanSet:
    """``s`` with that name wherever a stranger may choose one."""
    p = s.plans[0]
    price = replace(p.money.rental.price, instance=evil, source=evil, region=evil)
    changed = replace(p, config=replace(p.config, engine=evil, gpu=evil),
                      money=replace(p.money, rental=replace(p.money.rental, price=price, label=evil)))
    knob = replace(s.sensitivities[0], knob=evil, change=evil)
    return replace(s, model=evil, plans=(changed, *s.plans[1:]), notes=(evil,), pareto=(changed.name, s.plans[1].name),
                   sensitivities=(knob, *s.sensitivities[1:]), workload=replace(s.workload, name=evil))


def test_twenty_thousand_hostile_cells_stay_cells() -> None:
    draw = Random(7)
    pieces = [*HOSTILE, "<td>", "</table>", "\n", "`", "|", "é", "\u200b", "&#60;", "&amp", "\t", "-->", "'", '"', "=",
              "/>", "x"]
    cells = ["".join(draw.choices(pieces, k=draw.randint(1, 6))) for _ in range(20_000)]
    page = Page("k", cells[0], [Tile(*cells[1:4])], Section("t", facts=[(cells[4], cells[5])]),
                [Block("b", Section(cells[6], [Column(cells[7])], [[c] for c in cells]))], (cells[8],))
    root = parsed(rendered(page))
    assert ["".join(td.itertext()) for td in root.iter("td")] == [plain(c) for c in cells]
    assert {t.split()[0] for t in tags(root)} <= {
        "html", "head", "meta", "title", "style", "body", "a", "header", "p", "h1", "main", "section", "ul", "li",
        "span", "strong", "dl", "dt", "dd", "nav", "h2", "div", "table", "thead", "tbody", "tr", "th", "td", "footer"}


@pytest.mark.parametrize("missing", ["vl_convert", "jinja2"])
def test_without_the_extra_it_says_what_to_install(planset: PlanSet, missing: str,
                                                   monkeypatch: pytest.MonkeyPatch, drawn: Drawn) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError) as e:
        drawn(planset)
    assert e.value.hint == "pip install 'costplan[html]'"


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2."""
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_contrast_as_wcag_aa_asks(theme: str) -> None:
    def of(ink: palette.Ink) -> Any:
        return getattr(ink, theme)

    for ground in (palette.PAPER, palette.CARD):
        for ink in (*palette.READ, palette.BLUE, palette.ORANGE):  # links and limits are text too
            assert contrast(of(ink), of(ground)) >= 4.5, ink.name
        for ink in palette.DRAWN:
            assert contrast(of(ink), of(ground)) >= 3, ink.name
    assert len({of(i) for i in palette.ALL}) == len(palette.ALL)


def test_every_colour_of_a_plot_has_a_dark_one(planset: PlanSet, drawn: Drawn) -> None:
    page = drawn(planset)
    known = {i.light for i in palette.ALL}
    drawn = set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]+|[a-z]+)"', page))
    assert drawn <= known | {"none", "transparent"}
    assert all(f'[fill="{c}"]' in style_sheet() for c in drawn & known)


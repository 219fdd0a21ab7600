"""The page of `costplan plan` at several widths, its Markdown and its CSV."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from costplan.plan.types import PlanSet, Range
from costplan.report.plan_csv import plan_csv
from costplan.report.plan_markdown import plan_markdown
from costplan.report.plan_text import plan_text
from costplan.report.style import Style

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("width", [80, 120])
def test_page_is_the_golden_one(planset: PlanSet, width: int) -> None:
    assert plan_text(planset, Style(width)) == (GOLDEN / f"plan_{width}.txt").read_text(encoding="utf-8")


def test_page_without_an_answer_is_the_golden_one(infeasible: PlanSet) -> None:
    assert plan_text(infeasible, Style(80)) == (GOLDEN / "plan_infeasible_80.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_no_line_is_too_wide_or_ends_in_blanks(planset: PlanSet, infeasible: PlanSet, width: int) -> None:
    for s in (planset, infeasible):
        for line in plan_text(s, Style(width)).splitlines():
            assert len(line) <= width
            assert line == line.rstrip()


def test_first_lines_answer_what_how_how_much_and_how_sure(planset: PlanSet) -> None:
    head = " ".join("\n".join(plan_text(planset, Style(100)).splitlines()[:9]).split())
    for said in ("Rent 2 x verda", "$1.67 per 1M output tokens", "$4,380 per month", "vllm", "pages of 16",
                 "90%: $0.833", "P(meets SLO) 60%", "70% interpolated"):
        assert said in head


def test_everything_asked_for_has_a_section(planset: PlanSet) -> None:
    page = plan_text(planset, Style(120))
    for title in ("Plans, cheapest first", "Pareto front", "What moves the cost most", "Where the money goes",
                  "KV page size", "Robustness", "Why others lost", "Memory of one GPU", "Search"):
        assert f"\n{title}" in page
    for said in ("break-even", "autoscaled", "spot", "no fleet", "2026-10-01", "TPOT limit",
                 "checkpoint's own formats"):
        assert said in page


def test_largest_effect_comes_first_and_the_impossible_last(planset: PlanSet) -> None:
    page = plan_text(planset, Style(120))
    assert page.index("on_demand -> spot") < page.index("fp8 -> bf16") < page.index("on_demand -> 3y")


def test_infeasible_says_so_first_and_names_the_ways_out(infeasible: PlanSet) -> None:
    page = plan_text(infeasible, Style(100))
    assert "infeasible" in page.splitlines()[0]
    assert "ttft p95 1.4 s" in page and "max_gpus" in page
    assert "no single limit" in plan_text(replace(infeasible, relaxations=()), Style(100))


def test_colour_changes_no_text(planset: PlanSet) -> None:
    plain, coloured = plan_text(planset, Style(80)), plan_text(planset, Style(80, color=True))
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain


def test_hostile_names_steer_neither_terminal_nor_page(planset: PlanSet) -> None:
    hostile = replace(planset, model="evil\x1b[2J\r\u202e", notes=("<img src=x> @team `rm` |x|",))
    assert not {"\x1b", "\r", "\u202e"} & set(plan_text(hostile, Style(80)))
    page = plan_markdown(hostile)
    assert "\\<img" in page and "\\@team" in page and "\\|x\\|" in page


def test_markdown_tables_are_whole(planset: PlanSet) -> None:
    page = plan_markdown(planset)
    for block in re.findall(r"(?:^\|.*\n)+", page, re.M):
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(bars) == 1
    assert page.count("| ---") >= 8


def test_csv_has_a_line_per_plan_and_the_numbers_of_the_plan(planset: PlanSet, infeasible: PlanSet) -> None:
    rows = list(csv.DictReader(io.StringIO(plan_csv(planset))))
    assert [r["rank"] for r in rows] == ["1", "2", "3"]
    for row, p in zip(rows, planset.plans, strict=True):
        assert float(row["usd_per_mtok_out"]) == pytest.approx(p.money.usd_per_mtok_out.value)
        assert float(row["tpot_p95_s"]) == pytest.approx(p.latencies[1].percentiles[2][1].value)
        assert row["pareto"] == str(p.name in planset.pareto).lower()
    assert rows[2]["usd_per_mtok_out_high90"] == ""
    assert list(csv.DictReader(io.StringIO(plan_csv(infeasible)))) == []


def test_csv_hands_no_formula_to_a_spreadsheet(planset: PlanSet) -> None:
    p = planset.plans[0]
    evil = replace(planset, plans=(replace(p, config=replace(p.config, model="=1+1")),))
    assert "'=1+1" in plan_csv(evil)


@pytest.mark.parametrize(("chance", "slow", "said"), [
    (0.95, 6.0, None), (0.6, 6.0, "it costs $6.00 per 1M"), (0.6, None, "no fleet of this kind holds them"),
])
def test_an_uncertain_plan_says_what_certainty_costs(planset: PlanSet, chance: float, slow: float | None,
                                                     said: str | None) -> None:
    first, *rest = planset.plans
    money = replace(first.money, i90_usd_per_mtok_out=Range(0.5, slow))
    text = " ".join(plan_text(replace(planset, plans=(replace(first, p_meets_slo=chance, money=money), *rest)),
                              Style(120)).split())
    assert ("risk " in text) is (said is not None)
    assert said is None or said in text

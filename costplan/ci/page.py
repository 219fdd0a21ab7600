"""The page of `costplan ci`: the verdict, every changed workload with the causes of its change, every guardrail."""

from __future__ import annotations

from collections.abc import Iterator

from costplan.ci import terms, words
from costplan.ci.charts import INK, overview, waterfall
from costplan.ci.metrics import COST, MONTHLY
from costplan.ci.types import Outcome, Report, Status, WorkloadDiff
from costplan.report.columns import Column
from costplan.report.escape import visible
from costplan.report.html.page import Block, Page, Tile
from costplan.report.numbers import change, usd_short
from costplan.report.plan_details import Section

MOST_DRAWN = 20
"""Workloads with a section of their own; the tables hold all."""
_TONES = {Outcome.FAILED: "bad", Outcome.WARNED: "bad", Outcome.PASSED: "good", Outcome.UNCHANGED: "good"}


def page(r: Report) -> Page:
    """The whole page; `report.html.page.rendered` makes a file of it."""
    base, head = (words.commit(s.rev, INK) for s in (r.base, r.head))
    dirty = " with uncommitted changes" if r.head.dirty else ""
    kind = f"costplan ci: {base} to {head}{dirty}"
    foot = (f"costplan {visible(r.tool.version)} for both sides, seed {r.seed}, {len(r.workloads)} workloads, "
            f"{len(r.workloads) - len(r.changed)} without any change. Planned, never measured: the same inputs give "
            "the same page.",)
    if r.verdict is Outcome.UNCHANGED:
        return Page(kind, words.headline(r, INK), (), Section(""), (), foot)
    return Page(kind, words.headline(r, INK), tuple(_tiles(r)), _workloads(r), tuple(_blocks(r)), foot)


def _tiles(r: Report) -> Iterator[Tile]:
    yield Tile("verdict", r.verdict.replace("_", " "), f"{len(r.changed)} of {len(r.workloads)} workloads changed",
               _TONES.get(r.verdict, ""))
    moved = [(m.change_frac, w) for w in r.changed if (m := w.metrics.get(COST)) and m.change_frac is not None]
    if moved:
        frac, w = moved[0]
        tone = "" if abs(frac) < r.min_change else "bad" if frac > 0 else "good"
        yield Tile("1M output tokens", change(frac), f"in {visible(w.name, 40)}", tone)
    bills = [m for w in r.changed if (m := w.metrics.get(MONTHLY)) and m.base is not None and m.head is not None]
    if bills:
        old, new = sum(m.base or 0.0 for m in bills), sum(m.head or 0.0 for m in bills)
        yield Tile("one month", usd_short(new), f"before: {usd_short(old)}, of {len(bills)} changed workloads",
                   "bad" if new > old else "good" if new < old else "")
    judged = [g for g in r.guardrails if g.status is not Status.NOT_JUDGED]
    if judged:
        broken = sum(g.status is Status.FAIL for g in judged)
        yield Tile("guardrails", f"{broken} broken" if broken else "none broken",
                   f"of {len(judged)} that could be judged", "bad" if broken else "good")


def _workloads(r: Report) -> Section:
    return Section("workloads", [Column(t) for t in words.COLUMNS], [words.row(r, w, INK) for w in r.changed])


def _blocks(r: Report) -> Iterator[Block]:
    if r.notes:
        yield Block("notes", Section("before you believe the numbers", facts=[
            ("!", visible(n.message, 1000)) for n in r.notes]))
    if (chart := overview(r)) is not None:
        yield Block("overview", Section("all changes"), (chart,))
    drawn = [w for w in r.changed if w.causes or w.fix or w.reason][:MOST_DRAWN]
    for i, w in enumerate(drawn):
        chart = waterfall(w, f"why{i}")
        yield Block(f"workload{i}", _why(w), () if chart is None else (chart,))
    for key, section in (("guardrails", _guardrails(r)), ("plans", _plans(r)), ("profiles", _profiles(r))):
        if section.rows:
            yield Block(key, section)


def _why(w: WorkloadDiff) -> Section:
    facts = [("reason", visible(w.reason, 1000))] if w.reason else []
    why = words.why(w, INK)
    facts += [(f"moved {terms.label(w.cause_metric or '')}" if i == 0 else "", line) for i, line in enumerate(why)]
    if w.fix is not None:
        facts.append(("cheapest fix found", words.fix(w.fix, INK)))
    return Section(f"why: {visible(w.name)}" if why else visible(w.name), facts=facts)


def _guardrails(r: Report) -> Section:
    columns = [Column("workload"), Column("guardrail"), Column("expected", right=True), Column("found", right=True),
               Column("level"), Column("status"), Column("reason")]
    rows = [(visible(g.workload), terms.label(g.metric), *terms.limit(g), str(g.level), words.STATES[g.status],
             visible(g.reason, 500) if g.reason else "") for g in terms.by_weight(r.guardrails)
            if not terms.nothing_before(r, g)]
    return Section("guardrails", columns, rows)


def _plans(r: Report) -> Section:
    columns = [Column("workload"), Column("side"), Column("plan"), Column("rented"), Column("price"),
               Column("kernels"), Column("evidence")]
    rows = [(visible(w.name), side, visible(p.name, 120), visible(p.rental, 120), "stale" if p.stale else "fresh",
             visible(p.basis) if p.basis else "", words.shares(p.evidence_shares)) for w in r.changed
            for side, p in (("base", w.base_plan), ("head", w.head_plan)) if p is not None]
    return Section("plans and evidence", columns, rows, note="the recommended plan on each side, and how much of its "
                                                             "kernel time was measured")


def _profiles(r: Report) -> Section:
    columns = [Column("profile"), Column("verdict"), Column("reason"), Column("time", right=True),
               Column("cases", right=True)]
    rows = [(visible(p.name), words.VERDICTS[p.verdict], visible(p.reason, 500),
             f"x {p.ratio:.3f}" if p.ratio else "–", f"{p.cases:,}") for p in r.profiles]
    return Section("replaced profiles", columns, rows, note="judged by runs: see costplan profile diff")

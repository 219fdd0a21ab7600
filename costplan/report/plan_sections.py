"""The answer and the ranking of a plan as titled tables and facts; text and Markdown only set them."""

from __future__ import annotations

from collections.abc import Iterator

from costplan.plan.types import Plan, PlanSet
from costplan.report.columns import Column
from costplan.report.numbers import percent, seconds, significant, usd
from costplan.report.plan_details import Section, losers, memory, money, pages, robustness, sensitivity
from costplan.report.plan_words import (
    BINDS,
    BINDS_LONG,
    STEP_BOUND,
    bought,
    chance,
    gpus,
    kept,
    labelled,
    latency,
    percentile,
    settings,
    shares,
    short,
    shown_percentile,
    span,
    target,
)
from costplan.workload.workload import Metric

SURE = 0.9
"""A plan less likely than this to hold its limits says what certainty would cost."""


def headline(s: PlanSet) -> str:
    """The answer in one sentence."""
    best = s.best
    if best is None:
        return f"No plan holds the limits of {s.workload.name}: infeasible as asked"
    m = best.money
    return (f"Rent {bought(m.rental)}: {usd(m.usd_per_mtok_out.value)} per 1M output tokens, "
            f"{usd(m.usd_per_month)} per month")


def answer(s: PlanSet) -> Section:
    """What to rent, how to run it, what it costs, how sure that is."""
    best = s.best
    if best is None:
        return Section("", facts=[("asked", _asked(s)), *_tried(s), *labelled("note", s.notes)])
    m, c = best.money, best.config
    waits = STEP_BOUND.get(best.step_bound, best.step_bound)
    replicas = f"{best.replicas} replica{'s' if best.replicas > 1 else ''}"
    spare = f" ({best.spare_replicas} spare)" if best.spare_replicas else ""
    idle = f"; {m.rental.idle_gpus} rented GPUs stay idle" if m.rental.idle_gpus else ""
    return Section("", facts=[
        ("run", f"{s.model} on {replicas}{spare} of {c.num_gpus} x {c.gpu}{idle}"),
        ("as", settings(c)),
        ("cost", f"{usd(m.usd_per_mtok_out.value)} per 1M output tokens (90%: {span(m.i90_usd_per_mtok_out)}), "
                 f"{usd(m.usd_per_request.value)} per request, {usd(m.usd_per_month)} per month at "
                 f"{usd(m.rental.usd_per_h)} per hour; {usd(m.usd_per_mtok_out_saturated.value)} per 1M at full load"),
        ("sure", f"P(meets SLO) {chance(best.p_meets_slo)}; {best.evidence}: {shares(best.evidence_shares)}"),
        *_risk(s),
        ("load", f"{_asked(s)}; uses {percent(best.utilisation)} of capacity"
                 f"{_peak(best)}, a replica serves {significant(best.capacity_requests_per_s.value)} requests/s"),
        *labelled("limits", [kept(x) for x in best.slo]),
        ("binds", f"{BINDS_LONG[best.binding]}; a decode step waits for {waits}"),
        ("price", m.rental.label),
        *_own_precision(s), *labelled("note", s.notes)])


def _own_precision(s: PlanSet) -> list[tuple[str, str]]:
    """The best plan that keeps the checkpoint's formats, where the recommended one does not."""
    best, own = s.best, s.same_precision
    if best is None or not best.below_checkpoint:
        return []
    if own is None:
        return [("precision", "no plan found keeps the checkpoint's own formats")]
    return [("precision", f"with the checkpoint's own formats: {gpus(own)}, {short(own.config)}, "
                          f"{usd(own.money.usd_per_mtok_out.value)} per 1M output tokens")]


def _risk(s: PlanSet) -> list[tuple[str, str]]:
    """What certainty would cost, where the recommended fleet may well miss the limits."""
    best = s.best
    if best is None or best.p_meets_slo >= SURE or s.workload.requests_per_s is None:
        return []
    slow = best.money.i90_usd_per_mtok_out.high
    sized = ("no fleet of this kind holds them at the slow end of the 90% interval" if slow is None else
             f"sized for the slow end of the 90% interval it costs {usd(slow)} per 1M")
    return [("risk", f"this fleet is sized for the middle of the prediction and may miss the limits: measure it, or "
                     f"raise --headroom; {sized}")]


def _peak(p: Plan) -> str:
    return f" ({percent(p.peak_utilisation)} in the busiest hour)" if p.peak_utilisation > p.utilisation * 1.001 else ""


def _asked(s: PlanSet) -> str:
    w, best = s.workload, s.best
    rate = w.requests_per_s
    load = (f"{w.arrivals.concurrency:,} requests in flight" if rate is None
            else f"{significant(rate)} requests/s")
    if rate is None and best is not None:
        load += f" ({significant(best.requests_per_s)} requests/s)"
    limits = "" if best is not None else "; " + (", ".join(target(t) for t in w.slo.targets) or "no limits")
    return f"{load}, on average {s.mean_isl:,.0f} tokens in and {s.mean_osl:,.0f} out{limits}"


def _tried(s: PlanSet) -> list[tuple[str, str]]:
    st = s.stats
    said = [(f"{st.candidates:,} candidates: {st.pruned_by_bound:,} cannot hold the limits or win by a bound, "
             f"{st.simulated:,} simulated in {st.simulations:,} runs, {st.ranked_out:,} not tried, as a closed form "
             f"ranks them lower" if not st.exhaustive else
             f"{st.candidates:,} candidates, all of them settled: {st.pruned_by_bound:,} by a bound, "
             f"{st.simulated:,} simulated in {st.simulations:,} runs")]
    said += [f"left out: {e.count:,} {e.reason} (e.g. {e.example})" for e in st.excluded]
    return labelled("searched", said)


def sections(s: PlanSet) -> Iterator[Section]:
    """Everything after the answer."""
    if s.best is None:
        yield relaxations(s)
        return
    best = s.best
    yield ranking(s)
    yield pareto(s)
    if s.sensitivities:
        yield sensitivity(s.sensitivities)
    yield money(best)
    if best.pages:
        yield pages(best)
    if best.robustness:
        yield robustness(best)
    if s.losers:
        yield losers(s.losers)
    yield memory(best)
    yield Section("search", facts=_tried(s), note="")


def relaxations(s: PlanSet) -> Section:
    """The nearest ways out."""
    if not s.relaxations:
        return Section("nearest relaxations", facts=[("none", "no single limit, loosened alone, makes this feasible: "
                                                              "loosen several, or offer more GPU types")])
    columns = [Column("relax"), Column("asked", widest=40), Column("needed")]
    return Section("nearest relaxations", columns, [[r.what, r.asked, r.needed] for r in s.relaxations],
                   note="each alone makes the workload feasible")


def ranking(s: PlanSet) -> Section:
    """All plans, cheapest first."""
    best = s.plans[0]
    ttft, tpot = (percentile(shown_percentile(best, m)) for m in (Metric.TTFT, Metric.TPOT))
    columns = [Column("#", right=True), Column("GPUs"), Column("weights/KV", widest=36), Column("$/1M out", right=True),
               Column("90% interval", expendable=4), Column("$/month", right=True, expendable=2),
               Column("P(SLO)", right=True), Column("TTFT", right=True, expendable=1),
               Column("TPOT", right=True, expendable=1), Column("used", right=True, expendable=5),
               Column("binds", expendable=3),
               Column("evidence", expendable=6), Column("pages", right=True, expendable=7),
               Column("seqs", right=True, expendable=8), Column("tokens", right=True, expendable=9)]
    return Section("plans, cheapest first", columns, [_ranked(p) for p in s.plans],
                   note=f"TTFT at {ttft}, TPOT at {tpot}, used: part of capacity")


def _ranked(p: Plan) -> list[str]:
    m = p.money
    return [str(p.rank), gpus(p), short(p.config), usd(m.usd_per_mtok_out.value), span(m.i90_usd_per_mtok_out),
            usd(m.usd_per_month), chance(p.p_meets_slo), latency(p, Metric.TTFT), latency(p, Metric.TPOT),
            percent(p.utilisation), BINDS[p.binding], str(p.evidence), str(p.config.block_size),
            f"{p.config.max_num_seqs:,}", f"{p.config.max_num_batched_tokens:,}"]


def pareto(s: PlanSet) -> Section:
    """Plans that no other beats in every respect."""
    columns = [Column("#", right=True), Column("GPUs"), Column("weights/KV", widest=36), Column("$/1M out", right=True),
               Column("TTFT p50", right=True), Column("TPOT p50", right=True), Column("precision", expendable=1)]
    chosen = [p for p in s.plans if p.name in s.pareto]
    rows = [[str(p.rank), gpus(p), short(p.config), usd(p.money.usd_per_mtok_out.value), _median(p, Metric.TTFT),
             _median(p, Metric.TPOT), "below checkpoint" if p.below_checkpoint else "checkpoint's"] for p in chosen]
    return Section("Pareto front", columns, rows, note="no other plan beats these in cost, TTFT, TPOT and precision at "
                                                       "once")


def _median(p: Plan, metric: Metric) -> str:
    found = p.latency(metric)
    e = found.at(0.5) if found is not None else None
    return "" if e is None else seconds(e.value)

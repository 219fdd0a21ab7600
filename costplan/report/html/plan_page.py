"""The page of `costplan plan --html`: the answer, then everything behind it, with plots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from costplan import __version__
from costplan.plan.day import Hour
from costplan.plan.types import Plan, PlanSet
from costplan.report.columns import Column
from costplan.report.derivation import Derivation
from costplan.report.html import load_charts, machine_charts, money_charts, plans_charts
from costplan.report.html.chart import Chart
from costplan.report.html.page import Block, Page, Tile
from costplan.report.numbers import percent, usd
from costplan.report.plan_details import Section, losers, memory, money, pages, robustness
from costplan.report.plan_sections import SURE, answer, headline, pareto, ranking, relaxations
from costplan.report.plan_words import bought, chance, gpus, shares, span
from costplan.report.roofline_text import RooflineView
from costplan.workload.workload import Metric

_ALWAYS = (Metric.TTFT, Metric.TPOT)


def plan_page(s: PlanSet, *, steps: Mapping[str, RooflineView], hours: tuple[Hour, ...],
              behind: Mapping[str, Derivation], inputs: Mapping[str, str]) -> Page:
    """``steps`` holds the mean steps of the recommended plan by phase, ``hours`` its day, ``behind`` the parts of
    each plan by name, ``inputs`` digests of what all was computed from."""
    blocks = [] if s.best is None else list(_blocks(s, s.best, steps, hours))
    if s.best is None:
        blocks.append(Block("relaxations", relaxations(s)))
    blocks.append(Block("excluded", _excluded(s)))
    blocks.append(Block("sources", _sources(s, behind, inputs)))
    return Page(f"costplan plan of workload {s.workload.name}", headline(s), tuple(_tiles(s)), answer(s), blocks,
                (f"costplan {__version__}, seed {s.seed}; prices judged on {s.today.isoformat()}. The same workload, "
                 "prices, profiles and day give the same page.",))


def _tiles(s: PlanSet) -> Iterator[Tile]:
    best = s.best
    if best is None:
        return
    m = best.money
    yield Tile("1M output tokens", usd(m.usd_per_mtok_out.value), f"90%: {span(m.i90_usd_per_mtok_out)}")
    yield Tile("one month", usd(m.usd_per_month), f"{usd(m.rental.usd_per_h)} per hour")
    yield Tile("rent", gpus(best), bought(m.rental))
    sure = best.p_meets_slo >= SURE
    yield Tile("chance to hold the limits", chance(best.p_meets_slo),
               "sure enough" if sure else "may well miss them: measure first", "good" if sure else "bad")
    peak = f", {percent(best.peak_utilisation)} in the busiest hour" if best.peak_utilisation > best.utilisation else ""
    yield Tile("capacity in use", percent(best.utilisation), f"on average{peak}")
    yield Tile("evidence", str(best.evidence), shares(best.evidence_shares))


def _blocks(s: PlanSet, best: Plan, steps: Mapping[str, RooflineView], hours: tuple[Hour, ...]) -> Iterator[Block]:
    plans = ranking(s)
    yield Block("plans", replace(plans, title=f"{plans.title}, and what moves the cost"),
                _known(plans_charts.intervals(s), money_charts.knobs(s.sensitivities)))
    yield Block("pareto", pareto(s), _known(*(plans_charts.pareto(s, m) for m in _ALWAYS)))
    limited = {m.target.metric for m in best.slo}
    drawn = (load_charts.latency(best, m) for m in Metric if m in _ALWAYS or m in limited)
    yield Block("load", Section("latency, and load over the day", note="" if hours else _no_day(s)),
                _known(*drawn, load_charts.day(hours) if hours else None))
    yield Block("money", money(best), (money_charts.bill(best),))
    yield Block("memory", memory(best), (machine_charts.memory(best),))
    if steps:
        yield Block("roofline", machine_charts.kernels(steps), _known(machine_charts.roofline(steps)))
    if best.pages:
        yield Block("pages", pages(best))
    if best.robustness:
        yield Block("robustness", robustness(best))
    if s.losers:
        yield Block("losers", losers(s.losers))


def _known(*charts: Chart | None) -> tuple[Chart, ...]:
    return tuple(c for c in charts if c is not None)


def _no_day(s: PlanSet) -> str:
    if s.workload.requests_per_s is None:
        return "no plot of the day: the workload is a closed loop and asks for whatever is served"
    return "no plot of the day: the workload states no hours (its key diurnal), so its load is the same all day"


def _excluded(s: PlanSet) -> Section:
    st = s.stats
    how = "all of them settled" if st.exhaustive else f"{st.ranked_out:,} not tried, as a closed form ranks them lower"
    said = (f"{st.candidates:,} candidates; {st.pruned_by_bound:,} cannot hold the limits or win, by a bound; "
            f"{st.simulated:,} simulated in {st.simulations:,} runs; {how}")
    columns = [Column("left out because"), Column("how many", right=True), Column("for example")]
    return Section("left out", columns, [[e.reason, f"{e.count:,}", e.example] for e in st.excluded],
                   facts=[("searched", said)])


def _sources(s: PlanSet, behind: Mapping[str, Derivation], inputs: Mapping[str, str]) -> Section:
    """Every price that is shown, how old it is and where it is from; whose kernels; digests of the inputs."""
    prices = {p.money.rental.price: p.money.rental.stale for p in s.plans}
    rows = [[p.gpu, p.provider, p.instance, p.region, p.purchase.value,
             f"{usd(p.price_usd_per_instance_h)} / {p.gpu_count}",
             "undated" if p.price_date is None else f"{(s.today - p.price_date).days} days",
             "stale" if stale else "fresh", p.source] for p, stale in prices.items()]
    columns = [Column("GPU"), Column("provider"), Column("instance"), Column("region"), Column("bought"),
               Column("per hour / GPUs", right=True), Column("age", right=True), Column("state"), Column("source")]
    profiles = dict.fromkeys(name for d in behind.values() for name in d.profiles)
    measured = f"measured ones of {', '.join(profiles)}" if profiles else "none measured: typical efficiencies"
    facts = [("kernels", measured)] if behind else []
    facts += [(name.removesuffix("_sha256").replace("_", " "), f"SHA-256 {digest}")
              for name, digest in sorted(inputs.items())]
    return Section("sources", columns, rows, facts,
                   note="prices age: ask the provider where one is stale" if rows else "")


"""What stands behind a plan: what moves its cost, where the money goes, pages, shocks, losers, memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from costplan.plan.types import Loser, PageChoice, Plan, RobustnessCase, Sensitivity
from costplan.report.columns import Column
from costplan.report.numbers import gib, percent, significant, usd
from costplan.report.plan_words import BINDS, labelled, signed_usd


@dataclass(frozen=True, slots=True)
class Section:
    """One block: a table, or facts, or a table followed by facts. ``note`` explains the table in a sentence."""

    title: str
    columns: Sequence[Column] = ()
    rows: Sequence[Sequence[str]] = ()
    facts: Sequence[tuple[str, str]] = field(default=())
    note: str = ""


def sensitivity(knobs: Sequence[Sensitivity]) -> Section:
    """One thing changed at a time, largest effect first; impossible ones last."""
    columns = [Column("change"), Column("to", widest=30), Column("$/1M out", right=True), Column("by", right=True),
               Column("at full load", right=True), Column("replicas", right=True, expendable=1),
               Column("why", expendable=2)]
    order = sorted(knobs, key=lambda k: (k.usd_per_mtok_out is None, -_effect(k)))
    rows = [[k.knob, k.change, "-" if k.usd_per_mtok_out is None else usd(k.usd_per_mtok_out),
             "" if k.delta_usd_per_mtok_out is None else signed_usd(k.delta_usd_per_mtok_out),
             "" if k.delta_saturated_usd_per_mtok_out is None else signed_usd(k.delta_saturated_usd_per_mtok_out),
             "" if k.replicas is None else f"{k.replicas:,}", k.detail] for k in order]
    return Section("what moves the cost most", columns, rows,
                   note="one change at a time; whole instances may hide it at this load, the full load shows it")


def _effect(k: Sensitivity) -> float:
    return max(abs(k.delta_usd_per_mtok_out or 0.0), abs(k.delta_saturated_usd_per_mtok_out or 0.0))


def money(p: Plan) -> Section:
    """Where the money goes, and other ways to buy."""
    m, t = p.money, p.money.tokens
    rows = [["output tokens", usd(t.output_usd_per_mtok), percent(t.decode_share)],
            ["input tokens", usd(t.input_usd_per_mtok), percent(t.prefill_share)]]
    if t.cached_input_usd_per_mtok is not None:
        rows.append(["cached input tokens", usd(t.cached_input_usd_per_mtok), percent(t.cached_share)])
    facts = labelled("bought as", [
        f"{o.purchase}: {usd(o.usd_per_mtok_out)} per 1M output tokens, {usd(o.rental.usd_per_month)} per month "
        f"({o.rental.label})" for o in m.purchases])
    if m.diurnal is not None:
        d = m.diurnal
        facts.append(("autoscaled", f"{usd(d.autoscaled_usd_per_day)} per day instead of {usd(d.static_usd_per_day)} "
                                    f"({percent(d.saving)} less), {min(d.replicas_by_hour)} to "
                                    f"{max(d.replicas_by_hour)} replicas"))
    if m.break_even is not None:
        b = m.break_even
        word = "saves" if b.saves_usd_per_month >= 0 else "costs more by"
        facts.append(("break-even", f"with {b.api} ({usd(b.api_usd_per_month)} per month) from "
                                    f"{significant(b.requests_per_s)} requests/s on, {percent(b.utilisation)} of this "
                                    f"fleet{'' if b.reachable else ': out of its reach'}; at this load the plan {word} "
                                    f"{usd(abs(b.saves_usd_per_month))} per month"))
    columns = [Column("1M tokens of"), Column("cost", right=True), Column("of the bill", right=True)]
    return Section("where the money goes", columns, rows, facts=facts)


def pages(p: Plan) -> Section:
    """KV page sizes."""
    columns = [Column("page", right=True), Column("kernel speed", right=True), Column("lost to rounding", right=True),
               Column("lost sharing", right=True, expendable=2), Column("requests fit", right=True),
               Column("allowed", widest=52, expendable=1)]
    return Section("KV page size", columns, [_page(x, p.config.block_size) for x in p.pages],
                   note="* chosen; speed relative to the engine's default size")


def _page(x: PageChoice, chosen: int) -> list[str]:
    speed = "" if x.kernel_efficiency is None else f"{percent(x.kernel_efficiency)}, "
    lost = "-" if x.lost_sharing_tokens is None else f"{x.lost_sharing_tokens:,.0f} tokens"
    return [f"{x.block_size}{' *' if x.block_size == chosen else ''}", speed + x.kernel_evidence,
            f"{x.fragmentation_share:.1%}", lost, f"{x.concurrent_requests:,.0f}",
            x.reason if x.allowed else f"no: {x.reason}"]


def robustness(p: Plan) -> Section:
    """What breaks first."""
    columns = [Column("shock"), Column("holds"), Column("breaks first"), Column("to hold", right=True),
               Column("cost", right=True), Column("detail", expendable=1)]
    return Section("robustness", columns, [_shock(r) for r in p.robustness])


def _shock(r: RobustnessCase) -> list[str]:
    n = r.replicas_needed
    return [r.title, "✓" if r.holds else "✗", "" if r.breaks is None else BINDS[r.breaks],
            "no fleet" if n is None else f"{n:,} replica{'s' if n > 1 else ''}",
            "" if r.usd_per_h_needed is None else f"{usd(r.usd_per_h_needed)}/h", r.detail]


def losers(found: Sequence[Loser]) -> Section:
    """Why the popular alternatives lost."""
    columns = [Column("alternative"), Column("$/1M out more", right=True), Column("why")]
    rows = [[x.alternative, "" if x.extra_usd_per_mtok_out is None else signed_usd(x.extra_usd_per_mtok_out), x.reason]
            for x in found]
    return Section("why others lost", columns, rows)


def memory(p: Plan) -> Section:
    """Memory of one GPU."""
    m = p.memory
    parts = (("weights", m.weights_bytes), ("activations", m.activation_bytes), ("CUDA graphs", m.graph_bytes),
             ("runtime", m.runtime_bytes), ("KV cache", m.kv_bytes), ("left free", m.reserved_bytes))
    rows = [[k, gib(v), percent(v / m.total_bytes)] for k, v in parts if v]
    used = "" if m.peak_occupancy is None else f"; at most {percent(m.peak_occupancy)} in use at this load"
    facts = [("KV cache", f"{m.num_blocks:,} blocks, {m.kv_tokens.value:,.0f} tokens per replica: "
                          f"{m.mean_requests:,.0f} requests at once{used}")]
    return Section("memory of one GPU", [Column("part"), Column("size", right=True), Column("share", right=True)],
                   rows, facts=facts)

"""`costplan explain`: every number of a plan with its formula, the numbers in it, and its source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from costplan.core.units import HOURS_PER_MONTH
from costplan.plan.types import Plan
from costplan.report.columns import Column, heading, table
from costplan.report.derivation import Derivation, Step
from costplan.report.numbers import gib, percent, seconds, significant, usd
from costplan.report.plan_file import PlanFile
from costplan.report.plan_words import bought, chance, kept, settings, shares, span
from costplan.report.style import Style


@dataclass(frozen=True, slots=True)
class Line:
    """One number: how it follows from others, and where those come from."""

    name: str
    value: str
    formula: str
    source: str


def explain_text(f: PlanFile, p: Plan, style: Style) -> str:
    """All derivations of one plan; no line is wider than ``style.width``."""
    blocks = [heading(f"Plan {p.rank} of {f.workload.name}: {p.name}", style)]
    for title, lines in chapters(f, p):
        columns = [Column(title), Column("value", right=True), Column("from (source)")]
        blocks.append(table(columns, [[x.name, x.value, f"{x.formula} ({x.source})"] for x in lines], style))
    return "\n\n".join("\n".join(b) for b in blocks) + "\n"


def chapters(f: PlanFile, p: Plan) -> Iterator[tuple[str, list[Line]]]:
    """Titles and their numbers, in the order in which one asks for them."""
    yield "Money", money(f, p)
    yield "Fleet", fleet(f, p)
    yield "Latency", latency(p)
    yield "Memory of one GPU", memory(p, f.derivations.get(p.name))
    if p.name in f.derivations:
        d = f.derivations[p.name]
        yield "A mean decode step", step(d.decode, d)
        yield "A prefill step of one mean prompt", step(d.prefill, d)
    yield "Trust", trust(f, p)


def money(f: PlanFile, p: Plan) -> list[Line]:
    """Cost per token, request and month."""
    m, w, r = p.money, f.workload, p.money.rental
    out = p.output_tok_s.value
    active = p.replicas - p.spare_replicas
    full = p.capacity_requests_per_s.value * active * w.mean_osl_tokens
    bill = r.usd_per_h / 3600
    t = m.tokens
    reused = p.requests_per_s * w.mean_isl_tokens * p.prefix_hit_rate
    fresh = p.requests_per_s * w.mean_isl_tokens - reused
    lines = [
        Line("rent per hour", usd(r.usd_per_h), f"{r.instances} x {usd(r.price.price_usd_per_instance_h)}",
             f"{r.label}; {r.price.source}"),
        Line("output tok/s", significant(out), f"T x U = {significant(full)} x {out / full:.3f}",
             "T: fleet at capacity; U: the user's load over it"),
        Line("$/1M output tokens", usd(m.usd_per_mtok_out.value),
             f"1e6 x {usd(r.usd_per_h)} / ({significant(out)} x 3600)", "1e6 x $/h / (T x 3600 x U)"),
        Line("90% interval", span(m.i90_usd_per_mtok_out), "the fleet resized at both ends of the capacity interval",
             "whole replicas and instances"),
        Line("$/1M at full load", usd(m.usd_per_mtok_out_saturated.value),
             f"1e6 x {usd(r.usd_per_h)} / ({significant(full)} x 3600)", "the same with U = 1"),
        Line("$ per request", usd(m.usd_per_request.value),
             f"{usd(r.usd_per_h)} / 3600 / {significant(p.requests_per_s)} requests/s", "rent over requests"),
        Line("$ per month", usd(m.usd_per_month), f"{usd(r.usd_per_h)} x {HOURS_PER_MONTH:g} h", "mean month"),
        Line("$/1M output tokens alone", usd(t.output_usd_per_mtok),
             f"1e6 x {usd(bill)}/s x {t.decode_share:.3f} / {significant(out)} tok/s",
             "share of GPU time in decode steps"),
        Line("$/1M input tokens", usd(t.input_usd_per_mtok),
             f"1e6 x {usd(bill)}/s x {t.prefill_share:.3f} / {significant(fresh)} tok/s not cached",
             "share of GPU time in prefill steps")]
    if t.cached_input_usd_per_mtok is not None:
        lines.append(Line("$/1M cached input", usd(t.cached_input_usd_per_mtok),
                          f"1e6 x {usd(bill)}/s x {t.cached_share:.3f} / {significant(reused)} tok/s cached",
                          "share of attention over reused blocks"))
    return lines


def fleet(f: PlanFile, p: Plan) -> list[Line]:
    """Replicas, and what one of them serves."""
    c, cap, k = p.config, p.capacity_requests_per_s, f.workload.constraints
    active = p.replicas - p.spare_replicas
    low, high = cap.i90
    return [
        Line("capacity of a replica", f"{significant(cap.value)} requests/s",
             f"highest rate at which every limit holds; 90%: {significant(low)} .. {significant(high)}",
             f"bisection over simulations of the same {f.search.verified_requests:,} requests; {cap.basis}"),
        Line("replicas", f"{p.replicas:,}",
             f"least number that holds {significant(p.peak_requests_per_s)} requests/s with {percent(k.headroom)} "
             f"headroom: {active:,}" + (f", and {p.spare_replicas:,} spare" if p.spare_replicas else ""),
             "peak load of the workload; fewer share a burstier stream each"),
        Line("utilisation", percent(p.utilisation),
             f"{significant(p.requests_per_s)} / ({significant(cap.value)} x {active:,})", "mean load over capacity"),
        Line("instances", f"{p.money.rental.instances:,}",
             f"{bought(p.money.rental)}: {p.num_gpus:,} GPUs in use, {p.replicas:,} x {c.num_gpus}, "
             f"{p.money.rental.idle_gpus:,} idle", "whole instances are bought"),
        Line("engine", c.engine, settings(c), "best of the search")]


def latency(p: Plan) -> list[Line]:
    """Latencies at the load of the plan."""
    lines = []
    for found in p.latencies:
        said = ", ".join(f"p{100 * q:g} {seconds(e.value)}" for q, e in found.percentiles)
        low, high = found.mean.i90
        lines.append(Line(f"{found.metric.upper()} mean", seconds(found.mean.value),
                          f"{said}; 90% of the mean: {seconds(low)} .. {seconds(high)}", found.mean.basis))
    lines += [Line(f"{m.target.metric.upper()} limit", chance(m.p_met), kept(m),
                   "chance that it holds: Student t (3) of the log error") for m in p.slo]
    return lines


def memory(p: Plan, d: Derivation | None) -> list[Line]:
    """Bytes of one GPU, and what the KV cache holds."""
    m, c = p.memory, p.config
    lines = [
        Line("weights", gib(m.weights_bytes), f"{c.weight_dtype}, split over the GPUs of a replica ({c.num_gpus})",
             "model layers"),
        Line("activations", gib(m.activation_bytes), f"a step of {c.max_num_batched_tokens:,} tokens",
             "fitted to start-up logs"),
        Line("CUDA graphs", gib(m.graph_bytes), f"up to {c.max_num_seqs:,} sequences", "fitted to start-up logs"),
        Line("runtime", gib(m.runtime_bytes), "context, libraries, communication buffers", "fitted to start-up logs"),
        Line("left free", gib(m.reserved_bytes), f"memory fraction {c.memory_fraction:g}", f"rule of {c.engine}"),
        Line("KV cache", gib(m.kv_bytes), f"{gib(m.total_bytes)} less all of the above", "what remains")]
    if d is not None:
        lines += [Line("KV bytes per token", f"{d.kv_bytes_per_token:,.0f}", _kv_product(d, p),
                       "one GPU; model layers")]
    return [*lines,
            Line("KV blocks", f"{m.num_blocks:,}", f"{gib(m.kv_bytes)} / ({'(' if c.speculative else ''}bytes per token"
                               f"{' + those of the draft)' if c.speculative else ''} x {c.block_size})",
                 f"{m.kv_tokens.value:,.0f} tokens per replica"),
            Line("requests at once", f"{m.mean_requests:,.0f}", "KV tokens / mean tokens that a request holds",
                 "lengths of the workload")]


def _kv_product(d: Derivation, p: Plan) -> str:
    parts = []
    for x in d.kv_layers:
        what = x.how or f"{significant(x.bytes_per_token)} bytes"
        if x.state_bytes:
            what = f"no bytes per token, {significant(x.state_bytes)} per sequence"
        window = f" (window {x.window:,})" if x.window else ""
        parts.append(f"{x.count} layers x {what}{window}")
    stages = f", over {p.config.layout.pp} pipeline stages" if p.config.layout.pp > 1 else ""
    return " + ".join(parts) + stages


def step(s: Step, d: Derivation) -> list[Line]:
    """Time of one step by part."""
    batch = (f"{s.prefill_tokens:,} prompt tokens" if s.prefill_tokens else
             f"{s.decode_seqs:,} sequences, {s.decode_kv_tokens:,} KV tokens (load x time in decode, by Little's law)")
    low, high = s.time_s.i90
    source = f"profiles {', '.join(d.profiles)}" if d.profiles else "roofline, nothing measured"
    lines = [Line("step", seconds(s.time_s.value), f"{batch}; 90%: {seconds(low)} .. {seconds(high)}", source)]
    for part, value in sorted(s.parts_s.items(), key=lambda kv: -kv[1]):
        lines.append(Line(part, seconds(value), f"{percent(value / s.time_s.value)} of the step",
                          "fitted engine time per step" if part == "engine" else "sum of its kernels"))
    waiting = shares(s.waits_for_share)
    return [*lines, Line("waits for", s.bound, waiting, "roofline of each kernel")]


def trust(f: PlanFile, p: Plan) -> list[Line]:
    """How sure, and from what."""
    said = ", ".join(f"{k} {v[:12]}" for k, v in sorted(f.inputs.items())) or "not recorded"
    return [
        Line("evidence", str(p.evidence), shares(p.evidence_shares), f"share of kernel time; {p.basis}"),
        Line("P(meets SLO)", chance(p.p_meets_slo), "every limit at once, over the interval of the prediction",
             "kernel errors and the residual of the step model"),
        Line("decided by", p.decided_by, f"{f.search.simulations:,} simulations, {f.search.candidates:,} candidates",
             f"seed {f.seed}, {f.tool.name} {f.tool.version}"),
        Line("inputs", "SHA-256", said, "of the workload, prices and own profiles")]

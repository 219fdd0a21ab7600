"""`costplan simulate`: latencies, limits, throughput, memory and caching of one run; for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from costplan import __version__
from costplan.perf.predict import Deployment
from costplan.report.columns import Column, facts, heading, table
from costplan.report.numbers import percent, seconds, significant
from costplan.report.plan_json import values
from costplan.report.plan_words import percentile
from costplan.report.speculative_text import drafts_words
from costplan.report.style import Style
from costplan.simulate.drafts import Drafts
from costplan.simulate.metrics import Spread, Summary, TargetMet
from costplan.simulate.policy import SchedulerLimits

SCHEMA = "costplan.simulate/1"


@dataclass(frozen=True, slots=True)
class Run:
    """One simulated engine lane of a deployment, out of ``lanes`` equal ones. ``basis`` says whose step times."""

    name: str
    deployment: Deployment
    lanes: int
    requests: int
    seed: int
    summary: Summary
    limits: SchedulerLimits
    refusals: Mapping[str, int]
    basis: str
    drafts: Drafts | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the reader must know before believing the numbers."""
        s = self.summary
        said = [f"refused: {n:,} requests: {why}" for why, n in self.refusals.items()]
        waits_longer = s.queue.mean > s.e2e.mean - s.queue.mean  # a short run falls behind only by its last request
        if s.achieved_over_offered is not None and s.achieved_over_offered < 0.95 and waits_longer:
            said.append(f"saturated: the engine does {percent(s.achieved_over_offered)} of what arrives, so the queue "
                        "grows without end")
        if not s.convergence.converged:
            said.append("too few requests for a steady mean: give more with -n")
        return tuple(said)


def simulate_text(r: Run, style: Style) -> str:
    """The whole page; no line is wider than ``style.width``."""
    s, d = r.summary, r.deployment
    word = "no limits given" if not s.targets else "every limit holds" if s.slo_met else "NOT every limit holds"
    first = heading(f"{r.name} on {d.num_gpus} x {d.gpu.name}, {d.engine}: {word}", style)
    columns = [Column("latency"), *(Column(n, right=True) for n in ("mean", "p50", "p90", "p95", "p99", "max"))]
    rows = [_row(n, x) for n, x in (("queue", s.queue), ("TTFT", s.ttft), ("TPOT", s.tpot), ("ITL", s.itl),
                                    ("E2E", s.e2e)) if x is not None]
    blocks = [[*first, *(tick(t) for t in s.targets)], table(columns, rows, style), facts(_facts(r), style)]
    return "\n\n".join("\n".join(b) for b in blocks) + "\n"


def tick(t: TargetMet) -> str:
    """One limit in one line."""
    name = f"{t.target.metric} {percentile(t.target.percentile)}"
    if t.value_s is None:
        return f"✓ {name}: no request has it"
    return f"{'✓' if t.met else '✗'} {name} {seconds(t.value_s)} {'<=' if t.met else '>'} {seconds(t.target.limit_s)}"


def _row(name: str, x: Spread) -> list[str]:
    return [name, *(seconds(v) for v in (x.mean, x.p50, x.p90, x.p95, x.p99, x.max))]


def _facts(r: Run) -> list[tuple[str, str]]:
    s, limits, n = r.summary, r.limits, r.lanes
    share = f", one of {n} equal engines" if n > 1 else ""
    pairs = [("requests", f"{r.requests:,} in {seconds(s.duration_s)}{share}; the first {s.warmup_requests:,} warm up "
                          f"and do not count; seed {r.seed}"),
             ("throughput", f"{significant(s.requests_per_s * n)} requests/s, {significant(s.input_tok_s * n)} input "
                            f"tok/s, {significant(s.output_tok_s * n)} output tok/s")]
    if r.drafts is not None:
        words = drafts_words(r.drafts.drafting, r.drafts.drafter.name)
        pairs.append(("drafts", f"{words}; ITL is that of a cycle over its tokens"))
    if s.goodput_per_s is not None and s.attainment is not None:
        pairs.append(("goodput", f"{significant(s.goodput_per_s * n)} requests/s within every limit, "
                                 f"{percent(s.attainment)} of all"))
    return [*pairs,
            ("utilisation", f"busy {percent(s.busy_share)} of the time, on average {s.mean_running:,.1f} sequences of "
                            f"at most {limits.max_num_seqs:,}, {s.mean_decode_batch:,.1f} per decode step"),
            ("KV cache", f"{percent(s.kv_mean)} in use on average, {percent(s.kv_peak)} at most, of "
                         f"{limits.num_blocks:,} blocks of {limits.block_size}; {s.preemptions:,} preemptions"),
            ("prefix hits", f"{percent(s.hit_rate)} of prompt tokens"),
            ("step times", r.basis)]


def simulate_json(r: Run) -> dict[str, Any]:
    """The run as JSON values: seconds, tokens, fractions; rates are of one engine of ``lanes``."""
    d = r.deployment
    summary = values(r.summary)
    return {
        "schema": SCHEMA, "tool": {"name": "costplan", "version": __version__}, "name": r.name, "seed": r.seed,
        "lanes": r.lanes, "deployment": {
            "model": d.spec.name, "gpu": d.gpu.name, "num_gpus": d.num_gpus, "replicas": d.replicas,
            "tp": d.layout.tp, "pp": d.layout.pp, "dp": d.layout.dp, "ep": d.layout.ep, "engine": d.engine},
        "limits": values(r.limits), "summary": {**summary, "slo_met": r.summary.slo_met},
        "drafting": None if r.drafts is None else values(r.drafts.drafting),
        "refusals": dict(r.refusals), "basis": r.basis, "warnings": list(r.warnings)}

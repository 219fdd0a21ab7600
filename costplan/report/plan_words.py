"""Words of a plan: what is rented, how it is configured, what binds, how likely; for text and Markdown alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from costplan.core.evidence import Evidence
from costplan.plan.config import EngineConfig
from costplan.plan.types import Binding, Plan, Range, Rental, SloMargin
from costplan.report.numbers import percent, seconds, usd
from costplan.workload.workload import Metric, SloTarget

BINDS = {
    Binding.TTFT: "TTFT limit", Binding.TPOT: "TPOT limit", Binding.ITL: "ITL limit", Binding.E2E: "E2E limit",
    Binding.THROUGHPUT: "throughput", Binding.CONCURRENCY: "load", Binding.KV: "KV cache", Binding.NONE: "nothing",
}
BINDS_LONG = {
    Binding.TTFT: "the limit on TTFT: more load per replica breaks it first",
    Binding.TPOT: "the limit on TPOT: more load per replica breaks it first",
    Binding.ITL: "the limit on ITL: more load per replica breaks it first",
    Binding.E2E: "the limit on end-to-end time: more load per replica breaks it first",
    Binding.THROUGHPUT: "throughput: a replica serves no more requests per second",
    Binding.CONCURRENCY: "the load: the closed loop asks for no more",
    Binding.KV: "the KV cache: sequences wait for blocks",
    Binding.NONE: "nothing within the load asked for",
}
STEP_BOUND = {"compute": "arithmetic", "bandwidth": "memory bandwidth", "latency": "launch latency",
              "network": "links between GPUs"}
USUAL_PERCENTILE = 0.95


def settings(c: EngineConfig) -> str:
    """The settings of an engine in one line."""
    switches = [] if c.prefix_caching else ["no prefix caching"]
    switches += [] if c.chunked_prefill else ["no chunked prefill"]
    if c.speculative is not None:
        switches.append(f"drafts {c.speculative.label} at {percent(c.speculative.acceptance)} kept")
    return ", ".join([
        f"{c.engine}", sizes(c), f"weights {c.weight_dtype}", f"KV cache {c.kv_dtype} in pages of {c.block_size}",
        f"max_num_seqs {c.max_num_seqs:,}", f"max_num_batched_tokens {c.max_num_batched_tokens:,}",
        f"max_model_len {c.max_model_len:,}", f"memory fraction {c.memory_fraction:g}", *switches])


def sizes(c: EngineConfig, between: str = " ") -> str:
    """Parallel sizes above 1, tensor-parallel always."""
    lay = c.layout
    named = (("tp", lay.tp), ("pp", lay.pp), ("dp", lay.dp), ("ep", lay.ep))
    return " ".join(f"{k}{between}{v}" for k, v in named if v > 1 or k == "tp")


def short(c: EngineConfig) -> str:
    """Enough to tell plans of one table apart: sizes, weights/KV, engine."""
    return f"{sizes(c, '')} {c.weight_dtype}/{c.kv_dtype} {c.engine}" + (
        f" {c.speculative.label}" if c.speculative else "")


def gpus(p: Plan) -> str:
    return f"{p.num_gpus} x {p.config.gpu}"


def bought(r: Rental) -> str:
    """Instances and where: without price and date."""
    p = r.price
    what = f"{r.instances} x {p.provider} {p.instance}" if p.instance else f"{r.instances} x {p.provider}"
    return f"{what} ({p.gpu_count} x {p.gpu} each)"


def chance(p: float) -> str:
    """A probability that never claims certainty."""
    return "> 99%" if p > 0.99 else "< 1%" if p < 0.01 else percent(p)


def span(r: Range) -> str:
    """An interval of money; an open end where no fleet would do."""
    if r.high is None:
        return f"{usd(r.low)} .. no fleet"
    return f"{usd(r.low)} .. {usd(r.high)}"


def shares(found: Mapping[Evidence, float] | Mapping[str, float]) -> str:
    """Parts by weight, largest first."""
    order = sorted(found.items(), key=lambda kv: (-kv[1], kv[0]))
    return ", ".join(f"{percent(v)} {k}" for k, v in order if v >= 0.005)


def percentile(fraction: float) -> str:
    return f"p{100 * fraction:g}"


def target(t: SloTarget) -> str:
    return f"{t.metric.upper()} {percentile(t.percentile)} <= {seconds(t.limit_s)}"


def kept(m: SloMargin) -> str:
    """One limit against its prediction, with a tick or a cross."""
    t, sign = m.target, ("✓", "<=") if m.margin >= 0 else ("✗", ">")
    return (f"{sign[0]} {t.metric.upper()} {percentile(t.percentile)} {seconds(m.predicted.value)} {sign[1]} "
            f"{seconds(t.limit_s)}")


def shown_percentile(p: Plan, metric: Metric) -> float:
    """The percentile that a table shows: that of the strictest limit, else p95."""
    own = [m.target.percentile for m in p.slo if m.target.metric is metric]
    return max(own, default=USUAL_PERCENTILE)


def latency(p: Plan, metric: Metric) -> str:
    found = p.latency(metric)
    e = found.at(shown_percentile(p, metric)) if found is not None else None
    return "" if e is None else seconds(e.value)


def signed_usd(x: float) -> str:
    return "$0" if abs(x) < 5e-7 else f"{'+' if x > 0 else '-'}{usd(abs(x))}"


def labelled(name: str, lines: Sequence[str]) -> list[tuple[str, str]]:
    """Facts under one name, which only the first line shows."""
    return [(name if i == 0 else "", line) for i, line in enumerate(lines)]

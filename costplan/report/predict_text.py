"""`costplan predict` for people: the answer in three lines, then metrics, steps, memory and provenance."""

from __future__ import annotations

from costplan.core.evidence import Estimate
from costplan.perf.batch import BatchState
from costplan.perf.latency import StepTime
from costplan.perf.steady import LoadKind
from costplan.report.answer import Answer, Metric, kernel_versions, waits
from costplan.report.columns import Column, facts, heading, table
from costplan.report.numbers import gib, percent, seconds, significant, spread, usd
from costplan.report.speculative_text import speculative_text
from costplan.report.style import Style

_BINDS = {
    "compute": "compute: the arithmetic units are busy",
    "bandwidth": "memory bandwidth: weights and KV cache are read in every step",
    "memory": "memory capacity: the KV cache is full, requests wait for blocks",
    "latency": "latency floor: kernels too small to fill the GPU",
    "network": "the links between GPUs",
}
_WAITS_FOR = {"bandwidth": "bandwidth", "compute": "compute", "latency": "launch latency", "network": "links",
              "engine": "engine"}
_PARTS = {"gemm": "linear layers", "experts": "experts", "attention": "attention", "linear": "linear attention",
          "collective": "collectives", "elementwise": "element-wise", "head": "output head", "engine": "engine"}


def predict_text(a: Answer, style: Style) -> str:
    """The whole answer; no line is wider than ``style.width``."""
    blocks = [_headline(a, style), _metrics(a, style), _steps(a, style), _memory(a, style), _provenance(a, style)]
    if a.speculative is not None and a.without_drafts is not None:
        blocks.append(speculative_text(a.speculative, a.without_drafts, style))
    return "\n\n".join("\n".join(b) for b in blocks) + "\n"


def _headline(a: Answer, style: Style) -> list[str]:
    p, c = a.prediction, a.cost
    tok = f"{significant(p.output_tok_s_per_gpu.value)} output tok/s per GPU"
    if c is None:
        first = f"{tok} (90%: {spread(p.output_tok_s_per_gpu, '')})"
    else:
        first = (f"{usd(c.usd_per_mtok_out.value)} per 1M output tokens (90%: {spread(c.usd_per_mtok_out, 'usd')}), "
                 f"{tok}")
    second = (f"TTFT {seconds(p.ttft_s.value)} (90%: {spread(p.ttft_s, 's')}), "
              f"TPOT {seconds(p.tpot_s.value)} (90%: {spread(p.tpot_s, 's')})")
    third = f"{p.e2e_s.evidence}, from {p.e2e_s.basis}"
    return [*heading(first, style), *heading(second, style), *facts([("", third)], style), "",
            *facts([("deployment", _deployment(a)), ("load", _load(a))], style)]


def _deployment(a: Answer) -> str:
    d = a.deployment
    sizes = [f"{k} {v}" for k, v in (("tp", d.layout.tp), ("pp", d.layout.pp), ("dp", d.layout.dp),
                                     ("ep", d.layout.ep)) if v > 1]
    replicas = [f"{d.replicas} replicas"] if d.replicas > 1 else []
    return (f"{d.spec.name} on {d.num_gpus} x {d.gpu.title} ({', '.join([*sizes, *replicas]) or 'tp 1'}), {d.engine}"
            f"{' ' + d.engine_version if d.engine_version else ''}, weights {d.weight_dtype or d.spec.weight_dtype}, "
            f"KV {d.stored_kv_dtype}")


def _load(a: Answer) -> str:
    load = a.load
    what = {LoadKind.CONCURRENCY: f"{load.value:g} requests in flight",
            LoadKind.RATE: f"{load.value:g} requests/s"}.get(load.kind, f"{load.value:g} requests, {load.kind}")
    return f"{what}, {load.isl:,.0f} tokens in, {load.osl:,.0f} tokens out"


def _metrics(a: Answer, style: Style) -> list[str]:
    rows = []
    for m in a.metrics:
        e = m.estimate
        if m.key == "usd_per_request":
            rows.append(["1,000 requests", usd(e.value * 1e3), spread(e.scaled(1e3), m.unit), str(e.evidence)])
        else:
            rows.append([m.label, _value(m), spread(e, m.unit), str(e.evidence)])
    if a.cost is not None:
        rows.append(["one hour", usd(a.cost.usd_per_h), "", "stated" if not a.cost.stale else "stale price"])
    return table([Column("metric"), Column("value", right=True), Column("90% interval"), Column("evidence")],
                 rows, style)


def _value(m: Metric) -> str:
    x = m.estimate.value
    return {"s": seconds, "usd": usd}.get(m.unit, lambda v: f"{significant(v)} {m.unit}")(x)


def _steps(a: Answer, style: Style) -> list[str]:
    p = a.prediction
    steps = (p.decode_step, p.prefill_step)
    parts = sorted({k for s in steps for k in s.parts}, key=lambda k: -p.decode_step.parts.get(k, 0.0))
    rows = [[_PARTS.get(k, k), *(cell for s in steps for cell in _part(s, k))] for k in parts]
    rows.append(["total", *(cell for s in steps for cell in (seconds(s.seconds), ""))])
    lines = table([Column("one step"), Column("decode", right=True), Column("share", right=True),
                   Column("prefill", right=True), Column("share", right=True)], rows, style)
    pairs = [("binds", _BINDS.get(p.bound, p.bound))]
    for name, step, batch in (("decode", p.decode_step, p.point.decode_step),
                              ("prefill", p.prefill_step, p.point.prefill_step)):
        pairs.append((f"{name} step", f"{_batch(batch)}; waits for {_shares(step)}; 90%: "
                                      f"{spread(step.estimate(), 's')}; {_evidence(step.estimate())}"))
    return [*lines, "", *facts(pairs, style)]


def _part(step: StepTime, part: str) -> tuple[str, str]:
    s = step.parts.get(part)
    return ("-", "") if s is None else (seconds(s), percent(s / step.seconds))


def _batch(b: BatchState) -> str:
    said = []
    if b.prefill_tokens:
        said.append(f"{b.prefill_tokens:,} prompt tokens")
    if b.decode_seqs:
        said.append(f"{b.decode_seqs:,} sequences of {b.decode_kv_tokens / b.decode_seqs:,.0f} tokens")
    return " beside ".join(said)


def _shares(step: StepTime) -> str:
    return ", ".join(f"{_WAITS_FOR.get(k, k)} {percent(v)}" for k, v in waits(step).items() if abs(v) >= 0.005)


def _evidence(e: Estimate) -> str:
    if not e.shares:
        return str(e.evidence)
    return ", ".join(f"{percent(v)} {k}" for k, v in sorted(e.shares.items(), key=lambda kv: -kv[1]) if v >= 0.005)


def _memory(a: Answer, style: Style) -> list[str]:
    b = a.prediction.budget
    rows = [[name, gib(size), percent(size / b.total_bytes)] for name, size in (
        ("weights", b.weights.total), ("activations", b.activation_bytes), ("CUDA graphs", b.graph_bytes),
        ("runtime", b.runtime_bytes), ("KV cache", b.kv_bytes), ("left free", b.reserved_bytes)) if size]
    rows.append(["total", gib(b.total_bytes), ""])
    fits = a.sequences_that_fit
    tokens = round(a.load.isl + a.load.osl)
    blocks = f"{b.num_blocks:,} of {b.block_size} tokens: " if b.block_size > 1 else ""
    pairs = [("KV blocks", f"{blocks}{b.tokens:,} tokens per engine (90%: {spread(b.kv_tokens, '')}; "
                           f"{b.kv_tokens.evidence})"),
             ("concurrency", f"{significant(fits)} sequences of {tokens:,} tokens fit; the engine runs at most "
                             f"{b.limits.max_num_seqs * a.deployment.replicas * a.deployment.layout.dp:,} at once"),
             ("settings", f"{b.engine} memory fraction {b.memory_fraction:g}, max_num_seqs {b.limits.max_num_seqs:,}, "
                          f"max_num_batched_tokens {b.limits.max_num_batched_tokens:,}")]
    columns = [Column("memory of one GPU"), Column("size", right=True), Column("share", right=True)]
    return [*table(columns, rows, style), "", *facts(pairs, style)]


def _provenance(a: Answer, style: Style) -> list[str]:
    m, p = a.manifest, a.prediction
    pairs: list[tuple[str, str]] = []
    if m is not None:
        when = f"measured {' to '.join(dict.fromkeys(m.collected))}" if m.collected else "date not recorded"
        pairs.append(("kernels", f"profile {m.name}: {kernel_versions(m)} kernels on {m.device or m.gpu}, {when}"))
        if len(p.profiles) > 1:
            pairs.append(("", f"for kernels it lacks: {', '.join(p.profiles[1:])}"))
    else:
        pairs.append(("kernels", "none measured: analytic roofline"))
    if a.cost is not None:
        pairs.append(("price", a.cost.label))
    return facts(pairs, style)

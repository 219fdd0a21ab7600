"""What a claim says about devices and sizes, against the catalogue and plain definitions."""

from __future__ import annotations

from collections.abc import Iterator

from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.gpus import gpus
from costplan.catalog.model_spec import Attention, MlaAttention
from costplan.validate.audit_claim import Claim
from costplan.validate.audit_consistency import agree, relation
from costplan.validate.audit_finding import Amount, Finding, Line, Verdict
from costplan.validate.audit_limits import best
from costplan.validate.audit_work import kv_bytes, kv_line, weight_line

SPEC_ROUNDING = 1.03
"""Datasheets round: 3.35 and 3.36 TB/s are the same figure."""
ROUGHLY = 1.15


def specs(c: Claim) -> Iterator[Finding]:
    """Every device fact, fraction of peak, and size of the claim."""
    if c.gpu is not None:
        yield from _facts(c, c.gpu)
    yield from _fraction("MFU", c.mfu, "mfu", "FLOP/s done over FLOP/s at peak")
    yield from _fraction("MBU", c.mbu, "mbu", "bytes/s read over bytes/s at peak")
    yield from _weights(c)
    yield from _kv_room(c)
    yield from _score_matrix(c)


def _facts(c: Claim, gpu: GpuSpec) -> Iterator[Finding]:
    if c.mem_bandwidth_bytes_per_s is not None:
        yield _fact(gpu, "memory bandwidth", Amount(c.mem_bandwidth_bytes_per_s, "bytes/s"),
                    gpu.mem_bandwidth_bytes_per_s, "mem_bandwidth_bytes_per_s")
    if c.gpu_mem_bytes is not None:
        yield _fact(gpu, "memory", Amount(c.gpu_mem_bytes, "bytes"), float(gpu.mem_marketed_bytes),
                    "mem_marketed_bytes", within=1.08)  # GB against GiB
    peak = gpu.peak(c.peak_dtype)
    if c.peak_flops is not None and peak is not None:
        yield _fact(gpu, f"{c.peak_dtype} peak", Amount(c.peak_flops, "FLOP/s"), peak, f"peak_flops.{c.peak_dtype}")
    elif c.peak_flops is not None:
        yield Finding(f"{c.peak_dtype} peak", Verdict.IMPOSSIBLE, f"{gpu.title} has no {c.peak_dtype} units")


def _fact(gpu: GpuSpec, what: str, claimed: Amount, known: float, field: str, within: float = SPEC_ROUNDING) -> Finding:
    line = Line(f"{what} of {gpu.name}", "catalogue: {0}", (Amount(known, claimed.unit),), Amount(known, claimed.unit))
    amounts = (claimed, Amount(known, claimed.unit))
    if agree(claimed.value, known, within):
        return Finding(what, Verdict.PLAUSIBLE, "{0}, the catalogue says {1}", (line,), amounts)
    if claimed.value > known:
        sparse = "peak" in what and agree(claimed.value, 2 * known, SPEC_ROUNDING)
        why = (" (twice: the figure with sparsity, which no serving engine reaches)" if sparse
               else _siblings(gpu, field, claimed.value, within))
        return Finding(what, Verdict.IMPOSSIBLE, f"{{0}}, but {gpu.title} has {{1}}{why}", (line,), amounts)
    return Finding(what, Verdict.INCONSISTENT, f"{{0}}, but {gpu.title} has {{1}}"
                   f"{_siblings(gpu, field, claimed.value, within)}", (line,), amounts)


def _siblings(gpu: GpuSpec, field: str, value: float, within: float) -> str:
    """Relatives of ``gpu`` that the figure would be right for, or how they differ."""
    family = gpu.name.split("_")[0]
    found = []
    for key, other in gpus().items():
        if key == gpu.name or not key.startswith(f"{family}_"):
            continue
        known = other.peak(field.split(".")[1]) if "." in field else getattr(other, field)
        if known is not None and agree(value, float(known), within):
            found.append(other.title)
    return f" (that is {' or '.join(found)})" if found else ""


def _fraction(name: str, value: float | None, limit: str, meaning: str) -> Iterator[Finding]:
    if value is None:
        return
    line = Line(name, f"{meaning}: {{0}}, at most {{1}}", (Amount(value), Amount(1.0)), Amount(value, "share"))
    amounts = (Amount(value, "share"), Amount(best(limit), "share"))
    if value > 1:
        yield Finding(name, Verdict.IMPOSSIBLE, "{0} of the peak: more than there is", (line,), amounts)
    elif value > best(limit):
        yield Finding(name, Verdict.IMPLAUSIBLE, "{0} of the peak; the best measured serving run reaches {1}",
                      (line,), amounts)
    else:
        yield Finding(name, Verdict.PLAUSIBLE, "{0} of the peak", (line,), amounts)


def _weights(c: Claim) -> Iterator[Finding]:
    if c.weight_bytes is not None and (c.spec is not None or c.params is not None):
        yield relation("weights", Amount(c.weight_bytes, "bytes"), weight_line(c), what="the size of the weights")


def _kv_room(c: Claim) -> Iterator[Finding]:
    """Requests in a stated KV budget: all layers count."""
    tokens = c.full_context
    if c.kv_budget_bytes is None or c.requests_that_fit is None or tokens is None or c.spec is None:
        return
    one = kv_bytes(c, tokens) or 0.0
    need = one * c.requests_that_fit
    fit = c.kv_budget_bytes / one
    lines = (kv_line(c, tokens), Line("KV of all requests", "{0} x {1}", (
        Amount(c.requests_that_fit, "requests"), Amount(one, "bytes")), Amount(need, "bytes")),
        Line("requests that fit", "{0} / {1}", (Amount(c.kv_budget_bytes, "bytes"), Amount(one, "bytes")),
             Amount(float(int(fit)), "requests")))
    amounts = (Amount(c.requests_that_fit, "requests"), Amount(need, "bytes"), Amount(float(int(fit)), "requests"))
    if c.requests_that_fit <= fit * 1.02:
        yield Finding("KV budget", Verdict.PLAUSIBLE, "{0} need {1}; {2} fit", lines, amounts)
        return
    layers = c.spec.num_layers
    forgot = f" (a factor of about {layers}: its layers forgotten?)" if agree(
        c.requests_that_fit / fit, layers, ROUGHLY) else ""
    yield Finding("KV budget", Verdict.IMPOSSIBLE, f"{{0}} need {{1}}; only {{2}} fit{forgot}", lines, amounts)


def _score_matrix(c: Claim) -> Iterator[Finding]:
    """The matrix of attention scores: one per head and layer, and only one layer at a time."""
    tokens = c.full_context or c.isl
    if c.score_matrix_bytes is None or tokens is None:
        return
    one = tokens * tokens * 4
    lines = [Line("scores of one head (FP32)", "{0} x {0} x 4 bytes", (Amount(tokens, "tokens"),),
                  Amount(one, "bytes"))]
    layer = one * (_heads(c) or 1) * (c.batch or 1.0)
    if layer > one:
        lines.append(Line("scores of one layer", "{0} x {1} x {2}", (
            Amount(one, "bytes"), Amount(_heads(c) or 1, "heads"), Amount(c.batch or 1.0, "sequences")),
            Amount(layer, "bytes")))
    claimed = c.score_matrix_bytes
    if any(agree(claimed, size) for size in (one, one / 2, layer, layer / 2)):
        yield Finding("attention scores", Verdict.PLAUSIBLE, "{0}, in FP32 or 16 bits", tuple(lines),
                      (Amount(claimed, "bytes"),))
        return
    unit = ": MiB read as GB" if agree(claimed, one * 1000) else ""
    yield Finding("attention scores", Verdict.INCONSISTENT, f"{{0}} is {{1}} times those of a head{unit}; and "
                  "attention kernels keep no such matrix in memory (FlashAttention, arXiv 2205.14135)", tuple(lines),
                  (Amount(claimed, "bytes"), Amount(claimed / one)))


def _heads(c: Claim) -> int | None:
    if c.spec is None:
        return None
    found = [m.num_heads for g in c.spec.layers for m in g.layer.mixers if isinstance(m, Attention | MlaAttention)]
    return max(found, default=None)

"""A claim against what its GPUs can do: weights and KV through HBM, FLOPs through the arithmetic units."""

from __future__ import annotations

from collections.abc import Iterator

from costplan.catalog.gpu_spec import GpuSpec
from costplan.validate.audit_claim import Claim
from costplan.validate.audit_finding import Amount, Finding, Line, Verdict
from costplan.validate.audit_limits import best
from costplan.validate.audit_work import (
    kv_bytes,
    kv_line,
    peak_flops,
    reads_whole_cache,
    request_flops,
    step_weight_bytes,
    token_flops,
    weight_bytes,
    weight_line,
)


def physics(c: Claim) -> Iterator[Finding]:
    """Every bound that the claim says enough for."""
    if c.gpu is None or weight_bytes(c) is None:
        return
    yield from _fits(c, c.gpu)
    yield from _step(c, c.gpu)
    yield from _decode_rate(c, c.gpu)
    yield from _arithmetic(c)
    yield from _implied_arithmetic(c)
    yield from _prefill(c)


def _fits(c: Claim, gpu: GpuSpec) -> Iterator[Finding]:
    """Weights and the KV cache of a stated batch against the memory of one engine."""
    weights = weight_bytes(c) or 0.0
    lines = [weight_line(c)]
    if c.weight_bytes is not None and c.weight_bytes > weights:
        weights = c.weight_bytes
        lines.append(Line("weights as claimed", "{0}", (Amount(weights, "bytes"),), Amount(weights, "bytes")))
    need = weights
    if c.batch is not None and c.full_context is not None and c.spec is not None:
        one = kv_bytes(c, c.full_context) or 0.0
        need += c.batch / c.replicas * one
        lines += [kv_line(c, c.full_context),
                  Line("together", "{0} + {1} x {2}", (
                      Amount(weights, "bytes"), Amount(c.batch / c.replicas, "sequences"), Amount(one, "bytes")),
                      Amount(need, "bytes"))]
    room = c.engine_gpus * gpu.mem_marketed_bytes
    lines.append(Line("memory", "{0} x {1}", (Amount(c.engine_gpus, "GPUs"), Amount(gpu.mem_marketed_bytes, "bytes")),
                      Amount(room, "bytes")))
    share = need / room
    if share > 1:
        verdict, says = Verdict.IMPOSSIBLE, "needs {0} of {1} memory: it does not fit"
    elif share > best("memory_share"):
        verdict, says = Verdict.IMPLAUSIBLE, "needs {0} of {1} memory: nothing is left to run in"
    else:
        verdict, says = Verdict.PLAUSIBLE, "needs {0} of {1} memory; {2} are left to run in"
    yield Finding("memory", verdict, says, tuple(lines), (
        Amount(need, "bytes"), Amount(room, "bytes"), Amount(room - need, "bytes")))


def _read_lines(c: Claim, gpu: GpuSpec, seqs: float, *, spread: bool) -> tuple[list[Line], float]:
    """Least time of one decode step of ``seqs`` sequences by memory traffic, in seconds."""
    read = step_weight_bytes(c, seqs, spread_experts=spread)
    lines = [Line("weights read by a step", "{0}", (Amount(read, "bytes"),), Amount(read, "bytes"))]
    total = read
    context = c.mean_context
    if context is not None and c.spec is not None and reads_whole_cache(c.spec):
        one = kv_bytes(c, context) or 0.0
        total += seqs * one
        lines += [kv_line(c, context), Line("weights and KV read by a step", "{0} + {1} x {2}", (
            Amount(read, "bytes"), Amount(seqs, "sequences"), Amount(one, "bytes")), Amount(total, "bytes"))]
    speed = c.engine_gpus * gpu.mem_bandwidth_bytes_per_s
    seconds = total / speed
    lines.append(Line("least time of a step", "{0} / ({1} x {2})", (
        Amount(total, "bytes"), Amount(c.engine_gpus, "GPUs"), Amount(gpu.mem_bandwidth_bytes_per_s, "bytes/s")),
        Amount(seconds, "s")))
    return lines, seconds


def _step(c: Claim, gpu: GpuSpec) -> Iterator[Finding]:
    """A TPOT is at least the time to read the weights once; and the experts and KV of those that decode together."""
    fastest = min((x for x in (c.tpot_s, c.tpot_p50_s) if x is not None), default=None)
    if fastest is None:
        return
    lines, least = _read_lines(c, gpu, 1.0, spread=False)
    if fastest < least:
        yield Finding("time per token", Verdict.IMPOSSIBLE, "{0} per token is less than {1}, the time to read the "
                      "weights once", tuple(lines), (Amount(fastest, "s"), Amount(least, "s")))
        return
    if c.tpot_s is None:
        return
    seqs = _decoding(c)
    if seqs is not None:
        lines, least = _read_lines(c, gpu, seqs, spread=True)
    used = least / c.tpot_s
    together = Amount(seqs or 1.0, "sequences")
    lines.append(Line("bandwidth used (MBU)", "{0} / {1}", (Amount(least, "s"), Amount(c.tpot_s, "s")),
                      Amount(used, "share")))
    limit = best("mbu_moe" if c.spec is not None and c.spec.is_moe else "mbu")
    amounts = (Amount(used, "share"), together, Amount(limit, "share"))
    if used > 1:
        yield Finding("time per token", Verdict.IMPLAUSIBLE if _only_on_average(c) else Verdict.IMPOSSIBLE,
                      "reads {0} of what the memory can deliver, with {1} decoding together", tuple(lines), amounts)
    elif used > limit:
        yield Finding("time per token", Verdict.IMPLAUSIBLE, "uses {0} of the bandwidth with {1} decoding together; "
                      "the best measured uses {2}", tuple(lines), amounts)
    else:
        yield Finding("time per token", Verdict.PLAUSIBLE, "uses {0} of the bandwidth", tuple(lines), amounts)


def _only_on_average(c: Claim) -> bool:
    """Whether the bound rests on how evenly tokens pick their experts."""
    return c.spec is not None and c.spec.is_moe


def _decoding(c: Claim) -> float | None:
    """Sequences that decode together in one engine: as stated, else by Little's law from rate or latencies."""
    if c.batch is not None:
        return max(1.0, c.batch / c.replicas)
    if c.tpot_s is None:
        return None
    found = []
    if c.output_tok_s is not None:
        found.append(c.output_tok_s * c.tpot_s / c.replicas)
    if c.concurrency is not None and c.ttft_s is not None and c.osl is not None:
        decoding = (c.osl - 1) * c.tpot_s
        found.append(c.concurrency / c.replicas * decoding / (decoding + c.ttft_s))
    return max(1.0, min(found)) if found else None


def _decode_rate(c: Claim, gpu: GpuSpec) -> Iterator[Finding]:
    """Output tokens/s of so many sequences: each step gives one token to each and reads all there is to read."""
    seqs = c.batch if c.batch is not None else c.concurrency
    if c.output_tok_s is None or seqs is None:
        return
    each = max(1.0, seqs / c.replicas)
    lines, least = _read_lines(c, gpu, each, spread=False)
    flops, peak = token_flops(c), peak_flops(c)
    if flops and peak:
        busy = each * flops / (peak * c.engine_gpus)
        if busy > least:
            lines.append(Line("least time of a step", "{0} x {1} / ({2} x {3})", (
                Amount(each, "sequences"), Amount(flops, "FLOP"), Amount(c.engine_gpus, "GPUs"),
                Amount(peak, "FLOP/s")), Amount(busy, "s")))
            least = busy
    bound = each * c.replicas / least
    lines.append(Line("most output tokens/s", "{0} / {1}", (Amount(each * c.replicas, "sequences"),
                                                            Amount(least, "s")), Amount(bound, "tok/s")))
    ratio = c.output_tok_s / bound
    verdict = Verdict.IMPOSSIBLE if ratio > 1 else Verdict.PLAUSIBLE
    if verdict is Verdict.PLAUSIBLE and ratio > best("decode_share") and not _only_on_average(c):
        verdict = Verdict.IMPLAUSIBLE
    yield Finding("decode rate", verdict, "{0} is {2} the {1} that this batch can reach at most", tuple(lines),
                  (Amount(c.output_tok_s, "tok/s"), Amount(bound, "tok/s"), Amount(ratio, "share of")))


def _arithmetic(c: Claim) -> Iterator[Finding]:
    """Throughput times FLOPs per request against the peak: the MFU."""
    flops, peak = request_flops(c), peak_flops(c)
    rate = c.requests_per_s
    if rate is None and c.output_tok_s is not None and c.osl:
        rate = c.output_tok_s / c.osl
    if flops is None or peak is None or rate is None or c.osl is None:
        return
    speed = peak * c.num_gpus
    used = rate * flops / speed
    one = token_flops(c) or 0.0
    lines = (Line("FLOPs of a token", "2 x {0}", (Amount(one / 2, "active parameters"),), Amount(one, "FLOP")),
             Line("FLOPs of a request", "({0} + {1}) x {2}, without attention scores", (
                 Amount(c.isl or 0.0, "tokens in"), Amount(c.osl, "out"), Amount(one, "FLOP")), Amount(flops, "FLOP")),
             Line("peak", "{0} x {1}", (Amount(c.num_gpus, "GPUs"), Amount(peak, "FLOP/s")), Amount(speed, "FLOP/s")),
             Line("arithmetic used (MFU)", "{0} x {1} / {2}", (
                 Amount(rate, "requests/s"), Amount(flops, "FLOP"), Amount(speed, "FLOP/s")), Amount(used, "share")))
    yield _share("arithmetic", used, "mfu", lines, "needs {0} of the peak arithmetic")


def _implied_arithmetic(c: Claim) -> Iterator[Finding]:
    """Were the stated clients all served at the median latencies, so much arithmetic would be done."""
    flops, peak = request_flops(c), peak_flops(c)
    if (flops is None or peak is None or c.concurrency is None or c.osl is None or c.ttft_p50_s is None
            or c.tpot_p50_s is None):
        return
    e2e = c.ttft_p50_s + (c.osl - 1) * c.tpot_p50_s
    speed = peak * c.num_gpus
    used = c.concurrency / e2e * flops / speed
    if used <= 1:
        return
    lines = (Line("median end to end", "{0} + ({1} - 1) x {2}", (
        Amount(c.ttft_p50_s, "s"), Amount(c.osl, "tokens"), Amount(c.tpot_p50_s, "s")), Amount(e2e, "s")),
        Line("arithmetic implied", "{0} / {1} x {2} / {3}", (
            Amount(c.concurrency, "requests"), Amount(e2e, "s"), Amount(flops, "FLOP"), Amount(speed, "FLOP/s")),
            Amount(used, "share")))
    yield Finding("clients and latencies", Verdict.INCONSISTENT, "so many clients at these latencies would need {0} of "
                  "the peak arithmetic", lines, (Amount(used, "share"),))


def _prefill(c: Claim) -> Iterator[Finding]:
    """A first token cannot come before its prompt has been multiplied."""
    flops, peak = token_flops(c, prompt=True), peak_flops(c)
    if c.ttft_s is None or c.isl is None or flops is None or peak is None:
        return
    speed = peak * c.engine_gpus
    least = c.isl * flops / speed
    used = least / c.ttft_s
    lines = (Line("least time of the prompt", "{0} x {1} / ({2} x {3})", (
        Amount(c.isl, "tokens"), Amount(flops, "FLOP"), Amount(c.engine_gpus, "GPUs"), Amount(peak, "FLOP/s")),
        Amount(least, "s")),
        Line("arithmetic used", "{0} / {1}", (Amount(least, "s"), Amount(c.ttft_s, "s")), Amount(used, "share")))
    yield _share("time to first token", used, "ttft_mfu", lines, "a fresh prompt needs {0} of the peak arithmetic")


def _share(check: str, used: float, limit: str, lines: tuple[Line, ...], says: str) -> Finding:
    most = best(limit)
    amounts = (Amount(used, "share"), Amount(most, "share"))
    if used > 1:
        return Finding(check, Verdict.IMPOSSIBLE, f"{says}: more than there is", lines, amounts)
    if used > most:
        return Finding(check, Verdict.IMPLAUSIBLE, f"{says}; the best measured reaches {{1}}", lines, amounts)
    return Finding(check, Verdict.PLAUSIBLE, says, lines, amounts)

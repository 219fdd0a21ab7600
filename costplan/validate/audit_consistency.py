"""A claim against itself: rates, latencies and requests in flight are tied by definition and by Little's law."""

from __future__ import annotations

from collections.abc import Iterator

from costplan.validate.audit_claim import Claim
from costplan.validate.audit_finding import Amount, Finding, Line, Verdict
from costplan.validate.audit_limits import best

ROUNDING = 1.1
"""Two numbers that differ by less may be rounded forms of the same."""


def consistency(c: Claim) -> Iterator[Finding]:
    """Every relation between two of the claim's numbers."""
    yield from _requests(c)
    yield from _totals(c)
    yield from _e2e(c)
    yield from _little(c)
    yield from _decoding(c)


def agree(a: float, b: float, within: float = ROUNDING) -> bool:
    return max(a, b) <= within * min(a, b)


def relation(check: str, claimed: Amount, line: Line, *, what: str) -> Finding:
    """``claimed`` against the value that ``line`` computes from the claim's other numbers."""
    fine = agree(claimed.value, line.result.value)
    factor = max(claimed.value, line.result.value) / min(claimed.value, line.result.value)
    hint = "" if fine else _slip(factor)
    says = f"{what} agrees: {{0}} against {{1}}" if fine else f"{what} says {{0}}, its other numbers give {{1}}{hint}"
    return Finding(check, Verdict.PLAUSIBLE if fine else Verdict.INCONSISTENT, says, (line,), (claimed, line.result))


def _slip(factor: float) -> str:
    """What a wrong factor smells of."""
    known = {60.0: "minutes taken for seconds", 3600.0: "hours taken for seconds", 1000.0: "a unit prefix",
             1024.0: "a unit prefix", 1e6: "a unit prefix", 8.0: "one GPU taken for a machine of 8"}
    for value, name in known.items():
        if agree(factor, value):
            return f" (a factor of {round(factor):,}: {name}?)"
    return f" (a factor of {round(factor):,})" if factor > 20 else f" (a factor of {factor:.3g})"


def _requests(c: Claim) -> Iterator[Finding]:
    if c.requests_per_s is not None and c.osl is not None and c.output_tok_s is not None:
        line = Line("output tokens/s", "{0} x {1}", (Amount(c.requests_per_s, "requests/s"), Amount(c.osl, "tokens")),
                    Amount(c.requests_per_s * c.osl, "tok/s"))
        yield relation("requests and tokens", Amount(c.output_tok_s, "tok/s"), line, what="output tokens/s")


def _totals(c: Claim) -> Iterator[Finding]:
    if c.total_tok_s is not None and c.output_tok_s is not None and c.isl is not None and c.osl is not None:
        total = c.output_tok_s * (c.isl + c.osl) / c.osl
        line = Line("tokens/s in and out", "{0} x ({1} + {2}) / {2}", (
            Amount(c.output_tok_s, "tok/s"), Amount(c.isl, "tokens"), Amount(c.osl, "tokens")), Amount(total, "tok/s"))
        yield relation("tokens in and out", Amount(c.total_tok_s, "tok/s"), line, what="total tokens/s")


def _e2e(c: Claim) -> Iterator[Finding]:
    if c.e2e_s is None or c.ttft_s is None:
        return
    if c.ttft_s > c.e2e_s:
        line = Line("end to end", "{0}", (Amount(c.e2e_s, "s"),), Amount(c.e2e_s, "s"))
        yield Finding("latencies", Verdict.INCONSISTENT, "the first token comes after {0}, the last after {1}",
                      (line,), (Amount(c.ttft_s, "s"), Amount(c.e2e_s, "s")))
    elif c.tpot_s is not None and c.osl is not None:
        whole = c.ttft_s + (c.osl - 1) * c.tpot_s
        line = Line("end to end", "{0} + ({1} - 1) x {2}", (
            Amount(c.ttft_s, "s"), Amount(c.osl, "tokens"), Amount(c.tpot_s, "s")), Amount(whole, "s"))
        yield relation("latencies", Amount(c.e2e_s, "s"), line, what="latency")


def _latency(c: Claim) -> tuple[float, Line] | None:
    """Mean seconds of a request, stated or from TTFT and TPOT."""
    if c.e2e_s is not None:
        return c.e2e_s, Line("end to end", "{0}", (Amount(c.e2e_s, "s"),), Amount(c.e2e_s, "s"))
    if c.ttft_s is None or c.tpot_s is None or c.osl is None:
        return None
    whole = c.ttft_s + (c.osl - 1) * c.tpot_s
    return whole, Line("end to end", "{0} + ({1} - 1) x {2}", (
        Amount(c.ttft_s, "s"), Amount(c.osl, "tokens"), Amount(c.tpot_s, "s")), Amount(whole, "s"))


def _little(c: Claim) -> Iterator[Finding]:
    """Requests in flight = requests/s x mean latency (Little's law), against the stated clients."""
    latency = _latency(c)
    rate = c.requests_per_s
    if rate is None and c.output_tok_s is not None and c.osl is not None:
        rate = c.output_tok_s / c.osl
    if c.concurrency is None or latency is None or rate is None:
        return
    held = rate * latency[0]
    lines = (latency[1], Line("requests in flight", "{0} x {1}", (
        Amount(rate, "requests/s"), Amount(latency[0], "s")), Amount(held, "requests")))
    amounts = (Amount(held, "requests"), Amount(c.concurrency, "requests"))
    fine = best("little_low") <= held / c.concurrency <= best("little_high")
    says = ("throughput and latency give {0} in flight, the claim says {1}" if not fine
            else "throughput and latency give {0} in flight of {1}")
    yield Finding("requests in flight", Verdict.PLAUSIBLE if fine else Verdict.INCONSISTENT, says, lines, amounts)


def _decoding(c: Claim) -> Iterator[Finding]:
    """Tokens/s x time per token is the number of sequences that decode; a batch cannot give more."""
    seqs = c.batch if c.batch is not None else c.concurrency
    if c.output_tok_s is None or c.tpot_s is None or seqs is None:
        return
    needed = c.output_tok_s * c.tpot_s
    line = Line("sequences that decode", "{0} x {1}", (Amount(c.output_tok_s, "tok/s"), Amount(c.tpot_s, "s")),
                Amount(needed, "sequences"))
    fine = needed <= best("little_high") * seqs
    yield Finding("sequences that decode", Verdict.PLAUSIBLE if fine else Verdict.INCONSISTENT,
                  "its rate and its time per token take {0} at once, of {1}" if fine
                  else "its rate and its time per token take {0} at once, it says {1}", (line,),
                  (Amount(needed, "sequences"), Amount(seqs, "sequences")))

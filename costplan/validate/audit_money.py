"""Prices against throughput, and against what the GPU is rented for."""

from __future__ import annotations

from collections.abc import Iterator

from costplan.catalog.prices import find_prices
from costplan.validate.audit_claim import Claim
from costplan.validate.audit_consistency import ROUNDING, relation
from costplan.validate.audit_finding import Amount, Finding, Line, Verdict

FAR_OUT = 2.0
"""A price this many times beyond all listed ones is implausible: prices differ 3-5x between providers already."""


def money(c: Claim) -> Iterator[Finding]:
    """$/1M tokens, $/request and $/h against each other and against listed prices."""
    yield from _per_mtok(c)
    yield from _per_request(c)
    yield from _market(c)


def _per_mtok(c: Claim) -> Iterator[Finding]:
    rate, hourly = c.output_tok_s if c.output_tok_s is not None else c.total_tok_s, c.deployment_usd_per_h
    if rate is None or hourly is None or c.usd_per_mtok is None:
        return
    busy = c.utilisation or 1.0
    cost = hourly / (rate * busy * 3600) * 1e6
    line = Line("$/1M tokens", "{0} / ({1} x {2} x 3,600 s) x 1,000,000", (
        Amount(hourly, "usd/h"), Amount(rate, "tok/s"), Amount(busy, "of the time busy")), Amount(cost, "usd/Mtok"))
    if c.utilisation is None and c.usd_per_mtok > ROUNDING * cost:
        used = cost / c.usd_per_mtok
        yield Finding("cost per token", Verdict.INCONSISTENT, "{0} is more than {1}, which a busy deployment costs: it "
                      "would be busy {2} of the time, which the claim does not say", (line,),
                      (Amount(c.usd_per_mtok, "usd/Mtok"), Amount(cost, "usd/Mtok"), Amount(used, "share")))
        return
    yield relation("cost per token", Amount(c.usd_per_mtok, "usd/Mtok"), line, what="the cost of 1M tokens")


def _per_request(c: Claim) -> Iterator[Finding]:
    rate, hourly = c.requests_per_s, c.deployment_usd_per_h
    if rate is None and c.output_tok_s is not None and c.osl is not None:
        rate = c.output_tok_s / c.osl
    if rate is None or hourly is None or c.usd_per_request is None:
        return
    each = hourly / (rate * 3600)
    line = Line("$/request", "{0} / ({1} x 3,600 s)", (Amount(hourly, "usd/h"), Amount(rate, "requests/s")),
                Amount(each, "usd"))
    yield relation("cost per request", Amount(c.usd_per_request, "usd"), line, what="the cost of a request")


def _market(c: Claim) -> Iterator[Finding]:
    """The price of a GPU hour, stated or implied by $/1M tokens and tokens/s, beside all listed ones."""
    found = _gpu_hour(c)
    if c.gpu is None or found is None:
        return
    each, lines = found
    listed = [p.price_usd_per_gpu_h for p in find_prices(c.gpu.name)]
    if not listed:
        return
    low, high = min(listed), max(listed)
    lines.append(Line(f"listed prices of {c.gpu.name}", "{0} of them, lowest {1}, highest {2}", (
        Amount(len(listed)), Amount(low, "usd/h"), Amount(high, "usd/h")), Amount(each, "usd/h")))
    amounts = (Amount(each, "usd/h"), Amount(low, "usd/h"), Amount(high, "usd/h"))
    if low / FAR_OUT <= each <= high * FAR_OUT:
        yield Finding("price of a GPU", Verdict.PLAUSIBLE, "{0} per GPU, listed for {1} to {2}", tuple(lines), amounts)
    else:
        yield Finding("price of a GPU", Verdict.IMPLAUSIBLE, "{0} per GPU, which is listed for {1} to {2}",
                      tuple(lines), amounts)


def _gpu_hour(c: Claim) -> tuple[float, list[Line]] | None:
    hourly = c.deployment_usd_per_h
    if hourly is not None:
        return hourly / c.num_gpus, [Line("price of a GPU hour", "{0} / {1}", (
            Amount(hourly, "usd/h"), Amount(c.num_gpus, "GPUs")), Amount(hourly / c.num_gpus, "usd/h"))]
    rate = c.output_tok_s if c.output_tok_s is not None else c.total_tok_s
    if rate is None or c.usd_per_mtok is None:
        return None
    income = rate * 3600 / 1e6 * c.usd_per_mtok
    return income / c.num_gpus, [Line("$/h that it implies", "{0} x 3,600 s x {1} / 1,000,000", (
        Amount(rate, "tok/s"), Amount(c.usd_per_mtok, "usd/Mtok")), Amount(income, "usd/h"))]

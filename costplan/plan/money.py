"""What a fleet costs: per token of each kind, request, month, hour of the day, and against a hosted API."""

from __future__ import annotations

import math
from dataclasses import replace

from costplan.catalog.price import Purchase
from costplan.core.evidence import Estimate
from costplan.core.units import HOURS_PER_MONTH
from costplan.perf.batch import BatchState
from costplan.perf.latency import KernelLatencyModel
from costplan.plan.fleet import Draft, Market
from costplan.plan.offers import offers, rent
from costplan.plan.outcome import Outcome
from costplan.plan.question import Question
from costplan.plan.types import BreakEven, DiurnalCost, Money, PurchaseOption, Range, TokenCosts
from costplan.plan.uncertainty import CapacityAt
from costplan.workload.workload import HostedApi


def usd_per_mtok(usd_per_h: float, tokens_per_s: float) -> float:
    """``1e6 * $/h / (tokens/s * 3600)``; the throughput at the load in question holds the utilisation already."""
    return 1e6 * usd_per_h / (tokens_per_s * 3600)


def money(question: Question, market: Market, draft: Draft, run: Outcome, model: KernelLatencyModel,
          spread: CapacityAt, throughput: Estimate, saturated: Estimate) -> Money:
    """Everything about money of one draft. ``throughput`` and ``saturated`` are output tokens/s of the fleet."""
    rental, shape = draft.rental, question.shape
    rate = throughput.value / shape.mean_osl
    cost = throughput.inverse(1e6 * rental.usd_per_h / 3600)
    i50, i90 = _intervals(question, market, draft, spread, cost)
    total = cost.scaled(shape.mean_osl / (shape.mean_isl + shape.mean_osl))
    return Money(
        rental, cost, i50, i90, saturated.inverse(1e6 * rental.usd_per_h / 3600), total,
        cost.scaled(shape.mean_osl / 1e6), token_costs(question, run, model, rental.usd_per_h, rate),
        purchases(market, draft, throughput.value), diurnal(question, market, draft),
        break_even(question.workload.hosted_api, question, run, draft, rate))


def _intervals(question: Question, market: Market, draft: Draft, spread: CapacityAt,
               cost: Estimate) -> tuple[Range, Range]:
    """Cost at the ends of the capacity interval: whole replicas in whole instances (closed loop: in proportion)."""
    if question.closed:
        return Range(*cost.i50), Range(*cost.i90)
    need = (question.peak_rate or 0.0) / (1 - market.limits.headroom)
    per_h = cost.value / draft.rental.usd_per_h

    def at(capacity: float) -> float | None:
        if capacity <= 0:
            return None
        found = rent(market.prices, draft.candidate.config.gpu, draft.candidate.config.layout,
                     max(1, math.ceil(need / capacity - 1e-9)) + draft.spares, market.today)
        return None if found is None else found.usd_per_h * per_h

    def low(capacity: float) -> float:
        return min(cost.value, at(capacity) or cost.value)

    def high(capacity: float) -> float | None:
        found = at(capacity)
        return None if found is None else max(cost.value, found)

    return Range(low(spread.p75), high(spread.p25)), Range(low(spread.p95), high(spread.p5))


def token_costs(question: Question, run: Outcome, model: KernelLatencyModel, usd_per_h: float,
                requests_per_s: float) -> TokenCosts:
    """The bill by kind of token, in proportion to the time that each takes of the GPUs; idle time is shared alike."""
    shape = question.shape
    hit = run.hit_rate * shape.mean_isl
    new = max(1.0, shape.mean_isl - hit)
    d, p = run.decode_step, run.prefill_step
    decode = (shape.mean_osl - 1) * model.step_s(d) / max(1, d.decode_seqs) if d.decode_seqs else 0.0
    both = BatchState(d.decode_seqs, d.decode_kv_tokens, p.prefill_tokens, 0, p.prefill_seqs)
    beside = model.step_s(both) - (model.step_s(d) if d.decode_seqs else 0.0)
    prefill = new / max(1, p.prefill_tokens) * max(beside, 1e-9)
    cached = 0.0
    if hit >= 1:
        alone = BatchState(prefill_tokens=max(1, round(new)), prefill_seqs=1)
        after = BatchState(prefill_tokens=max(1, round(new)), prefill_context_tokens=round(hit), prefill_seqs=1)
        cached = max(0.0, model.step_s(after) - model.step_s(alone))
    total = max(1e-12, prefill + cached + decode)
    usd_per_request = usd_per_h / 3600 / requests_per_s
    one = usd_per_request / total * 1e6
    return TokenCosts(one * prefill / new, one * cached / hit if hit >= 1 else None, one * decode / shape.mean_osl,
                      prefill / total, cached / total, decode / total)


def purchases(market: Market, draft: Draft, output_tok_s: float) -> tuple[PurchaseOption, ...]:
    """The same fleet on demand, spot and reserved, within the user's providers and regions."""
    found = []
    for kind in Purchase:
        rows = offers(replace(market.limits, purchase=(kind.value,)), market.table)
        rental = rent(rows, draft.candidate.config.gpu, draft.candidate.config.layout, draft.replicas, market.today)
        if rental is not None:
            found.append(PurchaseOption(kind, rental, usd_per_mtok(rental.usd_per_h, output_tok_s)))
    return tuple(found)


def diurnal(question: Question, market: Market, draft: Draft) -> DiurnalCost | None:
    """A static fleet for the peak hour against one that follows the load; whole instances in every hour."""
    hours = question.workload.diurnal
    if hours is None or question.rate is None:
        return None
    need = [question.rate * h / (1 - market.limits.headroom) for h in hours]
    counts = [max(1, math.ceil(r / draft.capacity - 1e-9)) if r > 0 else 0 for r in need]
    sizes = [min(n, draft.active) + draft.spares for n in counts]
    usd = {n: _usd_per_h(market, draft, n) for n in set(sizes)}
    return DiurnalCost(tuple(sizes), 24 * draft.rental.usd_per_h, sum(usd[n] for n in sizes))


def _usd_per_h(market: Market, draft: Draft, replicas: int) -> float:
    if replicas == 0:
        return 0.0
    c = draft.candidate.config
    found = rent((draft.rental.price,), c.gpu, c.layout, replicas, market.today)
    return draft.rental.usd_per_h if found is None else found.usd_per_h


def break_even(api: HostedApi | None, question: Question, run: Outcome, draft: Draft,
               requests_per_s: float) -> BreakEven | None:
    """Against a hosted API at the same tokens; its cached price applies to what this fleet's cache finds."""
    if api is None:
        return None
    shape = question.shape
    hit = run.hit_rate * shape.mean_isl if api.cached_input_usd_per_mtok is not None else 0.0
    each = ((shape.mean_isl - hit) * api.input_usd_per_mtok + hit * (api.cached_input_usd_per_mtok or 0.0)
            + shape.mean_osl * api.output_usd_per_mtok) / 1e6
    if each <= 0:
        return None
    rate = draft.rental.usd_per_h / 3600 / each
    month = each * requests_per_s * 3600 * HOURS_PER_MONTH
    can = draft.capacity * draft.active
    return BreakEven(api.name, each, month, 1e6 * each / shape.mean_osl, rate, rate / can, rate <= can,
                     month - draft.rental.usd_per_month)

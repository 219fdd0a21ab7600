"""The operating point of one engine under a load, found by running the load request by request.

Takes the place of the closed form (`perf.steady`) wherever the simulator may be imported: same question, same
answer type, but bunching at the start, queueing, chunking and preemption come out instead of going in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from costplan.core.errors import DoesNotFitError
from costplan.core.rng import stream
from costplan.perf.batch import BatchState
from costplan.perf.kv_budget import KvBudget
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.steady import Load, LoadKind, Point
from costplan.simulate.clock import ticks
from costplan.simulate.drafts import Drafts
from costplan.simulate.metrics import summarise
from costplan.simulate.policy import POLICIES, STATIC, EnginePolicy, SchedulerLimits, limits_of
from costplan.simulate.requests import SimRequests, all_at_once, closed_loop, open_loop
from costplan.simulate.result import SimulationResult
from costplan.simulate.run import simulate, table_for
from costplan.simulate.step_table import StepTable, TableRange, step_table

STEADY_REQUESTS_PER_CLIENT = 20
MIN_REQUESTS, MAX_REQUESTS = 200, 4000
OPEN_LOOP_REQUESTS = 2000
MOST_AT_ONCE = 200_000
"""Requests of one run: beyond, start and drain are long forgotten and only time would pass."""
SATURATED_SHARE = 0.95
LONGEST = 5.0
"""Cut of lognormal lengths, in medians: chat benchmarks drop longer conversations."""


Tables = Callable[[KernelLatencyModel, SimRequests, SchedulerLimits], StepTable]


def operate(model: KernelLatencyModel, load: Load, budget: KvBudget, tables: Tables | None = None, *,
            drafts: Drafts | None = None) -> Point:
    """Means over the requests of one run; ``tables`` gives step times (None: tabulates ``model``, and keeps what it
    did). Raises DoesNotFitError if not one request fits."""
    tokens = max(1, math.ceil(load.isl + load.osl))
    limits = limits_of(budget, tokens)
    crowd = 2.0 * limits.max_num_seqs
    if load.kind is LoadKind.CONCURRENCY and load.value > max(crowd, MAX_REQUESTS):
        return _waiting(operate(model, replace(load, value=crowd), budget, tables, drafts=drafts), load)
    requests = requests_of(load)
    if requests.max_tokens > limits.capacity_tokens:  # lengths of at most what fits, as the run was possible
        widest = max(0.0, limits.capacity_tokens / tokens - 1.0)
        requests = requests_of(replace(load, spread=min(load.spread or load.log_sd, widest), log_sd=0.0))
    if requests.max_tokens > limits.capacity_tokens:
        raise DoesNotFitError(
            f"one request of {requests.max_tokens} tokens does not fit into the KV cache, which holds "
            f"{limits.capacity_tokens}", hint="use more GPUs, a smaller KV dtype, or shorter contexts")
    policy = policy_of(model, budget.engine, load)
    room = limits.max_num_seqs
    if not policy.chunked_prefill:  # such an engine is only started with a budget that its longest prompt fits into
        room += int(requests.isl.max())
    limits = replace(limits, max_num_batched_tokens=max(limits.max_num_batched_tokens, room))
    if drafts is None:
        table = (tables or _table)(model, requests, limits)
    else:
        table = table_for(drafts.parts(model, load.isl, load.osl), requests, limits)
        requests = drafts.requests(requests)
    point = _point(simulate(requests, table, limits, policy), model, load, steady=_is_steady(load))
    if budget.limits.recv_interval > 1 and load.kind is not LoadKind.BATCH1:
        # a request arrives anywhere between two looks for new ones, which are so many decode steps apart
        wait = ticks(0.5 * (budget.limits.recv_interval - 1) * point.tpot_s)
        table = replace(table, request_ticks=table.request_ticks + wait)
        point = _point(simulate(requests, table, limits, policy), model, load, steady=_is_steady(load))
    return point


def _waiting(point: Point, load: Load) -> Point:
    """The point of a full engine when even more clients wait at its door: throughput stays, Little's law adds queue."""
    e2e = load.value * load.osl / point.output_tok_s
    more = max(0.0, e2e - point.e2e_s)
    return replace(point, ttft_s=point.ttft_s + more, e2e_s=e2e, queue_s=point.queue_s + more, saturated=True)


_TABLES: WeakKeyDictionary[KernelLatencyModel, dict[object, StepTable]] = WeakKeyDictionary()


def reach_of(requests: SimRequests, limits: SchedulerLimits) -> TableRange:
    """What step times must cover; rounded up, so that other loads of the same deployment share them."""
    reach = TableRange(_round_up(min(limits.max_num_seqs, len(requests))), limits.max_num_batched_tokens,
                       _round_up(min(requests.max_tokens, limits.capacity_tokens)), limits.capacity_tokens)
    return replace(reach, max_seqs=min(reach.max_seqs, limits.max_num_seqs),
                   max_kv=min(reach.max_kv, limits.capacity_tokens))


def _table(model: KernelLatencyModel, requests: SimRequests, limits: SchedulerLimits) -> StepTable:
    """Step times that cover ``requests``, kept per model."""
    reach = reach_of(requests, limits)
    kept = _TABLES.setdefault(model, {})
    key = (reach, model.overhead)
    if key not in kept:
        kept[key] = step_table(model, reach)
    return kept[key]


def _round_up(x: int) -> int:
    """The next power of two."""
    return 1 << max(0, x - 1).bit_length()


def requests_of(load: Load, seed: int = 1) -> SimRequests:
    """The requests of ``load``: as many as it says, else enough to forget how it started."""
    if load.log_sd > 0:
        return _lognormal(requests_of(replace(load, log_sd=0.0, spread=0.0), seed), load.log_sd, seed)
    isl, osl = _range(load.isl, load.spread), _range(load.osl, load.spread)
    if load.kind is LoadKind.BATCH1:
        return closed_loop(max(1, min(load.requests or 5, 20)), 1, isl, osl, seed=seed)
    count = min(max(1, round(load.value)), MOST_AT_ONCE)
    if load.kind in (LoadKind.ALL_AT_ONCE, LoadKind.STATIC_BATCH):
        return all_at_once(count, isl, osl, seed=seed)
    if load.kind is LoadKind.CONCURRENCY:
        n = load.requests or min(MAX_REQUESTS, max(MIN_REQUESTS, STEADY_REQUESTS_PER_CLIENT * count))
        return closed_loop(max(n, count), count, isl, osl, seed=seed)
    return open_loop(load.requests or OPEN_LOOP_REQUESTS, load.value, isl, osl, seed=seed)


def _lognormal(equal: SimRequests, log_sd: float, seed: int) -> SimRequests:
    """The same requests with lognormal lengths of the same mean, none longer than `LONGEST` times the mean."""
    def drawn(name: str, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        mean = float(lengths[0])
        factor = np.minimum(np.exp(stream(seed, name).normal(0.0, log_sd, len(lengths))), LONGEST)
        whole: NDArray[np.int64] = np.maximum(1, np.rint(mean * factor / factor.mean())).astype(np.int64)
        return whole

    return replace(equal, isl=drawn("simulate.isl", equal.isl), osl=drawn("simulate.osl", equal.osl))


def policy_of(model: KernelLatencyModel, engine: str, load: Load) -> EnginePolicy:
    """The scheduler of ``engine``; whether prompts share steps with decoding follows the engine's version."""
    if load.kind is LoadKind.STATIC_BATCH:
        return STATIC
    found = POLICIES.get(engine, POLICIES["vllm"])
    return replace(found, mixed_steps=model.overhead.mixed, prefix_caching=False)


def _range(mean: float, spread: float) -> int | tuple[int, int]:
    """Whole lengths around ``mean``: one value, or a uniform range of ``mean * (1 +- spread)``."""
    if spread <= 0 or mean < 2:
        return max(1, round(mean))
    return max(1, round(mean * (1 - spread))), max(1, round(mean * (1 + spread)))


def _is_steady(load: Load) -> bool:
    return load.requests is None and load.kind in (LoadKind.CONCURRENCY, LoadKind.RATE)


def _point(result: SimulationResult, model: KernelLatencyModel, load: Load, *, steady: bool) -> Point:
    s = summarise(result, warmup="mser5" if steady else 0.0)
    decode = result.decode_step or BatchState(decode_seqs=1, decode_kv_tokens=max(1, round(load.isl)))
    # answers of one token have no gaps: the time that the next one would take
    tpot = s.tpot.mean if s.tpot is not None else model.step_s(decode)
    prefill = result.prefill_step or BatchState(prefill_tokens=max(1, round(load.isl)), prefill_seqs=1)
    offered = load.value * load.osl if load.kind is LoadKind.RATE else math.inf
    rate = float(np.sum(result.setup.answer_tokens)) / result.duration_s
    if steady:  # without the drain at the end: Little's law, or what arrives
        rate = load.value * load.osl / s.e2e.mean if load.kind is LoadKind.CONCURRENCY else min(offered, s.output_tok_s)
        if load.kind is LoadKind.RATE and (s.achieved_over_offered or 0.0) >= SATURATED_SHARE:
            rate = offered
    saturated = rate < SATURATED_SHARE * offered if load.kind is LoadKind.RATE else s.queue.mean > 0.5 * s.e2e.mean
    return Point(s.ttft.mean, tpot, s.e2e.mean, rate, float(decode.decode_seqs), s.queue.mean, saturated, decode,
                 prefill)

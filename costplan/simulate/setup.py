"""Everything an engine needs, checked and in whole numbers: built once, read by both engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from costplan.core.errors import InputError
from costplan.simulate.clock import MAX_TICKS, TICKS_PER_S, ticks
from costplan.simulate.policy import EnginePolicy, SchedulerLimits
from costplan.simulate.prefix_units import PrefixUnits, no_units, prefix_units
from costplan.simulate.quota import Quota
from costplan.simulate.requests import SimRequests
from costplan.simulate.step_table import StepTable

Ints = NDArray[np.int64]


class Refusal(IntEnum):
    """Why a request was refused before it entered the queue."""

    NONE = 0
    TOO_LONG = 1  # longer than max_model_len
    KV = 2  # its blocks exceed the pool
    PROMPT = 3  # more prompt tokens than a step takes, and prompts cannot be split
    QUOTA = 4  # costs more than its tenant may ever hold


REASONS = {
    Refusal.TOO_LONG: "prompt and answer exceed max_model_len",
    Refusal.KV: "prompt and answer exceed the KV cache",
    Refusal.PROMPT: "the prompt exceeds max_num_batched_tokens and chunked prefill is off",
    Refusal.QUOTA: "prompt and answer exceed the token quota of the tenant",
}


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """One run of the ``n`` requests that were not refused.

    A class is a pair (priority, tenant): its requests are served in order of arrival. ``class_rank`` [classes]
    counts priorities from 0; ``bucket_rate bucket_burst`` [tenants] in tokens, 0 where a tenant has no quota.
    ``osl`` are decode steps, ``answer_tokens`` what clients get (drafts make them differ). ``request_ticks`` pass
    between client and engine.
    ``refused`` holds a `Refusal` for every request given, ``kept`` [n] the places of those that run.
    """

    table: StepTable
    limits: SchedulerLimits
    policy: EnginePolicy
    arrival: Ints
    isl: Ints
    osl: Ints
    answer_tokens: Ints
    units: PrefixUnits
    request_class: Ints
    class_rank: Ints
    class_tenant: Ints
    bucket_rate: Ints
    bucket_burst: Ints
    refused: Ints
    kept: Ints
    concurrency: int
    think: int
    max_running: int
    swap_ticks: int
    request_ticks: int

    @property
    def n(self) -> int:
        return len(self.isl)


def setup(requests: SimRequests, table: StepTable, limits: SchedulerLimits, policy: EnginePolicy,
          quotas: Sequence[Quota | None] = (), units: PrefixUnits | None = None) -> Setup:
    """Check and convert; ``units`` may be given where the same requests run many times."""
    n = len(requests)
    if float(requests.arrival_s[-1]) * TICKS_PER_S > MAX_TICKS / 2:
        raise InputError("arrivals span more than 266 days", hint="simulate a part of the trace")
    running = min(limits.max_num_seqs, n)
    if policy.mixed_steps:
        running = min(running, limits.max_num_batched_tokens)
    if table.max_seqs < running or table.max_tokens < limits.max_num_batched_tokens:
        raise InputError(f"the step table covers {table.max_seqs} sequences and {table.max_tokens} tokens, the limits "
                         f"allow {running} and {limits.max_num_batched_tokens}", hint="build a larger table")
    tenant = requests.tenant if requests.tenant is not None else np.zeros(n, np.int64)
    classes, rank, class_tenant = _classes(requests.priority, tenant)
    limited = [quotas[t] if t < len(quotas) else None for t in range(max(int(tenant.max()) + 1, len(quotas)))]
    rates = np.asarray([q.tokens_per_s if q else 0 for q in limited], dtype=np.int64)
    bursts = np.asarray([q.burst_tokens if q else 0 for q in limited], dtype=np.int64)
    refused = _refused(requests, limits, policy, rates[tenant], bursts[tenant])
    kept = np.flatnonzero(refused == Refusal.NONE)
    if not policy.prefix_caching:
        units = no_units(n)
    elif units is None:
        units = prefix_units(requests, limits.block_size)
    # one value for all requests: the simulated clients of a closed loop know no lengths
    request = table.request_ticks + round(table.prompt_token_ticks * float(requests.isl.mean()))
    arrival = np.rint(requests.arrival_s * TICKS_PER_S).astype(np.int64) + request
    return Setup(
        table, limits, policy, arrival[kept], requests.isl[kept].astype(np.int64),
        requests.osl[kept].astype(np.int64), _answers(requests)[kept].astype(np.int64), units.of(kept),
        classes[kept], rank, class_tenant, rates, bursts,
        refused, kept,
        requests.concurrency or 0, ticks(requests.think_s) + request, running,
        ticks(limits.swap_s_per_block), request)


def _answers(requests: SimRequests) -> Ints:
    """Tokens that clients get [n]."""
    return requests.osl if requests.answer_tokens is None else requests.answer_tokens


def _classes(priority: Ints | None, tenant: Ints) -> tuple[Ints, Ints, Ints]:
    """Class of each request [n]; rank and tenant of each class."""
    tenants = int(tenant.max()) + 1
    if int(tenant.min()) < 0:
        raise InputError("tenants are counted from 0", where="tenant")
    if priority is None:
        levels, level = np.zeros(1, np.int64), np.zeros(len(tenant), np.int64)
    else:
        levels, level = np.unique(priority, return_inverse=True)
    key = level * tenants + tenant
    used = np.flatnonzero(np.bincount(key, minlength=len(levels) * tenants))
    names = np.zeros(len(levels) * tenants, dtype=np.int64)
    names[used] = np.arange(len(used))
    return names[key], used // tenants, used % tenants


def _refused(requests: SimRequests, limits: SchedulerLimits, policy: EnginePolicy, rate: Ints, burst: Ints) -> Ints:
    """`Refusal` of each request; the first reason that applies."""
    held = requests.isl + requests.osl - 1
    blocks = -(-held // limits.block_size)
    out = np.zeros(len(requests), dtype=np.int64)
    out[(rate > 0) & (requests.isl + requests.osl > burst)] = Refusal.QUOTA
    if not policy.chunked_prefill:
        longest = requests.isl if policy.reserve_output else held
        out[longest > limits.max_num_batched_tokens] = Refusal.PROMPT
    out[blocks > limits.num_blocks] = Refusal.KV
    if limits.max_model_len is not None:
        out[requests.isl + _answers(requests) > limits.max_model_len] = Refusal.TOO_LONG
    return out

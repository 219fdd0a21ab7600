"""What distinguishes the engines' schedulers, as data, and the limits a scheduler works within."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from costplan.core.errors import InputError, UnknownNameError
from costplan.perf.kv_budget import KvBudget


class Preemption(StrEnum):
    """What happens to the KV of a sequence that must give way."""

    RECOMPUTE = "recompute"
    SWAP = "swap"


@dataclass(frozen=True, slots=True)
class EnginePolicy:
    """Rules of one continuous-batching scheduler.

    ``mixed_steps``: prompts share steps with decoding sequences, which are served first; otherwise a step with
    prompts runs alone, before the next decode step. ``chunked_prefill``: a prompt may be split over steps.
    ``reserve_output``: admission takes the blocks of the whole answer, so that nothing is ever preempted.
    ``output_reserve``: part of the outstanding answer tokens that must stay free for admission.
    ``static_batch``: a new batch starts only when the last one has ended.
    """

    name: str
    mixed_steps: bool = True
    chunked_prefill: bool = True
    static_batch: bool = False
    reserve_output: bool = False
    output_reserve: float = 0.0
    preemption: Preemption = Preemption.RECOMPUTE
    prefix_caching: bool = True

    def __post_init__(self) -> None:
        if not 0.0 <= self.output_reserve <= 1.0:
            raise InputError(f"output_reserve must lie in [0, 1], got {self.output_reserve}", where="output_reserve")

        if self.reserve_output and self.output_reserve:
            raise InputError("reserve_output and output_reserve exclude each other: answers would count twice",
                             where="output_reserve")

    @property
    def reserve_permille(self) -> int:
        return round(1000 * self.output_reserve)


VLLM = EnginePolicy("vllm")
"""vLLM v1 ``Scheduler.schedule``: running sequences first, then waiting ones within the same token budget;
out of blocks, the last admitted gives way."""

SGLANG = EnginePolicy("sglang", mixed_steps=False, output_reserve=0.098)
"""SGLang ``get_next_batch_to_run``: prefill batches go before decode. ``new_token_ratio`` falls from 0.7 to
0.7 x 0.14 within 600 decode steps, so that long runs see its floor; scaled by ``schedule_conservativeness``."""

TRTLLM = EnginePolicy("trtllm", chunked_prefill=False, reserve_output=True)
"""TensorRT-LLM with the defaults ``GUARANTEED_NO_EVICT`` and ``enable_chunked_prefill: false``."""

STATIC = EnginePolicy("static", mixed_steps=False, static_batch=True, reserve_output=True, prefix_caching=False)
"""One batch after the other: all prompts, then all decode steps, until the longest answer ends."""

POLICIES = {p.name: p for p in (VLLM, SGLANG, TRTLLM, STATIC)}


def policy(name: str) -> EnginePolicy:
    """The policy called ``name``. Raises UnknownNameError with near misses."""
    found = POLICIES.get(name)
    if found is None:
        raise UnknownNameError("engine policy", name, POLICIES)
    return found


@dataclass(frozen=True, slots=True)
class SchedulerLimits:
    """What the engine may hold: sequences and tokens per step, KV blocks.

    ``watermark_blocks`` stay free when a request is admitted. ``swap_s_per_block`` is the time to move one block
    to or from host memory. Without ``max_model_len`` only memory limits the length of a request.
    """

    max_num_seqs: int
    max_num_batched_tokens: int
    num_blocks: int
    block_size: int = 16
    watermark_blocks: int = 0
    swap_s_per_block: float = 0.0
    max_model_len: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_num_seqs", "max_num_batched_tokens", "num_blocks", "block_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}", where=name)
        if not 0 <= self.watermark_blocks < self.num_blocks:
            raise InputError(f"watermark_blocks must lie in [0, {self.num_blocks}), got {self.watermark_blocks}",
                             where="watermark_blocks")
        if not (math.isfinite(self.swap_s_per_block) and 0 <= self.swap_s_per_block <= 1):
            raise InputError(f"swap_s_per_block must lie in [0, 1] s, got {self.swap_s_per_block}",
                             where="swap_s_per_block")

    @property
    def capacity_tokens(self) -> int:
        return self.num_blocks * self.block_size


def limits_of(budget: KvBudget, tokens: int, *, block_bytes_per_s: float | None = None,
              max_model_len: int | None = None) -> SchedulerLimits:
    """Limits of a KV budget for sequences of about ``tokens``.

    A pool with several groups (sliding windows, linear layers) becomes a plain one that holds as many
    sequences of that length. ``block_bytes_per_s`` is the speed of swapping.
    """
    pool, size = budget.pool, budget.block_size
    blocks = budget.num_blocks
    if len(pool.groups) > 1 or pool.groups[0].window is not None or pool.groups[0].is_state:
        blocks = max(1, math.floor(blocks / pool.blocks_per_sequence(tokens) * math.ceil(tokens / size)))
    swap = pool.block_bytes / block_bytes_per_s if block_bytes_per_s else 0.0
    return SchedulerLimits(budget.limits.max_num_seqs, budget.limits.max_num_batched_tokens, blocks, size,
                           swap_s_per_block=swap, max_model_len=max_model_len)

"""Engine steps of a real model: what to run, and what it took. Crosses from the room that runs them to the one that
holds them against predictions."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LiveModel:
    """A dense decoder that Hugging Face transformers can build. ``family`` is llama, qwen2 (biases in QKV) or qwen3
    (norms of queries and keys); ``num_layers`` those that run, ``whole_layers`` those of the real model."""

    name: str
    family: str
    hidden_size: int
    intermediate_size: int
    num_layers: int
    whole_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    tie_embeddings: bool
    dtype: str


@dataclass(frozen=True, slots=True)
class StepCase:
    """One step of ``batch`` equal sequences. ``prefill``: ``context`` new tokens each; else one new token each that
    sees ``context`` tokens, itself among them."""

    prefill: bool
    batch: int
    context: int

    @property
    def tokens(self) -> int:
        """Tokens that pass through the layers."""
        return self.batch * (self.context if self.prefill else 1)


@dataclass(frozen=True, slots=True)
class LiveHow:
    """How a step is run. ``attention``: sdpa, sdpa-packed, fa2 or fa3; ``page_size`` 0 is a contiguous cache;
    ``mode``: eager, compile, or graph (a CUDA graph)."""

    device: str
    attention: str = "sdpa"
    page_size: int = 0
    mode: str = "eager"


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Seconds of one step: all samples of two passes, and the same of a step without layers (``outer_s``: embedding,
    head, sampling). ``operators`` counts torch operators of a step, ``kernel_calls`` the matrix products and attention
    among them, ``small_calls`` what computes or copies otherwise; the rest are views."""

    case: StepCase
    samples_s: tuple[tuple[float, ...], ...]
    outer_s: float
    operators: int
    kernel_calls: int
    small_calls: int

    @property
    def median_s(self) -> float:
        """Median over both passes."""
        return statistics.median(s for p in self.samples_s for s in p)

    @property
    def spread(self) -> float:
        """Half of (90th - 10th percentile) over the median, or the passes' distance where that is larger."""
        x = sorted(s for p in self.samples_s for s in p)
        low, high = x[int(0.1 * (len(x) - 1))], x[round(0.9 * (len(x) - 1))]
        medians = [statistics.median(p) for p in self.samples_s]
        return max((high - low) / 2, max(medians) - min(medians)) / self.median_s


@dataclass(frozen=True, slots=True)
class StepTrace:
    """Where torch.profiler saw the time of one step go: seconds and calls by group (gemm, attention, elementwise,
    copy, other, and gaps: time outside operators), and the operators that took longest outside gemm and attention."""

    case: StepCase
    groups_s: Mapping[str, float]
    calls: Mapping[str, int]
    longest: tuple[tuple[str, float, int], ...]


@dataclass(frozen=True, slots=True)
class LiveRun:
    """Everything a live run measured. ``dispatch_s`` is the cost of one operator of a model so small that nothing else
    is left (0 where operators are not launched one by one)."""

    model: LiveModel
    how: LiveHow
    machine: Mapping[str, str]
    steps: tuple[StepTimes, ...]
    traces: tuple[StepTrace, ...]
    dispatch_s: float

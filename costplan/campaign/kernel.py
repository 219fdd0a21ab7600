"""A kernel as a design sees it: columns that stay fixed, and sizes that a sweep may vary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from costplan.profile.case import Case

GRAPH_TOKENS = 512
"""Up to here engines pad batches to CUDA-graph sizes (multiples of 8), and perf/ leaves other rows out."""

_FRESH, _CHUNK = ("batch", "q_len"), ("q_len", "context")
SWEEPS: dict[str, tuple[str, ...]] = {
    "gemm": ("m",), "elementwise": ("m",), "mla_bmm": ("tokens",), "moe": ("tokens",),
    "collective": ("message_bytes",), "attn_prefill": _FRESH, "mla_prefill": _FRESH,
    "attn_decode": ("batch", "kv_len"), "mla_decode": ("batch", "kv_len"), "attn_ragged": (),
}
_DECODE_STATE, _PREFILL_STATE = ("batch",), ("batch", "seq_len")


@dataclass(frozen=True, slots=True)
class Kernel:
    """``fixed`` are the columns of a `Case` that do not vary; ``sweep`` names the others, in order.

    Prompts vary in (batch, q_len) without cached context, chunks in (q_len, context) with
    kv_len = q_len + context: tensor grids of either hold only what can be.
    """

    family: str
    fixed: tuple[tuple[str, int | str], ...]
    sweep: tuple[str, ...]

    @classmethod
    def of(cls, family: str, sweep: Sequence[str], **fixed: int | str) -> Kernel:
        """A kernel from named values, in a canonical order."""
        return cls(family, tuple(sorted(fixed.items())), tuple(sweep))

    def get(self, name: str) -> int | str:
        """A fixed column; 0 where it is not given."""
        return dict(self.fixed).get(name, 0)

    def number(self, name: str) -> int:
        """A fixed integer column; 0 where it is not given."""
        return int(self.get(name))

    def case(self, at: Sequence[int]) -> Case:
        """The case at these sizes."""
        values: dict[str, int | str] = dict(self.fixed) | dict(zip(self.sweep, at, strict=True))
        if self.family in ("attn_prefill", "mla_prefill"):
            values["kv_len"] = int(values["q_len"]) + int(values.pop("context", 0))
        return Case.of(self.family, **values)

    @property
    def chunked(self) -> bool:
        """Prompts with cached context."""
        return self.sweep == _CHUNK

    @property
    def label(self) -> str:
        """Short and readable: family, then the fixed columns that are set."""
        return " ".join((self.family, *(f"{k}={v}" for k, v in self.fixed if v not in (0, ""))))


def kernel_of(case: Case) -> tuple[Kernel, tuple[int, ...]]:
    """The kernel that a case belongs to, and the sizes at which it lies."""
    values = case.values()
    sweep = SWEEPS.get(case.family)
    if case.family == "linear_attention":
        sweep = _PREFILL_STATE if values["phase"] == "prefill" else _DECODE_STATE
    if sweep is None:
        sweep = ()
    if case.family in ("attn_prefill", "mla_prefill"):
        context = int(values.pop("kv_len")) - int(values["q_len"])
        if context:
            values["context"], sweep = context, _CHUNK
    at = tuple(int(values.pop(name)) for name in sweep)
    if case.family == "linear_attention" and values["phase"] == "decode":
        values.pop("seq_len", None)
    return Kernel.of(case.family, sweep, **{k: v for k, v in values.items() if v != 0}), at


def legal(axis: str, size: float) -> int:
    """The nearest size that engines really run: padded batches, whole pages of tokens, whole KiB of messages."""
    if axis in ("m", "tokens", "batch"):
        if size <= 4:
            return max(1, round(size))
        return _multiple(size, 4 if size <= 8 else 8 if size <= GRAPH_TOKENS else 64)
    if axis == "message_bytes":
        return _multiple(size, 1024)
    step = 1 if size < 16 else 16 if size < 1024 else 64 if size < 8192 else 256
    return max(0 if axis == "context" else 1, _multiple(size, step))


def _multiple(size: float, step: int) -> int:
    return max(step, round(size / step) * step)


def between(axis: str, low: int, high: int, least_ratio: float = 1.15) -> int | None:
    """A legal size near the geometric middle of two; None where they are too close to tell anything new."""
    if high < low * least_ratio * least_ratio:
        return None
    middle = legal(axis, math.sqrt(max(1, low) * high))
    return middle if low < middle < high else None

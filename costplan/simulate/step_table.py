"""Step times as tables of whole ticks: what both engines look up instead of asking the kernels.

``step = max(tokens[n + P] + seqs[n + s] + decode(n, kv) + prefill(s, P, C), floor if P) + host[n + s]`` with n
decoding sequences of mean cached length ``kv``, and P prompt tokens of s sequences after C cached ones.
For a given n, ``decode`` is linear in ``kv`` between knots, so that a run of decode steps adds up in closed form.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from costplan.perf.latency import KernelLatencyModel
from costplan.perf.step_parts import KernelStepParts, StepParts
from costplan.simulate.clock import TICKS_PER_S, ticks

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_Q0 = 64.0
"""Prompt attention is tabulated as time / (q_len + 64): nearly linear in length and context, flat near zero."""


_LINE_TOLERANCE = 0.004


@dataclass(frozen=True, slots=True)
class TableRange:
    """What a run can visit: sequences and tokens of a step, cached tokens of one sequence and of all together."""

    max_seqs: int
    max_tokens: int
    max_kv: int
    capacity_tokens: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class StepTable:
    """Ticks of the parts of a step.

    ``tokens`` [max_tokens + 1], ``seqs host`` [max_seqs + 1]; ``decode slope`` [max_seqs + 1, knots] at and
    after each knot of ``kv_knots``; ``prefill`` [seqs, q_len, context] ticks / (q_len + 64) at its three axes.
    """

    tokens: Ints
    seqs: Ints
    host: Ints
    kv_knots: Ints
    decode: Ints
    slope: Ints
    prefill_axes: tuple[Floats, Floats, Floats]
    prefill: Floats
    prefill_floor: int
    request_ticks: int
    prompt_token_ticks: int = 0

    @property
    def max_seqs(self) -> int:
        return len(self.host) - 1

    @property
    def max_tokens(self) -> int:
        return len(self.tokens) - 1

    def decode_ticks(self, seqs: int, mean_kv: int) -> int:
        """Attention of ``seqs`` decoding sequences with ``mean_kv`` (rounded down) cached tokens each."""
        if not seqs:
            return 0
        j = max(0, bisect_right(self.kv_knots, mean_kv) - 1)
        return int(self.decode[seqs, j]) + int(self.slope[seqs, j]) * (mean_kv - int(self.kv_knots[j]))

    def prefill_ticks(self, seqs: int, tokens: int, context: int) -> int:
        """Attention of ``tokens`` new prompt tokens of ``seqs`` sequences with ``context`` cached ones in all."""
        if not tokens:
            return 0
        q = tokens / seqs
        i, a = _cell(self.prefill_axes[0], float(seqs))
        j, b = _cell(self.prefill_axes[1], q)
        k, c = _cell(self.prefill_axes[2], context / seqs)
        t = self.prefill
        near = [t[i + x, j + y, k] + c * (t[i + x, j + y, k + 1] - t[i + x, j + y, k]) for x in (0, 1) for y in (0, 1)]
        low = near[0] + b * (near[1] - near[0])
        high = near[2] + b * (near[3] - near[2])
        return max(0, int((low + a * (high - low)) * (q + _Q0) + 0.5))

    def step_ticks(self, decode_seqs: int, decode_kv: int, prefill_seqs: int, prefill_tokens: int, context: int) -> int:
        """Ticks of one step; 0 for an empty one."""
        seqs = decode_seqs + prefill_seqs
        if not seqs:
            return 0
        mean_kv = decode_kv // decode_seqs if decode_seqs else 0
        busy = (int(self.tokens[decode_seqs + prefill_tokens]) + int(self.seqs[seqs])
                + self.decode_ticks(decode_seqs, mean_kv) + self.prefill_ticks(prefill_seqs, prefill_tokens, context))
        if prefill_tokens:
            busy = max(busy, self.prefill_floor)
        return busy + int(self.host[seqs])

    def step_s(self, decode_seqs: int, decode_kv: int, prefill_seqs: int = 0, prefill_tokens: int = 0,
               context: int = 0) -> float:
        """The same in seconds."""
        return self.step_ticks(decode_seqs, decode_kv, prefill_seqs, prefill_tokens, context) / TICKS_PER_S


def step_table(model: KernelLatencyModel | StepParts, within: TableRange) -> StepTable:
    """Tabulate ``model`` over all steps a run ``within`` these limits can take."""
    parts: StepParts = KernelStepParts(model) if isinstance(model, KernelLatencyModel) else model
    kv_knots = _knots(within.max_kv, 1.35, dense=4)
    decode = _decode(parts, within, kv_knots)
    axes, prefill = _prefill(parts, within)
    return StepTable(
        tokens=_line(parts.tokens_s, within.max_tokens, 1.25), seqs=_line(parts.seqs_s, within.max_seqs, 1.3),
        host=_line(parts.host_s, within.max_seqs, 1.3), kv_knots=kv_knots, decode=decode,
        slope=slopes(decode, kv_knots), prefill_axes=axes, prefill=prefill,
        prefill_floor=ticks(parts.prefill_floor_s), request_ticks=ticks(parts.request_s),
        prompt_token_ticks=ticks(parts.prompt_token_s))


def _cell(axis: Floats, x: float) -> tuple[int, float]:
    """Index of the cell of ``axis`` around ``x`` and the weight of its upper end; beyond the ends it goes on."""
    i = min(max(bisect_right(axis, x) - 1, 0), len(axis) - 2)
    return i, float((x - axis[i]) / (axis[i + 1] - axis[i]))


def _knots(last: int, ratio: float, dense: int = 8) -> Ints:
    """1, 2, ... ``dense``, then each ``ratio`` times the one before, to ``last`` (at least two)."""
    out = list(range(1, dense + 1))
    while out[-1] < last:
        out.append(max(out[-1] + 1, round(out[-1] * ratio)))
    while len(out) > 2 and out[-2] >= last:
        out.pop()
    out[-1] = max(last, out[-2] + 1)
    return np.asarray(out, dtype=np.int64)


def _line(seconds: Callable[[int], float], last: int, ratio: float) -> Ints:
    """Ticks for 0 ... ``last``: asked at knots, more closely where the middle of two is off, linear between."""
    known = {k: seconds(k) * TICKS_PER_S for k in _knots(last, ratio).tolist()}
    ends = sorted(known)
    open_ = list(pairwise(ends))
    while open_:
        low, high = open_.pop()
        middle = (low + high) // 2
        if high - low > max(1, low >> 9):
            known[middle] = seconds(middle) * TICKS_PER_S
            guess = known[low] + (known[high] - known[low]) * (middle - low) / (high - low)
            if abs(guess - known[middle]) > _LINE_TOLERANCE * known[middle]:
                open_ += [(low, middle), (middle, high)]
    knots = sorted(known)
    out = np.rint(np.interp(np.arange(last + 1), knots, [known[k] for k in knots])).astype(np.int64)
    out[0] = 0
    return out


def _decode(parts: StepParts, within: TableRange, kv_knots: Ints) -> Ints:
    """Ticks [max_seqs + 1, knots]. Sequences that could not all be that long hold the longest that fit."""
    seqs = _knots(within.max_seqs, 1.22)
    out = np.zeros((within.max_seqs + 1, len(kv_knots)), dtype=np.int64)
    rows = np.empty((len(seqs), len(kv_knots)))
    for i, n in enumerate(seqs.tolist()):
        fits = max(1, within.capacity_tokens // n)
        longest = next((k for k in kv_knots.tolist() if k >= fits), within.max_kv)
        seen: dict[int, float] = {}
        for j, kv in enumerate(kv_knots.tolist()):
            held = min(kv, longest)
            if held not in seen:
                seen[held] = parts.decode_s(n, n * held) * TICKS_PER_S
            rows[i, j] = seen[held] * (kv / held)
    every = np.arange(1, within.max_seqs + 1)
    for j in range(len(kv_knots)):
        out[1:, j] = np.rint(np.interp(every, seqs, rows[:, j]))
    return out


def slopes(decode: Ints, kv_knots: Ints) -> Ints:
    """Ticks per token after each knot, rounded down; the last segment goes on."""
    slope = np.diff(decode, axis=1) // np.diff(kv_knots)
    return np.ascontiguousarray(np.concatenate([slope, slope[:, -1:]], axis=1))


def _prefill(parts: StepParts, within: TableRange) -> tuple[tuple[Floats, Floats, Floats], Floats]:
    """Axes and ticks / (q_len + 64). Steps beyond the token budget repeat the last one within it."""
    seqs = _knots(min(within.max_seqs, within.max_tokens), 2.0, dense=4)
    q_lens = np.unique(np.concatenate([[1], _knots(max(2, min(within.max_tokens, within.max_kv)), 1.45, dense=1)]))
    contexts = np.concatenate([[0], _knots(max(2, within.max_kv), 2.0, dense=1)[4:]])
    if len(contexts) < 2:
        contexts = np.asarray([0, max(2, within.max_kv)])
    out = np.empty((len(seqs), len(q_lens), len(contexts)))
    for i, s in enumerate(seqs.tolist()):
        for j, q in enumerate(q_lens.tolist()):
            if j and s * q_lens[j - 1] > within.max_tokens:
                out[i, j] = out[i, j - 1]
                continue
            for k, c in enumerate(contexts.tolist()):
                out[i, j, k] = parts.prefill_s(s, s * q, s * c) * TICKS_PER_S / (q + _Q0)
    axes = (seqs.astype(np.float64), q_lens.astype(np.float64), contexts.astype(np.float64))
    return axes, out

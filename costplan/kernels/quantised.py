"""Matrices in 8 bits with their scales, and the exact check of a product on a sample of its rows and columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from costplan.kernels.inputs import relative_error

FP8_MAX, INT8_MAX = 448.0, 127.0
_ROWS, _COLUMNS = 32, 64


@dataclass(frozen=True, slots=True)
class Quantised:
    """A matrix ``[..., rows, k]``: ``stored`` in 8 bits, fp32 ``scale``; ``value(rows)`` gives chosen rows in fp64 on
    the CPU."""

    stored: Any
    scale: Any
    value: Callable[[Sequence[int]], Any]


def plain(x: Any) -> Quantised:
    """A matrix of floats as it is."""
    return Quantised(x, None, lambda rows: _fp64(x[list(rows)]))


def by_tensor(x: Any, dtype: str = "fp8") -> Quantised:
    """One scale, a number without dimensions."""
    scale = x.abs().max() / _limit(dtype)
    stored = _stored(x / scale, dtype)
    return Quantised(stored, scale, lambda rows: _fp64(stored[list(rows)]) * _fp64(scale))


def by_row(x: Any, dtype: str = "fp8") -> Quantised:
    """A scale per row, ``[rows, 1]``."""
    scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-6) / _limit(dtype)
    stored = _stored(x / scale, dtype)
    return Quantised(stored, scale, lambda rows: _fp64(stored[list(rows)]) * _fp64(scale[list(rows)]))


def by_block(x: Any, rows: int) -> Quantised:
    """A scale per ``rows`` x 128 block, ``[n / rows, k / 128]``; ``rows`` is 1 or 128."""
    import torch

    n, k = x.shape[-2:]
    high = -(-n // rows) * rows
    padded: Any = torch.nn.functional.pad(x, (0, 0, 0, high - n))
    parts = padded.unflatten(-1, (k // 128, 128)).unflatten(-3, (high // rows, rows))
    scale = parts.abs().amax((-3, -1)).clamp_min(1e-6) / FP8_MAX
    stored = _stored((parts / scale[..., None, :, None]).flatten(-2).flatten(-3, -2)[..., :n, :], "fp8").contiguous()

    def value(chosen: Sequence[int]) -> Any:
        spread = scale[[r // rows for r in chosen]].repeat_interleave(128, -1)
        return _fp64(stored[list(chosen)]) * _fp64(spread)

    return Quantised(stored, scale, value)


def product_error(a: Quantised, b: Quantised, m: int, n: int) -> Callable[[Any], float]:
    """Relative error of ``out[m, n] = a @ b.T`` on a sample of rows and columns, against fp64 on the CPU."""
    rows, columns = sample(m, _ROWS), sample(n, _COLUMNS)
    reference: list[Any] = []

    def error(out: Any) -> float:
        if not reference:
            reference.append(a.value(rows) @ b.value(columns).T)
        return relative_error(out[rows][:, columns], reference[0])

    return error


def sample(n: int, most: int) -> list[int]:
    """At most ``most`` of ``n`` indices, evenly spread, with the first and the last."""
    return list(range(n)) if n <= most else sorted({round(i * (n - 1) / (most - 1)) for i in range(most)})


def _limit(dtype: str) -> float:
    return FP8_MAX if dtype == "fp8" else INT8_MAX


def _stored(x: Any, dtype: str) -> Any:
    import torch

    return x.to(torch.float8_e4m3fn) if dtype == "fp8" else x.round().to(torch.int8)


def _fp64(x: Any) -> Any:
    import torch

    return x.to("cpu", torch.float64) if x.element_size() > 1 else x.float().to("cpu", torch.float64)

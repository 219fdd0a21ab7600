"""Inputs of matrix products and their reference on a sample of the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from costplan.kernels.inputs import Inputs, relative_error

_ROWS, _COLUMNS = 32, 64


def operands(inputs: Inputs, m: int, n: int, k: int, dtype: str) -> tuple[Any, Any]:
    """Activations ``[m, k]`` and weights ``[n, k]`` as a linear layer stores them; results are near 1."""
    return inputs.randn(m, k, dtype=dtype), inputs.randn(n, k, dtype=dtype, scale=k**-0.5)


def product_error(x: Any, weight: Any, dequantise: Callable[[Any], Any] | None = None) -> Callable[[Any], float]:
    """A check of ``x @ weight.T`` on some rows and columns, in fp64. ``dequantise`` turns sampled weight rows
    ``[columns, k]`` into numbers."""
    rows, columns = spread(x.shape[0], _ROWS), spread(weight.shape[0], _COLUMNS)

    def error(out: Any) -> float:
        import torch

        w = weight[columns]
        w = (dequantise(w) if dequantise else w).to("cpu", torch.float64)
        want = x[rows].to("cpu", torch.float64) @ w.t()
        return relative_error(out[rows][:, columns], want)

    return error


def spread(n: int, most: int) -> list[int]:
    """At most ``most`` of ``n`` indices, evenly spread, with the first and the last."""
    if n <= most:
        return list(range(n))
    return sorted({round(i * (n - 1) / (most - 1)) for i in range(most)})

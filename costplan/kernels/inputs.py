"""Random inputs on one device, in enough copies that cycling through them defeats the last-level cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp8": "float8_e4m3fn", "int8": "int8"}
"""Our names of number formats -> torch's."""
MAX_SETS = 64
_POOL = (1 << 22) - 3
"""Random numbers that a CPU draws at most for one tensor; larger ones repeat them, out of step with any row."""


def torch_dtype(name: str) -> Any:
    """The torch dtype of one of our format names. Raises KeyError for packed formats (int4, mxfp4, nvfp4)."""
    import torch

    return getattr(torch, DTYPES[name])


@dataclass(frozen=True)
class Inputs:
    """Source of inputs. ``cache_bytes`` is the last-level cache that rotating sets must exceed threefold;
    ``memory_bytes`` bounds all sets together; ``seed`` makes them reproducible."""

    device: str
    cache_bytes: int
    memory_bytes: int
    seed: int

    @cached_property
    def generator(self) -> Any:
        import torch

        return torch.Generator(device=self.device).manual_seed(self.seed)

    def sets(self, bytes_per_set: float) -> int:
        """How many input sets of this size to rotate: more than 3x the cache in total, as memory allows. At least 1."""
        wanted = math.floor(3 * self.cache_bytes / max(1.0, bytes_per_set)) + 1
        affordable = int(self.memory_bytes // max(1.0, bytes_per_set))
        return max(1, min(wanted, affordable, MAX_SETS))

    def randn(self, *shape: int, dtype: str = "bf16", scale: float = 1.0) -> Any:
        """Normal numbers of a format; never zeros (a GPU draws less power on zeros and clocks higher)."""
        import torch

        n = math.prod(shape)
        drawn = min(n, _POOL) if self.device == "cpu" else n
        x = torch.randn(drawn, device=self.device, generator=self.generator, dtype=torch.float32)
        x = (x * scale).to(torch_dtype(dtype))
        if drawn < n:
            x = x.repeat(-(-n // drawn))[:n]
        return x.view(*shape)

    def randint(self, low: int, high: int, shape: Sequence[int], dtype: Any = None) -> Any:
        """Whole numbers in ``[low, high)``."""
        import torch

        return torch.randint(low, high, tuple(shape), device=self.device, generator=self.generator,
                             dtype=dtype or torch.int32)

    def randperm(self, n: int) -> Any:
        """A random order of ``n`` things."""
        import torch

        return torch.randperm(n, device=self.device, generator=self.generator)


def relative_error(out: Any, reference: Any) -> float:
    """``|out - reference| / |reference|`` in the Frobenius norm, in fp64; infinite where ``out`` is not finite."""
    import torch

    a, b = out.detach().to("cpu", torch.float64), reference.detach().to("cpu", torch.float64)
    if a.shape != b.shape or not bool(torch.isfinite(a).all()):
        return math.inf
    norm = float(b.norm())
    return float((a - b).norm()) / norm if norm else float(a.norm())

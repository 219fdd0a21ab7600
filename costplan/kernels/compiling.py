"""torch.compile for kernels under measurement: one shape, one graph, or an error; never silently eager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def compiled(function: Callable[..., Any], device: str) -> Callable[..., Any]:
    """``function`` compiled for exactly the shapes it is called with; on a CPU as it is. Forgets what was compiled
    before: torch stops compiling a function, and runs it eagerly, after eight shapes."""
    import torch

    if device != "cuda":
        return function
    torch._dynamo.reset()
    made: Callable[..., Any] = torch.compile(function, dynamic=False, fullgraph=True)
    return made

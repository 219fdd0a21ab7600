"""Where the CUDA backends live: ``(name, module:class)``."""

from __future__ import annotations

CUDA: tuple[tuple[str, str], ...] = ()

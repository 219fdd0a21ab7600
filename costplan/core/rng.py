"""Named random streams: one per purpose, so that adding a draw in one place moves nothing elsewhere."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def stream(seed: int, purpose: str) -> np.random.Generator:
    """Generator for ``purpose`` under ``seed``; independent of every other purpose and of call order."""
    import numpy as np

    digest = hashlib.sha256(purpose.encode()).digest()[:8]
    return np.random.default_rng([seed, int.from_bytes(digest, "little")])

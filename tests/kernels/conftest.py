"""Settings of the kernel tests."""

from __future__ import annotations

import pytest

from costplan.kernels.inputs import Inputs


@pytest.fixture
def inputs() -> Inputs:
    """Small inputs on the CPU; skips where torch is absent."""
    pytest.importorskip("torch", reason="torch is not installed: no kernels to run")
    return Inputs("cpu", cache_bytes=1 << 16, memory_bytes=64 << 20, seed=7)

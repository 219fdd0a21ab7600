"""Settings of all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("costplan", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("costplan")

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The reference data beside the repository; skips visibly where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("no reference data beside the repository")
    return SHARED.resolve()

"""Which measurements a busy machine disturbed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from costplan.profile.disturbance import calm, disturbed


def test_what_stands_beside_a_slow_sentinel_is_disturbed() -> None:
    sentinels = [1.0, None, None, 1.02, None, 2.0, None, 1.01, None, 1.0]
    assert disturbed(sentinels) == [False, False, False, False, True, True, True, False, False, False]


@given(st.lists(st.none() | st.floats(1.0, 1.09), max_size=30))
def test_small_changes_disturb_nothing(sentinels: list[float | None]) -> None:
    assert not any(disturbed(sentinels))


@given(st.lists(st.booleans(), min_size=1, max_size=8))
def test_calm_passes_speak_alone(slow: list[bool]) -> None:
    kept = calm(list(enumerate(slow)), lambda p: p[1])
    assert kept and (all(slow) or not any(is_slow for _, is_slow in kept))

"""The highest load that holds: found for any threshold, and safe where the answer flickers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from costplan.plan.capacity import highest

loads = st.floats(1e-3, 1e4)


@given(loads, loads)
def test_finds_any_threshold(threshold: float, guess: float) -> None:
    found = highest(lambda x: x <= threshold, guess, floor=1e-4, tolerance=0.01)
    assert threshold / 1.0101 <= found.value <= threshold
    assert found.failed_at is not None
    assert found.failed_at > threshold


@given(loads)
def test_nothing_holds_and_everything_holds(guess: float) -> None:
    assert highest(lambda x: False, guess, floor=1e-4).value == 0.0
    top = highest(lambda x: True, guess, floor=1e-4, ceiling=5e4)
    assert top.value == 5e4
    assert top.failed_at is None


@given(st.lists(st.booleans(), min_size=40, max_size=40), loads)
def test_stays_below_the_lowest_failure_it_saw(answers: list[bool], guess: float) -> None:
    seen: dict[float, bool] = {}

    def flicker(x: float) -> bool:
        return seen.setdefault(x, answers[len(seen) % 40])

    found = highest(flicker, guess, floor=1e-4, ceiling=1e6)
    failures = [x for x, ok in seen.items() if not ok]
    assert found.value < min(failures, default=float("inf"))
    assert found.value == 0.0 or seen[found.value]


@given(loads, st.floats(1.1, 100))
def test_never_asks_the_same_load_twice(threshold: float, guess: float) -> None:
    asked: list[float] = []

    def ask(x: float) -> bool:
        asked.append(x)
        return x <= threshold

    highest(ask, guess, floor=1e-4)
    assert len(asked) == len(set(asked))

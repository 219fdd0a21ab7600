"""The measuring protocol on a clock that we control."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from costplan.kernels.backend import Prepared
from costplan.kernels.timer import protocol
from costplan.kernels.timer.protocol import Limits, Regime, WrongResultError

FAST = Limits(min_samples=10, min_time_s=0.0, max_time_s=0.2, warmup_min_s=0.0, warmup_max_s=0.02)


class ScriptedClock:
    """Returns prepared times instead of real ones."""

    def __init__(self, times_s: Sequence[float]) -> None:
        self.times_s = itertools.cycle(times_s)
        self.asked: list[str] = []

    def synchronize(self) -> None:
        self.asked.append("sync")

    def steady(self, calls: Sequence[Callable[[], Any]], per_sample: int, *, graph: bool) -> Callable[[], list[float]]:
        self.asked.append(f"steady {len(calls)} graph={graph}")
        return lambda: [next(self.times_s)]

    def cold(self, calls: Sequence[Callable[[], Any]]) -> Callable[[], list[float]]:
        self.asked.append("cold")
        return lambda: [next(self.times_s)]

    def floor_s(self) -> float:
        return 0.0


def prepared(error: float = 0.0, graphable: bool = True) -> Prepared:
    return Prepared([lambda: 1, lambda: 2], lambda _: error, 0.01, "k", graphable=graphable)


def test_equal_samples_settle_at_once() -> None:
    s = protocol.sample(prepared(), ScriptedClock([1e-3]), Regime.STEADY, FAST)
    assert s.stop == "settled"
    assert s.summary.median_s == 1e-3
    assert s.summary.n == FAST.min_samples


def test_wild_samples_are_recorded_as_not_settled() -> None:
    s = protocol.sample(prepared(), ScriptedClock([1e-3, 5e-3]), Regime.COLD, FAST)
    assert s.stop.startswith("not settled")
    assert s.summary.n >= FAST.min_samples


def test_regimes_use_their_own_sampler_and_graphs_only_where_allowed() -> None:
    clock = ScriptedClock([1e-3])
    protocol.sample(prepared(graphable=False), clock, Regime.STEADY, FAST)
    protocol.sample(prepared(), clock, Regime.COLD, FAST)
    assert [a for a in clock.asked if a != "sync"] == ["steady 2 graph=False", "cold"]


@pytest.mark.parametrize("error", [0.02, float("nan"), float("inf")])
def test_a_wrong_result_is_never_timed(error: float) -> None:
    with pytest.raises(WrongResultError, match="wrong"):
        protocol.check(prepared(error), lambda: None)


def test_memory_is_poisoned_before_the_checked_call() -> None:
    order: list[str] = []
    p = Prepared([lambda: order.append("call")], lambda _: 0.0, 0.01, "k")
    protocol.check(p, lambda: order.append("poison"))
    assert order == ["poison", "call"]


def test_drifting_times_are_warmed_up_first() -> None:
    falling = [1e-3 * (1 + 1 / (i + 1)) for i in range(300)]
    taken = iter(falling)
    spent = protocol.warm_up(lambda: [next(taken)], Limits(warmup_min_s=0.0, warmup_max_s=5.0), 1e-3)
    used = falling[: len(falling) - len(list(taken))]
    assert spent < 5.0
    assert len(used) > 3
    assert max(used[-3:]) <= 1.01 * min(used[-3:])
    assert max(used[-4:-1]) > 1.01 * min(used[-4:-1])

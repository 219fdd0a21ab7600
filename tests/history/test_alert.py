"""The alert rule does what its page says: false alarms and found rises as often as stated, by simulation."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import pytest

from costplan.history.alert import LEAST, WINDOW, alerts

SERIES = 1500
POINTS = 20


def normal(draw: Random, n: int, sd: float) -> list[float]:
    return [draw.gauss(0, sd) for _ in range(n)]


def heavy(draw: Random, n: int, sd: float) -> list[float]:
    """Student's t with 3 degrees of freedom, scaled to that standard deviation."""
    return [sd / math.sqrt(3) * draw.gauss(0, 1) / math.sqrt(draw.gammavariate(1.5, 2) / 3) for _ in range(n)]


def sticky(draw: Random, n: int, sd: float) -> list[float]:
    """Neighbours correlate by 0.5."""
    x = [draw.gauss(0, sd)]
    for _ in range(n - 1):
        x.append(0.5 * x[-1] + draw.gauss(0, sd * math.sqrt(0.75)))
    return x


@pytest.mark.parametrize(("noise", "sd", "stated"), [
    (normal, 0.01, 0.0), (normal, 0.03, 0.006), (normal, 0.08, 0.007), (sticky, 0.03, 0.013), (heavy, 0.03, 0.029)])
def test_false_alarms_are_as_rare_as_stated(noise: object, sd: float, stated: float) -> None:
    """Points with a full window before them, of services whose cost does not move."""
    draw, before = Random(11), WINDOW + 2
    found = 0
    for _ in range(SERIES):
        logs = noise(draw, before + POINTS, sd)  # type: ignore[operator]
        found += sum(a.index >= before for a in alerts([math.exp(x) for x in logs]))
    rate = found / (SERIES * POINTS)
    assert stated * 0.6 <= rate <= stated * 1.4 + 1e-4


@pytest.mark.parametrize(("rise", "at_once", "within_three"), [(0.10, 0.33, 0.75), (0.20, 0.93, 1.0)])
def test_rises_are_found_as_often_as_stated(rise: float, at_once: float, within_three: float) -> None:
    """At once: an alert at the first point after the rise; within three: at one of the first three."""
    draw, first, third = Random(12), 0, 0
    n = 3000
    for _ in range(n):
        logs = [x + math.log1p(rise) * (i >= WINDOW) for i, x in enumerate(normal(draw, WINDOW + 3, 0.03))]
        found = {a.index for a in alerts([math.exp(x) for x in logs])}
        first += WINDOW in found
        third += not found.isdisjoint(range(WINDOW, WINDOW + 3))
    assert first / n == pytest.approx(at_once, abs=0.04)
    assert third / n == pytest.approx(within_three, abs=0.04)


def test_little_history_raises_no_alert() -> None:
    assert alerts([1.0] * (LEAST - 1) + [9.0]) == ()
    (only,) = alerts([1.0] * LEAST + [9.0])
    assert (only.index, only.kind, only.usual) == (LEAST, "jump", 1.0)
    assert only.change == pytest.approx(8.0)
    assert alerts([]) == ()


def test_small_changes_are_never_alerts_however_quiet_it_was() -> None:
    assert alerts([1.0] * 20 + [1.049] * 5) == ()
    assert {a.kind for a in alerts([1.0] * 20 + [1.2] * 3)} == {"jump"}


def test_a_drop_is_an_alert_too_and_units_do_not_matter() -> None:
    draw = Random(3)
    series = [math.exp(x) for x in normal(draw, 40, 0.03)]
    series[30] *= 0.5
    assert 30 in {a.index for a in alerts(series)}
    scaled = alerts([1000 * v for v in series])
    assert [(a.index, a.kind) for a in scaled] == [(a.index, a.kind) for a in alerts(series)]


def test_a_new_level_becomes_usual() -> None:
    found = [a.index for a in alerts([1.0, 1.01] * 10 + [1.5, 1.51] * 15)]
    assert found and found[0] == 20 and found[-1] < 40
    assert all(b - a == 1 for a, b in pairwise(found))

"""Error statistics against values computed by hand, and the stable JSON."""

from __future__ import annotations

import pytest

from costplan.core.evidence import Estimate, Evidence
from costplan.validate.errors_report import ErrorReport, Refused, Scored, quantile, summarise


def scored(measured: float, predicted: float, sd: float = 0.1, metric: str = "tpot", **labels: str) -> Scored:
    return Scored("r", metric, measured, Estimate(predicted, sd, Evidence.INTERPOLATED), labels)


def test_statistics_by_hand() -> None:
    s = summarise([scored(100, 110), scored(100, 80), scored(100, 100), scored(100, 150)])
    assert s is not None
    assert s.n == 4
    assert s.median_ape == pytest.approx(0.15)
    assert s.mape == pytest.approx(0.2)
    assert s.bias == pytest.approx(0.05)
    assert s.coverage_50 == pytest.approx(0.25)
    assert s.coverage_90 == pytest.approx(0.75)
    assert s.p90_ape == pytest.approx(quantile([0, 0.1, 0.2, 0.5], 0.9))


def test_nothing_is_not_zero_error() -> None:
    assert summarise([]) is None
    assert ErrorReport(0, [], []).as_dict(["gpu"]) == {"rows": 0, "refused": [], "metrics": {}, "groups": {"gpu": {}}}


def test_the_json_is_stable() -> None:
    report = ErrorReport(3, [scored(1, 1.1, gpu="a"), scored(1, 0.9, gpu="b"), scored(5, 5, metric="ttft", gpu="a")],
                         [Refused("x", "no room")])
    d = report.as_dict(["gpu"])
    assert list(d) == ["rows", "refused", "metrics", "groups"]
    assert d["refused"] == [{"id": "x", "reason": "no room"}]
    assert set(d["metrics"]) == {"tpot", "ttft"}  # type: ignore[call-overload]
    assert set(d["metrics"]["tpot"]) == {"n", "median_ape", "mape", "p90_ape", "bias", "coverage_50", "coverage_90"}  # type: ignore[index]
    assert d["groups"]["gpu"]["a"]["tpot"]["n"] == 1  # type: ignore[index]

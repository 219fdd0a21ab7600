"""Error rates of the comparison on profiles of known noise, and what is never judged."""

from __future__ import annotations

import json
import math
import random
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.cli import app as cli
from costplan.profile.case import Case
from costplan.profile.compare import Comparison, Verdict, compare_profiles, compare_samples
from costplan.profile.effect import false_discoveries
from costplan.profile.samples import Sampled, Samples

TRIALS = 80
RUN_SD, SAMPLE_SD = 0.02, 0.01
CLAIMS = (Verdict.WORSE, Verdict.BETTER)


def measured(rng: random.Random, runs: int, tag: str, *, slowdown: float = 1.0, shared: bool = True,
             only: Sequence[int] = range(8)) -> Samples:
    """Eight cases of two families, two passes of five samples in each run; a run is fast or slow as a whole
    (``shared``) or case by case."""
    out = []
    for r in range(runs):
        speed = rng.gauss(0, RUN_SD)
        for i in range(8):
            case = (Case.of("gemm", m=i + 1, n=64, k=64, dtype="bf16") if i % 2 else
                    Case.of("elementwise", m=i + 1, k=64, op="silu_mul", dtype="bf16"))
            mean = math.exp(speed if shared else rng.gauss(0, RUN_SD)) * (slowdown if i in only else 1.0) * 1e-4
            for p in (1, 2):
                x = tuple(mean * math.exp(rng.gauss(0, SAMPLE_SD)) for _ in range(5))
                out.append(Sampled(case, "b", "k", "steady", f"{tag}{r}", p, x, statistics.median(x), "settled", {},
                                   False))
    return Samples(tuple(out), ())


def comparisons(runs: int, slowdown: float, *, shared: bool, only: Sequence[int] = range(8)) -> list[Comparison]:
    rng = random.Random(20261121)
    return [compare_samples(measured(rng, runs, "a", shared=shared),
                            measured(rng, runs, "b", slowdown=slowdown, shared=shared, only=only))
            for _ in range(TRIALS)]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("runs", [1, 2, 3, 6])
def test_the_same_kernels_are_rarely_called_different(runs: int, shared: bool) -> None:
    found = comparisons(runs, 1.0, shared=shared)
    wrong = [any(f.verdict in CLAIMS for f in (c.overall, *c.families, *c.cases)) for c in found]
    assert sum(wrong) / TRIALS < 0.05


@pytest.mark.parametrize("shared", [True, False])
def test_a_tenth_is_found_with_three_runs_on_each_side(shared: bool) -> None:
    found = comparisons(3, 1.10, shared=shared)
    assert sum(c.overall.verdict is Verdict.WORSE for c in found) / TRIALS > 0.90
    assert sum(f.verdict is Verdict.WORSE for c in found for f in c.cases) / (8 * TRIALS) > 0.85
    back = [compare_samples(*(measured(random.Random(i), 3, t, slowdown=s) for t, s in (("a", 1.1), ("b", 1.0))))
            for i in range(20)]
    assert sum(c.overall.verdict is Verdict.BETTER for c in back) >= 16


def test_one_slow_kernel_among_many_is_named_and_others_are_not() -> None:
    found = comparisons(3, 1.25, shared=True, only=[3])
    named = [f.verdict is Verdict.WORSE for c in found for f in c.cases if f.name.startswith("gemm m=4 ")]
    others = [f.verdict in CLAIMS for c in found for f in c.cases if not f.name.startswith("gemm m=4 ")]
    assert statistics.fmean(named) > 0.95
    assert statistics.fmean(others) < 0.01


def test_one_run_is_unclear_unless_far_outside() -> None:
    assert all(c.overall.verdict is Verdict.UNCLEAR for c in comparisons(1, 1.0, shared=True))
    far = comparisons(1, 1.4, shared=True)
    assert sum(c.overall.verdict is Verdict.WORSE for c in far) / TRIALS > 0.95
    assert {c.basis for c in far} == {"one run"} and far[0].overall.reason == "one run on a side"


def test_same_needs_evidence_not_absence_of_evidence() -> None:
    quiet = comparisons(6, 1.0, shared=False)
    assert sum(c.overall.verdict is Verdict.SAME for c in quiet) / TRIALS > 0.95
    assert all(c.overall.interval and c.overall.interval[0] > 0.96 for c in quiet)


def test_samples_of_one_run_do_not_count_as_runs() -> None:
    """A thousand samples in one run say nothing about the next run."""
    case = Case.of("gemm", m=1, n=64, k=64, dtype="bf16")
    sides = [Samples(tuple(Sampled(case, "b", "k", "steady", "only", p, (s,) * 1000, s, "settled", {}, False)
                           for p in (1, 2)), ()) for s in (1e-4, 1.05e-4)]
    assert compare_samples(*sides).overall.verdict is Verdict.UNCLEAR


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0.001, 0.5))
def test_false_discovery_control_keeps_a_prefix_of_the_p_values(p: list[float], rate: float) -> None:
    kept = false_discoveries(p, rate)
    standing = [x for x, k in zip(p, kept, strict=True) if k]
    assert all(x <= rate * len(standing) / len(p) for x in standing)
    assert all(x > max(standing, default=0.0) or x in standing for x, k in zip(p, kept, strict=True) if not k)


RUNS = {f"r{i}": {m: 1e-4 * m * (1 + 0.004 * i) for m in (1, 8, 64)} for i in range(3)}
SLOW = {f"s{i}": {m: 1.3e-4 * m * (1 + 0.004 * i) for m in (1, 8, 64)} for i in range(3)}


def test_the_command_names_what_became_slower(make: SimpleNamespace, tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    a, b = make.own_profile(tmp_path / "a", RUNS), make.own_profile(tmp_path / "b", SLOW)
    assert cli.main(["profile", "diff", str(a.folder), str(b.folder)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("b against a: worse, +30.0% time over 3 cases") and "gemm m=64 n=64 k=64" in out
    assert cli.main(["profile", "diff", str(b.folder), str(a.folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["overall"]["verdict"], told["basis"]) == ("better", "runs")
    assert cli.main(["profile", "diff", str(a.folder), str(a.folder)]) == 0


@pytest.mark.parametrize(("change", "said"), [
    ({"gpu": "cpu2"}, "other GPU: cpu1 and cpu2"), ({"machine": {"cores": 4}}, "other number of cores: 2 and 4"),
    ({"machine": {"power_limit_w": 350}}, ""), ({"telemetry": {"throttle_reasons": ["hw_thermal_slowdown"]}},
                                                "throttled while measuring"),
])
def test_what_cannot_be_compared_gives_no_number(make: SimpleNamespace, tmp_path: Path, change: dict[str, Any],
                                                 said: str, capsys: pytest.CaptureFixture[str]) -> None:
    a = make.own_profile(tmp_path / "a", RUNS, machine={"power_limit_w": 350})
    b = make.own_profile(tmp_path / "b", SLOW, **{"machine": {"power_limit_w": 350}, **change})
    c = compare_profiles(a, b)
    if not said:  # the same limit on both sides is no obstacle
        assert c.overall.verdict is Verdict.WORSE
        return
    assert c.overall.verdict is Verdict.NOT_JUDGED and said in c.overall.reason
    assert c.overall.ratio is None and all(f.ratio is None for f in (*c.families, *c.cases))
    assert cli.main(["profile", "diff", str(a.folder), str(b.folder)]) == 0
    text = capsys.readouterr().out
    assert "not judged" in text and not re.search(r"[+-]\d", text)
    assert cli.main(["profile", "diff", str(a.folder), str(b.folder), "--strict"]) == 3


def test_imported_tables_list_differences_without_a_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["profile", "diff", "h200_sxm-vllm", "h200_sxm-sglang", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["basis"] == "tables" and told["overall"]["cases"] > 1000
    assert {f["verdict"] for f in (told["overall"], *told["families"], *told["cases"])} == {"unclear"}
    assert cli.main(["profile", "diff", "h200_sxm-vllm", "h100_sxm-vllm"]) == 0
    assert "not judged (other GPU: h200_sxm and h100_sxm" in " ".join(capsys.readouterr().out.split())

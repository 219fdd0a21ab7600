"""What own runs are worth: error and interval of predictions with 0, 1 and 3 runs of the same sweep known.

    python benchmarks/fit_engines.py tune.csv held_out.csv
    python benchmarks/calibration.py tune.csv held_out.csv            # leave one sweep out
    python benchmarks/calibration.py tune.csv held_out.csv --moments  # where data/kinship.json comes from

A sweep is one deployment (GPU, model, engine and version, formats, layout) as one family of sources measured it, under
several loads. Predictions are those that ``held_out.csv`` made for whole sweeps: the engine was fitted without any row
of them. Runs are drawn at random, ten times per sweep; the error is taken on all runs that are never drawn. With 1 run,
and 3, the same runs are judged as with 0.
"""

from __future__ import annotations

import csv
import math
import random
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from costplan.core.evidence import Z50, Z90, Evidence
from costplan.perf.calibration import Observed, correction, setting_of
from costplan.perf.kinship import depth, distance
from costplan.perf.residual import residual
from costplan.validate.rows import deployment, load, read_rows

DRAWS, KNOWN, LEAST_LEFT = 10, 3, 2
EVIDENCE = {"strong": Evidence.INTERPOLATED, "weak": Evidence.EXTRAPOLATED}


@dataclass(frozen=True, slots=True)
class Point:
    """One row and metric: who measured it, how far the prediction was off, and its stated scale and tail."""

    family: str
    model: str
    observed: Observed
    error: float
    log_sd: float
    tail: float


def points(rows_file: Path, held_out: Path) -> dict[str, list[Point]]:
    """Rows by metric."""
    rows = {r.id: r for r in read_rows(rows_file)}
    found: dict[str, list[Point]] = defaultdict(list)
    with held_out.open(encoding="utf-8", newline="") as f:
        for r in csv.DictReader(f):
            if r["held_out"] != "sweep":
                continue
            row, metric = rows[r["id"]], r["metric"]
            asked = load(row, str(rows_file))
            setting = setting_of(deployment(row, str(rows_file)), asked)
            # the version as published tells sweeps apart more finely than the engine model does
            setting = replace(setting, deployment=f"{setting.deployment} {row.text['engine_version']}")
            error = -float(r["log_error"])
            stated = residual(metric, EVIDENCE[r["evidence"]], asked.kind, seen=r["seen"] == "1")
            log_sd = math.hypot(float(r["kernel_sd"]), stated.log_sd)
            own = Observed(setting, {metric: error}, {metric: log_sd})
            found[metric].append(Point(row.text["family"], setting.model, own, error, log_sd, stated.tail))
    return found


def sweeps(found: Iterable[Point]) -> list[list[Point]]:
    groups: dict[object, list[Point]] = defaultdict(list)
    for p in found:
        s = p.observed.setting
        groups[p.family, s.engine, s.gpu, s.model, s.deployment].append(p)
    return [g for g in groups.values() if len(g) >= KNOWN + LEAST_LEFT]


def judged(metric: str, known: int, groups: Sequence[Sequence[Point]]) -> list[tuple[float, float, float]]:
    """(remaining log error, stated log_sd, tail) of every run that was not drawn."""
    out = []
    for g, points_of in enumerate(groups):
        for draw in range(DRAWS):
            order = random.Random(f"{metric}/{g}/{draw}").sample(list(points_of), len(points_of))
            seen = [p.observed for p in order[:known]]
            for p in order[KNOWN:]:
                c = correction(seen, metric, p.observed.setting, p.log_sd)
                out.append((p.error - c.log_shift, p.log_sd * c.narrowing, p.tail))
    return out


def report(metric: str, known: int, found: Sequence[tuple[float, float, float]]) -> str:
    apes = [abs(math.expm1(-e)) for e, _, _ in found]
    width = statistics.median(math.exp(Z90 * tail * sd) for _, sd, tail in found)
    inside = [sum(abs(e) <= sd * (Z90 * tail if wide else Z50) for e, sd, tail in found) / len(found)
              for wide in (False, True)]
    return (f"{metric:13} {known} runs: median error {statistics.median(apes):6.1%}, mean "
            f"{statistics.fmean(apes):6.1%}; 90 % interval x/{width:.2f} (median), covers 50 %: {inside[0]:.1%}, "
            f"90 %: {inside[1]:.1%}")


def moments(metric: str, found: Sequence[Point]) -> None:
    """Mean product of errors in units of their scale over the mean square, by what two rows share."""
    z = [max(-4.0, min(4.0, p.error / p.log_sd)) for p in found]
    square = statistics.fmean(x * x for x in z)
    sums: dict[str, dict[object, list[float]]] = defaultdict(lambda: defaultdict(list))
    for i, a in enumerate(found):
        for j in range(i + 1, len(found)):
            s, t = a.observed.setting, found[j].observed.setting
            n = depth(s, t)
            key = ("nothing", "engine", "gpu", "model", "deployment")[n]
            if n == 4:
                far = distance(s.load, t.load)
                key += f", loads {'of another kind' if math.isinf(far) else f'{min(4, int(far))}+ e-folds apart'}"
            sums[key][s.engine, s.gpu, s.model, s.deployment, t.gpu, t.model, t.deployment].append(z[i] * z[j])
    for key, groups in sorted(sums.items()):
        weights = [math.sqrt(len(v)) for v in groups.values()]
        mean = sum(w * statistics.fmean(v) for w, v in zip(weights, groups.values(), strict=True)) / sum(weights)
        print(f"  {metric:13} same {key:45} {mean / square:6.2f}  ({len(groups)} pairs of deployments)")


def main(rows_file: Path, held_out: Path, mode: str) -> None:
    for metric, found in points(rows_file, held_out).items():
        if mode == "--moments":
            moments(metric, found)
            continue
        groups = sweeps(found)
        print(f"{metric}: {len(groups)} sweeps of {sum(map(len, groups))} runs")
        for known in (0, 1, KNOWN):
            print("  " + report(metric, known, judged(metric, known, groups)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "")

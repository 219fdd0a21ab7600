"""A user's benchmark results -> a calibration: predict each run as it was made, keep how far that was off."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from costplan import __version__
from costplan.core.errors import CostplanError, InputError
from costplan.perf.calibration import METRICS, Observed, correction, setting_of
from costplan.perf.calibration_file import SCHEMA
from costplan.perf.predict import Deployment, Prediction, predict
from costplan.perf.steady import Load, LoadKind
from costplan.simulate.operate import operate
from costplan.validate.bench_deployment import Given, deployment, load
from costplan.validate.bench_read import ResultFile
from costplan.validate.bench_run import BenchRun
from costplan.validate.run import room_for

FAR = 2.0
"""A median error so many times as far away as the end of its 90 % interval puts the description in doubt."""
KEEPS_UP = 0.95
"""An open loop that serves this share of what arrives says nothing about throughput: it repeats the load."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One run, what was predicted for it, and what it says."""

    run: BenchRun
    load: Load
    prediction: Prediction
    observed: Observed

    def pair(self, metric: str) -> tuple[float, float]:
        """Measured and predicted."""
        predicted = getattr(self.prediction, _FIELDS[metric]).value
        return float(predicted * math.exp(self.observed.log_error[metric])), float(predicted)


_FIELDS = {"tpot": "tpot_s", "ttft": "ttft_s", "output_tok_s": "output_tok_s"}


@dataclass(frozen=True, slots=True)
class Calibrated:
    """All runs of one deployment, and those that could not be used with the reason."""

    deployment: Deployment
    runs: tuple[Compared, ...]
    skipped: tuple[str, ...]

    @property
    def errors(self) -> dict[str, tuple[int, float, float | None]]:
        """By metric: runs, median absolute error as predicted, and with each run corrected by the others only."""
        out = {}
        for metric in METRICS:
            have = [x.observed for x in self.runs if metric in x.observed.log_error]
            if not have:
                continue
            before = statistics.median(abs(math.expm1(-o.log_error[metric])) for o in have)
            after = None
            if len(have) > 1:
                left = [o.log_error[metric] - correction([x for x in have if x is not o], metric, o.setting,
                                                         o.log_sd[metric]).log_shift for o in have]
                after = statistics.median(abs(math.expm1(-e)) for e in left)
            out[metric] = (len(have), before, after)
        return out


def calibrate(files: Sequence[ResultFile], given: Given, progress: Callable[[int, int], None] | None = None,
              ) -> Calibrated:
    """Predict every run of ``files``. Raises InputError for what neither file nor flag says, with the flag."""
    runs = _told_apart([r for f in files for r in f.runs])
    skipped = [f"{r.where}: {r.skipped}" for r in runs if r.skipped]
    usable = [r for r in runs if not r.skipped]
    if not usable:
        raise InputError("no run can be used", where=files[0].path, hint=skipped[0] if skipped else None)
    deps = [deployment(r, given) for r in usable]
    odd = next((i for i, d in enumerate(deps) if d != deps[0]), None)
    if odd is not None:
        raise InputError("is another deployment than the runs before it", where=usable[odd].where,
                         hint="one calibration file per deployment; give several to --calibration")
    compared = []
    for i, (run, dep) in enumerate(zip(usable, deps, strict=True)):
        try:
            compared.append(_compare(run, dep, load(run, given)))
        except CostplanError as e:
            if e.where == run.where:
                raise
            skipped.append(f"{run.where}: {e.message}")
        if progress is not None:
            progress(i + 1, len(usable))
    kept = tuple(c for c in compared if c.observed.log_error)
    if not kept:
        raise InputError("no run measures TTFT, TPOT or throughput", where=files[0].path,
                         hint=skipped[0] if skipped else None)
    return Calibrated(deps[0], kept, tuple(skipped))


def _told_apart(runs: Sequence[BenchRun]) -> list[BenchRun]:
    """A run that is there twice (a summary and its details) counts once."""
    seen: dict[tuple[float | None, ...], str] = {}
    out = []
    for r in runs:
        first = seen.setdefault((r.ttft_s, r.tpot_s, r.output_tok_s, r.e2e_s, r.load_value), r.where)
        out.append(r if first == r.where or r.skipped else replace(r, skipped=f"it is the run of {_name(first)} again"))
    return out


def _compare(run: BenchRun, dep: Deployment, asked: Load) -> Compared:
    found = predict(dep, asked, budget=room_for(dep, asked), operate=operate)
    measured = {"tpot": run.tpot_s if asked.osl > 1 else None,
                "ttft": None if asked.kind is LoadKind.ALL_AT_ONCE else run.ttft_s, "output_tok_s": run.output_tok_s}
    if asked.kind is LoadKind.RATE and run.output_tok_s:
        keeps_up = run.output_tok_s >= KEEPS_UP * asked.value * asked.osl
        if keeps_up or not found.point.saturated:
            measured["output_tok_s"] = None
        if not keeps_up or found.point.saturated:  # a queue that grows: TTFT says how long the run was
            measured["ttft"] = None
    errors, scales = {}, {}
    for metric, value in measured.items():
        stated = getattr(found, _FIELDS[metric])
        if value is not None and stated.value > 0 and math.isfinite(stated.value):
            errors[metric], scales[metric] = math.log(value / stated.value), stated.log_sd
    return Compared(run, asked, found, Observed(setting_of(dep, asked), errors, scales))


def doubts(c: Calibrated) -> list[str]:
    """Metrics far beyond their error bar, and those of which no run foretells the others."""
    out = []
    for metric, (_, before, after) in c.errors.items():
        have = [x for x in c.runs if metric in x.observed.log_error]
        middle = statistics.median(x.observed.log_error[metric] for x in have)
        stated = [getattr(x.prediction, _FIELDS[metric]) for x in have]
        if abs(middle) > FAR * statistics.median(math.log(e.i90[1] / e.value) for e in stated):
            out.append(f"{metric}: measured is {math.exp(middle):.2g} times the prediction, far beyond its error bar: "
                       "is the description right (GPU, formats, engine version, a client that held it back)?")
        elif after is not None and after > before:
            out.append(f"{metric}: corrected by the others, each run is further off ({after:.0%} instead of "
                       f"{before:.0%}); more runs, or runs at the load that you plan for, would help")
    return out


def file_values(c: Calibrated, files: Sequence[ResultFile], day: str) -> dict[str, Any]:
    """The calibration file, as plain values. Paths are left out: only file names travel."""
    s = c.runs[0].observed.setting
    return {
        "schema": SCHEMA, "costplan_version": __version__, "date": day,
        "system": {"engine": s.engine, "gpu": s.gpu, "model": s.model, "deployment": s.deployment},
        "sources": [{"file": _name(f.path), "sha256": f.sha256, "tool": f.runs[0].tool,
                     "runs": sum(x.run in f.runs for x in c.runs)} for f in files if f.runs],
        "runs": [_run_values(x) for x in c.runs],
        "errors": {m: {"runs": n, "before": _short(b), "after": None if a is None else _short(a)}
                   for m, (n, b, a) in c.errors.items()},
    }


def _run_values(x: Compared) -> dict[str, Any]:
    each = math.exp(x.observed.setting.load[1])
    values: dict[str, Any] = {"source": _name(x.run.where), "load": str(x.load.kind), "value": _short(each),
                              "isl": _short(x.load.isl), "osl": _short(x.load.osl)}
    for metric in METRICS:
        if metric in x.observed.log_error:
            measured, predicted = x.pair(metric)
            values[metric] = {"measured": _short(measured), "predicted": _short(predicted),
                              "log_sd": _short(x.observed.log_sd[metric])}
    return values


def _name(path: str) -> str:
    """The file's own name: folders say nothing to others."""
    return "".join(ch if ch.isprintable() else "?" for ch in Path(path).name)[:300] or "?"


def _short(x: float) -> float:
    return float(f"{x:.6g}")



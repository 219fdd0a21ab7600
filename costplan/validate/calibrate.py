"""A user's benchmark results -> a calibration: predict each run as it was made, keep how far that was off."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from costplan import __version__
from costplan.catalog.gpus import gpu as find_gpu
from costplan.catalog.models import model as find_model
from costplan.core.dtypes import dtype
from costplan.core.errors import CostplanError, InputError, UnknownNameError
from costplan.perf.assemble import ENGINES
from costplan.perf.calibration import METRICS, Observed, correction, setting_of
from costplan.perf.calibration_file import SCHEMA
from costplan.perf.layout import Layout
from costplan.perf.predict import Deployment, Prediction, predict
from costplan.perf.steady import Load, LoadKind
from costplan.simulate.operate import operate
from costplan.validate.bench_read import ResultFile
from costplan.validate.bench_run import BenchRun
from costplan.validate.run import room_for

SPREAD = 0.2
MOST_REQUESTS = 100_000
KEEPS_UP = 0.95
"""An open loop that serves this share of what arrives says nothing about throughput: it repeats the load."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the flags say about the runs; None is left to the file."""

    gpu: str | None = None
    model: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    tp: int | None = None
    pp: int | None = None
    dp: int | None = None
    ep: int | None = None
    replicas: int = 1
    weights: str | None = None
    kv: str | None = None
    memory_fraction: float | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    concurrency: float | None = None
    rate: float | None = None
    isl: float | None = None
    osl: float | None = None
    batch: float | None = None
    spread: float | None = None


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
    runs = [r for f in files for r in f.runs]
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


def _asked(run: BenchRun, what: str, flag: str, value: Any) -> Any:
    if value is None:
        raise InputError(f"{run.tool} does not say {what}", where=run.where, hint=f"give {flag}")
    return value


def _either(run: BenchRun, flag: str, given: Any, said: Any) -> Any:
    """What the flag says, else the file; they must not disagree."""
    if given is not None and said is not None and given != said:
        raise InputError(f"says {said}, but {flag} says {given}", where=run.where, hint=f"leave {flag} away")
    return said if given is None else given


def deployment(run: BenchRun, g: Given) -> Deployment:
    """What ran, from the file and the flags. Raises InputError that names the missing flag."""
    engine = _asked(run, "which engine ran", "--engine vllm, sglang or trtllm", g.engine or run.engine)
    if engine not in ENGINES:
        raise UnknownNameError("engine", engine, ENGINES, where="--engine" if g.engine else run.where)
    name = _asked(run, "which model ran", "--model NAME", g.model or run.model)
    try:
        spec = find_model(name, where="--model" if g.model else run.where)
    except UnknownNameError as e:
        raise InputError(e.message, where=e.where, hint=f"give --model; {e.hint}") from None
    gpu = find_gpu(_asked(run, "on which GPU it ran", "--gpu NAME", g.gpu or run.gpu),
                   where="--gpu" if g.gpu else run.where)
    tp = _asked(run, "over how many GPUs a model was split", "--tp N (--tp 1 for one GPU)",
                _either(run, "--tp", g.tp, run.tp))
    pp, ep = _either(run, "--pp", g.pp, run.pp) or 1, _either(run, "--ep", g.ep, run.ep) or 1
    weights, kv = g.weights or run.weights, g.kv or run.kv
    return Deployment(
        spec, gpu, Layout(tp, pp, g.dp or 1, ep), g.replicas, engine, g.engine_version or run.engine_version,
        dtype(weights, kind="weight dtype", where="--weights").name if weights else None,
        dtype(kv, kind="KV dtype", where="--kv").name if kv else None, memory_fraction=g.memory_fraction,
        max_model_len=g.max_model_len, max_num_seqs=g.max_num_seqs or run.max_num_seqs,
        max_num_batched_tokens=g.max_num_batched_tokens or run.max_num_batched_tokens)


def load(run: BenchRun, g: Given) -> Load:
    """The load of a run, from the file and the flags. Raises InputError that names the missing flag."""
    kind, value = run.load_kind, run.load_value
    if g.concurrency is not None:
        kind, value = LoadKind.CONCURRENCY, g.concurrency
    elif g.rate is not None:
        kind, value = LoadKind.RATE, g.rate
    if kind is LoadKind.STATIC_BATCH:
        value = _asked(run, "how many sequences were in a batch", "--batch N", value)
    value = _asked(run, "how requests arrived", "--concurrency N or --rate X", value if kind else None)
    isl = _asked(run, "how long the prompts were", "--isl N", g.isl or run.isl)
    osl = _asked(run, "how long the answers were", "--osl N", g.osl or run.osl)
    if isl + osl > 100_000_000 or value > 1_000_000:
        raise InputError("the load is too large", where=run.where, hint="are these tokens and requests?")
    assert kind is not None
    spread = g.spread if g.spread is not None else run.spread
    fixed = kind in (LoadKind.STATIC_BATCH, LoadKind.BATCH1)
    requests = None if run.requests is None else min(run.requests, MOST_REQUESTS)
    return Load(kind, value, isl, osl, requests, 0.0 if fixed else SPREAD if spread is None else spread)


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


def disagreements(c: Calibrated) -> list[str]:
    """Metrics of which no run foretells the others."""
    return [f"{metric}: corrected by the others, each run is further off ({after:.0%} instead of {before:.0%}); more "
            "runs, or runs at the load that you plan for, would help"
            for metric, (_, before, after) in c.errors.items() if after is not None and after > before]


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



"""Fit the engine terms of ``costplan/perf/data/engines.json`` on a table of measurements, and cross-validate them.

Every row is simulated as it was run. Steps of Gauss and Newton on the logarithm of each term (`engine_terms`) give the
factors; whole GPU x model cells, whole sweeps, and single rows are then held out in turn, the factors fitted on the
rest, and the held-out rows simulated with them. The residual scales of the intervals come from those predictions.

Run: python benchmarks/fit_engines.py TUNE.csv HELD_OUT.csv [--write]
It prints errors in and out of sample, writes one line per held-out prediction, and with --write the data file.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from engine_cases import METRICS, Case, Floats, cases
from engine_residuals import HeldOut, coverage, residual_rows
from engine_terms import BASE, CELL_TERMS, Design, derivatives, fold_of, observed, predicted, solve, start

from costplan.core.atomic import write_text
from costplan.core.evidence import Evidence, worst
from costplan.perf.batch import BatchState
from costplan.perf.overhead import table
from costplan.perf.residual import LOADS

DATA = Path(__file__).parents[1] / "costplan" / "perf" / "data" / "engines.json"
STEPS, FOLDS, LARGEST_MOVE, LEAST_FACTOR = 3, 6, 0.7, 0.01
HELD: dict[str, Callable[[Case], tuple[str, ...]]] = {
    "cell": lambda c: c.cell, "sweep": lambda c: c.sweep, "row": lambda c: (c.row.id,)}


def shipped(design: Design) -> Floats:
    """Log factors of the data file as it is; 0 where it has none."""
    data = table()
    known = {(e["term"], frozenset(e["scope"].items())): e["factor"] for e in data["factors"]}
    known |= {(f"cell_{size}", frozenset({"gpu": gpu, "model": model, "engine": engine}.items())): factor
              for gpu, models in data["cells"].items() for model, engines in models.items()
              for engine, pair in engines.items() for size, factor in zip(CELL_TERMS, pair, strict=True)}
    theta = np.zeros(len(design.sd))
    for (term, scope), j in design.index.items():
        theta[j] = math.log(known.get((term, frozenset(scope)), 1.0))
    return theta


def fit(items: Sequence[Case], design: Design) -> tuple[Floats, Floats, Floats]:
    """Log factors, and the linear model around them: derivatives by factor and what they explain.

    Derivatives are taken once, at the shipped factors; each step goes along them from where the simulator now is. Run
    the program again after large changes.
    """
    y, w = observed(items)
    theta = shipped(design)
    terms = design.terms(theta)
    base, by_term = derivatives(items, terms)
    a = design.spread(by_term)
    for step in range(STEPS):
        print(f"step {step}: mean absolute log error before it {np.nanmean(abs(y - base)):.4f}", flush=True)
        r = y - base + np.einsum("imk,ik->im", by_term, terms - start())
        theta = theta + np.clip(solve(a, r, w, design.sd) - theta, -LARGEST_MOVE, LARGEST_MOVE)
        terms = design.terms(theta)
        base = predicted(items, terms)
    print(f"fitted: mean absolute log error {np.nanmean(abs(y - base)):.4f}", flush=True)
    return theta, a, y - base + np.einsum("imk,ik->im", by_term, terms - start())


def held_out(items: Sequence[Case], design: Design, linear: tuple[Floats, Floats],
             group: Callable[[Case], tuple[str, ...]]) -> tuple[Floats, list[bool]]:
    """ln of the metrics of each row, simulated with factors fitted without its group; and whether other rows of its
    cell under its engine were fitted on."""
    _, w = observed(items)
    folds = np.array([fold_of(group(c), FOLDS) for c in items])
    terms = np.empty((len(items), len(start())))
    seen = [False] * len(items)
    for f in range(FOLDS):
        own = folds == f
        fitted = solve(*linear, np.where(own[:, None], 0.0, w), design.sd)
        terms[own] = design.terms(fitted)[own]
        known = {(c.cell, c.engine) for c, o in zip(items, own, strict=True) if not o}
        for i in np.flatnonzero(own):
            seen[i] = (items[i].cell, items[i].engine) in known
    return predicted(items, terms), seen


def records(items: Sequence[Case], log_predicted: Floats, seen: Sequence[bool]) -> list[HeldOut]:
    """One record per scored metric."""
    y, _ = observed(items)
    out = []
    for i, c in enumerate(items):
        tokens = round(c.share.isl + c.share.osl / 2)
        decode = c.model.step(BatchState(decode_seqs=8, decode_kv_tokens=8 * tokens))
        prefill = c.model.step(BatchState(prefill_tokens=max(1, round(c.share.isl)), prefill_seqs=1))
        for m, metric in enumerate(METRICS):
            if math.isfinite(y[i, m]):
                step = prefill if metric == "ttft" else decode
                kind = step.evidence if metric != "output_tok_s" else worst((decode.evidence, prefill.evidence))
                weak = kind in (Evidence.EXTRAPOLATED, Evidence.ANALYTIC)
                out.append(HeldOut(c.row.id, metric, float(log_predicted[i, m] - y[i, m]), step.log_sd,
                                   LOADS[c.share.kind], "weak" if weak else "strong", seen[i], repr(c.cell)))
    return out


def factors_of(design: Design, theta: Floats) -> list[dict[str, object]]:
    """Entries of the data file, without factors that change nothing and without those of single cells."""
    found = [{"term": term, "scope": dict(scope), "factor": float(f"{math.exp(theta[j]):.3f}")}
             for (term, scope), j in design.index.items()
             if abs(theta[j]) >= LEAST_FACTOR and not term.startswith("cell_")]
    return sorted(found, key=lambda e: (str(e["term"]), len(str(e["scope"])), str(e["scope"])))


def cells_of(design: Design, theta: Floats) -> dict[str, dict[str, dict[str, list[float]]]]:
    """The small and the large factor of each GPU, model and engine that was fitted on."""
    out: dict[str, dict[str, dict[str, list[float]]]] = {}
    scopes = {scope for term, scope in design.index if term.startswith("cell_")}
    for scope in sorted(scopes, key=str):
        gpu, model, engine = (str(v) for _, v in scope)
        out.setdefault(gpu, {}).setdefault(model, {})[engine] = [
            round(math.exp(theta[design.index[f"cell_{size}", scope]]), 3) for size in CELL_TERMS]
    return out


def render(data: dict[str, object]) -> str:
    """JSON with one entry of a list per line."""
    lines = []
    for key, value in data.items():
        if isinstance(value, list):
            inner = ",\n".join("    " + json.dumps(e) for e in value)
            lines.append(f"  {json.dumps(key)}: [\n{inner}\n  ]")
        elif isinstance(value, dict):
            inner = ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            lines.append(f"  {json.dumps(key)}: {{\n{inner}\n  }}")
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(tune: str, output: str, *options: str) -> None:
    run(cases(Path(tune)), output, *options)


def run(items: Sequence[Case], output: str, *options: str) -> None:
    """Fit, hold out, write."""
    design = Design(items)
    theta, a, r = fit(items, design)
    found: list[HeldOut] = []
    with Path(output).open("w", newline="", encoding="utf-8") as f:
        out = csv.writer(f)
        out.writerow(("id", "held_out", "metric", "log_error", "kernel_sd", "load", "evidence", "seen"))
        for how, group in HELD.items():
            own = records(items, *held_out(items, design, (a, r), group))
            out.writerows((e.id, how, e.metric, f"{e.error:.5f}", f"{e.kernel_sd:.5f}", e.load, e.evidence,
                           int(e.seen)) for e in own)
            for metric in METRICS:
                errors = np.array([abs(math.expm1(e.error)) for e in own if e.metric == metric])
                print(f"{how:6s} {metric:13s} n {len(errors):5d} median {np.median(errors):6.1%} "
                      f"mean {errors.mean():6.1%}", flush=True)
            found += own
    print("coverage of held-out scales:", coverage(found))
    if "--write" in options:
        data = {**table(), "base": BASE, "factors": factors_of(design, theta), "residuals": residual_rows(found),
                "cells": cells_of(design, theta)}
        write_text(DATA, render(data))


if __name__ == "__main__":
    main(*sys.argv[1:])

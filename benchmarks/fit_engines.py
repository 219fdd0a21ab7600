"""Fit the engine constants of ``costplan/perf/data/engines.json`` on a table of measurements and print them.

Coordinate descent on the mean absolute log error of TPOT, TTFT and throughput, each family of sources (one
harness) weighted by the root of its size, so that the two largest do not decide alone. It prints; rounding and
editing the data file is left to a person.

Run: python benchmarks/fit_engines.py TUNE.csv vllm 0.14 100   (rows without a version count as 99)
A fifth argument K fits on every K-th row, since each trial simulates all of them.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from costplan.core.errors import CostplanError
from costplan.perf.assemble import kernel_engine, latency_model
from costplan.perf.kv_budget import KvBudget
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.overhead import Overhead, overhead, table, version_key
from costplan.perf.predict import Deployment, predict
from costplan.perf.steady import Load
from costplan.simulate.operate import operate
from costplan.validate.rows import Measured, deployment, load, read_rows
from costplan.validate.run import room_for

GRID = {
    "eager_layer_s": (0.0, 2e-4, 5e-4, 9e-4, 1.2e-3, 1.5e-3, 2e-3, 3e-3),
    "step_s0": (0.0, 2e-4, 5e-4, 1e-3, 2e-3, 3e-3),
    "seq_s": (0.0, 5e-6, 1e-5, 2e-5, 4e-5, 8e-5),
    "kernel_factor": (0.95, 1.0, 1.05, 1.1),
    "request_s": (0.0, 0.01, 0.02, 0.03, 0.05, 0.08),
}
WEIGHT = {"tpot": 1.0, "output_tok_s": 1.0, "ttft": 0.6}


@dataclass(slots=True)
class Case:
    row: Measured
    dep: Deployment
    asked: Load
    budget: KvBudget
    model: KernelLatencyModel


def cases(path: Path, engine: str, since: str, before: str) -> list[Case]:
    """Rows of one engine and range of versions on NVIDIA GPUs, with their latency models."""
    out = []
    for row in read_rows(path):
        version = version_key(row.text["engine_version"]) or (99,)
        if kernel_engine(row.text["engine"]) != engine or not version_key(since) <= version < version_key(before):
            continue
        try:
            dep, asked = deployment(row, str(path)), load(row, str(path))
            if dep.gpu.vendor != "NVIDIA":
                continue
            model = latency_model(dep.spec, dep.gpu, dep.layout, engine=dep.engine, engine_version=dep.engine_version,
                                  weight_dtype=dep.weight_dtype, kv_dtype=dep.stored_kv_dtype,
                                  weight_only=dep.weight_only)
            out.append(Case(row, dep, asked, room_for(dep, asked), model))
        except CostplanError as e:
            print(f"left out {row.id}: {e}", file=sys.stderr)
    return out


def errors(items: list[Case], terms: dict[str, float]) -> dict[tuple[str, str], list[float]]:
    """ln(predicted / measured) by family and metric."""
    out: dict[tuple[str, str], list[float]] = defaultdict(list)
    for c in items:
        layers = c.dep.spec.num_layers / c.dep.layout.pp
        c.model.overhead = Overhead(terms["kernel_factor"], terms["step_s0"], terms["seq_s"],
                                    terms["eager_layer_s"] * layers, terms["request_s"], c.model.overhead.mixed)
        try:
            p = predict(c.dep, c.asked, budget=c.budget, model=c.model, operate=operate)
        except CostplanError:
            continue
        for metric, measured, predicted in (("tpot", c.row.tpot_s, p.tpot_s), ("ttft", c.row.ttft_s, p.ttft_s),
                                            ("output_tok_s", c.row.output_tok_s, p.output_tok_s)):
            if measured:
                out[c.row.text["family"], metric].append(math.log(predicted.value / measured))
    return out


def score(found: dict[tuple[str, str], list[float]]) -> float:
    total = weight = 0.0
    for (_, metric), values in found.items():
        w = math.sqrt(len(values)) * WEIGHT[metric]
        total += w * statistics.fmean(min(abs(v), 1.0) for v in values)
        weight += w
    return total / weight


def fit(items: list[Case], start: dict[str, float]) -> dict[str, float]:
    best, least = dict(start), score(errors(items, start))
    for _ in range(3):
        before = least
        for name, values in GRID.items():
            for value in values:
                tried = {**best, name: value}
                found = score(errors(items, tried))
                if found < least - 1e-4:
                    best, least = tried, found
        if least > before - 1e-4:
            break
    return best


def main(path: str, engine: str, since: str, before: str, every: str = "1") -> None:
    items = cases(Path(path), engine, since, before)[:: int(every)]
    row = next(r for r in table()["engines"] if r["engine"] == engine and
               overhead(engine, since).name.endswith(f"since {r['since']}"))
    shipped = {k: float(row[k]) for k in GRID}
    fitted = fit(items, shipped)
    for label, terms in (("shipped", shipped), ("fitted", fitted)):
        found = errors(items, terms)
        print(label, {k: round(v, 7) for k, v in terms.items()}, f"score {score(found):.4f}")
        for (family, metric), values in sorted(found.items()):
            print(f"  {family:16s} {metric:13s} n={len(values):4d} median {statistics.median(map(abs, values)):6.1%}"
                  f" bias {statistics.median(values):+6.1%}")


if __name__ == "__main__":
    main(*sys.argv[1:6])



"""Write the tables of ``docs/accuracy.md``: errors in and out of sample, a plain roofline beside them, worst rows.

Tables stand between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``; the prose around them is written by hand.

Run: python benchmarks/accuracy_page.py TUNE.csv HELD_OUT.csv [PEER.csv]
(the second from benchmarks/fit_engines.py, the third from benchmarks/peer_estimate.py; without it that table stays)
"""

from __future__ import annotations

import csv
import math
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine_residuals import HeldOut, coverage

from costplan.core.atomic import write_text
from costplan.core.errors import CostplanError
from costplan.perf.assemble import latency_model
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.overhead import Overhead
from costplan.perf.predict import predict
from costplan.report.style import Style
from costplan.report.validate_text import validate_text
from costplan.validate.errors_report import ErrorReport, quantile
from costplan.validate.rows import Measured, deployment, load, read_rows
from costplan.validate.run import LABELS, room_for, validate_file

PAGE = Path(__file__).parents[1] / "docs" / "accuracy.md"
WORST = 10


@dataclass(frozen=True, slots=True)
class Split:
    """A line of the tables: one metric over the rows that ``keep`` accepts (moe or dense, load kind)."""

    label: str
    metric: str
    keep: Callable[[bool, str], bool]
    goal: str


SPLITS = (
    Split("TPOT, dense, closed loop", "tpot", lambda moe, kind: not moe and kind == "concurrency", "4 % / 7 %"),
    Split("TPOT, MoE, closed loop", "tpot", lambda moe, kind: moe and kind == "concurrency", "9 % / 15 %"),
    Split("TPOT, MoE, all loads", "tpot", lambda moe, kind: moe, "9 % / 15 %"),
    Split("TPOT, all rows", "tpot", lambda moe, kind: True, ""),
    Split("TTFT, unsaturated, dense", "ttft", lambda moe, kind: not moe, "12 % / 20 %"),
    Split("TTFT, unsaturated, MoE", "ttft", lambda moe, kind: moe, "15 % / 25 %"),
    Split("output tok/s, all at once", "output_tok_s", lambda moe, kind: kind == "all_at_once", "6 %"),
    Split("output tok/s, open and closed loops", "output_tok_s", lambda moe, kind: kind in ("rate", "concurrency"), ""),
    Split("$/1M output tokens, all rows", "usd_per_mtok_out", lambda moe, kind: True, "6 %"),
)
Errors = Mapping[tuple[str, str], float]
"""ln(predicted / measured) by row and metric."""


def summary(errors: Errors, split: Split, moe: Mapping[str, bool], kind: Mapping[str, str]) -> tuple[int, str]:
    """Rows, and `median / mean` of the absolute relative error."""
    metric, sign = ("output_tok_s", -1.0) if split.metric == "usd_per_mtok_out" else (split.metric, 1.0)
    found = [abs(math.expm1(sign * e)) for (id_, m), e in errors.items()
             if m == metric and id_ in moe and split.keep(moe[id_], kind[id_])]
    return len(found), f"{statistics.median(found):.1%} / {statistics.fmean(found):.1%}" if found else "-"


def roofline(rows: Sequence[Measured], path: str) -> dict[tuple[str, str], float]:
    """Errors of peak FLOP/s and peak bandwidth alone: no measured kernel, no engine, steady state in closed form."""
    out = {}
    for row in rows:
        try:
            dep, asked = deployment(row, path), load(row, path)
            known = latency_model(dep.spec, dep.gpu, dep.layout, engine=dep.engine, engine_version=dep.engine_version,
                                  weight_dtype=dep.weight_dtype, kv_dtype=dep.stored_kv_dtype,
                                  weight_only=dep.weight_only)
            bare = [replace(op, kernel=replace(op.kernel, grid=None, default_log_ratio=0.0, floor=None))
                    for op in known.ops]
            p = predict(dep, asked, budget=room_for(dep, asked),
                        model=KernelLatencyModel(bare, Overhead(mixed=known.overhead.mixed), known.pp))
        except CostplanError:
            continue
        for metric, measured, value in (("ttft", row.ttft_s, p.ttft_s), ("tpot", row.tpot_s, p.tpot_s),
                                        ("output_tok_s", row.output_tok_s, p.output_tok_s)):
            if measured and math.isfinite(value.value):
                out[row.id, metric] = math.log(value.value / measured)
    return out


def held_out(path: Path, in_sample: ErrorReport) -> dict[str, list[HeldOut]]:
    """Records of HELD_OUT.csv by what was held out, with the kernels' spread of the same row."""
    labels = {(s.id, s.metric): s for s in in_sample.scored}
    out: dict[str, list[HeldOut]] = {}
    with path.open(encoding="utf-8") as f:
        for r in csv.DictReader(f):
            known = labels.get((r["id"], r["metric"]))
            if known is not None:
                group = f"{known.labels['gpu']} {known.labels['model']}"
                out.setdefault(r["held_out"], []).append(HeldOut(
                    r["id"], r["metric"], float(r["log_error"]), float(r["kernel_sd"]), r["load"], r["evidence"],
                    r["seen"] == "1", group))
    return out


def peer_errors(path: Path, rows: Sequence[Measured]) -> dict[str, dict[tuple[str, str], float]]:
    """Errors of PEER.csv by label; a row that the peer refuses under any label is left out of all."""
    measured = {r.id: {"ttft": r.ttft_s, "tpot": r.tpot_s} for r in rows}
    out: dict[str, dict[tuple[str, str], float]] = {}
    with path.open(encoding="utf-8") as f:
        for r in csv.DictReader(f):
            for metric, truth in measured[r["id"]].items():
                said = float(r[f"{metric}_s"] or 0)
                if truth and said > 0 and math.isfinite(said):
                    out.setdefault(r["label"], {})[r["id"], metric] = math.log(said / truth)
    common = set.intersection(*(set(e) for e in out.values()))
    return {label: {k: e[k] for k in common} for label, e in out.items()}


def peers(path: Path, rows: Sequence[Measured], columns: Mapping[str, Errors], moe: Mapping[str, bool],
          kind: Mapping[str, str]) -> str:
    """The peer's error beside costplan's, on the rows that all of them answer."""
    found = peer_errors(path, rows)
    common = set.intersection(*(set(e) for e in (*found.values(), *columns.values())))
    named = {**{f"AIConfigurator, label {k}": e for k, e in found.items()}, **columns}
    lines = ["| metric, closed loop | rows | " + " | ".join(named) + " |", "|---|--:|" + "--:|" * len(named)]
    for metric in ("tpot", "ttft"):
        for label, wanted in (("dense", False), ("MoE", True)):
            split = Split("", metric, lambda m, _, wanted=wanted: m == wanted, "")  # type: ignore[misc]
            cells = [summary({k: e[k] for k in common}, split, moe, kind) for e in named.values()]
            lines.append(f"| {metric.upper()}, {label} | {cells[0][0]} | " + " | ".join(c for _, c in cells) + " |")
    with path.open(encoding="utf-8") as f:
        asked = [r for r in csv.DictReader(f) if r["label"] == "published"]
    refused = sum(r["mode"] == "refused" for r in asked)
    second = sum(r["mode"] == "HYBRID" for r in asked)
    return "\n".join([*lines, "", f"Of {len(asked)} rows asked, AIConfigurator refused {refused} and answered {second} "
                      "only in its hybrid mode; costplan refused none."])


def goals(columns: Mapping[str, Errors], moe: Mapping[str, bool], kind: Mapping[str, str]) -> str:
    """The table of goals: median / mean absolute error by what was held out."""
    lines = ["| metric | rows | goal | " + " | ".join(columns) + " |", "|---|--:|--:|" + "--:|" * len(columns)]
    for split in SPLITS:
        cells = [summary(e, split, moe, kind) for e in columns.values()]
        lines.append(f"| {split.label} | {cells[0][0]:,} | {split.goal} | " + " | ".join(c for _, c in cells) + " |")
    return "\n".join(lines)


def covered(found: Mapping[str, Sequence[HeldOut]]) -> str:
    """Coverage of intervals whose scales come from other cells."""
    every = [r for rows in found.values() for r in rows]
    lines = ["| held out | metric | predictions | in 50 % | in 90 % |", "|---|---|--:|--:|--:|"]
    for label, rows in (("all", every), ("cell unseen", [r for r in every if not r.seen]),
                        ("cell seen", [r for r in every if r.seen])):
        for metric, (n, half, most) in sorted(coverage(rows).items()):
            lines.append(f"| {label} | {metric} | {n:,} | {half:.0%} | {most:.0%} |")
    return "\n".join(lines)


def worst_rows(rows: Sequence[Measured], in_sample: Mapping[tuple[str, str], float]) -> str:
    """The rows that are furthest off, each with its largest error."""
    largest: dict[str, tuple[float, str]] = {}
    for (id_, metric), e in in_sample.items():
        if abs(e) > abs(largest.get(id_, (0.0, ""))[0]):
            largest[id_] = e, metric
    text = {r.id: r.text for r in rows}
    lines = ["| row | what ran | metric | predicted / measured |", "|---|---|---|--:|"]
    for id_, (e, metric) in sorted(largest.items(), key=lambda x: -abs(x[1][0]))[:WORST]:
        t = text[id_]
        lines.append(f"| {id_} | {t['family']}: {t['engine']} {t['engine_version']}, {t['model'].split('/')[-1]} "
                     f"{t['weight_dtype']} on {t['n_gpu']} x {t['gpu']}, {t['load_kind']} "
                     f"{t['load_value'] or t['num_prompts']}, {t['isl']}/{t['osl']} | {metric} | {math.exp(e):.2f} |")
    return "\n".join(lines)


def fill(page: str, name: str, body: str) -> str:
    """``page`` with the block ``name`` replaced."""
    pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"docs/accuracy.md has no block {name}")
    return pattern.sub(lambda m: f"{m[1]}{body}\n{m[2]}", page)


def main(tune: str, held: str, peer: str = "") -> None:
    rows = read_rows(Path(tune))
    report = validate_file(Path(tune))
    moe = {s.id: s.labels["moe"] == "moe" for s in report.scored}
    kind = {s.id: s.labels["load_kind"] for s in report.scored}
    found = held_out(Path(held), report)
    fitted = {(s.id, s.metric): math.log(s.predicted.value / s.measured) for s in report.scored
              if s.metric != "usd_per_mtok_out"}
    columns: dict[str, Errors] = {f"{how} held out": {(r.id, r.metric): r.error for r in items}
                                  for how, items in found.items()}
    columns |= {"in-sample": fitted, "plain roofline": roofline(rows, tune)}
    page = PAGE.read_text(encoding="utf-8")
    page = fill(page, "goals", goals(columns, moe, kind))
    if peer:
        page = fill(page, "peers", peers(Path(peer), rows, columns, moe, kind))
    page = fill(page, "coverage", covered(found))
    page = fill(page, "worst", worst_rows(rows, fitted))
    shown = validate_text(report, [label for label in LABELS if label not in ("model",)], Style(100))
    page = fill(page, "in-sample", f"```text\n{shown.rstrip()}\n```")
    write_text(PAGE, page)
    print(f"90 % of |error|, in-sample TPOT: "
          f"{quantile(sorted(abs(math.expm1(e)) for (_, m), e in fitted.items() if m == 'tpot'), 0.9):.1%}")


if __name__ == "__main__":
    main(*sys.argv[1:4])

"""Both tools against the same published measurements: closed-loop rows, lengths drawn as the benchmark drew them."""

from __future__ import annotations

import csv
import json
import random
import statistics
import sys
from collections import defaultdict
from pathlib import Path

from peer_commands import TRACE_BLOCK, Point, of_replay, replay, run

# Both tools on the same published closed-loop rows: InferenceX, 1k/1k and 8k/1k, 4, 16 and 64 in flight, of
# (model, GPU, weight dtype, tp; None: any): the peer's model.
ROWS = {
    ("meta-llama/Llama-3.1-70B-Instruct", "b200_sxm", "fp8", None): "nvidia/Llama-3.1-70B-Instruct-FP8",
    ("openai/gpt-oss-120b", "h200_sxm", "mxfp4", "4"): "openai/gpt-oss-120b",
}
ROW_LOADS = {4.0, 16.0, 64.0}
ROW_LENGTHS = {("921.6", "921.6"), ("7372.8", "921.6")}


def trace_of(r: dict[str, str], path: Path) -> None:
    """The row's load as it was run: 10 requests per slot, lengths uniform in 0.8 .. 1.0 x nominal, nothing shared."""
    draw, seen = random.Random(0), 0
    isl, osl = float(r["isl"]) / 0.9, float(r["osl"]) / 0.9
    with path.open("w") as out:
        for _ in range(10 * int(float(r["load_value"]))):
            n, m = draw.randint(round(0.8 * isl), round(isl)), draw.randint(round(0.8 * osl), round(osl))
            blocks = list(range(seen, seen + -(-n // TRACE_BLOCK)))
            seen += len(blocks)
            out.write(json.dumps({"timestamp": 0, "input_length": n, "output_length": m, "hash_ids": blocks}) + "\n")


def chosen(path: Path) -> list[dict[str, str]]:
    """The rows of the rule `ROWS` in file order."""
    with path.open(newline="") as f:
        return [r for r in csv.DictReader(f) if r["family"] == "inferencex" and r["load_kind"] == "concurrency"
                and (r["isl"], r["osl"]) in ROW_LENGTHS and r["engine"] in ("trtllm", "vllm") and r["dp"] == "1"
                and float(r["load_value"]) in ROW_LOADS
                and any(k[:3] == (r["model"], r["gpu"], r["weight_dtype"]) and k[3] in (None, r["tp"]) for k in ROWS)]


def our_rows(rows: list[dict[str, str]], folder: Path) -> dict[tuple[str, str], float]:
    """Signed error by (row, metric) from `costplan validate`."""
    file, out = folder / "rows.csv", folder / "ours.csv"
    with file.open("w", newline="") as f:
        writer = csv.DictWriter(f, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    ran = run([sys.executable, "-m", "costplan", "validate", str(file), "-o", str(out)])
    assert ran.out is not None, ran.why
    print(f"\ncostplan validate: {len(rows)} rows in {ran.wall_s:.1f} s, {ran.peak_mib:.0f} MiB")
    with out.open(newline="") as f:
        return {(r["id"], r["metric"]): float(r["predicted"]) / float(r["measured"]) - 1 for r in csv.DictReader(f)}


def accuracy(table: Path, peer: str, folder: Path) -> None:
    """Median errors of both tools on the same rows."""
    rows = chosen(table)
    mine = our_rows(rows, folder)
    errors: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)
    refused: dict[str, int] = defaultdict(int)
    wall = 0.0
    for r in rows:
        name = next(v for k, v in ROWS.items() if k[0] == r["model"])
        p = Point(r["id"], "", name, r["gpu"], r["engine"], round(float(r["isl"])), round(float(r["osl"])),
                  int(float(r["load_value"])), int(r["tp"]), int(float(r["ep"])) if "gpt-oss" in name else None)
        trace_of(r, folder / "trace.jsonl")
        ran = replay(peer, folder, p, folder / "trace.jsonl")
        wall += ran.wall_s
        if ran.out is None:
            refused["with measured data only"] += 1
            ran = replay(peer, folder, p, folder / "trace.jsonl", mode="HYBRID")
            refused["in hybrid mode too"] += ran.out is None
        for metric, value in zip(("ttft", "tpot"), of_replay(ran.out) if ran.out else (), strict=False):
            truth = r[f"{metric}_mean_ms"]
            if r[f"score_{metric}"] == "1" and truth and (r["id"], metric) in mine:
                errors[r["model"], r["engine"], metric, "aisimulate predict"].append(value / float(truth) - 1)
                errors[r["model"], r["engine"], metric, "costplan validate"].append(mine[r["id"], metric])
    print(f"aisimulate predict: {wall:.0f} s of wall time; refused: {dict(refused)}")
    print("\n| rows | metric | tool | n | median error | mean | bias |\n|---|---|---|---|---|---|---|")
    for (model, engine, metric, tool), e in sorted(errors.items()):
        size = [abs(x) for x in e]
        print(f"| {model.split('/')[1]}, {engine} | {metric} | {tool} | {len(e)} | {statistics.median(size):.1%} | "
              f"{statistics.mean(size):.1%} | {statistics.median(e):+.1%} |")

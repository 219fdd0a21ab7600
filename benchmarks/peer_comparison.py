"""costplan beside NVIDIA's AISimulate / AIConfigurator: the same questions, one run, each answer a new process.

Usage: python benchmarks/peer_comparison.py --peer PEER_VENV/bin/python [--legacy OLD_VENV/bin/python]
           [--rows tune.csv] [--runs 2] [--trials 8]

``--peer`` is the Python of an environment with aisimulate, ``--legacy`` of one with aiconfigurator 0.12. What is not
installed is skipped, with a line that says so. costplan is the one of the Python that runs this file. Wall time is the
best of ``--runs``; memory the largest peak RSS of any one process of a command. ``--rows`` also scores both tools on
published measurements (see peer_rows.py). Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from peer_commands import Point, Ran, disk_mb, estimate, of_estimate, of_ours, of_replay, ours, replay, run, version
from peer_rows import accuracy


def _points() -> Iterator[Point]:
    yield Point("(a) Llama-3.1-70B, 4 x H200, c=28", "-m llama-3.1-70b -g h200_sxm", PLAN_MODEL, "h200_sxm", "trtllm",
                4000, 500, 28, 4)
    for c in (1, 8, 64):
        yield Point(f"(b) Llama-3.1-8B, H100, c={c}", "-m llama-3.1-8b -g h100_sxm", "meta-llama/Meta-Llama-3.1-8B",
                    "h100_sxm", "vllm", 1024, 256, c)
    for c in (8, 64):
        yield Point(f"(c) gpt-oss-120b, 4 x H200, c={c}", "-m gpt-oss-120b -g h200_sxm", "openai/gpt-oss-120b",
                    "h200_sxm", "vllm", 1024, 1024, c, 4, 1)
    yield Point("(d) Qwen3-32B FP8, 2 x L40S, c=8", "-m qwen3-32b -g l40s --weights fp8", "Qwen/Qwen3-32B-FP8", "l40s",
                "vllm", 1024, 256, 8, 2)
    yield Point("(d) Qwen3-32B FP8, 2 x A100, c=8", "-m qwen3-32b -g a100_80gb_sxm --weights fp8",
                "Qwen/Qwen3-32B-FP8", "a100_sxm", "vllm", 1024, 256, 8, 2)


PLAN_MODEL, PLAN_RATE = "meta-llama/Meta-Llama-3.1-70B", 3.5

PLAN = """
name: question-a
model: meta-llama/Llama-3.1-70B-Instruct
load: LOAD
lengths: {isl: {fixed: 4000}, osl: {fixed: 500}}
slo: {ttft: {p50: 2s}, tpot: {p50: 30ms}}
candidates: {gpus: [h200_sxm], weights: [bf16], kv_cache_dtype: [bf16], engines: ENGINES}
"""

PLAN_CHILD = """
import sys
from costplan.api import plan
best = plan(sys.argv[1]).best
c, d = best.config, {m.metric.value: m.mean.value for m in best.latencies}
print(f"{best.name} x {best.replicas} replicas ({best.num_gpus} GPUs): {best.output_tok_s.value:.0f} tok/s, "
      f"TTFT {1e3 * d['ttft']:.0f} ms, TPOT {1e3 * d['tpot']:.1f} ms, "
      f"P(meets SLO) {best.p_meets_slo:.2f}, ${best.money.usd_per_mtok_out.value:.2f} per 1M output tokens")
"""

RECOMMEND = {
    "traffic": {"source": {"type": "synthetic", "input_tokens": 4000, "output_tokens": 500},
                "load": {"type": "concurrency", "concurrency": {"choices": [16, 32, 48, 56, 64, 96, 128]}},
                "stop": {"requests_per_load_unit": 4.0}},
    "engine": {"mode": "aggregated", "model": PLAN_MODEL, "hardware": "h200_sxm", "backend": "trtllm",
               "workers": {"aggregated": {"parallelism": {"preset": "default"}}}},
    "evaluation": {"sla": {"ttft_ms": 2000.0, "itl_ms": 30.0}},
    "optimization": {"target": "throughput_per_gpu", "strict_sla": True, "hardware": "h200_sxm",
                     "constraints": {"max_candidate_gpus": 8}},
}


def row(title: str, tool: str, ran: Ran, read: Callable[[str], tuple[float, float, float]]) -> None:
    """Print one line of the table of points."""
    if ran.out is None:
        print(f"| {title} | {tool} | refused: {ran.why} | | | {ran.wall_s:.2f} | {ran.peak_mib:.0f} |")
        return
    ttft, tpot, tok = read(ran.out)
    print(f"| {title} | {tool} | {ttft:.1f} | {tpot:.2f} | {tok:,.0f} | {ran.wall_s:.2f} | {ran.peak_mib:.0f} |",
          flush=True)


def points(options: argparse.Namespace, folder: Path) -> None:
    """Questions (b) to (d)."""
    print("\n| question | tool | TTFT ms | TPOT ms | output tok/s | wall s | peak MiB |\n|---|---|---|---|---|---|---|")
    for p in _points():
        row(p.title, "costplan predict", ours(p, options.runs), of_ours)
        if options.peer:
            row("", "aisimulate predict", replay(options.peer, folder, p, runs=options.runs), of_replay)
            row("", "aiconfigurator estimate", estimate(options.peer, p, options.runs), of_estimate)


def plans(options: argparse.Namespace, folder: Path) -> None:
    """Question (a): what to run, from each tool's own search."""
    print("\n| search | wall s | peak MiB | answer |\n|---|---|---|---|")
    for load in (f"{{rate: {{requests_per_s: {PLAN_RATE}}}}}", "{concurrency: {n: 56}}"):
        for engines in ("[trtllm]", "[vllm, sglang, trtllm]"):
            file = folder / "workload.yaml"
            file.write_text(PLAN.replace("LOAD", load).replace("ENGINES", engines))
            ran = run([sys.executable, "-c", PLAN_CHILD, str(file)], options.runs)
            print(f"| costplan plan, {load}, {engines} | {ran.wall_s:.2f} | {ran.peak_mib:.0f} | {ran.out or ran.why} |"
                  .replace("\n", ""))
    common = f"--model-path {PLAN_MODEL} --system h200_sxm --isl 4000 --osl 500 --ttft 2000 --tpot 30 --no-color"
    for label, python in (("0.13", options.peer), ("0.12", options.legacy)):
        for extra in ("--total-gpus 8", "--total-gpus 8 --backend auto",
                      f"--target-request-rate {PLAN_RATE} --serving-mode agg") if python else ():
            tool = str(Path(python).parent / "aiconfigurator")
            ran = run([tool, "cli", "default", *shlex.split(common), *shlex.split(extra)], options.runs)
            print(f"| aiconfigurator {label} {extra} | {ran.wall_s:.1f} | {ran.peak_mib:.0f} | {_best(ran)} |",
                  flush=True)
    if options.peer and options.trials:
        config, out = folder / "recommend.yaml", folder / "recommended"
        config.write_text(json.dumps(RECOMMEND | {"optimizer": {"max_trials": options.trials, "parallelism": 2}}))
        ran = run([str(Path(options.peer).parent / "aisimulate"), "recommend", "-c", str(config), "--overwrite",
                   "--output-dir", str(out), "--format", "json"])
        print(f"| aisimulate recommend, {options.trials} trials | {ran.wall_s:.1f} | {ran.peak_mib:.0f} | "
              f"{' '.join((ran.out or ran.why).split())[:900]} |")


def _best(ran: Ran) -> str:
    """The peer's own summary and its first configuration, in one line."""
    if ran.out is None:
        return f"refused: {ran.why}"
    text = " ".join(x.strip(" -") for x in re.findall(
        r"(?m)^.*(?:Best Experiment|Best Throughput|Request Rate|- TTFT|- TPOT|Total GPUs).*$", ran.out))
    ranked = re.findall(r"(?m)^\|\s+1\s+\|.*$", ran.out)
    return f"{text}; first of each table: " + " / ".join(" ".join(x.replace("|", " ").split()) for x in ranked)


def main() -> None:
    """Environments, points, plans, rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", help="Python of an environment with aisimulate")
    parser.add_argument("--legacy", help="Python of an environment with aiconfigurator 0.12")
    parser.add_argument("--rows", type=Path, help="table of measurements (tuning part)")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--trials", type=int, default=8, help="of aisimulate recommend; 0 leaves it out")
    options = parser.parse_args()
    print(f"{time.strftime('%Y-%m-%d', time.gmtime())}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, package in (("peer", "aisimulate"), ("legacy", "aiconfigurator")):
        python = getattr(options, name)
        found = version(python, package) if python else None
        if found is None:
            print(f"SKIPPED: {package} (--{name}): {'not installed there' if python else 'no Python was given'}")
            setattr(options, name, None)
        else:
            print(f"{package} {found}: environment of {disk_mb(python):.0f} MB")
    print(f"costplan {version(sys.executable, 'costplan')}: environment of {disk_mb(sys.executable):.0f} MB")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        points(options, folder)
        plans(options, folder)
        if options.rows and options.peer:
            accuracy(options.rows, options.peer, folder)


if __name__ == "__main__":
    main()

"""Whether `costplan ci` is silent, quick and right: unchanged repositories in new processes, then replaced profiles.

Usage: python benchmarks/ci_gate.py silence [--repeat N]
       python benchmarks/ci_gate.py profiles [--trials N] [--runs N]

Goals: no change takes under 2 s; kernels measured again on the same machine never fail a change; kernels that are
10 % slower do. Noise is synthetic: each run is fast or slow as a whole by 3 %, each of its kernels by 1 % more.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from costplan.profile.table import Table

ROOT = Path(__file__).resolve().parents[1]
WORKLOAD = """\
name: chat{i}
model: llama-3.1-8b
load: {{rate: {{requests_per_s: 2}}}}
lengths: {{isl: {{fixed: 3000}}, osl: {{fixed: 50}}}}
slo: {{ttft: {{p95: 2s}}, tpot: {{p95: 100ms}}}}
candidates: {{gpus: [h100_sxm], engines: [vllm], tp: [1], weights: [bf16], kv_cache_dtype: [auto], block_size: [16],
  max_num_seqs: [64], max_num_batched_tokens: [2048]}}
"""
CONFIG = """\
workloads: [{files}]
profiles: [{profiles}]
ci: {{guardrails: [{{metric: cost_usd_per_mtok_out_saturated, max_increase: 3%}}]}}
"""
BETWEEN_RUNS, WITHIN_RUN = 0.03, 0.01
KERNELS = 60


def git(folder: Path, *args: str) -> None:
    who = ("-c", "user.name=b", "-c", "user.email=b@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *args], cwd=folder, check=True, capture_output=True)


def repository(folder: Path, count: int, profiles: str = "") -> None:
    """``count`` workloads on main, and a branch."""
    files = [f"w{i}.yaml" for i in range(count)]
    for i, name in enumerate(files):
        (folder / name).write_text(WORKLOAD.format(i=i), encoding="utf-8")
    (folder / "costplan.yaml").write_text(CONFIG.format(files=", ".join(files), profiles=profiles), encoding="utf-8")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "base")
    git(folder, "checkout", "-q", "-b", "feature")


def silence(repeat: int) -> None:
    """Wall and processor time of `costplan ci` where a commit changes only words."""
    for count in (1, 5, 200):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            repository(folder, count)
            git(folder, "commit", "-q", "--allow-empty", "-m", "words")
            wall, cpu = [], []
            for _ in range(repeat):
                before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
                done = subprocess.run([sys.executable, "-m", "costplan", "ci", "--base", "main"], cwd=folder, text=True,
                                      env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=True)
                wall.append(time.perf_counter() - start)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        print(f"{count:4} workloads: wall median {statistics.median(wall):.2f} s, worst {max(wall):.2f} s; processor "
              f"{statistics.median(cpu):.2f} s; {done.stdout.strip()}")


def measured(folder: Path, factor: float, seed: int, runs: int) -> None:
    """Kernels of a shipped H100 profile as if measured here in ``runs`` runs, ``factor`` times as slow."""
    import numpy as np

    from costplan.profile.store import Profile, write_profile
    from costplan.profile.table import Table as Kernels

    shipped = Profile.load("h100_sxm-vllm")
    rng = np.random.default_rng(seed)
    drift = np.exp(BETWEEN_RUNS * rng.standard_normal(runs))
    tables, lines = [], []
    for family in ("gemm", "attn_decode", "attn_prefill", "elementwise"):
        t = shipped.table(family)
        assert t is not None
        t = t.take(np.arange(0, len(t), max(1, len(t) // 2000)))
        own = np.exp(WITHIN_RUN * rng.standard_normal((runs, len(t))))
        seconds = t.columns["latency_s"] * factor * drift[:, None] * own
        tables.append(Kernels(family, {**t.columns, "latency_s": np.median(seconds, axis=0)}, t.codes, t.vocab))
        if family == "gemm":
            lines = [_sample(t, i, r, float(seconds[r, i])) for i in range(0, len(t), len(t) // KERNELS)
                     for r in range(runs)]
    data = gzip.compress("".join(lines).encode(), mtime=0)
    origin = {"raw": {"file": "samples.jsonl.gz", "sha256": hashlib.sha256(data).hexdigest()}}
    write_profile(folder, replace(shipped.manifest, name=folder.name, origin=origin, tables={}), tables)
    (folder / "samples.jsonl.gz").write_bytes(data)


def _sample(t: Table, i: int, run: int, seconds: float) -> str:
    case = {"family": "gemm", **{n: int(t.columns[n][i]) for n in ("m", "n", "k")}, "dtype": t.text("dtype")[i]}
    regime = {"regime": "steady", "samples_ns": [round(seconds * 1e9)], "median_s": seconds, "stop": "settled"}
    return json.dumps({"case": case, "backend": "b", "kernel": t.text("kernel")[i], "pass": 1, "run": f"r{run}",
                       "telemetry": {}, "regimes": [regime]}) + "\n"


def profiles(trials: int, runs: int) -> None:
    """What the gate says of a profile that was replaced, and what the bare number would have said."""
    from costplan.cli.app import main

    for factor in (1.0, 1.1):
        said: Counter[str] = Counter()
        alarms = 0
        for trial in range(trials):
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                measured(folder / "ours", 1.0, 1000 + trial, runs)
                repository(folder, 1, "ours")
                shutil.rmtree(folder / "ours")
                measured(folder / "ours", factor, 5000 + trial, runs)
                asked = ["ci", "--base", "main", "--out-dir", f"{place}/out", "--config", f"{place}/costplan.yaml"]
                with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                    code = main([*asked, "--today", "2026-11-21"])
                report = json.loads((folder / "out" / "report.json").read_text(encoding="utf-8"))
            said[f"{report['profiles'][0]['verdict']}, {report['verdict']}, exit {code}"] += 1
            moved = report["workloads"][0]["metrics"]["cost_usd_per_mtok_out_saturated"]["change_frac"]
            alarms += moved > 0.03
        print(f"kernels x {factor}, {trials} trials of {runs} runs a side: {dict(said.most_common())}; the bare number "
              f"would have failed {alarms}")


def cli() -> None:
    """Run the part that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("silence").add_argument("--repeat", type=int, default=7)
    replaced = parts.add_parser("profiles")
    replaced.add_argument("--trials", type=int, default=40)
    replaced.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    if given.part == "silence":
        silence(given.repeat)
    else:
        profiles(given.trials, given.runs)


if __name__ == "__main__":
    cli()

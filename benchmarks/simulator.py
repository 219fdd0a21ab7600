"""How fast requests are simulated, in how much memory, how both grow, and what peers take for the same trace.

Usage: python benchmarks/simulator.py [--quick] [--peer NAME COMMAND] ...

Each line is a new process. The trace is Poisson with log-normal lengths (mean 1,000 in, 250 out) on
Llama-3.1-8B, H100, vLLM, at a rate that keeps some 50 sequences decoding. Goals: 20,000 requests in 0.3 s and 150 MB,
1,000,000 in 10 s and 1 GB. A peer is a command in which {trace} stands for the same 20,000 requests as CSV
(arrived_at, num_prefill_tokens, num_decode_tokens), for example
``--peer inference-sim "./blis run --workload traces --workload-traces-filepath {trace}"``.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RATE_PER_S = 14.0
PEER_REQUESTS = 20_000

_CHILD = """
import json, resource, sys, time
t0 = time.perf_counter()
import numpy as np
from costplan.catalog.gpus import gpu
from costplan.catalog.models import model
from costplan.perf.assemble import latency_model
from costplan.perf.layout import Layout
from costplan.simulate.metrics import summarise
from costplan.simulate.policy import VLLM, SchedulerLimits
from costplan.simulate.requests import SimRequests
from costplan.simulate.run import simulate, table_for
t1 = time.perf_counter()
n, rate, runs = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(0)
arrival = np.cumsum(rng.exponential(1 / rate, n))
isl = np.clip(rng.lognormal(6.5, 0.9, n), 1, 8000).astype(np.int64)
osl = np.clip(rng.lognormal(5.2, 0.8, n), 1, 2000).astype(np.int64)
requests = SimRequests(arrival, isl, osl)
if len(sys.argv) > 4:
    with open(sys.argv[4], "w") as f:
        f.write("arrived_at,num_prefill_tokens,num_decode_tokens\\n")
        f.writelines(f"{a:.6f},{i},{o}\\n" for a, i, o in zip(arrival, isl, osl))
limits = SchedulerLimits(256, 8192, 27_000, 16)
t2 = time.perf_counter()
m = latency_model(model("meta-llama/Llama-3.1-8B-Instruct"), gpu("h100_sxm"), Layout(), engine="vllm")
t3 = time.perf_counter()
table = table_for(m, requests, limits)
t4 = time.perf_counter()
times = []
for _ in range(runs):
    start = time.perf_counter()
    result = simulate(requests, table, limits, VLLM)
    times.append(time.perf_counter() - start)
t5 = time.perf_counter()
s = summarise(result)
t6 = time.perf_counter()
print(json.dumps({"import": t1 - t0, "trace": t2 - t1, "model": t3 - t2, "table": t4 - t3, "first": times[0],
                  "best": min(times), "summary": t6 - t5,
                  "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                  "busy": s.busy_share, "batch": s.mean_decode_batch, "ttft_p99": s.ttft.p99,
                  "tpot": s.tpot.mean, "output_tok_s": s.output_tok_s}))
"""


def ours(n: int, rate: float, runs: int = 3, trace: Path | None = None) -> dict[str, float]:
    """One new process that simulates ``n`` requests ``runs`` times."""
    args = [str(n), str(rate), str(runs), *([str(trace)] if trace else [])]
    done = subprocess.run([sys.executable, "-c", _CHILD, *args], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def peer(name: str, command: str, trace: Path) -> None:
    """Run a peer on the trace and print its wall time and the peak memory of its process."""
    start = time.perf_counter()
    child = subprocess.Popen(shlex.split(command.replace("{trace}", str(trace))), stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall, code = time.perf_counter() - start, os.waitstatus_to_exitcode(status)
    outcome = f"{wall:8.2f} s wall {usage.ru_maxrss / 1024:8.0f} MB" if code == 0 else f"failed with exit code {code}"
    print(f"{name}: {PEER_REQUESTS:,} requests, {outcome}")


def main() -> None:
    """Print one line per size, then the peers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="at most 100,000 requests")
    parser.add_argument("--peer", nargs=2, action="append", default=[], metavar=("NAME", "COMMAND"))
    options = parser.parse_args()
    sizes = [1_000, 10_000, 20_000, 100_000] + ([] if options.quick else [1_000_000])
    print(f"{'requests':>9} {'import':>7} {'model':>7} {'table':>7} {'first':>7} {'again':>7} {'summary':>7}  s  "
          f"{'us/request':>10} {'peak MB':>8} {'busy':>5} {'batch':>6}")
    for n in sizes:
        r = ours(n, RATE_PER_S)
        parts = " ".join(f"{r[k]:7.3f}" for k in ("import", "model", "table", "first", "best", "summary"))
        print(f"{n:9,} {parts}     {1e6 * r['best'] / n:10.2f} {r['peak_mb']:8.0f} {r['busy']:5.2f} {r['batch']:6.1f}")
    for rate in (1.0, 30.0):
        r = ours(PEER_REQUESTS, rate)
        print(f"{PEER_REQUESTS:9,} at {rate:g}/s: first {r['first']:.3f} s, again {r['best']:.3f} s, "
              f"batch {r['batch']:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.csv"
        ours(PEER_REQUESTS, RATE_PER_S, 1, trace)
        for name, command in options.peer:
            peer(name, command, trace)
    if not options.peer:
        print("peers: skipped, none was given (vidur 0.0.26 from PyPI needs profiling data from the Hugging Face Hub, "
              "inference-sim a Go toolchain)")


if __name__ == "__main__":
    main()

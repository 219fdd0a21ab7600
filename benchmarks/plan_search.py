"""How long a plan takes from a cold start, and an exhaustive search over a long trace, each in a new process.

Usage: python benchmarks/plan_search.py [--repeat N]

Goals: the shipped chat workload in 5 s, imports included; at least 500 candidates on a 20,000-request trace in 60 s
on two cores. The trace is drawn from the chat workload; every candidate that no bound excludes is simulated on all of
its requests. Last, ten seeds of the chat workload: how often does $/1M stay within the stated 90 % interval?
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_CHAT = """
import resource, sys, time
t0 = time.perf_counter()
from costplan.api import plan
answer = plan(sys.argv[1])
best = answer.best
print(f"  {time.perf_counter() - t0:.2f} s in the process, "
      f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB, {answer.stats.candidates} candidates, "
      f"{answer.stats.simulations} simulations: {best.name}, ${best.money.usd_per_mtok_out.value:.3f} per 1M")
"""

_TRACE = """
import resource, sys, time
from dataclasses import replace
t0 = time.perf_counter()
from costplan.api import load_workload, plan
from costplan.plan.planner import PlanOptions
from costplan.workload.arrivals import TraceArrivals
from costplan.workload.requests import sample_requests
workload = load_workload(sys.argv[1])
drawn = sample_requests(workload, 20_000, 0)
workload = replace(workload, lengths=None, trace=drawn.as_trace("drawn"), arrivals=TraceArrivals(drawn.arrival_s),
                   candidates=replace(workload.candidates, engines=("vllm", "sglang")))
answer = plan(workload, options=PlanOptions(exhaustive=True, sample_requests=20_000))
s = answer.stats
print(f"  {time.perf_counter() - t0:.1f} s, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB: "
      f"{s.candidates} candidates, {s.pruned_by_bound} excluded by bounds, {s.simulated} simulated "
      f"({s.simulations} runs of {s.sample_requests} requests): {answer.best.name}")
"""

_SEEDS = """
import sys
from costplan.api import load_workload, plan
from costplan.plan.planner import PlanOptions
workload = load_workload(sys.argv[1])
options = PlanOptions(robustness=False, sensitivity=False, shown=1)
answers = [plan(workload, seed=s, options=options).best.money for s in range(11)]
low, high = answers[0].i90_usd_per_mtok_out.low, answers[0].i90_usd_per_mtok_out.high or float("inf")
inside = sum(low <= m.usd_per_mtok_out.value <= high for m in answers[1:])
print(f"  {inside} of 10 other seeds within ${low:.3f} .. ${high:.3f}")
"""


def child(code: str, workload: str) -> float:
    """Wall seconds of a new interpreter, start-up included."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, str(ROOT / "configs" / f"{workload}.yaml")], check=True, cwd=ROOT)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, help="runs of the cold start")
    args = parser.parse_args()
    print("chat workload, new process (goal: 5 s)")
    print(f"  best of {args.repeat}: {min(child(_CHAT, 'chat') for _ in range(args.repeat)):.2f} s wall")
    print("exhaustive search on a trace of 20,000 requests (goal: 60 s)")
    print(f"  {child(_TRACE, 'chat'):.1f} s wall")
    print("stability")
    for name in ("chat", "code"):
        child(_SEEDS, name)


if __name__ == "__main__":
    main()

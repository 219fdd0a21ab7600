"""Our timing protocol beside the field's own timers, on the same kernels in the same process.

CPU: ``torch.utils.benchmark.Timer.blocked_autorange`` (warm inputs: compared with a single rotating set).
CUDA: ``triton.testing.do_bench`` (cache overwritten before each call: our cold regime), ``do_bench_cudagraph`` (our
steady regime on one input set) and, where cuda-bench is installed, nvbench.

    python benchmarks/timer_agreement.py [--device cpu|cuda]

Prints median seconds of both and their ratio; the goal is a ratio within 2 % on a quiet machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

from costplan.kernels import registry
from costplan.kernels.backend import Prepared
from costplan.kernels.device import describe
from costplan.kernels.inputs import Inputs
from costplan.kernels.timer import protocol
from costplan.kernels.timer.clock import Clock, CpuClock, CudaClock
from costplan.kernels.timer.protocol import Regime
from costplan.profile.case import Case

HEADS: dict[str, int | str] = {"num_heads": 32, "num_kv_heads": 8, "head_dim": 128, "dtype": "bf16", "kv_dtype": "bf16"}
ROUNDS = 3


def cases(device: str) -> Iterator[tuple[str, Case]]:
    """Backend and case: small, middle and large of each kind."""
    big = device == "cuda"
    gemm, sdpa = ("torch-gemm", "sdpa-flash") if big else ("torch-cpu-gemm", "torch-cpu-sdpa")
    size = 4096 if big else 1024
    for m in (1, 64, 1024 if big else 256):
        yield gemm, Case.of("gemm", m=m, n=size, k=size, dtype="bf16")
    for length in (512, 4096 if big else 1024):
        yield sdpa, Case.of("attn_prefill", batch=1, q_len=length, kv_len=length, **HEADS)


def peers(device: str) -> dict[str, tuple[Regime, Callable[[Callable[[], Any]], float]]]:
    """The timers at hand, with the regime of ours that measures the same thing; each returns a median in seconds."""
    if device == "cpu":
        from torch.utils.benchmark import Timer

        def autorange(call: Callable[[], Any]) -> float:
            import torch

            timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
            return float(timer.blocked_autorange(min_run_time=1.0).median)

        return {"torch.utils.benchmark": (Regime.STEADY, autorange)}
    from triton.testing import do_bench, do_bench_cudagraph

    found: dict[str, tuple[Regime, Callable[[Callable[[], Any]], float]]] = {
        "triton do_bench": (Regime.COLD, lambda call: do_bench(call, return_mode="median") * 1e-3),
        "triton do_bench_cudagraph": (
            Regime.STEADY, lambda call: do_bench_cudagraph(call, return_mode="median") * 1e-3)}
    try:
        import cuda.bench  # noqa: F401
    except ImportError:
        print("nvbench: not installed (pip install cuda-bench)")
    else:
        found["nvbench"] = (Regime.COLD, nvbench)
    return found


def nvbench(call: Callable[[], Any]) -> float:
    """nvbench's cold measurement of ``call`` on its own stream."""
    import json
    import tempfile

    import torch
    from cuda import bench

    def measured(state: Any) -> None:
        def launch(started: Any) -> None:
            with torch.cuda.stream(torch.cuda.ExternalStream(started.get_stream().addressof())):
                call()
        state.exec(launch)

    bench.register(measured)
    with tempfile.NamedTemporaryFile(suffix=".json") as f:
        bench.run_all_benchmarks(["timer_agreement", "--json", f.name])
        told = json.load(f)
    for summary in told["benchmarks"][-1]["states"][0]["summaries"]:
        if summary["tag"] == "nv/cold/time/gpu/mean":
            return float(summary["data"][0]["value"])
    raise RuntimeError("nvbench reported no cold time")


def ours_s(call: Callable[[], Any], clock: Clock, regime: Regime, limits: protocol.Limits) -> float:
    """Median of our protocol on one input set."""
    prepared = Prepared([call], lambda _: 0.0, 0.0, "k")
    return protocol.sample(prepared, clock, regime, limits).summary.median_s


def main() -> None:
    """One line per case and peer: the median of alternating rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    device = parser.parse_args().device
    found = describe(device)
    clock: Clock = CudaClock(found.cache_bytes) if device == "cuda" else CpuClock(found.cache_bytes)
    limits = protocol.GPU if device == "cuda" else protocol.CPU
    print(f"{found.name}, {found.versions}")
    known = peers(device)
    for backend, case in cases(device):
        inputs = Inputs(device, found.cache_bytes, found.memory_bytes // 4, seed=1)
        call = registry.backend(backend).prepare(case, inputs).calls[0]
        for peer, (regime, timer) in known.items():
            pairs = [(ours_s(call, clock, regime, limits), timer(call)) for _ in range(ROUNDS)]
            ours, theirs = (sorted(p[i] for p in pairs)[ROUNDS // 2] for i in (0, 1))
            print(f"{peer:26s} {regime.value:7s} ours {ours * 1e6:10.2f} us  theirs {theirs * 1e6:10.2f} us  "
                  f"ratio {ours / theirs:.4f}  {case.key}")


if __name__ == "__main__":
    main()

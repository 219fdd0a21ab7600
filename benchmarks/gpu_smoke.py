"""Each CUDA backend once, small: does it run here, is the result right, how long does a call take, which graphs work.

    python benchmarks/gpu_smoke.py --out smoke.json [--device cuda] [--timeout 120] [--only fa3]

One process per backend, so that a crash costs one line. Times are rough (median of 20 calls, warm cache): measuring is
what `costplan profile` does. With --device cpu the backends of the CPU are run, to prove this program.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from costplan.kernels import registry
from costplan.kernels.inputs import Inputs
from costplan.profile.case import Case
from costplan.profile.lengths import ragged_case

HEADS: dict[str, int | str] = {"num_heads": 32, "num_kv_heads": 8, "head_dim": 128, "dtype": "bf16", "kv_dtype": "bf16"}
FP8: dict[str, int | str] = {"dtype": "fp8", "kv_dtype": "fp8"}
MLA: dict[str, int | str] = {"num_heads": 16, "dtype": "bf16", "kv_dtype": "bf16"}
CALLS = 20


def cases(scale: int) -> list[Case]:
    """A case or more of every family; ``scale`` divides lengths for slow devices."""
    length, batch = 4096 // scale, max(2, 16 // scale)
    decode = [Case.of("attn_decode", batch=batch, kv_len=length, page_size=p, num_splits=s, **{**HEADS, **kinds})
              for kinds in ({}, FP8, {"kv_dtype": "fp8"})
              for p, s in ((0, 0), (1, 0), (16, 0), (256, 0), (16, 1), (16, 8))]
    prefill = [Case.of("attn_prefill", batch=2, q_len=q, kv_len=length, page_size=p, **{**HEADS, **kinds})
               for kinds in ({}, FP8) for p in (0, 16, 256) for q in (length, length // 8)]
    prefill.append(Case.of("attn_prefill", batch=2, q_len=length, kv_len=length, **{**HEADS, "num_kv_heads": 32}))
    lengths = ((length // 8, length), (1, length), (1, length // 3))
    mixed = [ragged_case(lengths, page_size=p, **HEADS) for p in (0, 16, 256)]
    latent = [Case.of("mla_decode", batch=batch, kv_len=length, **MLA),
              Case.of("mla_prefill", batch=1, q_len=length, kv_len=length, **MLA)]
    gemms = [Case.of("gemm", m=m, n=n, k=n, dtype=d) for n in (4096 // scale,) for m in (16, 17, 2048 // scale)
             for d in ("bf16", "fp8", "fp8_block", "int8", "int4", "nvfp4")]
    experts = [Case.of("moe", tokens=t, hidden_size=2048 // scale, inter_size=768 if scale == 1 else 128, top_k=4,
                       num_experts=32, tp=1, ep=1, dtype=d, distribution="power_law_1.01")
               for t in (16, 1024 // scale) for d in ("bf16", "fp8", "fp8_block")]
    small = [Case.of("elementwise", m=256 // scale, k=4096, op=op, dtype="bf16") for op in (
        "rms_norm", "add_rms_norm", "rope", "silu_mul", "kv_write", "quant_fp8", "quant_int8", "sampling", "copy")]
    joined = [Case.of("collective", num_gpus=2, message_bytes=1 << 20, op=op, dtype="bf16") for op in (
        "all_reduce", "all_gather", "reduce_scatter", "alltoall")]
    return decode + prefill + mixed + latent + gemms + experts + small + joined


def one_backend(name: str, device: str) -> None:
    """Rows of one backend, a line of JSON each; runs in its own process."""
    backend = registry.backend(name)
    found = backend.probe()
    tell({"backend": name, "available": found.ok, "version": found.version, "reason": found.reason,
          "facts": dict(found.facts)})
    if not found.ok:
        return
    for case in cases(1 if device == "cuda" else 16):
        if backend.supports(case) is None:
            tell({"backend": name, "case": case.key, **attempt(backend, case, device)})


def attempt(backend: Any, case: Case, device: str) -> dict[str, Any]:
    """Outcome of one case: error, microseconds per call, whether a CUDA graph of it replays."""
    import torch

    begun = time.perf_counter()
    try:
        prepared = backend.prepare(case, Inputs(device, 1 << 20, 1 << 30, 5))
        error = prepared.error(prepared.calls[0]())
        row = {"kernel": prepared.kernel, "error": error, "ok": error <= prepared.tolerance,
               "first_s": round(time.perf_counter() - begun, 2), "us": microseconds(prepared.calls[0], device)}
        if device == "cuda" and prepared.graphable:
            row["graph"] = graphed(prepared)
        return row
    except Exception as e:
        row = {"ok": False, "failed": f"{type(e).__name__}: {str(e).strip().splitlines()[:1]}"[:300]}
        if device == "cuda":
            try:
                torch.cuda.synchronize()
            except RuntimeError as broken:
                tell({"backend": backend.name, "case": case.key, **row, "context": "broken"})
                raise SystemExit(3) from broken
        return row


def microseconds(call: Any, device: str) -> float:
    """Rough median time of a call."""
    import torch

    times = []
    for _ in range(CALLS):
        if device == "cuda":
            a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            a.record()
            call()
            b.record()
            torch.cuda.synchronize()
            times.append(a.elapsed_time(b) * 1e3)
        else:
            t = time.perf_counter()
            call()
            times.append((time.perf_counter() - t) * 1e6)
    return round(statistics.median(times), 2)


def graphed(prepared: Any) -> str:
    """``right`` where a replayed CUDA graph gives the right result, else what happened."""
    import torch

    try:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            prepared.calls[0]()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = prepared.calls[0]()
        graph.replay()
        torch.cuda.synchronize()
        return "right" if prepared.error(out) <= prepared.tolerance else "wrong result"
    except Exception as e:
        return f"{type(e).__name__}: {e}"[:200]


def tell(row: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run all backends and write their rows after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("smoke.json"))
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--timeout", type=float, default=120.0)
    parser.add_argument("--only", default="")
    parser.add_argument("--backend", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.backend:
        one_backend(given.backend, given.device)
        return
    rows: list[dict[str, Any]] = json.loads(given.out.read_text(encoding="utf-8")) if given.out.is_file() else []
    done = {r["backend"] for r in rows}
    for backend in registry.backends(given.device):
        if backend.name in done or given.only not in backend.name:
            continue
        rows += run_one(backend.name, given.device, given.timeout)
        given.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    good = [r for r in rows if r.get("ok")]
    bad = [r for r in rows if r.get("ok") is False or r.get("died")]
    sys.stdout.write(f"{len(good)} right, {len(bad)} not: {given.out}\n")


def run_one(name: str, device: str, timeout_s: float) -> list[dict[str, Any]]:
    """Rows of one backend, whatever happens to its process."""
    command = [sys.executable, __file__, "--backend", name, "--device", device]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        died = None
        try:
            out, errors = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            out, errors = process.communicate()
            died = f"no end within {timeout_s:g} s"
        except BaseException:
            process.kill()
            raise
    rows: list[dict[str, Any]] = []
    for line in out.decode(errors="replace").splitlines():
        if line.startswith("{"):
            rows.append(json.loads(line))
            sys.stdout.write(f"{line[:200]}\n")
    if process.returncode or died:
        rows.append({"backend": name, "died": died or f"exit {process.returncode}: {errors.decode()[-300:]}"})
        sys.stdout.write(f"{name}: {rows[-1]['died']}\n")
    return rows


if __name__ == "__main__":
    main()

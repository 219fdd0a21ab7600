"""Commands of costplan and of NVIDIA's AISimulate / AIConfigurator, each run as a new process and read alike."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

TRACE_BLOCK = 512
TIMEOUT_S = 900


@dataclass(frozen=True, slots=True)
class Point:
    """One deployment under a closed loop, in both tools' words. Lengths are fixed."""

    title: str
    ours: str  # options of `costplan predict`
    model: str  # name for the peer, of a config that its wheel holds (it works offline)
    hardware: str
    engine: str
    isl: int
    osl: int
    concurrency: int
    tp: int = 1
    moe_ep: int | None = None  # expert-parallel size; None: a dense model


@dataclass(frozen=True, slots=True)
class Ran:
    """One command: seconds, MiB of its largest process, what it printed (None: it refused, see ``why``)."""

    wall_s: float
    peak_mib: float
    out: str | None
    why: str = ""


def run(command: list[str], runs: int = 1) -> Ran:
    """The last output, the shortest wall time and the highest peak of ``runs`` new processes."""
    walls, peak, out, why = [], 0.0, "", ""
    for _ in range(runs):
        with tempfile.TemporaryFile("w+") as o, tempfile.TemporaryFile("w+") as e:
            start = time.perf_counter()
            child = subprocess.Popen(["timeout", str(TIMEOUT_S), *command], stdout=o, stderr=e)
            _, status, usage = os.wait4(child.pid, 0)
            walls.append(time.perf_counter() - start)
            peak = max(peak, usage.ru_maxrss / 1024)
            o.seek(0)
            e.seek(0)
            out, why = o.read(), e.read()
        if os.waitstatus_to_exitcode(status):
            lines = [x for x in why.splitlines() if re.search(r"Error|error:|failed(?!=)", x)]
            return Ran(min(walls), peak, None, (lines or why.split("\n")[-2:-1] or ["no message"])[-1][-300:])
    return Ran(min(walls), peak, out)


def disk_mb(python: str) -> float:
    """MB (1e6 bytes on disk) of the environment of a Python."""
    root = Path(python).parent.parent
    return sum(p.lstat().st_blocks * 512 for p in root.rglob("*") if not p.is_symlink()) / 1e6


def version(python: str, package: str) -> str | None:
    """Installed version of a package, or None."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([python, "-c", code], check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def replay(python: str, folder: Path, p: Point, trace: Path | None = None, runs: int = 1, mode: str = "SILICON") -> Ran:
    """`aisimulate predict`: ten requests per slot of fixed length, or those of a trace."""
    experts = {"moe_tensor": p.tp // p.moe_ep, "moe_expert": p.moe_ep} if p.moe_ep else {}
    worker = {"parallelism": {"tensor": p.tp, **experts}, "scheduler": {"max_sequences": max(256, p.concurrency)},
              **({"timing": {"database_mode": mode}} if mode != "SILICON" else {})}
    source = ({"type": "synthetic", "input_tokens": p.isl, "output_tokens": p.osl} if trace is None else
              {"type": "trace", "format": "mooncake", "paths": [str(trace)], "block_size": TRACE_BLOCK})
    traffic = {"source": source, "load": {"type": "concurrency", "concurrency": p.concurrency}}
    if trace is None:
        traffic["stop"] = {"requests": 10 * p.concurrency}
    config = folder / "prediction.yaml"
    config.write_text(json.dumps({"traffic": traffic, "engine": {
        "mode": "aggregated", "model": p.model, "hardware": p.hardware, "backend": p.engine,
        "workers": {"aggregated": worker}}}))
    return run([str(Path(python).parent / "aisimulate"), "predict", "-c", str(config), "--format", "json",
                "--overwrite", "--output-dir", str(folder / "out")], runs)


def estimate(python: str, p: Point, runs: int) -> Ran:
    """`aiconfigurator cli estimate`, the closed form."""
    moe = ["--moe-tp-size", str(p.tp // p.moe_ep), "--moe-ep-size", str(p.moe_ep)] if p.moe_ep else []
    return run([str(Path(python).parent / "aiconfigurator"), "cli", "estimate", "--model-path", p.model, "--system",
                p.hardware, "--backend", p.engine, "--isl", str(p.isl), "--osl", str(p.osl), "--tp-size", str(p.tp),
                "--batch-size", str(p.concurrency), *moe], runs)


def ours(p: Point, runs: int) -> Ran:
    """`costplan predict` of the same point."""
    return run([sys.executable, "-m", "costplan", "predict", *shlex.split(p.ours), "--engine", p.engine, "--isl",
                str(p.isl), "--osl", str(p.osl), "--tp", str(p.tp), "--concurrency", str(p.concurrency),
                "--spread", "0", "--json"], runs)


def of_ours(out: str) -> tuple[float, float, float]:
    """TTFT and TPOT in ms, output tok/s."""
    m = json.loads(out)["metrics"]
    return 1e3 * m["ttft_s"]["value"], 1e3 * m["tpot_s"]["value"], m["output_tok_s"]["value"]


def of_replay(out: str) -> tuple[float, float, float]:
    """The same from the peer's replay."""
    d = json.loads(out[out.index("{"):])
    return d["mean_ttft_ms"], d["mean_tpot_ms"], d["output_throughput_tok_s"]


def of_estimate(out: str) -> tuple[float, float, float]:
    """The same from the peer's closed form."""
    def number(label: str) -> float:
        found = re.search(rf"^\s*{re.escape(label)}:\s+([\d,.]+)", out, re.M)
        assert found, f"no {label} in the peer's report"
        return float(found[1].replace(",", ""))
    return number("TTFT"), number("TPOT"), number("tokens/s")

"""Small tables and parquet trees that the tests of this room are made of, handed out as fixture ``make``."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from costplan.profile.ai_schema import make_table
from costplan.profile.case import Case
from costplan.profile.families import FAMILIES
from costplan.profile.manifest import Manifest
from costplan.profile.sanity import Peaks
from costplan.profile.store import Profile, write_profile
from costplan.profile.table import Table

PEAKS = Peaks({"bf16": 1e15, "fp8": 2e15}, 4e12, 50 << 20)


def table(family: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """A table from row mappings; columns that a row does not name are 0 or ``x``."""
    f = FAMILIES[family]
    values = {n: np.array([r.get(n, 0) for r in rows], dtype=np.int64) for n in f.ints}
    texts = {n: np.array([r.get(n, "x") for r in rows], dtype=object) for n in f.texts}
    return make_table(family, {**values, **texts, "latency_s": np.array([float(r["latency_s"]) for r in rows])})


def gemm(*cells: tuple[int, float], n: int = 4096, k: int = 4096, dtype: str = "bf16",
         kernel: str = "cutlass") -> Table:
    """A GEMM sweep over ``(m, seconds)``."""
    return table("gemm", [{"m": m, "n": n, "k": k, "dtype": dtype, "kernel": kernel, "latency_s": s} for m, s in cells])


def manifest(name: str = "gpu1-vllm") -> Manifest:
    """A manifest without tables."""
    return Manifest(name=name, gpu="gpu1", engine="vllm", device="Some GPU", versions={"nccl": "2.29", "driver": None},
                    protocol={"rounding": "0.1 %"}, collected=("2026-10-13",), origin={"package": "p"},
                    licence="Apache-2.0", tables={})


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A parquet file of row mappings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(r) for r in rows]), path)


def gemm_rows(*cells: tuple[int, float], version: str = "0.31.0", n: int = 4096, k: int = 4096,
              dtype: str = "bfloat16", kernel: str = "torch") -> list[dict[str, Any]]:
    """Rows as the package's GEMM collector writes them; latencies in ms."""
    return [{"framework": "VLLM", "version": version, "device": "NVIDIA H200", "op_name": "gemm",
             "kernel_source": kernel, "gemm_dtype": dtype, "m": m, "n": n, "k": k, "latency": ms} for m, ms in cells]


def own_profile(folder: Path, runs: Mapping[str, Mapping[int, float]], **changed: Any) -> Profile:
    """A profile that we measured: ``runs`` maps a run to seconds by ``m`` of a GEMM, two passes each, 1 % apart."""
    lines: list[dict[str, Any]] = []
    for run, cells in runs.items():
        for m, s in cells.items():
            case = Case.of("gemm", m=m, n=64, k=64, dtype="bf16").as_json()
            lines += [{"case": case, "backend": "torch-cpu-gemm", "kernel": "mkldnn", "pass": p, "run": run,
                       "regimes": [{
                "regime": "steady", "samples_ns": [ns := round(s * 1e9 * (1 + 0.01 * p)), ns, ns + 7],
                "median_s": ns * 1e-9, "stop": "settled" if p == 1 else "not settled: noise"}],
                "telemetry": {"before": {}, "after": changed.get("telemetry", {})}} for p in (1, 2)]
    medians: dict[int, list[float]] = {}
    for x in lines:
        medians.setdefault(int(x["case"]["m"]), []).append(x["regimes"][0]["median_s"])
    lines += [{**lines[0], "sentinel": True, "regimes": [{"regime": "steady", "samples_ns": [ns], "median_s": ns * 1e-9,
                                                          "stop": "settled"}]} for ns in (1000, 1030)]
    lines.append({"case": lines[0]["case"], "backend": "flash-attn", "skipped": "not installed"})
    lines.append({"backend": "torch-cpu-gemm", "availability": {"version": "2.13"}})
    lines += changed.get("lines", [])
    data = gzip.compress("".join(json.dumps(x) + "\n" for x in lines).encode(), mtime=0)
    machine = {"name": "AMD EPYC", "cores": 2, "memory_bytes": 24 << 30, **changed.get("machine", {})}
    made = gemm(*((m, float(np.median(s)) * changed.get("table_factor", 1.0)) for m, s in medians.items()), n=64, k=64,
                kernel="mkldnn")
    origin = {"raw": {"file": "samples.jsonl.gz", "sha256": hashlib.sha256(data).hexdigest()}, "machine": machine,
              "ceilings": {"copy_bytes_per_s": 19e9, "flops_per_s": {"bf16": 4.2e11}, "floor_s": 5e-8}}
    m = replace(manifest(folder.name), gpu=changed.get("gpu", "cpu1"), engine="torch-cpu", origin=origin)
    write_profile(folder, m, [made])
    (folder / "samples.jsonl.gz").write_bytes(data)
    return Profile.load(folder)


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    return SimpleNamespace(table=table, gemm=gemm, manifest=manifest, write_parquet=write_parquet,
                           gemm_rows=gemm_rows, peaks=PEAKS, own_profile=own_profile)

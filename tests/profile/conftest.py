"""Small tables and parquet trees that the tests of this room are made of, handed out as fixture ``make``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from costplan.profile.ai_schema import make_table
from costplan.profile.families import FAMILIES
from costplan.profile.manifest import Manifest
from costplan.profile.sanity import Peaks
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


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    return SimpleNamespace(table=table, gemm=gemm, manifest=manifest, write_parquet=write_parquet,
                           gemm_rows=gemm_rows, peaks=PEAKS)

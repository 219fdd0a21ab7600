"""Which of several measured attention kernels an engine runs: the table ``data/kernels.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from costplan.catalog.gpu_spec import GpuSpec
from costplan.profile.table import Table


@cache
def rules() -> tuple[dict[str, Any], ...]:
    """All rules, in the order in which they are tried."""
    text = (Path(__file__).parent / "data" / "kernels.json").read_text(encoding="utf-8")
    return tuple(json.loads(text)["rules"])


def kernel_prefixes(engine: str, gpu: GpuSpec) -> tuple[str, ...]:
    """Names that the kernels of ``engine`` on ``gpu`` begin with, best first; empty: whichever is fastest."""
    vendor = "CPU" if gpu.is_cpu else gpu.vendor
    major = gpu.compute_capability.split(".")[0]
    for rule in rules():
        if (rule["engine"], rule["vendor"]) == (engine, vendor) and str(rule.get("major", major)) == major:
            return tuple(rule["prefixes"])
    return ()


def engine_rows(rows: Table, prefixes: Sequence[str]) -> Table:
    """Rows of the first prefix that any kernel name begins with; all rows where there is none."""
    names = rows.vocab["kernel"]
    for prefix in prefixes:
        wanted = np.array([n.startswith(prefix) for n in names], dtype=bool)
        mask = wanted[rows.codes["kernel"]]
        if mask.any():
            return rows.take(mask)
    return rows

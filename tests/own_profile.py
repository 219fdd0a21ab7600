"""A profile as `costplan profile` writes it, of a made-up CPU: rooflines at known efficiencies, so that what the models
make of it can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from costplan.perf import roofline
from costplan.profile.families import FAMILIES
from costplan.profile.lengths import ragged_case
from costplan.profile.manifest import Manifest
from costplan.profile.store import Profile, write_profile
from costplan.profile.table import Table

PEAK, BANDWIDTH, LAUNCH_S = 1.2e12, 4.0e10, 8e-6
DEVICE: dict[str, Any] = {
    "name": "cpu_x", "title": "Made-up CPU, 8 cores", "vendor": "CPU", "arch": "cpu", "compute_capability": "",
    "peak_flops": {"bf16": PEAK, "fp32": PEAK / 2}, "mem_bytes": 32 << 30, "mem_bandwidth_bytes_per_s": BANDWIDTH,
    "l2_bytes": 32 << 20, "num_sms": 8, "gpus_per_node": 1,
    "sources": {"peak_flops.bf16": "largest GEMM measured", "mem_bandwidth_bytes_per_s": "copy of 1 GiB"},
}
HEADS = {"num_heads": 16, "num_kv_heads": 8, "head_dim": 128, "window": 0}
BF16 = {"dtype": "bf16", "kv_dtype": "bf16"}
PAGE_COST = {16: 1.5, 64: 1.2, 128: 1.0}
RAGGED_COST = 1.3
Row = dict[str, Any]


def table(family: str, rows: Sequence[Row]) -> Table:
    """Rows with named values as a table; sizes that are left out are 0."""
    f = FAMILIES[family]
    vocab = {t: tuple(sorted({r[t] for r in rows})) for t in f.texts}
    columns = {i: np.array([r.get(i, 0) for r in rows], dtype=np.int64) for i in f.ints}
    columns["latency_s"] = np.array([r["latency_s"] for r in rows], dtype=np.float64)
    codes = {t: np.array([vocab[t].index(r[t]) for r in rows], dtype=np.int64) for t in f.texts}
    return Table(family, columns, codes, vocab)


def seconds(work: roofline.Work, efficiency: float) -> float:
    return work.time_s(PEAK, BANDWIDTH) / efficiency + LAUNCH_S


def decode_s(batch: float, kv_len: float) -> float:
    """Decode attention at pages of 128."""
    return seconds(roofline.attn_decode(batch, kv_len, 16, 8, 128, 2.0), 0.5)


def prefill_s(batch: float, q_len: float, kv_len: float) -> float:
    """Prompts; an efficiency that falls with the cached context, which no square prompt shows."""
    return seconds(roofline.attn_prefill(batch, q_len, kv_len, 16, 8, 128, 2.0), 0.4 * (q_len / kv_len) ** 0.2)


def gemm_rows() -> Iterable[Row]:
    for m in (1, 4, 16, 64, 256, 1024, 4096):
        for n in (1024, 2048, 4096, 6144, 151936):
            for k in (1024, 2048, 3072):
                yield {"m": m, "n": n, "k": k, "dtype": "bf16", "kernel": "torch-cpu-gemm",
                       "latency_s": seconds(roofline.gemm(m, n, k, 2.0, 2.0), 0.7)}


def decode_rows(pages: Sequence[int] = (16, 64, 128)) -> Iterable[Row]:
    """Paged by the kernel that vLLM's stands for, and faster by one that it does not run; splits beside automatic."""
    for batch in (1, 4, 16, 64):
        for kv_len in (128, 1024, 8192):
            case = {"batch": batch, "kv_len": kv_len, **HEADS, **BF16}
            for page in pages:
                took = decode_s(batch, kv_len) * PAGE_COST.get(page, 1.0)
                yield {**case, "page_size": page, "kernel": "torch-cpu-paged", "latency_s": took}
                yield {**case, "page_size": page, "kernel": "torch-cpu-flex", "latency_s": took / 2}
                yield {**case, "page_size": page, "num_splits": 4, "kernel": "torch-cpu-paged", "latency_s": took / 3}


def prefill_rows(contexts: Sequence[int] = (0, 1024, 8192)) -> Iterable[Row]:
    for batch in (1, 4):
        for q in (16, 128, 1024, 4096):
            for past in contexts:
                yield {"batch": batch, "q_len": q, "kv_len": q + past, **HEADS, **BF16, "kernel": "torch-cpu-sdpa",
                       "latency_s": prefill_s(batch, q, q + past)}


def ragged_rows(cost: float = RAGGED_COST) -> Iterable[Row]:
    """Decoding sequences of uneven lengths, and the same with a prompt."""
    for batch in (4, 16, 64):
        kv = [64 * (1 + i % 7) for i in range(batch)]
        alone = cost * decode_s(batch, sum(kv) / batch) * PAGE_COST[128]
        for pairs, took in (([(1, x) for x in kv], alone),
                            ([(1024, 2048), *((1, x) for x in kv)], alone + cost * prefill_s(1, 1024, 2048))):
            found = ragged_case(pairs, **HEADS, page_size=128, **BF16)
            yield {**found.values(), "kernel": "torch-cpu-paged", "latency_s": took}


def elementwise_rows(factor: float = 2.0) -> Iterable[Row]:
    """Streams at ``1 / factor`` of the bandwidth."""
    each = {"add_rms_norm": 8, "rope": 4, "kv_write": 4, "silu_mul": 6, "sampling": 16}
    for op, size in each.items():
        for m in (1, 16, 256, 4096):
            for k in (1024, 2048, 4096, 151936):
                yield {"m": m, "k": k, "op": op, "dtype": "bf16", "kernel": "torch-cpu-elementwise",
                       "latency_s": factor * m * k * size / BANDWIDTH + LAUNCH_S}


def tables(**replaced: Iterable[Row] | None) -> list[Table]:
    """All families; a family given as None is left out."""
    makers: dict[str, Callable[[], Iterable[Row]]] = {
        "gemm": gemm_rows, "attn_decode": decode_rows, "attn_prefill": prefill_rows, "attn_ragged": ragged_rows,
        "elementwise": elementwise_rows}
    out = []
    for family, make in makers.items():
        rows = replaced[family] if family in replaced else make()
        if rows is not None:
            out.append(table(family, list(rows)))
    return out


def write(folder: Path, device: dict[str, Any] | None = DEVICE, gpu: str = "cpu_x",
          **replaced: Iterable[Row] | None) -> Profile:
    """A profile folder on disk."""
    origin: dict[str, Any] = {"made": "by a test"} | ({} if device is None else {"device_spec": device})
    manifest = Manifest(folder.name, gpu, "costplan", "a made-up device", {"torch": "0"}, {}, ("2026-11-21",), origin,
                        "CC0", {})
    return write_profile(folder, manifest, tables(**replaced))

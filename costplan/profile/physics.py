"""Least work of a measured case: FLOPs, and bytes that memory must move. Lower bounds, to refuse the impossible."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from costplan.profile.table import Table

Floats = NDArray[np.float64]

# compute format that a storage format can reach at best
COMPUTE = {"bf16": "bf16", "fp16": "fp16", "fp8": "fp8", "fp8_block": "fp8", "nvfp4": "fp4", "int8": "int8",
           "int8_wo": "bf16", "int4": "bf16", "mxfp4": "bf16", "mxfp4_a8": "fp8", "w4afp8": "fp8"}
ELEMENT_BYTES = {"bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "fp8_block": 1.0, "nvfp4": 0.5, "int8": 1.0, "int8_wo": 1.0,
                 "int4": 0.5, "mxfp4": 0.5, "mxfp4_a8": 0.5, "w4afp8": 0.5}
_MLA_QK_DIM, _MLA_V_DIM, _MLA_LATENT = 192, 128, 576


def flops(table: Table, peak_flops: Mapping[str, float]) -> tuple[Floats, Floats] | None:
    """Least FLOPs of each row and the peak FLOP/s that they may run at; None where the family has no bound."""
    c = {k: np.asarray(v, dtype=np.float64) for k, v in table.columns.items()}
    if table.family == "gemm":
        work = 2 * c["m"] * c["n"] * c["k"]
    elif table.family == "attn_prefill":
        pairs = visible_pairs(c["q_len"], c["kv_len"], c["window"])
        work = 4 * c["batch"] * c["num_heads"] * c["head_dim"] * pairs
    elif table.family == "mla_prefill":
        pairs = visible_pairs(c["q_len"], c["kv_len"], np.zeros(len(table)))
        work = 2 * c["batch"] * c["num_heads"] * (_MLA_QK_DIM + _MLA_V_DIM) * pairs
    elif table.family == "moe":
        work = _moe_flops(table, c)
    else:
        return None
    return work, _peak(table, peak_flops)


def visible_pairs(q_len: Floats, kv_len: Floats, window: Floats) -> Floats:
    """Query-key pairs of causal attention over the last ``q_len`` of ``kv_len`` tokens; window 0 sees all."""
    past = kv_len - q_len
    w = np.where(window > 0, window, kv_len)
    growing = np.clip(w - past, 0, q_len)
    return growing * past + growing * (growing + 1) / 2 + (q_len - growing) * w


def _moe_flops(table: Table, c: Mapping[str, Floats]) -> Floats:
    """Two matrices per expert at least; only balanced routing that reaches every expert bounds one rank."""
    work = 4 * c["tokens"] * c["top_k"] * c["hidden_size"] * c["inter_size"] / (c["tp"] * c["ep"])
    known = table.mask(distribution="balanced") & (c["tokens"] * c["top_k"] >= c["num_experts"])
    return np.where(known, work, 0.0)


def _peak(table: Table, peak_flops: Mapping[str, float]) -> Floats:
    """Best peak of the formats involved: an engine may compute in that of the operands or of the cache.

    A format without units of its own runs on bf16's; unknown formats get the best of all.
    """
    best = max(peak_flops.values())
    out = np.zeros(len(table))
    for column in ("dtype", "kv_dtype"):
        if column in table.vocab:
            peaks = [peak_flops.get(COMPUTE[d], peak_flops.get("bf16", best)) if d in COMPUTE else best
                     for d in table.vocab[column]]
            out = np.maximum(out, np.array(peaks)[table.codes[column]])
    return out


def bytes_moved(table: Table) -> Floats | None:
    """Least bytes that each row reads: operands of a GEMM, KV cache of a decode; None where unknown."""
    c = {k: np.asarray(v, dtype=np.float64) for k, v in table.columns.items()}
    if table.family == "gemm":
        return np.asarray(c["n"] * c["k"] * _element_bytes(table, "dtype") + 2 * c["m"] * c["n"])
    if table.family == "attn_decode":
        seen = np.where(c["window"] > 0, np.minimum(c["window"], c["kv_len"]), c["kv_len"])
        width = c["num_kv_heads"] * c["head_dim"] * _element_bytes(table, "kv_dtype")
        return np.asarray(2 * c["batch"] * seen * width)
    if table.family == "mla_decode":
        return np.asarray(c["batch"] * c["kv_len"] * _MLA_LATENT * _element_bytes(table, "kv_dtype"))
    return None


def _element_bytes(table: Table, column: str) -> Floats:
    size = np.array([ELEMENT_BYTES.get(d, 0.0) for d in table.vocab[column]], dtype=np.float64)
    return np.asarray(size[table.codes[column]])

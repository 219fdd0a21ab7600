"""AIConfigurator's table schemas -> our kernel families: names, units, dtypes.

Checked against the package's own collectors and values: latency is in ms (in us where the column says so and
in ``moe_a2a``); ``message_size`` counts elements; a decode step attends to ``isl + step`` tokens and a prefill
of ``isl`` tokens comes after ``step`` cached ones; heads are per rank, as are GEMM sizes; ``inter_size`` and
``num_experts`` are those of the whole layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costplan.core.errors import InputError
from costplan.profile.families import FAMILIES
from costplan.profile.merge import concat
from costplan.profile.table import Table

_MS, _US = 1e-3, 1e-6
DTYPES = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "int4_wo": "int4", "sq": "int8", "fp4": "nvfp4",
          "w4a16_mxfp4": "mxfp4", "w4a8_mxfp4_mxfp8": "mxfp4_a8"}
_COMM_BYTES = {"bfloat16": 2, "float16": 2, "half": 2, "fp8": 1, "int8": 1, "float32": 4}
_PHASES = {"context": "prefill", "generation": "decode"}


class Columns:
    """Columns of one parquet file, as integers, floats or texts. Missing ones raise InputError."""

    def __init__(self, data: Mapping[str, NDArray[Any]], where: str) -> None:
        self.data = data
        self.where = where
        self.rows = len(next(iter(data.values()))) if data else 0

    def __contains__(self, name: str) -> bool:
        return name in self.data

    def _get(self, name: str) -> NDArray[Any]:
        if name not in self.data:
            raise InputError(f"column {name} is missing", where=self.where,
                             hint="this table has a schema that costplan does not know")
        return self.data[name]

    def ints(self, name: str, default: int | None = None) -> NDArray[np.int64]:
        if default is not None and name not in self.data:
            return np.full(self.rows, default, dtype=np.int64)
        values = self._get(name)
        try:
            out = values.astype(np.int64)
            exact = bool((out == values.astype(np.float64)).all()) and not (out < 0).any()
        except (ValueError, TypeError) as e:
            raise InputError(f"column {name} does not hold whole numbers", where=self.where) from e
        if not exact:
            raise InputError(f"column {name} holds a negative or fractional number", where=self.where)
        return out

    def floats(self, name: str) -> NDArray[np.float64]:
        try:
            return self._get(name).astype(np.float64)
        except (ValueError, TypeError) as e:
            raise InputError(f"column {name} does not hold numbers", where=self.where) from e

    def texts(self, name: str, default: str = "") -> NDArray[Any]:
        if name not in self.data:
            return np.full(self.rows, default, dtype=object)
        return self.data[name].astype(str).astype(object)

    def dtypes(self, name: str) -> NDArray[Any]:
        return np.array([DTYPES.get(x, x) for x in self.texts(name)], dtype=object)

    def keep(self, rows: NDArray[np.bool_]) -> Columns:
        return Columns({k: v[rows] for k, v in self.data.items()}, self.where)


def make_table(family: str, values: Mapping[str, NDArray[Any]]) -> Table:
    """A table from plain arrays: the family's ints and texts, and ``latency_s``."""
    f = FAMILIES[family]
    codes, vocab = {}, {}
    for name in f.texts:
        words, index = np.unique(values[name].astype(str), return_inverse=True)
        vocab[name], codes[name] = tuple(str(w) for w in words), index.astype(np.int64)
    columns: dict[str, NDArray[np.generic]] = {n: values[n].astype(np.int64) for n in f.ints}
    columns["latency_s"] = values["latency_s"].astype(np.float64)
    return Table(family, columns, codes, vocab)


def _gemm(c: Columns) -> Table:
    return make_table("gemm", {"m": c.ints("m"), "n": c.ints("n"), "k": c.ints("k"), "dtype": c.dtypes("gemm_dtype"),
                               "kernel": c.texts("kernel_source"), "latency_s": c.floats("latency") * _MS})


def _lengths(c: Columns, *, prefill: bool) -> dict[str, NDArray[Any]]:
    lengths = {"batch": c.ints("batch_size"), "kv_len": c.ints("isl") + c.ints("step")}
    return {**lengths, "q_len": c.ints("isl")} if prefill else lengths


def _attention(c: Columns, *, prefill: bool) -> Table:
    zero = np.zeros(c.rows, dtype=np.int64)
    return make_table("attn_prefill" if prefill else "attn_decode", {
        **_lengths(c, prefill=prefill), "num_heads": c.ints("num_heads"),
        "num_kv_heads": c.ints("num_key_value_heads"), "head_dim": c.ints("head_dim"),
        "window": c.ints("window_size", 0), "page_size": zero, "num_splits": zero, "dtype": c.dtypes("attn_dtype"),
        "kv_dtype": c.dtypes("kv_cache_dtype"), "kernel": c.texts("kernel_source"),
        "latency_s": c.floats("latency") * _MS})


def _mla(c: Columns, *, family: str) -> Table:
    kernel = c.texts("kernel_source")
    if family.startswith("dsa"):
        skip = np.array([x.endswith("skip_indexer") for x in c.texts("op_name")], dtype=bool)
        kernel = np.where(skip, kernel + "+skip_indexer", kernel)
    return make_table(family, {
        **_lengths(c, prefill=family.endswith("prefill")), "num_heads": c.ints("num_heads"), "model": c.texts("model"),
        "dtype": c.dtypes("mla_dtype"), "kv_dtype": c.dtypes("kv_cache_dtype"),
        "gemm_dtype": c.dtypes("gemm_type"), "kernel": kernel, "latency_s": c.floats("latency") * _MS})


def _mla_bmm(c: Columns) -> Table:
    return make_table("mla_bmm", {
        "tokens": c.ints("num_tokens"), "num_heads": c.ints("num_heads"), "op": c.texts("op_name"),
        "dtype": c.dtypes("bmm_dtype"), "kernel": c.texts("kernel_source"), "latency_s": c.floats("latency") * _MS})


def _moe(c: Columns) -> Table:
    return make_table("moe", {
        "tokens": c.ints("num_tokens"), "hidden_size": c.ints("hidden_size"), "inter_size": c.ints("inter_size"),
        "top_k": c.ints("topk"), "num_experts": c.ints("num_experts"), "tp": c.ints("moe_tp_size"),
        "ep": c.ints("moe_ep_size"), "dtype": c.dtypes("moe_dtype"), "distribution": c.texts("distribution"),
        "kernel": c.texts("kernel_source"), "latency_s": c.floats("latency") * _MS})


def _collective(c: Columns, *, dtype: str, op: str | None) -> Table:
    raw = c.texts(dtype)
    if unknown := set(raw) - set(_COMM_BYTES):
        raise InputError(f"unknown element type {sorted(unknown)[0]!r}", where=c.where)
    size = np.array([_COMM_BYTES[x] for x in raw], dtype=np.int64)
    return make_table("collective", {
        "num_gpus": c.ints("num_gpus"), "message_bytes": c.ints("message_size") * size,
        "op": c.texts("op_name") if op is None else np.full(c.rows, op, dtype=object), "dtype": c.dtypes(dtype),
        "kernel": c.texts("kernel_source"), "latency_s": c.floats("latency") * _MS})


def _expert_all_to_all(c: Columns) -> Table:
    """``message_bytes`` is the BF16 hidden state of one rank's tokens, before copies to top_k experts."""
    op = np.array([f"moe_{x}" for x in c.texts("phase")], dtype=object)
    kernel = [f"{b}:top{t}:experts{e}:nodes{n}" for b, t, e, n in zip(
        c.texts("comm_backend"), c.ints("topk"), c.ints("num_experts"), c.ints("node_num"), strict=True)]
    return make_table("collective", {
        "num_gpus": c.ints("ep_size"), "message_bytes": c.ints("num_tokens") * c.ints("hidden_size") * 2, "op": op,
        "dtype": c.dtypes("comm_dtype"), "kernel": np.array(kernel, dtype=object),
        "latency_s": c.floats("latency") * _US})


def _deepep(c: Columns, *, mode: str) -> Table:
    """SGLang's DeepEP tables hold a dispatch and a combine time per row; eight GPUs per node."""
    normal = mode == "normal"
    parts = []
    for op in ("dispatch", "combine"):
        time = c.floats(f"{op}_transmit_us") + c.floats(f"{op}_notify_us") if normal else c.floats(f"{op}_avg_t_us")
        tail = [f":sms{n}" for n in c.ints(f"{op}_sms")] if normal else [""] * c.rows
        kernel = [f"deepep_{'ht' if normal else 'll'}:top{t}:experts{e}:nodes{n}{x}" for t, e, n, x in zip(
            c.ints("num_topk"), c.ints("num_experts"), c.ints("node_num"), tail, strict=True)]
        parts.append(make_table("collective", {
            "num_gpus": c.ints("node_num") * 8, "message_bytes": c.ints("num_token") * c.ints("hidden_size") * 2,
            "op": np.full(c.rows, f"moe_{op}", dtype=object), "dtype": np.full(c.rows, "default", dtype=object),
            "kernel": np.array(kernel, dtype=object), "latency_s": time * _US}))
    return concat(parts)


def _linear(c: Columns, *, kind: str) -> Table:
    """Mamba 2 in the words of the delta nets: groups are key heads, the state size is the key width."""
    mamba = kind == "mamba2"
    return make_table("linear_attention", {
        "batch": c.ints("batch_size"), "seq_len": c.ints("seq_len"), "hidden_size": c.ints("d_model"),
        "num_k_heads": c.ints("n_groups" if mamba else "num_k_heads"),
        "head_k_dim": c.ints("d_state" if mamba else "head_k_dim"),
        "num_v_heads": c.ints("nheads" if mamba else "num_v_heads"),
        "head_v_dim": c.ints("head_dim" if mamba else "head_v_dim"), "conv_kernel": c.ints("d_conv"),
        "kind": np.full(c.rows, kind, dtype=object),
        "phase": np.array([_PHASES.get(x, x) for x in c.texts("phase")], dtype=object),
        "kernel": c.texts("kernel_source"), "latency_s": c.floats("latency") * _MS})


def _quantize(c: Columns, *, op: str) -> Table:
    dtype = c.dtypes("quant_dtype")
    return make_table("elementwise", {
        "m": c.ints("m"), "k": c.ints("k"), "op": np.array([f"{op}_{d}" for d in dtype], dtype=object),
        "dtype": dtype, "kernel": c.texts("kernel_source"), "latency_s": c.floats("latency") * _MS})


@dataclass(frozen=True, slots=True)
class Schema:
    """How one kind of parquet file becomes a table of ``family``. ``only`` keeps rows by column value."""

    family: str
    build: Callable[[Columns], Table]
    only: Mapping[str, tuple[Any, ...]] | None = None


SCHEMAS: dict[str, Schema] = {
    "gemm_perf": Schema("gemm", _gemm),
    "context_attention_perf": Schema("attn_prefill", lambda c: _attention(c, prefill=True), {"beam_width": (1,)}),
    "generation_attention_perf": Schema("attn_decode", lambda c: _attention(c, prefill=False), {"beam_width": (1,)}),
    "context_mla_perf": Schema("mla_prefill", lambda c: _mla(c, family="mla_prefill")),
    "generation_mla_perf": Schema("mla_decode", lambda c: _mla(c, family="mla_decode")),
    "mla_context_module_perf": Schema("mla_module_prefill", lambda c: _mla(c, family="mla_module_prefill")),
    "mla_generation_module_perf": Schema("mla_module_decode", lambda c: _mla(c, family="mla_module_decode")),
    "dsa_context_module_perf": Schema("dsa_module_prefill", lambda c: _mla(c, family="dsa_module_prefill")),
    "dsa_generation_module_perf": Schema("dsa_module_decode", lambda c: _mla(c, family="dsa_module_decode")),
    "mla_bmm_perf": Schema("mla_bmm", _mla_bmm),
    "moe_perf": Schema("moe", _moe),
    "nccl_perf": Schema("collective", lambda c: _collective(c, dtype="nccl_dtype", op=None)),
    "custom_allreduce_perf": Schema("collective", lambda c: _collective(c, dtype="allreduce_dtype", op="all_reduce")),
    "moe_a2a_perf": Schema("collective", _expert_all_to_all),
    "wideep_deepep_ll_perf": Schema("collective", lambda c: _deepep(c, mode="ll")),
    "wideep_deepep_normal_perf": Schema("collective", lambda c: _deepep(c, mode="normal")),
    "gdn_perf": Schema("linear_attention", lambda c: _linear(c, kind="gdn"), {"phase": tuple(_PHASES)}),
    "kda_perf": Schema("linear_attention", lambda c: _linear(c, kind="kda"), {"phase": tuple(_PHASES)}),
    "mamba2_perf": Schema("linear_attention", lambda c: _linear(c, kind="mamba2"), {"phase": tuple(_PHASES)}),
    "computescale_perf": Schema("elementwise", lambda c: _quantize(c, op="compute_scale")),
    "scale_matrix_perf": Schema("elementwise", lambda c: _quantize(c, op="quant")),
}


def read_table(stem: str, data: bytes, where: str) -> tuple[Table, dict[str, int], dict[str, str | None]]:
    """Rows of one parquet file, rows left out by reason, and the device name that it records."""
    schema = SCHEMAS[stem]
    columns = Columns(_parquet(data, where), where)
    left_out: dict[str, int] = {}
    for name, allowed in (schema.only or {}).items():
        if name in columns:
            keep = np.isin(columns.data[name].astype(str), [str(a) for a in allowed])
            if not keep.all():
                left_out[f"other_{name}"] = int((~keep).sum())
                columns = columns.keep(keep)
    devices = sorted(set(columns.texts("device"))) if "device" in columns else []
    return schema.build(columns), left_out, {"device": devices[0] if len(devices) == 1 else None}


def _parquet(data: bytes, where: str) -> dict[str, NDArray[Any]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as e:
        raise InputError("reading parquet needs pyarrow", hint="pip install 'costplan[import]'") from e
    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError, ValueError) as e:
        raise InputError(f"not a readable parquet file: {e}", where=where) from e
    if len(set(table.column_names)) != table.num_columns:
        raise InputError("a column occurs twice", where=where)
    return {n: table.column(n).to_numpy(zero_copy_only=False) for n in table.column_names}

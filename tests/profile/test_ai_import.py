"""The importer on small trees: units, names, choice of versions, and every way in which a source can be wrong."""

from __future__ import annotations

import builtins
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from costplan.core.errors import CostplanError, InputError, UnknownNameError
from costplan.profile.ai_import import import_profile
from costplan.profile.ai_schema import SCHEMAS, read_table
from costplan.profile.ai_source import open_source, version_key
from costplan.profile.store import Profile

ATTENTION = {"device": "NVIDIA H200", "op_name": "a", "kernel_source": "fa3", "batch_size": 4, "isl": 1,
             "num_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "beam_width": 1, "attn_dtype": "bfloat16",
             "kv_cache_dtype": "fp8", "step": 1023, "latency": 0.02}
MLA = {"device": "d", "op_name": "dsa_generation_module", "kernel_source": "k", "model": "m", "architecture": "A",
       "mla_dtype": "bfloat16", "kv_cache_dtype": "fp8", "gemm_type": "fp8_block", "num_heads": 16,
       "batch_size": 2, "isl": 1, "tp_size": 8, "step": 511, "latency": 0.1}
MOE = {"device": "d", "op_name": "moe", "kernel_source": "triton", "moe_dtype": "w4a16_mxfp4", "num_tokens": 16,
       "hidden_size": 2880, "inter_size": 2880, "topk": 4, "num_experts": 128, "moe_tp_size": 2, "moe_ep_size": 1,
       "distribution": "balanced", "latency": 0.05}
GDN = {"device": "d", "op_name": "gdn", "kernel_source": "chunk", "phase": "context", "batch_size": 1, "seq_len": 64,
       "num_tokens": 64, "d_model": 2048, "d_conv": 4, "num_k_heads": 16, "head_k_dim": 128, "num_v_heads": 32,
       "head_v_dim": 128, "model_name": "q", "latency": 0.01}


class Tree:
    """A package folder being built."""

    def __init__(self, root: Path, make: SimpleNamespace) -> None:
        self.root, self.make = root, make

    def add(self, place: str, rows: list[dict[str, Any]], meta: str | None = None) -> None:
        file = self.root / "pkg" / "systems" / "data" / f"{place}.parquet"
        self.make.write_parquet(file, rows)
        if meta is not None:
            (file.parent / "collection_meta.yaml").write_text(meta)

    def run(self, out: Path, **kwargs: Any) -> Profile:
        wanted = {"gpu": "h200_sxm", "engine": "vllm", "peaks": self.make.peaks, **kwargs}
        return import_profile(open_source(str(self.root)), folder=out, **wanted)


@pytest.fixture
def tree(tmp_path: Path, make: SimpleNamespace) -> Tree:
    return Tree(tmp_path / "src", make)


def _rows(p: Profile, family: str) -> list[dict[str, Any]]:
    t = p.table(family)
    assert t is not None
    texts = {n: t.text(n) for n in t.vocab}
    return [{**{n: v[i].item() for n, v in t.columns.items()}, **{n: v[i] for n, v in texts.items()}}
            for i in range(len(t))]


def test_gemm_in_seconds_with_provenance(tree: Tree, make: SimpleNamespace, tmp_path: Path) -> None:
    meta = ("provenance: collected\ntables:\n  gemm_perf:\n    status: complete\n    collections:\n"
            "    - {collector_ref: abc, collected_at: '2026-10-13', rows: 2}\n")
    tree.add("h200_sxm/gemm/vllm/0.31.0/gemm_perf", make.gemm_rows((1, 0.02), (2, 0.02)), meta)
    (tree.root / "aisimulate-0.13.0.dist-info").mkdir()
    p = tree.run(tmp_path / "out")
    assert [(r["m"], r["dtype"], r["kernel"]) for r in _rows(p, "gemm")] == [(1, "bf16", "torch"), (2, "bf16", "torch")]
    assert _rows(p, "gemm")[0]["latency_s"] == pytest.approx(2e-5, rel=6e-4)
    assert (p.name, p.manifest.device) == ("h200_sxm-vllm", "NVIDIA H200")
    assert p.manifest.collected == ("2026-10-13", "2026-10-13")
    assert (p.manifest.origin["package"], p.manifest.origin["package_version"]) == ("aisimulate", "0.13.0")
    assert p.manifest.origin["collectors"] == ["abc"]
    assert p.versions["vllm:gemm"] == "0.31.0"
    assert str(tmp_path) not in (p.folder / "manifest.json").read_text()


def test_decode_length_is_isl_plus_step(tree: Tree, tmp_path: Path) -> None:
    tree.add("h200_sxm/attention/vllm/0.25.0/generation_attention_perf", [
        {**ATTENTION, "window_size": 128}, {**ATTENTION, "beam_width": 2}])
    p = tree.run(tmp_path / "out")
    [row] = _rows(p, "attn_decode")
    assert (row["kv_len"], row["window"], row["kv_dtype"], row["num_kv_heads"]) == (1024, 128, "fp8", 8)
    assert p.manifest.tables["attn_decode"].dropped == {"other_beam_width": 1}


def test_prefill_comes_after_step_cached_tokens_and_may_lack_a_window(tree: Tree, tmp_path: Path) -> None:
    tree.add("h200_sxm/attention/vllm/0.25.0/context_attention_perf", [{**ATTENTION, "isl": 512, "step": 128}])
    [row] = _rows(tree.run(tmp_path / "out"), "attn_prefill")
    assert (row["q_len"], row["kv_len"], row["window"]) == (512, 640, 0)


def test_message_sizes_become_bytes(tree: Tree, tmp_path: Path) -> None:
    nccl = {"op_name": "all_gather", "kernel_source": "NCCL", "num_gpus": 4, "message_size": 1024, "latency": 0.01}
    tree.add("h200_sxm/comm/nccl/2.29/nccl_perf", [{**nccl, "nccl_dtype": "half"}, {**nccl, "nccl_dtype": "int8"}])
    tree.add("h200_sxm/comm/vllm/0.31.0/custom_allreduce_perf", [
        {**nccl, "op_name": "x", "kernel_source": "graph", "allreduce_dtype": "bfloat16"}])
    p = tree.run(tmp_path / "out")
    assert {(r["op"], r["dtype"], r["message_bytes"]) for r in _rows(p, "collective")} == {
        ("all_gather", "fp16", 2048), ("all_gather", "int8", 1024), ("all_reduce", "bf16", 2048)}
    assert p.versions["nccl"] == "2.29"


def test_nccls_own_release_goes_before_an_engines_copy(tree: Tree, tmp_path: Path) -> None:
    row = {"op_name": "all_gather", "kernel_source": "NCCL", "num_gpus": 4, "message_size": 1024, "nccl_dtype": "half"}
    tree.add("h200_sxm/comm/nccl/2.29/nccl_perf", [{**row, "latency": 0.01}])
    tree.add("h200_sxm/comm/vllm/0.25.0/nccl_perf", [{**row, "latency": 0.02}, {**row, "latency": 0.02, "num_gpus": 8}])
    rows = _rows(tree.run(tmp_path / "out"), "collective")
    assert [(r["num_gpus"], round(r["latency_s"], 6)) for r in rows] == [(4, 1e-5), (8, 2e-5)]


def test_expert_all_to_all_is_in_microseconds(tree: Tree, tmp_path: Path) -> None:
    row = {"kernel_source": "deepep", "comm_backend": "deepep_ll", "phase": "combine", "comm_dtype": "default",
           "ep_size": 8, "node_num": 1, "hidden_size": 7168, "topk": 8, "num_experts": 256, "num_tokens": 16,
           "latency": 98.0}
    wide = {"node_num": 2, "hidden_size": 7168, "num_token": 16, "num_topk": 8, "num_experts": 256, "dispatch_sms": 20,
            "dispatch_transmit_us": 40.0, "dispatch_notify_us": 10.0, "combine_sms": 24, "combine_transmit_us": 60.0,
            "combine_notify_us": 0.0}
    tree.add("h200_sxm/comm/vllm/0.24.0/moe_a2a_perf", [row])
    tree.add("h200_sxm/comm/vllm/0.24.0/wideep_deepep_normal_perf", [wide])
    found = {(r["op"], r["kernel"]): (r["num_gpus"], r["message_bytes"], r["latency_s"])
             for r in _rows(tree.run(tmp_path / "out"), "collective")}
    near_98_us = pytest.approx(98e-6, rel=6e-4)
    assert found["moe_combine", "deepep_ll:top8:experts256:nodes1"] == (8, 16 * 7168 * 2, near_98_us)
    assert found["moe_dispatch", "deepep_ht:top8:experts256:nodes2:sms20"][2] == pytest.approx(50e-6, rel=6e-4)
    assert found["moe_combine", "deepep_ht:top8:experts256:nodes2:sms24"][0] == 16


def test_sparse_blocks_without_their_indexer_are_another_kernel(tree: Tree, tmp_path: Path) -> None:
    tree.add("h200_sxm/sparse_attention/vllm/0.24.0/dsa_generation_module_perf", [
        MLA, {**MLA, "op_name": "dsa_generation_module_skip_indexer", "latency": 0.08}])
    rows = _rows(tree.run(tmp_path / "out"), "dsa_module_decode")
    assert [(r["kernel"], r["kv_len"], r["num_heads"], r["gemm_dtype"]) for r in rows] == [
        ("k", 512, 16, "fp8_block"), ("k+skip_indexer", 512, 16, "fp8_block")]


def test_experts_stay_global_and_distributions_can_be_chosen(tree: Tree, tmp_path: Path) -> None:
    tree.add("h200_sxm/moe/vllm/0.25.0/moe_perf", [MOE, {**MOE, "distribution": "power_law_1.2"}])
    p = tree.run(tmp_path / "out", distributions=["balanced"])
    [row] = _rows(p, "moe")
    assert (row["inter_size"], row["tp"], row["dtype"]) == (2880, 2, "mxfp4")
    assert p.manifest.tables["moe"].dropped == {"other_distribution": 1}
    assert len(_rows(tree.run(tmp_path / "all"), "moe")) == 2


def test_linear_attention_speaks_of_prefill_and_decode(tree: Tree, tmp_path: Path) -> None:
    tree.add("h200_sxm/linear_attention/vllm/0.25.0/gdn_perf", [
        GDN, {**GDN, "phase": "generation", "seq_len": 1}, {**GDN, "phase": "verify"}])
    mamba = {k: v for k, v in GDN.items() if not k.endswith(("_heads", "k_dim", "v_dim"))}
    tree.add("h200_sxm/linear_attention/vllm/0.25.0/mamba2_perf", [
        {**mamba, "d_state": 128, "nheads": 64, "head_dim": 64, "n_groups": 8, "chunk_size": 256}])
    rows = _rows(tree.run(tmp_path / "out"), "linear_attention")
    assert {(r["kind"], r["phase"], r["num_k_heads"], r["head_k_dim"], r["num_v_heads"]) for r in rows} == {
        ("gdn", "prefill", 16, 128, 32), ("gdn", "decode", 16, 128, 32), ("mamba2", "prefill", 8, 128, 64)}


def test_quantisation_and_batched_gemms(tree: Tree, tmp_path: Path) -> None:
    quant = {"op_name": "o", "kernel_source": "k", "m": 8, "k": 4096, "quant_dtype": "fp8", "latency": 0.01}
    tree.add("h200_sxm/quantize/vllm/0.24.0/scale_matrix_perf", [quant])
    tree.add("h200_sxm/quantize/vllm/0.24.0/computescale_perf", [quant, {**quant, "m": 16, "latency": 0.0}])
    tree.add("h200_sxm/mla_bmm/vllm/0.24.0/mla_bmm_perf", [
        {"op_name": "mla_gen_pre", "kernel_source": "k", "bmm_dtype": "bfloat16", "num_tokens": 4, "num_heads": 16,
         "latency": 0.01}])
    p = tree.run(tmp_path / "out")
    assert [r["op"] for r in _rows(p, "elementwise")] == ["compute_scale_fp8", "quant_fp8"]
    assert p.manifest.tables["elementwise"].dropped == {"non_positive": 1}
    assert [(r["tokens"], r["op"]) for r in _rows(p, "mla_bmm")] == [(4, "mla_gen_pre")]


def test_the_newest_complete_version_is_the_base(tree: Tree, make: SimpleNamespace, tmp_path: Path) -> None:
    old = [(m, 0.030) for m in (1, 2, 4, 8)]
    tree.add("h200_sxm/gemm/vllm/0.9.0/gemm_perf", make.gemm_rows(*old, n=512))
    tree.add("h200_sxm/gemm/vllm/0.25.0/gemm_perf", make.gemm_rows(*old) + make.gemm_rows((1, 0.05), n=1024))
    tree.add("h200_sxm/gemm/vllm/0.31.0/gemm_perf", make.gemm_rows((1, 0.02), n=2048) + make.gemm_rows((16, 0.02)))
    tree.add("h200_sxm/gemm/vllm/dev-abc/gemm_perf", make.gemm_rows((1, 0.02), n=99))
    p = tree.run(tmp_path / "out")
    assert sorted({(r["n"], r["m"]) for r in _rows(p, "gemm")}) == [
        (512, 1), (512, 2), (512, 4), (512, 8), (1024, 1), (2048, 1), (4096, 1), (4096, 2), (4096, 4), (4096, 8)]
    entry = p.manifest.tables["gemm"]
    assert [(s["version"], s["role"], s["rows_kept"]) for s in entry.sources] == [
        ("0.25.0", "base", 5), ("0.31.0", "fill", 1), ("0.9.0", "fill", 4)]
    assert entry.dropped == {"older_version": 1}
    assert sum(g["rows"] for g in entry.groups) == entry.rows == 10


def test_a_refused_kernel_is_filled_from_another_version(tree: Tree, make: SimpleNamespace, tmp_path: Path) -> None:
    def grid(ms: float) -> list[dict[str, Any]]:
        return [r for n in range(128, 640, 128) for r in make.gemm_rows(
            *((m, ms) for m in range(1, 9)), n=n, k=512, dtype="fp8_block")]
    tree.add("h200_sxm/gemm/vllm/0.27.1/gemm_perf", grid(0.16) + make.gemm_rows(*((m, 0.02) for m in range(1, 60))))
    tree.add("h200_sxm/gemm/vllm/0.25.0/gemm_perf", grid(0.006))
    p = tree.run(tmp_path / "out")
    block = [r["latency_s"] for r in _rows(p, "gemm") if r["dtype"] == "fp8_block"]
    assert len(block) == 32 and max(block) < 1e-5
    assert p.manifest.tables["gemm"].dropped == {"launch_bound": 32}


def test_a_wheel_gives_what_its_folder_gives(tree: Tree, make: SimpleNamespace, tmp_path: Path) -> None:
    tree.add("h200_sxm/gemm/vllm/0.31.0/gemm_perf", make.gemm_rows((1, 0.02)), "provenance: collected\n")
    wheel = tmp_path / "aisimulate-0.13.0-py3-none-any.whl"
    (tree.root / "aisimulate-0.13.0.dist-info").mkdir()
    with zipfile.ZipFile(wheel, "w") as z:
        for f in tree.root.rglob("*"):
            z.write(f, f.relative_to(tree.root))
    a = tree.run(tmp_path / "a")
    b = import_profile(open_source(str(wheel)), gpu="h200_sxm", engine="vllm", peaks=make.peaks, folder=tmp_path / "b")
    assert {f.name: f.read_bytes() for f in a.folder.iterdir()} == {f.name: f.read_bytes() for f in b.folder.iterdir()}


@pytest.mark.parametrize(("change", "says"), [
    ({"m": None}, "column m is missing"), ({"m": -1}, "negative or fractional"), ({"m": 1.5}, "negative or fractional"),
    ({"m": "x"}, "whole numbers"), ({"latency": "slow"}, "does not hold numbers"),
])
def test_wrong_columns_are_named(tree: Tree, make: SimpleNamespace, tmp_path: Path, change: dict[str, Any],
                                 says: str) -> None:
    rows = [{k: v for k, v in {**r, **change}.items() if v is not None} for r in make.gemm_rows((1, 0.02))]
    tree.add("h200_sxm/gemm/vllm/0.31.0/gemm_perf", rows)
    with pytest.raises(InputError, match=says) as e:
        tree.run(tmp_path / "out")
    assert "gemm/vllm/0.31.0/gemm_perf.parquet" in str(e.value.where)
    assert not (tmp_path / "out").exists()


def test_a_truncated_parquet_file(tree: Tree, make: SimpleNamespace, tmp_path: Path) -> None:
    tree.add("h200_sxm/gemm/vllm/0.31.0/gemm_perf", make.gemm_rows((1, 0.02)))
    file = next(tree.root.rglob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match="not a readable parquet file"):
        tree.run(tmp_path / "out")


@pytest.mark.parametrize("meta", ["a: [", "!!python/object:os.system {}", "\ttabs"])
def test_bad_metadata(tree: Tree, make: SimpleNamespace, tmp_path: Path, meta: str) -> None:
    tree.add("h200_sxm/gemm/vllm/0.31.0/gemm_perf", make.gemm_rows((1, 0.02)), meta)
    with pytest.raises(InputError, match="not readable YAML"):
        tree.run(tmp_path / "out")


def test_unknown_system_engine_and_source(tree: Tree, make: SimpleNamespace, tmp_path: Path) -> None:
    tree.add("h200_sxm/gemm/vllm/0.31.0/gemm_perf", make.gemm_rows((1, 0.02)))
    tree.add("h200_sxm/comm/nccl/2.29/nccl_perf", [{"op_name": "a", "kernel_source": "N", "num_gpus": 2,
                                                    "message_size": 8, "latency": 0.1, "nccl_dtype": "half"}])
    with pytest.raises(UnknownNameError, match="h300"):
        tree.run(tmp_path / "o", gpu="h300_sxm")
    with pytest.raises(UnknownNameError, match="unknown engine"):
        tree.run(tmp_path / "o", engine="tgi")
    with pytest.raises(InputError, match="no sglang tables"):
        tree.run(tmp_path / "o", engine="sglang")
    (tmp_path / "empty").mkdir()
    (tmp_path / "not.whl").write_bytes(b"PK\x03\x04 no zip")
    for origin, says in ((str(tmp_path / "empty"), "no measured tables"), ("nothing", "neither a folder"),
                         (str(tmp_path / "not.whl"), "not a readable wheel")):
        with pytest.raises(CostplanError, match=says):
            open_source(origin)


def test_without_pyarrow_the_error_says_what_to_install(tree: Tree, make: SimpleNamespace, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    tree.add("h200_sxm/gemm/vllm/0.31.0/gemm_perf", make.gemm_rows((1, 0.02)))
    real = builtins.__import__

    def no_pyarrow(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_pyarrow)
    with pytest.raises(InputError, match="needs pyarrow") as e:
        tree.run(tmp_path / "out")
    assert "costplan[import]" in str(e.value.hint)


def test_versions_sort_as_releases_do() -> None:
    order = ["dev-1aa0", "0.1.dev19262", "0.5.6", "0.5.6.post2", "0.5.14", "1.3.0rc9", "1.3.0rc20", "1.3.0"]
    assert sorted([*order[3:], *order[:3]], key=version_key) == order


def test_every_schema_builds_a_known_family() -> None:
    with pytest.raises(InputError, match="not a readable parquet"):
        read_table("gemm_perf", b"", "x")
    assert {s.family for s in SCHEMAS.values()} >= {"gemm", "moe", "collective", "attn_decode", "linear_attention"}

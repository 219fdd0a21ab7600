"""Memory beside weights and KV, and engine defaults by version and GPU."""

from __future__ import annotations

from datetime import date

import pytest

from costplan.catalog.gpus import gpu
from costplan.catalog.model_spec import Attention, DenseMlp, Layer, LayerGroup, ModelSpec
from costplan.core.errors import InputError
from costplan.core.units import GIB
from costplan.perf.memory import (
    BatchLimits,
    activation_bytes,
    constants,
    graph_bytes,
    parse_version,
    runtime_bytes,
    sglang_chunked_prefill,
    sglang_memory_fraction,
    vllm_batch_limits,
    vllm_era,
    vllm_version_at,
)


def llama_8b() -> ModelSpec:
    layer = Layer((Attention(32, 8, 128, 128),), DenseMlp(14336), norm_params=2 * 4096)
    return ModelSpec("llama-8b", "llama", 4096, 128256, (LayerGroup(layer, 32),), False, "bf16", "bf16",
                     max_position=131072, other_params=4096)


@pytest.mark.parametrize(("text", "numbers"), [
    ("0.10.2", (0, 10, 2)), ("~0.6.4 (V0)", (0, 6, 4)), ("0.8.4/0.8.5", (0, 8, 4)), ("v0.26.1rc1.dev608", (0, 26, 1)),
    ("0.7", (0, 7)), ("", None), (None, None), ("nightly-5b8c30d", None),
])
def test_versions_as_people_write_them(text: str | None, numbers: tuple[int, ...] | None) -> None:
    assert parse_version(text) == numbers


def test_not_a_version() -> None:
    with pytest.raises(InputError):
        parse_version("newest")


def test_memory_fraction_and_graphs_change_with_0_21() -> None:
    assert (vllm_era("0.20.1").memory_fraction, vllm_era("0.20.1").graphs_in_budget) == (0.9, False)
    assert (vllm_era("0.21.0").memory_fraction, vllm_era("0.21.0").graphs_in_budget) == (0.92, True)
    assert vllm_era(None) == vllm_era("0.33.0")


def test_a_date_stands_for_the_version_of_its_time() -> None:
    assert vllm_version_at(date(2025, 11, 6)) == "0.9.2"
    assert vllm_version_at(date(2020, 1, 1)) == "0.0"


@pytest.mark.parametrize(("name", "version", "limits"), [
    ("h100_sxm", "0.19", (8192, 1024)), ("h100_sxm", "0.8.5", (8192, 256)), ("a100_80gb_sxm", "0.19", (2048, 256)),
    ("l4", "0.33", (2048, 256)), ("b200", "0.33", (16384, 1024)), ("b200", "0.19", (8192, 1024)),
])
def test_batch_limits_by_gpu_and_version(name: str, version: str, limits: tuple[int, int]) -> None:
    found = vllm_batch_limits(gpu(name), version, 131072)
    assert (found.max_num_batched_tokens, found.max_num_seqs) == limits


def test_without_chunked_prefill_a_step_holds_the_longest_prompt() -> None:
    assert vllm_batch_limits(gpu("rtx_3090"), "0.6.4", 29000).max_num_batched_tokens == 29000


def test_sampler_peak_of_an_old_version_is_what_vllm_logged() -> None:
    """vLLM PR 10511: Llama-3-8B, 256 sequences x 128256 logits, 1.26 GiB."""
    peak = activation_bytes(llama_8b(), 1, BatchLimits(512, 256), "sort")
    assert peak / GIB == pytest.approx(1.26, rel=0.05)


def test_activations_grow_with_tokens_and_shrink_with_tp() -> None:
    small, large = (activation_bytes(llama_8b(), 1, BatchLimits(n, 8), "select") for n in (8192, 16384))
    assert large == 2 * small
    assert activation_bytes(llama_8b(), 4, BatchLimits(8192, 8), "select") < small


def test_graphs_of_256_sequences_cost_what_a_log_shows() -> None:
    """Qwen2.5-7B on an L4: 102,288 tokens eager, 69,328 with graphs, 57,344 bytes each: 1.76 GiB."""
    assert graph_bytes(256, "0.27.1") / GIB == pytest.approx(1.76, rel=0.05)
    assert graph_bytes(8, "0.27.1") < graph_bytes(256, "0.27.1")


def test_graphs_of_earlier_versions_cost_what_their_logs_show() -> None:
    """51 PIECEWISE and 35 FULL graphs: 0.64 and 0.78 GiB in logs of 2026-04 and 2026-06."""
    assert 0.64 <= graph_bytes(256, "0.22") / GIB <= 0.78


def test_collectives_cost_memory_only_with_several_ranks_and_more_over_nvlink() -> None:
    era = vllm_era("0.10.2")
    assert runtime_bytes(gpu("h100_sxm"), 1, era) == runtime_bytes(gpu("l40s"), 1, era)
    assert runtime_bytes(gpu("h100_sxm"), 1, era) < runtime_bytes(gpu("l40s"), 2, era) < (
        runtime_bytes(gpu("h100_sxm"), 2, era))


def test_sglang_reserves_more_with_more_ranks() -> None:
    h100 = gpu("h100_sxm")
    assert 0.8 < sglang_memory_fraction(h100, 8, 1) < sglang_memory_fraction(h100, 1, 1) < 0.9
    assert [sglang_chunked_prefill(gpu(n)) for n in ("l4", "h100_sxm", "b200")] == [4096, 8192, 16384]


def test_every_constant_names_its_source() -> None:
    def check(node: object) -> None:
        if isinstance(node, dict):
            if "value" in node:
                assert node["value"] > 0
                assert len(node["source"]) > 20
            for child in node.values():
                check(child)

    check(constants())

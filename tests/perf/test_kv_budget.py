"""KV blocks under three meanings of a memory fraction, and how many requests they hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.catalog.gpus import gpu
from costplan.catalog.model_spec import Attention, DenseMlp, Layer, LayerGroup, ModelSpec
from costplan.core.errors import DoesNotFitError, InputError, UnknownNameError
from costplan.perf.concurrency import concurrency, fixed_concurrency
from costplan.perf.kv_budget import EngineSettings, kv_budget
from costplan.perf.kv_pool import kv_pool


def llama_8b() -> ModelSpec:
    layer = Layer((Attention(32, 8, 128, 128),), DenseMlp(14336), norm_params=2 * 4096)
    return ModelSpec("llama-8b", "llama", 4096, 128256, (LayerGroup(layer, 32),), False, "bf16", "bf16",
                     max_position=131072, other_params=4096)

H100 = gpu("h100_sxm")
SPEC = llama_8b()
ENGINES = st.sampled_from(["vllm", "sglang", "trtllm"])


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
def test_the_parts_add_up_to_the_gpu(engine: str) -> None:
    b = kv_budget(SPEC, H100, EngineSettings(engine=engine))
    parts = b.weights.total + b.activation_bytes + b.graph_bytes + b.runtime_bytes + b.kv_bytes + b.reserved_bytes
    assert parts == b.total_bytes
    assert b.num_blocks * b.pool.block_bytes <= b.kv_bytes
    assert b.tokens == b.num_blocks * b.block_size


def test_one_number_means_three_budgets() -> None:
    v, s, t = (kv_budget(SPEC, H100, EngineSettings(engine=e, memory_fraction=0.85)) for e in
               ("vllm", "sglang", "trtllm"))
    assert v.kv_bytes < s.kv_bytes < int(0.85 * H100.mem_bytes)
    assert t.kv_bytes == int(0.85 * (H100.mem_bytes - t.weights.total - t.activation_bytes - t.runtime_bytes))


def test_graphs_count_inside_the_budget_since_0_21_only() -> None:
    def blocks(version: str, eager: bool) -> int:
        s = EngineSettings(version=version, memory_fraction=0.9, enforce_eager=eager)
        return kv_budget(SPEC, H100, s).num_blocks

    assert blocks("0.20", True) == blocks("0.20", False)
    assert blocks("0.21", True) > blocks("0.21", False)


def test_what_does_not_fit_says_its_arithmetic() -> None:
    with pytest.raises(DoesNotFitError) as e:
        kv_budget(SPEC, replace(gpu("l4"), mem_bytes=16 * 2**30))
    assert "weights take 14.99" in e.value.message
    assert "leaves -" in e.value.message
    assert e.value.hint


def test_unknown_engine_and_fractions_outside_their_range() -> None:
    with pytest.raises(UnknownNameError, match="vlm"):
        kv_budget(SPEC, H100, EngineSettings(engine="vlm"))
    for fraction in (0.0, -0.5, 1.5, 90.0, float("nan"), float("inf")):
        with pytest.raises(InputError):
            kv_budget(SPEC, H100, EngineSettings(memory_fraction=fraction))
    with pytest.raises(InputError):
        kv_budget(SPEC, H100, EngineSettings(max_num_seqs=-1))


@given(ENGINES, st.floats(0.3, 1.0), st.integers(0, 200))
def test_more_memory_never_fits_fewer_tokens(engine: str, fraction: float, extra_gib: int) -> None:
    s = EngineSettings(engine=engine, memory_fraction=fraction, max_num_seqs=64, max_num_batched_tokens=2048)
    larger = replace(H100, mem_bytes=H100.mem_bytes + extra_gib * 2**30)
    assert kv_budget(SPEC, larger, s).tokens >= kv_budget(SPEC, H100, s).tokens


@given(ENGINES, st.sampled_from([1, 2, 4]))
def test_higher_tp_never_fits_fewer_tokens_per_replica_up_to_the_kv_heads(engine: str, tp: int) -> None:
    low, high = (kv_budget(SPEC, H100, EngineSettings(engine=engine, tp=n, memory_fraction=0.85)).tokens
                 for n in (tp, 2 * tp))
    assert high >= low


@given(st.integers(0, 6), st.integers(1, 100_000))
def test_larger_blocks_never_fit_more_sequences(power: int, tokens: int) -> None:
    fits = []
    for block_size in (16 * 2**power, 32 * 2**power):
        b = kv_budget(SPEC, H100, EngineSettings(block_size=block_size))
        fits.append(fixed_concurrency(b.pool, b.num_blocks, tokens))
    assert fits[0] >= fits[1]


def test_intervals_are_wider_for_a_small_cache() -> None:
    large, small = (kv_budget(SPEC, gpu(n)).kv_tokens for n in ("h200_sxm", "l4"))
    assert large.log_sd < small.log_sd
    assert small.i90[0] < small.value < small.i90[1]


def test_fixed_lengths_fit_as_whole_sequences() -> None:
    pool = kv_pool(SPEC)
    assert fixed_concurrency(pool, 1000, 160) == 100
    assert fixed_concurrency(pool, 1000, 161) == 90


def test_a_distribution_is_not_its_mean() -> None:
    """Half 100 + 100 and half 100 + 1900 tokens: the long ones stay 19 times as long."""
    pool = kv_pool(SPEC, block_size=1)
    mixed = concurrency(pool, 100_000, [(100, 100), (100, 1900)])
    at_mean = concurrency(pool, 100_000, [(100, 1000)])
    assert mixed.mean_blocks == pytest.approx((100 * 150 + 1900 * 1050) / 2000, rel=0.02)
    assert mixed.mean < 0.65 * at_mean.mean
    assert mixed.p99 < mixed.mean
    assert mixed.at_full_length < mixed.mean


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 5000)), min_size=1, max_size=20), st.integers(0, 10**6))
def test_p99_is_the_largest_count_that_stays_inside(lengths: list[tuple[int, int]], blocks: int) -> None:
    c = concurrency(kv_pool(SPEC), blocks, lengths)
    assert 0 <= c.p99 <= c.mean + 1e-9
    assert c.at_full_length <= c.mean + 1e-9
    spread = 2.3263478740408408 * c.sd_blocks
    assert c.p99 * c.mean_blocks + spread * c.p99**0.5 <= blocks + 1e-6
    assert (c.p99 + 1) * c.mean_blocks + spread * (c.p99 + 1) ** 0.5 > blocks - 1e-6


def test_empty_and_impossible_lengths() -> None:
    pool = kv_pool(SPEC)
    for lengths in ([], [(0, 0)], [(-1, 5)]):
        with pytest.raises(InputError):
            concurrency(pool, 10, lengths)
    with pytest.raises(InputError):
        fixed_concurrency(pool, 10, 0)

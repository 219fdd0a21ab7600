"""KV bytes: published examples, every attention kind, laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.catalog.model_spec import (
    Attention,
    DenseMlp,
    Layer,
    LayerGroup,
    LinearMixer,
    Mixer,
    MlaAttention,
    ModelSpec,
    SparseIndex,
)
from costplan.core.errors import InputError, UnknownNameError
from costplan.core.units import GB, GIB
from costplan.perf.kv import (
    blocks_held,
    checkpoint_kv_dtype,
    kv_bytes_per_sequence,
    kv_bytes_per_token,
    layer_caches,
    resolve_kv_dtype,
    state_bytes_per_sequence,
)
from costplan.perf.kv_pool import kv_pool

MLP = DenseMlp(14336)


def spec(*groups: tuple[Mixer | None, int], **fields: object) -> ModelSpec:
    layers = tuple(LayerGroup(Layer((m,) if m else (), MLP), n) for m, n in groups)
    base: dict[str, object] = {"name": "hand-built", "model_type": "test", "hidden_size": 4096, "vocab_size": 128256,
                               "layers": layers, "tie_embeddings": False, "base_dtype": "bf16", "weight_dtype": "bf16"}
    return ModelSpec(**(base | fields))  # type: ignore[arg-type]


def gqa(kv_heads: int = 8, head_dim: int = 128, heads: int = 32, **fields: object) -> Attention:
    return Attention(heads, kv_heads, head_dim, int(fields.pop("v_head_dim", head_dim)), **fields)  # type: ignore[arg-type, call-overload]


LLAMA_8B = spec((gqa(), 32))


def test_llama_8b_at_4096_tokens_fits_74_times_into_40_gb() -> None:
    """Decimal GB; 40 GiB fit 80. A widely copied answer of 2,500 forgets the 32 layers."""
    one = kv_bytes_per_sequence(LLAMA_8B, 4096)
    assert one == 4096 * 32 * 2 * 8 * 128 * 2
    assert 40 * GB // one == 74
    assert 40 * GIB // one == 80


def test_mha_variant_fits_18_times() -> None:
    assert 40 * GB // kv_bytes_per_sequence(spec((gqa(kv_heads=32), 32)), 4096) == 18


def test_70b_class_with_64_kv_heads_of_64_needs_10_6_gb() -> None:
    model = spec((gqa(kv_heads=64, head_dim=64, heads=64), 80))
    assert kv_bytes_per_sequence(model, 8096) / GB == pytest.approx(10.6, abs=0.05)


def test_value_heads_of_another_width() -> None:
    assert kv_bytes_per_token(spec((gqa(head_dim=192, v_head_dim=128), 1))) == 8 * (192 + 128) * 2


def test_a_layer_without_its_own_cache_stores_nothing() -> None:
    assert kv_bytes_per_token(spec((gqa(), 20), (gqa(owns_kv=False), 15))) == kv_bytes_per_token(spec((gqa(), 20)))


def test_one_vector_for_key_and_value_halves_the_cache() -> None:
    assert 2 * kv_bytes_per_token(spec((gqa(k_eq_v=True), 4))) == kv_bytes_per_token(spec((gqa(v_from_k=True), 4)))


def test_mla_latent_is_the_same_on_every_rank() -> None:
    deepseek = spec((MlaAttention(128, 512, 128, 64, 128), 61))
    assert kv_bytes_per_token(deepseek) == 61 * 1152
    assert kv_bytes_per_token(deepseek, tp=16) == kv_bytes_per_token(deepseek)


def test_sparse_mla_keeps_656_bytes_and_an_index_key() -> None:
    v32 = spec((MlaAttention(128, 512, 128, 64, 128, index=SparseIndex(64, 128, 2048)), 61))
    assert kv_bytes_per_token(v32, "fp8") == 61 * (656 + 132)
    assert kv_bytes_per_token(v32, "fp8_ds_mla") == 61 * (656 + 132)
    assert kv_bytes_per_token(v32) == 61 * (1152 + 132)


def test_a_layer_that_reuses_picks_has_no_index_cache() -> None:
    index = SparseIndex(64, 128, 2048, owns_cache=False)
    assert kv_bytes_per_token(spec((MlaAttention(128, 512, 128, 64, 128, index=index), 1))) == 1152


def test_compressed_layers_store_one_entry_per_ratio_beside_their_window() -> None:
    v4 = spec((gqa(kv_heads=1, head_dim=512, k_eq_v=True, window=128, compress_ratio=4), 1))
    assert kv_bytes_per_token(v4) == 1024 / 4
    assert kv_bytes_per_sequence(v4, 100_000, block_size=4) == 100_000 * 256 + 4 * 1024 * (-(-127 // 4) + 1)


def test_window_is_bounded_and_straddles_one_more_block() -> None:
    assert blocks_held(10, 16, 128) == 1
    assert blocks_held(100_000, 16, 128) == 8 + 1
    assert blocks_held(100_000, 16, 128, slack_tokens=2048) == 136 + 1
    assert blocks_held(100_000, 16, 8192, chunked=True) == 512


def test_linear_state_is_constant_in_length_and_has_its_own_dtype() -> None:
    gdn = LinearMixer("gdn", state_elems=48 * 128 * 128, conv_elems=3 * 10240, params=1, state_dtype="fp32")
    model = spec((gdn, 48), (gqa(kv_heads=4, head_dim=256), 16))
    state = 48 * (48 * 128 * 128 * 4 + 3 * 10240 * 2)
    assert state_bytes_per_sequence(model) == state
    assert state_bytes_per_sequence(model, tp=2) == state / 2
    short, long = (kv_bytes_per_sequence(model, n) for n in (16, 1600))
    assert long - short == 1584 * kv_bytes_per_token(model)


def test_hybrid_blocks_are_as_large_as_vllm_logs_them() -> None:
    """vLLM issue 40691: Qwen3.5-27B, 0.19.0: 290,864 tokens = 371 x 784."""
    gdn = LinearMixer("gdn", state_elems=48 * 128 * 128, conv_elems=3 * 10240, params=1, state_dtype="fp32")
    pool = kv_pool(spec((gdn, 48), (gqa(kv_heads=4, head_dim=256), 16)))
    assert pool.block_size == 784
    assert len(pool.groups) == 4
    assert pool.tokens(1487) == 290_864


def test_sliding_and_full_layers_share_pages_of_one_size() -> None:
    """gemma-4-26B, FP8 KV: the log's 714,768 tokens are 81.8 GiB of these blocks, shared by 6 groups."""
    gemma = spec((gqa(kv_heads=8, head_dim=256, window=1024), 25), (gqa(kv_heads=2, head_dim=512), 5))
    pool = kv_pool(gemma, "fp8")
    assert [g.block_size for g in pool.groups] == [16] * 5 + [32]
    assert pool.tokens(pool.num_blocks(81.8 * GIB)) == 714_768


def test_per_head_scales_cost_four_bytes_each() -> None:
    assert kv_bytes_per_token(LLAMA_8B, "int8_per_token_head") == 32 * 2 * 8 * (128 + 4)
    assert kv_bytes_per_token(LLAMA_8B, "int4_per_token_head") == 32 * 2 * 8 * (64 + 4)


def test_kv_dtype_names() -> None:
    assert resolve_kv_dtype(LLAMA_8B, "auto") == "bf16"
    assert resolve_kv_dtype(LLAMA_8B, "fp8_e4m3") == "fp8"
    assert checkpoint_kv_dtype(LLAMA_8B, "nvfp4", "auto") == "fp8"
    with pytest.raises(UnknownNameError) as e:
        resolve_kv_dtype(LLAMA_8B, "fp9")
    assert "fp8" in e.value.nearest


@pytest.mark.parametrize("bad", [{"tp": 0}, {"pp": 0}, {"pp": 33}, {"block_size": 0}, {"tokens": -1}])
def test_impossible_sizes_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(InputError):
        kv_bytes_per_sequence(LLAMA_8B, **({"tokens": 1} | bad))  # type: ignore[arg-type]


HEADS = st.sampled_from([1, 2, 4, 8, 16, 32])


@given(HEADS, st.integers(1, 64), st.integers(0, 200_000))
def test_fp8_halves_the_bytes_exactly(kv_heads: int, layers: int, tokens: int) -> None:
    model = spec((gqa(kv_heads=kv_heads), layers))
    assert 2 * kv_bytes_per_sequence(model, tokens, "fp8") == kv_bytes_per_sequence(model, tokens)


@given(HEADS, st.sampled_from([1, 2, 4, 8, 16, 32, 64]))
def test_kv_heads_are_divided_until_they_are_replicated(kv_heads: int, tp: int) -> None:
    model = spec((gqa(kv_heads=kv_heads), 8))
    whole, rank = kv_bytes_per_token(model), kv_bytes_per_token(model, tp=tp)
    assert rank == max(whole / tp, whole / kv_heads)


@given(st.integers(1, 300_000), st.integers(1, 9))
def test_larger_blocks_never_take_fewer_bytes(tokens: int, power: int) -> None:
    small, large = (kv_bytes_per_sequence(LLAMA_8B, tokens, block_size=b) for b in (2 ** (power - 1), 2**power))
    assert small <= large


@given(st.integers(0, 300_000), st.integers(0, 300_000))
def test_longer_sequences_never_take_fewer_bytes(a: int, b: int) -> None:
    model = spec((gqa(window=1024), 10), (gqa(), 2))
    low, high = sorted((a, b))
    assert kv_bytes_per_sequence(model, low) <= kv_bytes_per_sequence(model, high)


@given(st.integers(1, 32))
def test_pipeline_stages_hold_every_layer(pp: int) -> None:
    assert pp * kv_bytes_per_token(LLAMA_8B, pp=pp) >= kv_bytes_per_token(LLAMA_8B) * 0.999999


def test_layers_of_one_kind_are_counted_together() -> None:
    assert [c.count for c in layer_caches(spec((gqa(), 3), (gqa(), 5)))] == [8]

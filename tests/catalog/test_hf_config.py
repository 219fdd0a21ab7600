"""Reading Hugging Face configs: shapes, traps, precision, and every kind of bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costplan.catalog import hf_config
from costplan.catalog.hf_config import parse_config, read_model
from costplan.catalog.hf_fields import Fields
from costplan.catalog.hf_quant import part_of
from costplan.catalog.model_spec import Attention, DenseMlp, LinearMixer, MlaAttention, ModelSpec, MoeMlp
from costplan.core.errors import CostplanError, InputError

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "models"
LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "torch_dtype": "bfloat16",
    "max_position_embeddings": 131072, "tie_word_embeddings": False,
}


def spec(**changes: Any) -> ModelSpec:
    return parse_config({**LLAMA, **changes}, name="m", where="config.json")


def attn(model: ModelSpec, i: int = 0) -> Attention:
    found = [m for g in model.layers for m in g.layer.mixers if isinstance(m, Attention)]
    return found[i]


def windows(model: ModelSpec) -> dict[int | None, int]:
    out: dict[int | None, int] = {}
    for g in model.layers:
        for m in g.layer.mixers:
            if isinstance(m, Attention):
                out[m.window] = out.get(m.window, 0) + g.count
    return out


# --- shapes and traps


def test_llama_is_one_group_of_gqa_and_gated_mlp() -> None:
    m = spec()
    assert [g.count for g in m.layers] == [32]
    assert (attn(m).num_heads, attn(m).num_kv_heads, attn(m).head_dim) == (32, 8, 128)
    assert m.layers[0].layer.mlp == DenseMlp(14336)
    assert (m.base_dtype, m.weight_dtype, m.tie_embeddings) == ("bf16", "bf16", False)


def test_explicit_head_dim_wins_over_hidden_by_heads() -> None:
    assert attn(spec(model_type="qwen3", hidden_size=1024, num_attention_heads=16, head_dim=128)).head_dim == 128


def test_missing_kv_heads_means_one_per_query_head_but_multi_query_means_one() -> None:
    assert attn(spec(num_key_value_heads=None)).num_kv_heads == 32
    assert attn(spec(model_type="falcon", num_key_value_heads=None, multi_query=True)).num_kv_heads == 1


@pytest.mark.parametrize(("changes", "expected"), [
    ({"model_type": "mistral"}, {4096: 32}),  # the class default: v0.1 has no key
    ({"model_type": "mistral", "sliding_window": None}, {None: 32}),  # v0.2 says null
    ({"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": False}, {None: 32}),
    ({"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 28},
     {None: 28, 4096: 4}),
    ({"model_type": "gemma2"}, {4096: 16, None: 16}),
    ({"model_type": "gemma3_text", "sliding_window": 512}, {512: 27, None: 5}),
    ({"model_type": "cohere2", "sliding_window": 4096}, {4096: 24, None: 8}),
    ({"model_type": "exaone4", "sliding_window": 4096, "sliding_window_pattern": "LLLG"}, {4096: 24, None: 8}),
    ({"model_type": "phi3", "sliding_window": 262144}, {None: 32}),  # beyond the last position
    ({"model_type": "llama", "layer_types": ["sliding_attention", "full_attention"] * 16, "sliding_window": 128},
     {128: 16, None: 16}),
])
def test_window_rules(changes: dict[str, Any], expected: dict[int | None, int]) -> None:
    assert windows(spec(**changes)) == expected


def test_llama4_restarts_its_window_and_interleaves_experts() -> None:
    m = spec(model_type="llama4_text", num_local_experts=128, num_experts_per_tok=1, interleave_moe_layer_step=2,
             intermediate_size_mlp=16384, intermediate_size=8192)
    assert windows(m) == {8192: 24, None: 8}
    assert {a.chunked for g in m.layers for a in g.layer.mixers if isinstance(a, Attention) and a.window} == {True}
    dense = sum(g.count for g in m.layers if g.layer.mlp == DenseMlp(16384))
    assert dense == 16
    moe = next(g.layer.mlp for g in m.layers if isinstance(g.layer.mlp, MoeMlp))
    assert (moe.intermediate_size, moe.shared_intermediate_size) == (8192, 8192)


def _moe_layers(m: ModelSpec) -> int:
    return sum(g.count for g in m.layers if isinstance(g.layer.mlp, MoeMlp))


@pytest.mark.parametrize(("changes", "count"), [
    ({"n_routed_experts": 64}, 32),
    ({"num_local_experts": 64}, 32),
    ({"num_experts": 64}, 32),
    ({"moe_num_experts": 64, "moe_layer_start_index": 1}, 31),
    ({"n_routed_experts": 64, "first_k_dense_replace": 3}, 29),
    ({"n_routed_experts": 64, "moe_layer_freq": [0] * 2 + [1] * 30}, 30),
    ({"n_routed_experts": 64, "moe_layer_freq": 2}, 16),
    ({"num_experts": 64, "decoder_sparse_step": 2}, 16),
    ({"num_experts": 64, "mlp_only_layers": [0, 1, 2]}, 29),
    ({"num_experts": 64, "mlp_layer_types": ["dense"] * 3 + ["sparse"] * 29}, 29),
    ({"num_experts": 64, "moe_layers_enum": "4,5,6"}, 3),
    ({"num_experts": 1}, 0),
])
def test_which_layers_route(changes: dict[str, Any], count: int) -> None:
    assert _moe_layers(spec(num_experts_per_tok=4, moe_intermediate_size=1024, **changes)) == count


def test_shared_experts_are_summed() -> None:
    m = spec(n_routed_experts=64, num_experts_per_tok=6, moe_intermediate_size=1408, n_shared_experts=2)
    moe = m.layers[0].layer.mlp
    assert isinstance(moe, MoeMlp)
    assert moe.shared_intermediate_size == 2816


def test_mla_ignores_kv_heads() -> None:
    m = spec(model_type="deepseek_v3", kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128,
             q_lora_rank=1536, index_topk=2048, index_n_heads=64, index_head_dim=128)
    mixer = m.layers[0].layer.mixers[0]
    assert isinstance(mixer, MlaAttention)
    assert (mixer.kv_lora_rank, mixer.qk_rope_head_dim) == (512, 64)
    assert mixer.index is not None
    assert mixer.index.top_k == 2048


def test_nested_text_config_takes_dtype_and_quantisation_from_outside() -> None:
    inner = {k: v for k, v in LLAMA.items() if k not in {"torch_dtype", "tie_word_embeddings"}}
    outer = {"model_type": "llava", "torch_dtype": "float16", "tie_word_embeddings": True, "text_config": inner,
             "quantization_config": {"quant_method": "gptq", "bits": 4}}
    m = parse_config(outer, name="m", where="f")
    assert (m.base_dtype, m.weight_dtype, m.tie_embeddings) == ("fp16", "int4", True)


def test_both_spellings_of_dtype() -> None:
    assert spec(torch_dtype=None, dtype="float16").base_dtype == "fp16"
    assert spec(torch_dtype="torch.bfloat16").base_dtype == "bf16"
    assert spec(torch_dtype=None).notes


def test_tying_default_belongs_to_the_family() -> None:
    assert spec(model_type="gemma", tie_word_embeddings=None).tie_embeddings
    assert not spec(tie_word_embeddings=None).tie_embeddings


def test_unknown_type_with_llama_fields_is_read_with_a_note() -> None:
    m = spec(model_type="brand_new_2031")
    assert m.num_layers == 32
    assert any("brand_new_2031" in note for note in m.notes)


# --- precision


@pytest.mark.parametrize(("quant", "weight", "kept"), [
    ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8_block", set()),
    ({"quant_method": "fp8"}, "fp8", set()),
    ({"quant_method": "mxfp4"}, "mxfp4", {"attention"}),
    ({"quant_method": "awq", "bits": 4}, "int4", set()),
    ({"quant_method": "gptq", "bits": 8}, "int8", set()),
    ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4, "type": "int"}}},
      "ignore": ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*"]}, "int4", {"attention", "shared_expert"}),
    ({"quant_method": "compressed-tensors",
      "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}}}, "fp8", set()),
    ({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["model.layers.*.self_attn*"]}, "nvfp4",
     {"attention"}),
])
def test_quantisation(quant: dict[str, Any], weight: str, kept: set[str]) -> None:
    m = spec(quantization_config=quant)
    assert m.weight_dtype == weight
    assert set(m.unquantized) == {"lm_head", "router", *kept}


def test_a_skip_list_of_few_layers_does_not_count_but_of_most_does() -> None:
    few = [f"model.layers.{i}.mlp.down_proj" for i in range(3)]
    most = [f"model.layers.{i}.mlp.down_proj" for i in range(30)]
    base = {"quant_method": "fp8"}
    assert "mlp" not in spec(quantization_config={**base, "modules_to_not_convert": few}).unquantized
    assert "mlp" in spec(quantization_config={**base, "modules_to_not_convert": most}).unquantized


def test_mixed_precision_names_each_part() -> None:
    layers = {"model.layers.0.self_attn.q_proj": {"quant_algo": "FP8"},
              "model.layers.0.mlp.experts": {"quant_algo": "NVFP4"}, "lm_head": {"quant_algo": "NVFP4"}}
    m = spec(quantization_config={"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION",
                                  "quantized_layers": layers, "kv_cache_quant_algo": "FP8"})
    assert m.kv_dtype == "fp8"
    assert (m.part_dtype("attention"), m.part_dtype("experts"), m.part_dtype("lm_head")) == ("fp8", "nvfp4", "nvfp4")
    assert m.part_dtype("norm") == "bf16"


@pytest.mark.parametrize(("module", "part"), [
    ("model.layers.3.mlp.gate", "router"), ("model.layers.3.mlp.gate_proj", "mlp"),
    ("model.layers.0.mlp.experts.7.down_proj", "experts"), ("model.layers.0.mlp.shared_expert_gate", "router"),
    ("model.layers.0.mlp.shared_experts.up_proj", "shared_expert"), ("lm_head", "lm_head"),
    ("model.layers.0.linear_attn.in_proj_qkv", "linear"), ("model.layers.0.self_attn.o_proj", "attention"),
    ("model.layers.0.input_layernorm", None), ("model.embed_tokens", None),
    ("backbone.layers.4.mixer.in_proj", "linear"), ("re:.*mlp\\.(gate|up|gate_up|down)_proj.*", "mlp"),
])
def test_module_names_map_to_parts(module: str, part: str | None) -> None:
    assert part_of(module) == part


def test_sidecar_beside_a_folder_and_beside_a_named_file(tmp_path: Path) -> None:
    quant = {"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}}
    for config, side in (("config.json", "hf_quant_config.json"), ("X_config.json", "X_hf_quant_config.json")):
        (tmp_path / config).write_text(json.dumps(LLAMA))
        (tmp_path / side).write_text(json.dumps(quant))
        m = read_model(tmp_path / config)
        assert (m.weight_dtype, m.kv_dtype) == ("nvfp4", "fp8")
    assert read_model(tmp_path).weight_dtype == "nvfp4"
    with pytest.raises(InputError, match="sidecar"):
        read_model(tmp_path / "hf_quant_config.json")


# --- bad input


@pytest.mark.parametrize(("content", "message"), [
    (b"", "not JSON"), (b"{\"hidden_size\": 1,", "not JSON"), (b"model_type: llama", "not JSON"),
    (b"[1, 2]", "a JSON list"), (b"null", "a JSON NoneType"), (b"\xff\xfe\x00\x01", "not UTF-8"),
    (b"[" * 200_000, "nested too deeply"), (b'{"a": 1, "a": 2}', "'a' appears twice"),
    (b'{"hidden_size": ' + b"9" * 5000 + b"}", "Exceeds"),
])
def test_broken_files(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_model(file)
    assert str(file) in str(caught.value)
    assert caught.value.hint


def test_syntax_error_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{\n "hidden_size": 1,\n oops\n}')
    with pytest.raises(InputError) as caught:
        read_model(file)
    assert caught.value.where == f"{file}:3"


def test_a_huge_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA))
    monkeypatch.setattr(hf_config, "MAX_BYTES", 10)
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("was read"))
    with pytest.raises(InputError, match="too many"):
        read_model(file)


def test_missing_file_and_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_model(tmp_path / "nothing")
    (tmp_path / "X_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"no config\.json") as caught:
        read_model(tmp_path)
    assert "X_config.json" in str(caught.value.hint)


@pytest.mark.parametrize(("changes", "message"), [
    ({"hidden_size": None}, "hidden_size is missing"), ({"vocab_size": None}, "vocab_size is missing"),
    ({"num_hidden_layers": None}, "num_hidden_layers is missing"),
    ({"num_attention_heads": None}, "num_attention_heads is missing"),
    ({"intermediate_size": None}, "intermediate_size is missing"),
    ({"hidden_size": -1}, "outside"), ({"hidden_size": 0}, "outside"), ({"hidden_size": 10**30}, "outside"),
    ({"hidden_size": "4096"}, "must be a whole number"), ({"hidden_size": True}, "must be a whole number"),
    ({"hidden_size": float("nan")}, "must be a whole number"), ({"hidden_size": 4096.5}, "must be a whole number"),
    ({"hidden_size": float("inf")}, "must be a whole number"), ({"num_hidden_layers": 10**9}, "outside"),
    ({"num_key_value_heads": 7}, "does not divide"), ({"hidden_size": 4097}, "no multiple"),
    ({"torch_dtype": "float13"}, "float13"), ({"tie_word_embeddings": "yes"}, "must be true or false"),
    ({"layer_types": ["full_attention"]}, "1 entries for 32 layers"),
    ({"layer_types": ["psychic_attention"] * 32}, "psychic_attention"),
    ({"layer_types": ["sliding_attention"] * 32}, "sliding_window is missing"),
    ({"num_experts": 8, "num_experts_per_tok": 9, "moe_intermediate_size": 64}, "9 of 8 experts"),
    ({"quantization_config": {"quant_method": "wishful"}}, "wishful"),
    ({"quantization_config": {"quant_method": "gptq", "bits": 3}}, "bits is 3"),
    ({"quantization_config": [1]}, "must be an object"),
    ({"model_type": "bert"}, "encoder"), ({"model_type": "t5"}, "encoder-decoder"),
    ({"model_type": "unheard_of", "mamba_d_state": 16}, "no plain transformer"),
    ({"model_type": "nemotron_h"}, "hybrid_override_pattern is missing"),
    ({"model_type": "nemotron_h", "hybrid_override_pattern": "MX", "num_hidden_layers": 2}, "'X'"),
])
def test_bad_values_name_file_and_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        spec(**changes)
    assert caught.value.where == "config.json"
    assert caught.value.hint


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**12) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=8)
_KEYS = sorted({*LLAMA, "head_dim", "layer_types", "num_experts", "num_experts_per_tok", "moe_intermediate_size",
                "quantization_config", "sliding_window", "sliding_window_pattern", "text_config", "kv_lora_rank",
                "compress_ratios", "linear_attn_config", "block_configs", "vision_config", "moe_layer_freq",
                "hybrid_override_pattern", "full_attention_interval", "num_nextn_predict_layers", "hc_mult",
                "mamba_n_heads", "layers_block_type", "attn_type_list", "use_bias"})
_TYPES = ["llama", "qwen2", "gemma3_text", "gemma4_text", "nemotron_h", "jamba", "zamba2", "deci", "qwen3_next",
          "kimi_linear", "llama4_text", "falcon_h1", "bamba", "mamba2", "deepseek_v4", "minimax_m3", "gpt_oss", "x"]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(_TYPES), st.dictionaries(st.sampled_from(_KEYS), _JSON, max_size=5))
def test_any_json_gives_a_model_or_an_input_error(model_type: str, changes: dict[str, Any]) -> None:
    try:
        m = parse_config({**LLAMA, **changes, "model_type": model_type}, name="m", where="config.json")
    except InputError as error:
        assert error.where is not None
        assert error.hint
    else:
        assert m.num_layers >= 1
        assert m.hidden_size >= 1


@settings(max_examples=100, deadline=None)
@given(_JSON, st.sampled_from(["quantization", "config_groups", "quant_algo", "exclude_modules"]))
def test_any_sidecar_gives_a_model_or_an_input_error(value: Any, key: str) -> None:
    side = Fields({"quantization": {"quant_algo": "NVFP4", key: value}} if key != "quantization" else {key: value}, "s")
    try:
        parse_config(LLAMA, name="m", where="c", sidecar=side)
    except InputError as error:
        assert error.hint


# --- the reference files


@pytest.mark.shared
def test_every_reference_config_parses() -> None:
    files = sorted(SHARED.glob("*_config.json"))
    if not files:
        pytest.skip("no reference configs beside the repository")
    for file in files:
        if "hf_quant_config" in file.name:
            continue
        m = read_model(file)
        assert m.num_layers > 0, file.name
        assert not any("not known" in note for note in m.notes), file.name


@pytest.mark.shared
@pytest.mark.parametrize(("file", "check"), [
    ("nvidia--Nemotron-H-56B-Base-8K", lambda m: _kinds(m) == {"mamba2": 54, "attention": 10, "mlp": 54}),
    ("Qwen--Qwen3.5-27B", lambda m: _kinds(m) == {"gdn": 48, "attention": 16, "mlp": 64}),
    ("transformers-default--tiiuae--Falcon-H1", lambda m: _kinds(m) == {"mamba2": 32, "attention": 32, "mlp": 32}),
    ("transformers-default--ai21labs--Jamba-v0.1",
     lambda m: _kinds(m) == {"mamba1": 28, "attention": 4, "mlp": 16, "moe": 16}),
    ("transformers-default--Zyphra--Zamba2-2.7B", lambda m: [g.copies for g in m.layers] == [None, 1]),
    ("openai--gpt-oss-120b", lambda m: windows(m) == {128: 18, None: 18} and attn(m).sinks),
    ("mlc-preset--mistral_7b_v0.1", lambda m: windows(m) == {4096: 32}),
    ("deepseek-ai--DeepSeek-V4-Flash", lambda m: dict(m.part_dtypes) == {"experts": "mxfp4"}),
    ("google--gemma-4-26B-A4B", lambda m: windows(m) == {1024: 25, None: 5} and attn(m, 1).v_from_k),
    ("nvidia--Llama-3.1-70B-Instruct-FP8", lambda m: (m.weight_dtype, m.kv_dtype) == ("fp8", "fp8")),
])
def test_reference_configs_in_detail(file: str, check: Any) -> None:
    path = SHARED / f"{file}_config.json"
    if not path.is_file():
        pytest.skip("no reference configs beside the repository")
    assert check(read_model(path))


def _kinds(m: ModelSpec) -> dict[str, int]:
    out: dict[str, int] = {}
    for g in m.layers:
        names = [mixer.kind if isinstance(mixer, LinearMixer) else "attention" for mixer in g.layer.mixers]
        names += ["moe" if isinstance(g.layer.mlp, MoeMlp) else "mlp"] if g.layer.mlp else []
        for name in names:
            out[name] = out.get(name, 0) + g.count
    return out


def test_errors_belong_to_the_tree() -> None:
    assert issubclass(InputError, CostplanError)

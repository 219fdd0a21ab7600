"""Weights per rank: agreement with the parameter counts and with what engines logged."""

from __future__ import annotations

from pathlib import Path

import pytest

from costplan.catalog.hf_config import read_model
from costplan.catalog.model_spec import Attention, DenseMlp, Layer, LayerGroup, ModelSpec, MoeMlp
from costplan.catalog.params import count
from costplan.core.dtypes import dtype
from costplan.core.errors import CostplanError, InputError
from costplan.core.units import GIB
from costplan.perf.weights import part_dtype, weight_bytes_per_rank

MODELS = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "models"


def llama_8b() -> ModelSpec:
    layer = Layer((Attention(32, 8, 128, 128),), DenseMlp(14336), norm_params=2 * 4096)
    return ModelSpec("llama-8b", "llama", 4096, 128256, (LayerGroup(layer, 32),), False, "bf16", "bf16",
                     max_position=131072, other_params=4096)


def moe() -> ModelSpec:
    layer = Layer((Attention(32, 4, 128, 128),), MoeMlp(128, 8, 768), norm_params=2 * 2048)
    return ModelSpec("moe", "moe", 2048, 151936, (LayerGroup(layer, 48),), False, "bf16", "bf16")


def test_llama_8b_weighs_what_vllm_logs() -> None:
    """vLLM issue 10517: 14.9888 GiB."""
    assert weight_bytes_per_rank(llama_8b()).total / GIB == pytest.approx(14.9888, rel=2e-4)


def test_norms_and_rotary_tables_are_on_every_rank_the_rest_is_divided() -> None:
    one, four = (dict(weight_bytes_per_rank(llama_8b(), tp).parts) for tp in (1, 4))
    assert {k for k in one if one[k] == four[k]} == {"norm", "other", "rope"}
    assert all(four[k] == one[k] / 4 for k in ("attention", "mlp", "embedding", "lm_head"))


def test_kv_heads_are_replicated_where_tp_exceeds_them() -> None:
    eight, sixteen = (dict(weight_bytes_per_rank(llama_8b(), tp).parts)["attention"] for tp in (8, 16))
    kv_of_one_head = 32 * 4096 * 2 * 128 * 2
    assert sixteen - kv_of_one_head == pytest.approx((eight - kv_of_one_head) / 2)


def test_expert_parallelism_gives_whole_experts() -> None:
    tp, ep = (dict(weight_bytes_per_rank(moe(), 8, ep=e).parts)["experts"] for e in (1, 8))
    assert tp == ep
    uneven = dict(weight_bytes_per_rank(moe(), 8, ep=3).parts)["experts"]
    assert uneven == 48 * 43 * 3 * 2048 * 768 * 2


def test_online_fp8_keeps_embedding_head_and_router() -> None:
    whole = dict(weight_bytes_per_rank(moe()).parts)
    fp8 = dict(weight_bytes_per_rank(moe(), weight_dtype="fp8").parts)
    assert {k for k in whole if whole[k] == fp8[k]} == {"embedding", "lm_head", "router", "norm"}
    assert fp8["experts"] * 2 == whole["experts"]


def test_mxfp4_covers_experts_only_and_pads_them() -> None:
    assert part_dtype(moe(), "attention", "mxfp4") == "bf16"
    gpt = Layer((Attention(64, 8, 64, 64),), MoeMlp(32, 4, 2880))
    spec = ModelSpec("gpt-oss-like", "gpt_oss", 2880, 201088, (LayerGroup(gpt, 24),), False, "bf16", "mxfp4",
                     unquantized=frozenset({"attention", "router", "lm_head"}))
    plain = 24 * 32 * 3 * 2880 * 2880 * dtype("mxfp4").bytes
    hopper, ampere = (dict(weight_bytes_per_rank(spec, marlin=m).parts)["experts"] for m in (False, True))
    assert hopper == pytest.approx(plain * 3072 / 2880)
    assert ampere == pytest.approx(plain * 3072 / 2880 * 2944 / 2880)


def test_nvfp4_of_a_moe_model_keeps_attention_in_fp8() -> None:
    assert part_dtype(moe(), "attention", "nvfp4") == "fp8"
    assert part_dtype(moe(), "experts", "nvfp4") == "nvfp4"
    assert part_dtype(llama_8b(), "attention", "nvfp4") == "nvfp4"


def test_vocabulary_is_padded_to_64_per_rank() -> None:
    spec = llama_8b()
    odd = ModelSpec(spec.name, spec.model_type, 4096, 1000, spec.layers, False, "bf16", "bf16")
    assert dict(weight_bytes_per_rank(odd, 8).parts)["embedding"] == 1024 / 8 * 4096 * 2


@pytest.mark.parametrize("bad", [{"tp": 0}, {"ep": 0}, {"pp": 0}, {"pp": 40}])
def test_impossible_layouts_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(InputError):
        weight_bytes_per_rank(llama_8b(), **bad)


@pytest.mark.shared
@pytest.mark.skipif(not MODELS.is_dir(), reason="the shared model configs are absent")
def test_one_rank_holds_every_parameter_of_every_shared_config() -> None:
    checked = 0
    for file in sorted(MODELS.glob("*_config.json")):
        if file.name.endswith("quant_config.json"):
            continue
        try:
            spec = read_model(file)
        except CostplanError:
            continue
        if spec.model_type == "gpt_oss":
            continue  # padded
        elems = 0.0
        for part, size in weight_bytes_per_rank(spec).parts:
            if part not in ("absorbed", "rope"):
                base = part in ("embedding", "vision", "norm", "other", "ple")
                elems += size / dtype(spec.base_dtype if base else spec.part_dtype(part)).bytes
        assert elems == pytest.approx(count(spec).total, rel=2e-3), spec.name
        checked += 1
    assert checked > 60


@pytest.mark.shared
@pytest.mark.skipif(not MODELS.is_dir(), reason="the shared model configs are absent")
@pytest.mark.parametrize(("file", "weight_dtype", "marlin", "logged_gib"), [
    ("Qwen--Qwen3-8B", None, False, 15.2683),
    ("Qwen--Qwen2.5-7B-Instruct", None, True, 14.29),
    ("Qwen--Qwen2.5-7B-Instruct", "fp8", True, 8.18),
    ("openai--gpt-oss-20b", None, True, 13.72),
    ("openai--gpt-oss-120b", None, False, 64.38),
    ("google--gemma-4-26B-A4B", None, True, 48.5),
])
def test_weights_agree_with_start_up_logs(file: str, weight_dtype: str | None, marlin: bool, logged_gib: float) -> None:
    spec = read_model(MODELS / f"{file}_config.json")
    found = weight_bytes_per_rank(spec, weight_dtype=weight_dtype, marlin=marlin).total / GIB
    assert found == pytest.approx(logged_gib, rel=0.01)

"""Parameter counts against published totals, and laws of the breakdown."""

from __future__ import annotations

import pytest

from costplan.catalog.models import builtin_models, model
from costplan.catalog.params import PARTS, count, layer_params

# Hugging Face id -> published total. Where no comment stands: parameters of the safetensors files, exact.
EXACT = {
    "meta-llama/Llama-2-7b-hf": 6_738_415_616, "meta-llama/Llama-2-13b-hf": 13_015_864_320,
    "meta-llama/Llama-2-70b-hf": 68_976_648_192, "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Llama-3.1-70B": 70_553_706_496, "meta-llama/Llama-3.1-405B": 405_853_388_800,
    "meta-llama/Llama-3.2-1B": 1_235_814_400, "meta-llama/Llama-3.2-3B": 3_212_749_824,
    "Qwen/Qwen2.5-0.5B": 494_032_768, "Qwen/Qwen2.5-3B": 3_085_938_688, "Qwen/Qwen2.5-7B": 7_615_616_512,
    "Qwen/Qwen2.5-14B": 14_770_033_664, "Qwen/Qwen2.5-32B": 32_763_876_352, "Qwen/Qwen2.5-72B": 72_706_203_648,
    "Qwen/Qwen3-0.6B": 596_049_920, "Qwen/Qwen3-4B": 4_022_468_096, "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-14B": 14_768_307_200, "Qwen/Qwen3-32B": 32_762_123_264, "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "Qwen/Qwen3-235B-A22B": 235_093_634_560, "mistralai/Mistral-7B-v0.1": 7_241_732_096,
    "mistralai/Mistral-Nemo-Instruct-2407": 12_247_782_400, "mistralai/Mixtral-8x7B-v0.1": 46_702_792_704,
    "mistralai/Mixtral-8x22B-v0.1": 140_620_634_112, "deepseek-ai/DeepSeek-V2-Lite": 15_706_484_224,
    "google/gemma-2b": 2_506_172_416, "google/gemma-2-9b": 9_241_705_984, "google/gemma-2-27b": 27_227_128_320,
    "microsoft/phi-4": 14_659_507_200, "nvidia/Llama-3_3-Nemotron-Super-49B-v1": 49_867_145_216,
    "01-ai/Yi-34B": 34_388_917_248, "CohereLabs/c4ai-command-r-v01": 34_980_831_232,
    "facebook/opt-6.7b": 6_658_473_984, "tiiuae/falcon-7b": 6_921_720_704,
}

# Hugging Face id -> (total in 1e9, active in 1e9, whether active counts the input embedding, where published)
CARDS = {
    "openai/gpt-oss-120b": (116.83, 5.13, False, "gpt-oss model card, table 1"),
    "openai/gpt-oss-20b": (20.91, 3.61, False, "gpt-oss model card, table 1"),
    "deepseek-ai/DeepSeek-V3": (671.0, 36.7, False, "README_WEIGHTS.md; the 36.7 leave out one of embedding, head"),
    "mistralai/Mixtral-8x7B-v0.1": (46.7, 12.9, True, "arXiv 2401.04088"),
    "mistralai/Mixtral-8x22B-v0.1": (141.0, 39.0, True, "mistral.ai, Cheaper, better, faster, stronger"),
    "Qwen/Qwen3-30B-A3B": (30.5, 3.3, True, "model card"),
    "Qwen/Qwen3-235B-A22B": (235.0, 22.0, True, "model card"),
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": (31.6, 3.6, True, "technical report"),
    "google/gemma-4-31B-it": (30.7, 30.7, True, "model card; without the vision tower"),
    "ai21labs/Jamba-v0.1": (51.6, 12.0, True, "arXiv 2403.19887"),
    "moonshotai/Kimi-K2-Instruct": (1026.0, 32.6, None, "technical report; 32.6 activated"),
    "stepfun-ai/Step-3.5-Flash": (196.81, None, None, "model card"),
    "Qwen/Qwen3-Next-80B-A3B-Instruct": (79.67, None, None, "safetensors without the MTP layer"),
    "zai-org/GLM-5": (744.0, 40.0, None, "model card: 744B, 40B active"),
    "deepseek-ai/DeepSeek-V4-Flash": (284.0, 13.0, None, "model card: 284B, 13B active"),
    "XiaomiMiMo/MiMo-V2-Flash": (309.0, 15.0, None, "model card: 309B, 15B active"),
    "zai-org/GLM-4.5-Air": (106.0, 12.0, None, "model card: 106B, 12B active"),
}


@pytest.mark.parametrize("name", EXACT)
def test_total_equals_the_published_one(name: str) -> None:
    assert count(model(name)).total == EXACT[name]


@pytest.mark.parametrize("name", CARDS)
def test_total_and_active_agree_with_the_card(name: str) -> None:
    total, active, with_embedding, where = CARDS[name]
    got = count(model(name))
    text = got.total - got.parts["vision"]
    assert text / 1e9 == pytest.approx(total, rel=0.01), where
    if active is None:
        return
    if with_embedding is None:  # the card does not say, and rounds: both conventions bracket it
        assert got.active_no_embedding / 1e9 * 0.93 <= active <= got.active / 1e9 * 1.01, where
        return
    counted = got.active if with_embedding else got.active_no_embedding
    assert counted / 1e9 == pytest.approx(active, rel=0.02), where  # cards print two or three digits


def test_untied_is_one_embedding_more() -> None:
    tied = model("Qwen/Qwen3-0.6B")
    assert count(tied).total + tied.vocab_size * tied.hidden_size == 751_632_384


@pytest.mark.parametrize("name", list(builtin_models()))
def test_parts_add_up(name: str) -> None:
    spec = model(name)
    got = count(spec)
    assert set(got.parts) == set(PARTS)
    assert all(value >= 0 for value in got.parts.values())
    assert sum(got.parts.values()) == got.total
    assert 0 < got.active_no_embedding <= got.active <= got.total
    assert (got.active_experts < got.parts["experts"]) == spec.is_moe
    if all(g.copies is None for g in spec.layers):
        layers = sum(layer_params(g.layer, spec.hidden_size).total * g.count for g in spec.layers)
        rest = ("embedding", "lm_head", "ple", "vision")
        assert layers + spec.other_params + sum(got.parts[p] for p in rest) == got.total


def test_mtp_is_counted_apart() -> None:
    got = count(model("deepseek-ai/DeepSeek-V3"))
    assert got.mtp / 1e9 == pytest.approx(11.5, rel=0.02)  # README_WEIGHTS.md: 11.5B unique parameters

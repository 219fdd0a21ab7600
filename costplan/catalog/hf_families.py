"""What a ``model_type`` implies but its config.json does not say: defaults of the Hugging Face classes.

Each row states class defaults of `transformers` (or of the checkpoint's own modelling code) that decide
shapes: weight tying, biases, norms per block, gated MLP or not, window conventions, kind of layers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """Defaults of one architecture.

    ``layout`` says how layers are made (`hf_layers`), ``windows`` the rule for sliding windows where the
    file has no per-layer list (`hf_windows`), ``linear`` the kind of its constant-state layers.
    ``qk_norm`` is ``head`` (one vector of head_dim), ``full`` (all heads) or empty; ``norms`` are counted
    per block and ``norm_bias`` doubles them (LayerNorm).
    """

    layout: str = "decoder"
    windows: str = "none"
    linear: str = ""
    tie: bool = False
    gated: bool = True
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    norms: int = 2
    norm_bias: bool = False
    qk_norm: str = ""
    head_bias: bool = False
    embed_norm: bool = False
    output_gate: bool = False
    head_gate: bool = False
    shared_gate: bool = False
    router_bias: bool = False
    default_window: int | None = None
    position_offset: int | None = None  # learned positions: max_position + this many rows


_LLAMA = Family()
_QWEN2 = Family(qkv_bias=True, windows="qwen")
_QWEN3 = Family(qk_norm="head", windows="qwen")
_QWEN35 = Family(qk_norm="head", linear="gdn", output_gate=True, shared_gate=True)
_GEMMA2 = Family(tie=True, norms=4, windows="alternate", default_window=4096)
_GEMMA3 = Family(tie=True, norms=4, qk_norm="head", windows="pattern", default_window=1024)
_GEMMA4 = Family(tie=True, norms=4, qk_norm="head", windows="pattern", default_window=512)
_BLOOM = Family(tie=True, embed_norm=True, norm_bias=True, gated=False, qkv_bias=True, o_bias=True, mlp_bias=True)

FAMILIES: dict[str, Family] = {
    **dict.fromkeys(("llama", "granite", "internlm2", "internlm3", "smollm3", "aquila", "xverse",
                     "ernie4_5", "yi", "helium", "baichuan", "minicpm", "deepseek", "arctic", "glm"), _LLAMA),
    "ministral3": Family(), "mistral3": Family(), "seed_oss": Family(qkv_bias=True),
    "mistral": Family(windows="all", default_window=4096),
    "mixtral": Family(windows="all"), "phi3": Family(windows="all"),
    "phimoe": Family(windows="all", norm_bias=True, head_bias=True),
    "qwen2": _QWEN2, "qwen2_vl": _QWEN2, "qwen2_5_vl": _QWEN2, "mimo": _QWEN2,
    "qwen2_moe": Family(qkv_bias=True, shared_gate=True, windows="qwen"),
    "qwen3": _QWEN3, "qwen3_moe": _QWEN3, "qwen3_vl": _QWEN3, "qwen3_vl_moe": _QWEN3,
    "qwen3_next": _QWEN35, "qwen3_5": _QWEN35, "qwen3_5_moe": _QWEN35,
    "gemma": Family(tie=True), "gemma2": _GEMMA2, "gemma3": _GEMMA3, "gemma4": _GEMMA4,
    "gemma3n": Family(tie=True, norms=4, qk_norm="head", windows="pattern", default_window=512),
    "muse_glimmer": Family(norms=4, qk_norm="head"),
    "starcoder2": Family(tie=True, gated=False, norm_bias=True, qkv_bias=True, o_bias=True, mlp_bias=True,
                         windows="all"),
    "falcon": Family(tie=True, gated=False, norm_bias=True),
    "gptj": Family(gated=False, norms=1, norm_bias=True, mlp_bias=True, head_bias=True),
    "gpt_neox": Family(gated=False, norm_bias=True, qkv_bias=True, o_bias=True, mlp_bias=True),
    "gpt2": Family(tie=True, gated=False, norm_bias=True, qkv_bias=True, o_bias=True, mlp_bias=True,
                   position_offset=0),
    "gpt_bigcode": Family(tie=True, gated=False, norm_bias=True, qkv_bias=True, o_bias=True, mlp_bias=True,
                          position_offset=0),
    "opt": Family(tie=True, gated=False, norm_bias=True, qkv_bias=True, o_bias=True, mlp_bias=True,
                  position_offset=2),
    "bloom": _BLOOM, "mpt": Family(tie=True, gated=False),
    "phi": Family(gated=False, norms=1, norm_bias=True, qkv_bias=True, o_bias=True, mlp_bias=True,
                  head_bias=True),
    "stablelm": Family(norm_bias=True),
    "chatglm": Family(qkv_bias=True),
    "cohere": Family(tie=True, norms=1), "cohere2": Family(tie=True, norms=1, windows="pattern"),
    "glm4": Family(norms=4), "glm4_moe": Family(), "glm4v_moe": Family(),
    "olmo": Family(norms=0), "olmo2": Family(qk_norm="full"), "olmo3": Family(qk_norm="full", windows="pattern"),
    "olmoe": Family(qk_norm="full"),
    "exaone4": Family(qk_norm="head", windows="pattern"),
    "nemotron": Family(gated=False, norm_bias=True),
    "dbrx": Family(), "granitemoe": Family(tie=True),
    "granitemoehybrid": Family(layout="hybrid", linear="mamba2", tie=True),
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2", "kimi_k25", "glm_moe_dsa",
                     "glm4_moe_lite", "mistral4", "deepseek_ref", "deepseek_v4", "longcat_flash"), _LLAMA),
    "kimi_linear": Family(linear="kda"), "glm5_next": Family(linear="kda"),
    "minimax_m2": Family(qk_norm="full", router_bias=True),
    "minimax_m3": Family(qk_norm="head", router_bias=True), "minimax_m3_vl": Family(qk_norm="head", router_bias=True),
    "minimax": Family(linear="lightning"), "minimax_text_01": Family(linear="lightning"),
    "mimo_v2_flash": Family(),
    "gpt_oss": Family(qkv_bias=True, o_bias=True, mlp_bias=True, router_bias=True, windows="alternate"),
    "llama4": Family(windows="nope4"),
    "ernie4_5_moe": Family(), "hunyuan_v1_dense": Family(qk_norm="head"),
    "hunyuan_v1_moe": Family(qk_norm="head"), "dots1": Family(qk_norm="head"),
    "step3p5": Family(qk_norm="head", head_gate=True), "step3p7": Family(qk_norm="head", head_gate=True),
    "bailing_moe": Family(), "apertus": Family(gated=False, qk_norm="head"), "arcee": Family(gated=False),
    "nemotron_h": Family(layout="nemotron_h", linear="mamba2", gated=False, norms=1),
    "nemotron-nas": Family(layout="deci"), "deci": Family(layout="deci"),
    "jamba": Family(layout="hybrid", linear="mamba1"),
    "bamba": Family(layout="hybrid", linear="mamba2"),
    "falcon_h1": Family(layout="falcon_h1", linear="mamba2"),
    "zamba2": Family(layout="zamba2", linear="mamba2", tie=True),
    "falcon_mamba": Family(layout="mamba", linear="mamba1", norms=1, tie=False),
    "mamba": Family(layout="mamba", linear="mamba1", norms=1, tie=True),
    "mamba2": Family(layout="mamba", linear="mamba2", norms=1),
}

REFUSED = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "distilbert", "electra", "deberta", "deberta-v2", "mpnet",
                     "nomic_bert", "modernbert", "new"), "an encoder without generation (no KV cache, no decode)"),
    **dict.fromkeys(("t5", "mt5", "umt5", "bart", "mbart", "whisper", "pegasus", "m2m_100", "marian"),
                    "an encoder-decoder; costplan plans decoder-only models"),
    **dict.fromkeys(("clip", "siglip", "vit", "dinov2"), "a vision encoder, not a language model"),
    "deepseek_v41": "an architecture whose cross-layer cache and n-gram memory costplan does not model",
    "recurrent_gemma": "an RG-LRU architecture that costplan does not model",
    "rwkv": "an RWKV architecture that costplan does not model",
    "lfm2": "a short-convolution architecture that costplan does not model",
}


def family_of(model_type: str) -> Family | None:
    """The row of ``model_type``; the ``_text`` of nested configs is ignored. None: not known."""
    return FAMILIES.get(model_type.lower().removesuffix("_text"))

"""Layers with a constant state per sequence: Mamba 1 and 2, gated delta net, Kimi delta attention, lightning.

Weight and state sizes follow the modelling code in `transformers` (and Kimi's own for KDA).
"""

from __future__ import annotations

import math

from costplan.catalog.hf_fields import Fields
from costplan.catalog.model_spec import LinearMixer


def linear_mixer(f: Fields, kind: str) -> LinearMixer:
    """The constant-state mixer of ``kind`` with the sizes in ``f``."""
    return {"mamba1": _mamba1, "mamba2": _mamba2, "gdn": _gdn, "kda": _kda, "lightning": _lightning}[kind](f)


def _state_dtype(f: Fields) -> str | None:
    name = f.text("mamba_ssm_cache_dtype", "mamba_ssm_dtype")
    return {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}.get(name)


def _mamba2(f: Fields) -> LinearMixer:
    hidden = f.hidden_size
    heads = f.integer("mamba_num_heads", "mamba_n_heads", "n_mamba_heads", "num_heads", high=1 << 16)
    expanded = f.integer_or(int(f.number_or(2, "expand", "mamba_expand") * hidden), "mamba_d_ssm")
    names = ("head_dim",) if f.text("model_type") == "mamba2" else ("mamba_head_dim", "mamba_d_head", "mamba_headdim")
    dim_key = next((k for k in names if f.has(k) and f.data[k] != "auto"), None)
    dim = f.integer(dim_key, high=1 << 16) if dim_key else expanded // heads
    if not dim:
        raise f.fail("mamba_num_heads", f"is {heads}, more than the {expanded} channels", "check the config file")
    inner = heads * dim
    state = f.integer("ssm_state_size", "mamba_d_state", "state_size")
    groups = f.integer_or(1, "n_groups", "mamba_n_groups", "mamba_ngroups", high=1 << 16)
    kernel = f.integer_or(4, "conv_kernel", "mamba_d_conv", high=1024)
    conv = inner + 2 * groups * state
    conv_bias = f.flag("use_conv_bias", "mamba_conv_bias", default=True)
    proj_bias = f.flag("mamba_proj_bias", "use_bias", "add_bias_linear", default=False)
    width = inner + conv + heads
    params = (hidden * width + conv * (kernel + conv_bias) + 3 * heads + inner * hidden
              + (inner if f.flag("mamba_rms_norm", default=True) else 0) + (width + hidden) * proj_bias)
    return LinearMixer("mamba2", state_elems=inner * state, conv_elems=conv * (kernel - 1), params=params,
                       num_k_heads=groups, head_k_dim=state, num_v_heads=heads, head_v_dim=dim, conv_kernel=kernel,
                       n_groups=groups, state_dtype=_state_dtype(f))


def _mamba1(f: Fields) -> LinearMixer:
    hidden = f.hidden_size
    inner = f.integer_or(int(f.number_or(2, "mamba_expand", "expand") * hidden), "intermediate_size") \
        if f.text("model_type") in {"mamba", "falcon_mamba"} else int(f.number_or(2, "mamba_expand") * hidden)
    state = f.integer("mamba_d_state", "state_size", "ssm_state_size")
    kernel = f.integer_or(4, "mamba_d_conv", "conv_kernel", high=1024)
    rank_key = next((k for k in ("mamba_dt_rank", "time_step_rank") if f.has(k) and f.data[k] != "auto"), None)
    rank = f.integer(rank_key) if rank_key else math.ceil(hidden / 16)
    conv_bias = f.flag("mamba_conv_bias", "use_conv_bias", default=True)
    norms = rank + 2 * state if f.text("model_type") == "jamba" else 0
    params = (hidden * 2 * inner + inner * (kernel + conv_bias) + inner * (rank + 2 * state) + rank * inner + inner
              + inner * state + inner + inner * hidden + norms)
    return LinearMixer("mamba1", state_elems=inner * state, conv_elems=inner * (kernel - 1), params=params,
                       head_k_dim=state, num_v_heads=inner, head_v_dim=1, conv_kernel=kernel,
                       state_dtype=_state_dtype(f))


def _gdn(f: Fields) -> LinearMixer:
    hidden = f.hidden_size
    k_heads = f.integer("linear_num_key_heads", high=1 << 16)
    v_heads = f.integer("linear_num_value_heads", high=1 << 16)
    k_dim = f.integer("linear_key_head_dim", high=1 << 16)
    v_dim = f.integer("linear_value_head_dim", high=1 << 16)
    kernel = f.integer_or(4, "linear_conv_kernel_dim", high=1024)
    keys, values = k_heads * k_dim, v_heads * v_dim
    conv = 2 * keys + values
    params = hidden * (conv + values + 2 * v_heads) + conv * kernel + 2 * v_heads + v_dim + values * hidden
    return LinearMixer("gdn", state_elems=v_heads * k_dim * v_dim, conv_elems=conv * (kernel - 1), params=params,
                       num_k_heads=k_heads, head_k_dim=k_dim, num_v_heads=v_heads, head_v_dim=v_dim,
                       conv_kernel=kernel, state_dtype=_state_dtype(f))


def _kda(f: Fields) -> LinearMixer:
    hidden = f.hidden_size
    sub = f.sub("linear_attn_config")
    if sub is None:
        raise f.missing("linear_attn_config")
    heads, dim = sub.integer("num_heads", high=1 << 16), sub.integer("head_dim", high=1 << 16)
    kernel = sub.integer_or(4, "short_conv_kernel_size", high=1024)
    inner = heads * dim
    gate = hidden * inner if sub.flag("use_full_rank_gate", default=False) else dim * (hidden + inner)
    params = (4 * hidden * inner + 3 * inner * kernel + dim * (hidden + inner) + inner + heads + hidden * heads
              + gate + dim)
    return LinearMixer("kda", state_elems=heads * dim * dim, conv_elems=3 * inner * (kernel - 1), params=params,
                       num_k_heads=heads, head_k_dim=dim, num_v_heads=heads, head_v_dim=dim, conv_kernel=kernel,
                       state_dtype="fp32")


def _lightning(f: Fields) -> LinearMixer:
    hidden = f.hidden_size
    heads, dim = f.integer("num_attention_heads", high=1 << 16), f.integer("head_dim", high=1 << 16)
    inner = heads * dim
    return LinearMixer("lightning", state_elems=heads * dim * dim, conv_elems=0, params=5 * hidden * inner + inner,
                       num_k_heads=heads, head_k_dim=dim, num_v_heads=heads, head_v_dim=dim, state_dtype="fp32")

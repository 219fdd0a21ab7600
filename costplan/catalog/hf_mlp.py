"""The feed-forward part of a layer: dense or mixture of experts, under all the names that configs use."""

from __future__ import annotations

from costplan.catalog.hf_families import Family
from costplan.catalog.hf_fields import Fields
from costplan.catalog.model_spec import DenseMlp, Mlp, MoeMlp

EXPERTS = ("n_routed_experts", "num_local_experts", "num_experts", "moe_num_experts")
_TOP_K = ("num_experts_per_tok", "experts_per_token", "num_experts_per_token", "top_k_experts", "moe_k",
          "moe_topk", "moe_top_k", "num_experts_per_topk")
_EXPERT_SIZE = ("moe_intermediate_size", "expert_intermediate_size", "expert_ffn_hidden_size")
_DENSE_SIZE = ("intermediate_size_mlp", "dense_intermediate_size", "intermediate_size", "ffn_hidden_size", "n_inner",
               "ffn_dim", "ffn_intermediate_size")


def mlp(f: Fields, family: Family, i: int, num_layers: int) -> Mlp:
    """The feed-forward part of decoder layer ``i``."""
    return moe(f, family) if is_moe_layer(f, i, num_layers) else dense(f, family, i, num_layers)


def dense(f: Fields, family: Family, i: int = 0, num_layers: int = 1) -> DenseMlp:
    """The dense feed-forward block; absent sizes follow the class conventions (4 x hidden)."""
    size = f.integer_or(None, *_DENSE_SIZE)
    if size is None:
        if family.gated:
            raise f.missing(*_DENSE_SIZE[2:])
        size = 4 * f.hidden_size
    shared = f.integer_or(0, "num_kv_shared_layers", low=0, high=num_layers)
    if f.flag("use_double_wide_mlp", default=False) and i >= num_layers - shared:
        size *= 2
    bias = f.flag("mlp_bias", default=f.flag("use_bias", "bias", default=family.mlp_bias))
    return DenseMlp(size, gated=family.gated, bias=bias)


def is_moe_layer(f: Fields, i: int, num_layers: int) -> bool:
    """Whether layer ``i`` routes, by whichever of the published keys the file uses."""
    if not _num_experts(f) or not f.flag("enable_moe_block", default=True):
        return False
    listed = _listed(f, i, num_layers)
    if listed is not None:
        return listed
    first = f.integer_or(0, "first_k_dense_replace", "num_dense_layers", low=0, high=1 << 16)
    return i >= first and i not in (f.array("mlp_only_layers") or []) and _in_rhythm(f, i, num_layers)


def _listed(f: Fields, i: int, num_layers: int) -> bool | None:
    """What a per-layer list says of layer ``i``; None where the file has no such list."""
    kinds = f.array("mlp_layer_types", at_least=num_layers)
    if kinds is not None:
        return kinds[i] in ("sparse", "moe")
    if isinstance(f.data.get("moe_layer_freq"), list):
        return (f.array("moe_layer_freq", at_least=num_layers) or [])[i] in (1, True)
    enum = f.data.get("moe_layers_enum")
    if isinstance(enum, str) and enum:
        return str(i) in [part.strip() for part in enum.split(",")]
    chosen = f.array("moe_layers_enum" if isinstance(enum, list) else "moe_layers")
    return i in chosen if chosen else None


def _in_rhythm(f: Fields, i: int, num_layers: int) -> bool:
    """Whether layer ``i`` is one of the routed layers of a repeating pattern."""
    if f.has("moe_layer_start_index", "moe_layer_interval"):
        first = f.integer_or(0, "moe_layer_start_index", low=0)
        last = f.integer_or(num_layers - 1, "moe_layer_end_index", low=-1)
        last = num_layers - 1 if last < 0 else last
        return first <= i <= last and (i + 1) % f.integer_or(1, "moe_layer_interval") == 0
    if f.has("expert_layer_period"):
        return (i - f.integer_or(0, "expert_layer_offset", low=0)) % f.integer("expert_layer_period") == 0
    step = f.integer_or(1, "decoder_sparse_step", "interleave_moe_layer_step", low=0)
    if step == 0 or (i + 1) % step:
        return False
    return i % f.integer_or(1, "moe_layer_freq") == 0


def _num_experts(f: Fields) -> int:
    got = f.find(*EXPERTS)
    if got is None:
        nested = f.sub("ffn_config")  # DBRX
        return nested.integer_or(0, "moe_num_experts") if nested is not None else 0
    value = got[1][0] if isinstance(got[1], list) and got[1] else got[1]  # ERNIE-VL: text, vision
    experts = f.as_int(got[0], value, 0, 1 << 16)
    return experts if experts > 1 else 0


def moe(f: Fields, family: Family) -> MoeMlp:
    """The routed block: experts, top-k, widths, shared experts."""
    nested = f.sub("ffn_config")
    if nested is not None and nested.has("moe_num_experts"):
        return MoeMlp(num_experts=nested.integer("moe_num_experts"), top_k=nested.integer("moe_top_k"),
                      intermediate_size=nested.integer("ffn_hidden_size"))
    experts = _num_experts(f)
    top_k = _first_int(f, *_TOP_K)
    if top_k > experts:
        raise f.fail(_TOP_K[0], f"is {top_k} of {experts} experts", "check the config file for a typing error")
    size = _first_int(f, *_EXPERT_SIZE, "intermediate_size", "ffn_hidden_size")
    bias_term = (family.router_bias or f.text("topk_method") == "noaux_tc"
                 or f.flag("use_moe_router_bias", "use_routing_bias", "moe_use_aux_free", default=False))
    return MoeMlp(num_experts=experts, top_k=top_k, intermediate_size=size,
                  shared_intermediate_size=_shared_size(f, size), gated=family.gated, bias=family.mlp_bias,
                  router_bias=bias_term, shared_gate=family.shared_gate,
                  latent_size=f.integer_or(None, "moe_latent_size", "routed_expert_hidden_size"))


def _first_int(f: Fields, *keys: str) -> int:
    """Like ``f.integer``; a list (one entry per layer or modality) counts by its first entry."""
    got = f.find(*keys)
    if got is not None and isinstance(got[1], list) and got[1]:
        return f.as_int(got[0], got[1][0], 1, 1 << 24)
    return f.integer(*keys)


def _shared_size(f: Fields, expert_size: int) -> int:
    """Summed width of what every token passes beside its routed experts; 0 where there is none."""
    if f.text("model_type").startswith("llama4"):
        return f.integer("intermediate_size")
    if f.text("model_type").startswith("gemma4"):
        return f.integer("intermediate_size")  # a dense MLP runs beside the experts of each layer
    total = f.integer_or(None, "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size",
                         "share_expert_dim", "share_expert_dims", low=0)
    if total is not None:
        return total
    count = f.find("n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert")
    if count is None:
        return f.integer_or(0, "shared_intermediate_size", low=0)
    raw = count[1][0] if isinstance(count[1], list) and count[1] else count[1]
    return f.as_int(count[0], raw, 0, 1 << 10) * expert_size

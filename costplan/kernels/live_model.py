"""A real model with random weights, built by Hugging Face transformers, attention and cache replaced by ours.

Projections that engines fuse (QKV, gate and up) are fused, and norms are one operator: what runs is what a profile
measures. Everything else is transformers' own code.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from costplan.core.errors import InputError
from costplan.profile.steps import LiveModel

ATTENTION = "costplan_live"
FAMILIES = ("llama", "qwen2", "qwen3")
_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
_FLASH = {"fa2": "flash_attn", "fa3": "flash_attn_interface"}
INSTALL = "pip install 'costplan[live]' and a torch build for this machine (pytorch.org)"


def require() -> None:
    """Raise InputError unless torch and transformers are here."""
    for name in ("torch", "transformers"):
        if find_spec(name) is None:
            raise InputError(f"{name} is not installed: a live validation runs a real model", hint=INSTALL)


def build(model: LiveModel, device: str, attention: str) -> Any:
    """The model on ``device``, ready to run steps. Raises InputError where a library is missing."""
    require()
    import torch

    import_module("transformers.modeling_utils").ALL_ATTENTION_FUNCTIONS.register(ATTENTION, _attention(attention))
    config_class, model_class = _classes(model.family)
    config = config_class(
        hidden_size=model.hidden_size, intermediate_size=model.intermediate_size, vocab_size=model.vocab_size,
        num_hidden_layers=model.num_layers, num_attention_heads=model.num_heads, head_dim=model.head_dim,
        num_key_value_heads=model.num_kv_heads, tie_word_embeddings=model.tie_embeddings, use_cache=True,
        max_position_embeddings=1 << 20, attn_implementation=ATTENTION, pad_token_id=None, bos_token_id=None,
        eos_token_id=None)
    dtype = getattr(torch, _DTYPES[model.dtype])
    with torch.device("meta"):
        made = model_class(config).to(dtype).eval().requires_grad_(False)
        for layer in made.model.layers:
            _fuse(layer.self_attn, ("q_proj", "k_proj", "v_proj"))
            _fuse(layer.mlp, ("gate_proj", "up_proj"))
    made.to_empty(device=device)
    made.tie_weights()
    with torch.device(device):
        made.model.rotary_emb = type(made.model.rotary_emb)(config)
    _fill(made)
    _one_operator_norms(made)
    made.lm_head.register_forward_pre_hook(_gathered)
    return made


def _gathered(_module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The last tokens side by side, as engines gather them: on a view into the prompt torch copies the weights of the
    head for every sequence. A clone, because one token of one sequence passes for contiguous and is none."""
    import torch

    return (args[0].clone(memory_format=torch.contiguous_format),)


def _classes(family: str) -> tuple[Any, Any]:
    title = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}[family]
    return (getattr(import_module(f"transformers.models.{family}.configuration_{family}"), f"{title}Config"),
            getattr(import_module(f"transformers.models.{family}.modeling_{family}"), f"{title}ForCausalLM"))


def _fuse(module: Any, names: tuple[str, ...]) -> None:
    """One matrix product for several projections of the same input: the first name runs it, the others hand out
    their columns. They are called in this order."""
    import torch

    parts = [getattr(module, n) for n in names]
    widths = [p.out_features for p in parts]
    whole = torch.nn.Linear(parts[0].in_features, sum(widths), bias=parts[0].bias is not None,
                            dtype=parts[0].weight.dtype)
    left: list[Any] = []

    class First(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.whole = whole

        def forward(self, x: Any) -> Any:
            left[:] = self.whole(x).split(widths, dim=-1)
            return left.pop(0)

    class Next(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return left.pop(0)

    setattr(module, names[0], First().requires_grad_(False))
    for n in names[1:]:
        setattr(module, n, Next())


def _fill(model: Any) -> None:
    """Random weights of the usual scale, from one block repeated; norms are near one."""
    import torch

    for name, p in model.named_parameters():
        generator = torch.Generator(p.device).manual_seed(len(name))
        block = torch.randn(min(p.numel(), 1 << 20), device=p.device, generator=generator).mul_(0.02)
        flat = p.data.view(-1)
        if "norm" in name:
            block.add_(1.0)
        for start in range(0, flat.numel(), block.numel()):
            part = flat[start:start + block.numel()]
            part.copy_(block[:part.numel()])


def _one_operator_norms(model: Any) -> None:
    """RMSNorm through torch's own operator instead of a chain of six with copies in fp32."""
    import torch

    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            shape, eps = tuple(module.weight.shape), float(module.variance_epsilon)

            def forward(x: Any, weight: Any = module.weight, shape: tuple[int, ...] = shape, eps: float = eps) -> Any:
                return torch.nn.functional.rms_norm(x, shape, weight, eps)

            module.forward = forward


def _attention(name: str) -> Any:
    """transformers' attention interface over one of our kernels: ``[batch, heads, q_len, head_dim]`` in,
    ``[batch, q_len, heads, head_dim]`` out."""
    if name in ("sdpa", "sdpa-packed"):
        return _packed if name == "sdpa-packed" else _sdpa
    if find_spec(_FLASH[name]) is None:
        raise InputError(f"{name} is not installed (module {_FLASH[name]})",
                         hint="run `costplan doctor`, or validate with --attention sdpa")
    library = import_module(_FLASH[name])

    def flash(module: Any, q: Any, k: Any, v: Any, mask: Any, scaling: float | None = None, **_: Any) -> Any:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        if q.shape[1] == 1:
            out = library.flash_attn_with_kvcache(q, k, v, softmax_scale=scaling)
        else:
            out = library.flash_attn_func(q, k, v, softmax_scale=scaling, causal=True)
        return (out[0] if isinstance(out, tuple) else out), None  # early FA3 builds return the LSE beside it

    return flash


def _sdpa(module: Any, q: Any, k: Any, v: Any, mask: Any, scaling: float | None = None, **_: Any) -> Any:
    import torch

    out = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, is_causal=q.shape[2] > 1, scale=scaling, enable_gqa=q.shape[1] != k.shape[1])
    return out.transpose(1, 2), None


def _packed(module: Any, q: Any, k: Any, v: Any, mask: Any, scaling: float | None = None, **_: Any) -> Any:
    """Decode with the queries of a KV head as rows of one matrix: the cache is read once per KV head."""
    import torch

    if q.shape[2] > 1 or q.shape[1] == k.shape[1]:
        return _sdpa(module, q, k, v, mask, scaling)
    rows = q.reshape(q.shape[0], k.shape[1], -1, q.shape[3])
    out = torch.nn.functional.scaled_dot_product_attention(rows, k, v, scale=scaling)
    return out.reshape(q.shape[0], 1, q.shape[1], q.shape[3]), None

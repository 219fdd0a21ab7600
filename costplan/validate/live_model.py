"""Which models can run live, cut to how many layers, and whether they fit in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from costplan.catalog.model_spec import Attention, DenseMlp, LayerGroup, LinearMixer, MlaAttention, ModelSpec
from costplan.core.dtypes import dtype
from costplan.core.errors import DoesNotFitError, InputError
from costplan.core.units import GIB
from costplan.perf.kv import kv_bytes_per_token
from costplan.perf.weights import weight_bytes_per_rank
from costplan.profile.steps import LiveModel, StepCase

FAMILIES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""model_type -> the transformers family with the same kernels."""
_SPARE = 1.15


def cut(spec: ModelSpec, layers: int | None) -> ModelSpec:
    """``spec`` with its first ``layers`` layers only."""
    if layers is None or layers >= spec.num_layers:
        return spec
    left, groups = layers, []
    for g in spec.layers:
        if left > 0:
            groups.append(LayerGroup(g.layer, min(left, g.count)))
        left -= g.count
    return replace(spec, layers=tuple(groups))


def live_model(spec: ModelSpec, layers: int | None, weight_dtype: str) -> LiveModel:
    """What transformers must build for ``spec``. Raises InputError where it cannot run live, saying why."""
    reason = refusal(spec)
    if reason:
        raise InputError(f"{spec.name} cannot run live: {reason}", where="--model",
                         hint=f"dense models of these types can: {', '.join(sorted(FAMILIES))}; for example "
                              "--model smollm2-135m or --model llama-3.1-8b --layers 2")
    mixer, mlp = spec.layers[0].layer.mixers[0], spec.layers[0].layer.mlp
    assert isinstance(mixer, Attention)
    assert isinstance(mlp, DenseMlp)
    return LiveModel(spec.name, FAMILIES[spec.model_type], spec.hidden_size, mlp.intermediate_size,
                     cut(spec, layers).num_layers, spec.num_layers, mixer.num_heads, mixer.num_kv_heads,
                     mixer.head_dim, spec.vocab_size, spec.tie_embeddings, weight_dtype)


def refusal(spec: ModelSpec) -> str:
    """Why ``spec`` is no plain dense decoder; empty where it is one."""
    mixers = [m for g in spec.layers for m in g.layer.mixers]
    reasons = {
        "it is a mixture of experts (routing is not built live yet)": spec.is_moe,
        "its attention is latent (MLA)": any(isinstance(m, MlaAttention) for m in mixers),
        "it is a hybrid with linear-attention or state-space layers": any(isinstance(m, LinearMixer) for m in mixers),
        f"its type {spec.model_type} is not built live yet": spec.model_type not in FAMILIES,
        "its attention is windowed": any(m.window for m in mixers if isinstance(m, Attention)),
        "its layers differ from each other": len({g.layer for g in spec.layers}) > 1}
    return next((reason for reason, holds in reasons.items() if holds), "")


def needed_bytes(spec: ModelSpec, layers: int | None, weight_dtype: str, grid: Sequence[StepCase]) -> int:
    """Memory of weights, the largest KV cache of the grid, and activations of the largest step."""
    small = cut(spec, layers)
    size = dtype(weight_dtype).bytes
    weights = weight_bytes_per_rank(small, weight_dtype=weight_dtype).total
    cached = max(c.batch * c.context for c in grid) * kv_bytes_per_token(small, weight_dtype)
    mlp = small.layers[0].layer.mlp
    width = 4 * small.hidden_size + (4 * mlp.intermediate_size if isinstance(mlp, DenseMlp) else 0)
    active = max(c.tokens for c in grid) * width * size + max(c.batch for c in grid) * small.vocab_size * 16
    return round(_SPARE * (weights + cached + active))


def check_fits(spec: ModelSpec, layers: int | None, weight_dtype: str, grid: Sequence[StepCase],
               free_bytes: int | None) -> None:
    """Raise DoesNotFitError before anything is allocated."""
    needed = needed_bytes(spec, layers, weight_dtype, grid)
    if free_bytes is None or needed <= free_bytes:
        return
    total = cut(spec, layers).num_layers
    fits = next((n for n in range(total - 1, 0, -1) if needed_bytes(spec, n, weight_dtype, grid) <= free_bytes), None)
    raise DoesNotFitError(
        f"{spec.name} with {total} layers needs about {needed / GIB:.1f} GiB, {free_bytes / GIB:.1f} GiB are free",
        hint=f"add --layers {fits}: the step of the whole model then follows by layers" if fits else
        "choose a smaller model, batch or context")

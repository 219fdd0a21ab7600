"""From an attention case to a `Prepared`: input sets, one bound call for each, and the check against fp64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from costplan.kernels.attention_inputs import AttnSet, AttnShape, make_sets, reference_error, shape_of
from costplan.kernels.backend import Prepared
from costplan.kernels.inputs import Inputs
from costplan.profile.case import Case

TOLERANCE, TOLERANCE_8BIT = 1e-2, 8e-2


def prepare_attention(case: Case, inputs: Inputs, bind: Callable[[AttnSet], Callable[[], Any]], kernel: str,
                      facts: Mapping[str, object] | None = None, *, unit_scales: bool = False,
                      graphable: bool = True, as_tokens: Callable[[Any], Any] | None = None) -> Prepared:
    """``bind(set)`` returns the call on one input set. Its output is ``[tokens, num_heads, head_dim]``, or becomes so
    by ``as_tokens``, which is not timed. ``unit_scales``: 8-bit numbers are stored with scale 1."""
    shape = shape_of(case)
    sets = make_sets(shape, inputs)
    if unit_scales:
        sets = [unit_scale(s) for s in sets]
    told = {"page_size": shape.page_size, "num_splits": shape.num_splits or "auto", "sets": len(sets), **(facts or {})}
    check = reference_error(sets[0], inputs)
    error = (lambda out: check(as_tokens(out))) if as_tokens else check
    return Prepared([bind(s) for s in sets], error, tolerance(shape), kernel, told, graphable)


def tolerance(shape: AttnShape) -> float:
    """Greatest relative Frobenius error that is believed."""
    return TOLERANCE_8BIT if shape.dtype == "fp8" else TOLERANCE


def unit_scale(given: AttnSet) -> AttnSet:
    """The same set with 8-bit numbers that are values themselves: scale 1, which engines without calibrated scales
    use and which kernels with one scale per tensor run without a further multiplication."""
    def stored(x: Any, scale: Any) -> Any:
        return x if x is None or scale is None else (x.float() * float(scale.mean())).to(x.dtype)

    def ones(scale: Any) -> Any:
        return None if scale is None else scale.new_ones(scale.shape)

    return replace(given, q=stored(given.q, given.q_scale), q_scale=ones(given.q_scale),
                   k=stored(given.k, given.k_scale), v=stored(given.v, given.v_scale),
                   k_pages=stored(given.k_pages, given.k_scale), v_pages=stored(given.v_pages, given.v_scale),
                   k_scale=ones(given.k_scale), v_scale=ones(given.v_scale))


def poisoned(like: Any, dtype: Any = None) -> Any:
    """An output buffer full of NaN: a kernel that leaves a row out is found by the check."""
    import torch

    return torch.full_like(like, float("nan"), dtype=dtype)


def window_of(shape: AttnShape, none: int | None = -1) -> tuple[Any, Any]:
    """FlashAttention's ``window_size`` of a causal window that counts the token itself; ``none`` where it is off."""
    return (shape.window - 1, 0) if shape.window else (none, none)


def batched(given: AttnSet) -> tuple[Any, Any, Any]:
    """Equal lengths and a contiguous cache as ``[batch, heads, len, head_dim]`` views."""
    shape, b = given.shape, given.shape.batch
    return (given.q.view(b, -1, shape.num_heads, shape.head_dim).transpose(1, 2),
            given.k.view(b, -1, shape.num_kv_heads, shape.head_dim).transpose(1, 2),
            given.v.view(b, -1, shape.num_kv_heads, shape.head_dim).transpose(1, 2))


def flat(out: Any) -> Any:
    """``[batch, heads, len, head_dim]`` -> ``[tokens, heads, head_dim]``; copies where the layout asks for it."""
    b, h, n, d = out.shape
    return out.transpose(1, 2).reshape(b * n, h, d)

"""The small kernels between matrix products on the CPU: norms, rotary embedding, activation, cache write, sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.cpu_base import torch_here
from costplan.kernels.inputs import Inputs, relative_error
from costplan.profile.case import Case

ROPE_DIM = 128
"""Head size of the rotated heads; the cost depends on the number of elements."""
_EPS = 1e-6
_CACHE_SLOTS = 4096


class CpuElementwise:
    """Plain torch operators, several per op, as an engine in eager mode runs them. ``m`` tokens by ``k`` elements;
    for ``silu_mul`` the input is twice as wide, for ``sampling`` ``k`` is the vocabulary."""

    name = "torch-cpu-elementwise"
    device = "cpu"
    domain = "torch-cpu"
    families = frozenset({"elementwise"})

    def probe(self) -> Availability:
        return torch_here()

    def supports(self, case: Case) -> str | None:
        if case.family not in self.families:
            return "measures elementwise only"
        if case.text("op") not in OPS:
            return f"no op {case.text('op')} on a CPU"
        if case.text("dtype") not in ("bf16", "fp16", "fp32"):
            return f"no {case.text('dtype')} elements"
        if case.text("op") == "rope" and case.size("k") % ROPE_DIM:
            return f"k must be a multiple of the head size {ROPE_DIM}"
        return None

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        op, m, k, dtype = case.text("op"), case.size("m"), case.size("k"), case.text("dtype")
        width = 2 * k if op == "silu_mul" else k
        first = inputs.randn(m, width, dtype=dtype)
        xs = [first, *(first.clone() for _ in range(inputs.sets(2 * first.nbytes) - 1))]
        run, partner = OPS[op]
        more = partner(first, inputs)

        def call(x: Any) -> Callable[[], Any]:
            return lambda: run(x, *more)

        def error(out: Any) -> float:
            exact = run(first.double(), *(p.double() if p.is_floating_point() else p for p in more))
            return relative_error(out, exact)

        return Prepared([call(x) for x in xs], error, 2e-2, f"torch-eager-{op.replace('_', '-')}")


def _norm(x: Any, weight: Any) -> Any:
    from torch.nn.functional import rms_norm

    return rms_norm(x, (x.shape[1],), weight, _EPS)


def _add_norm(x: Any, residual: Any, weight: Any) -> Any:
    return _norm(x + residual, weight)


def _rope(x: Any, cos: Any, sin: Any) -> Any:
    import torch

    heads, half = x.view(x.shape[0], -1, ROPE_DIM), ROPE_DIM // 2
    rotated = torch.cat((-heads[..., half:], heads[..., :half]), -1)
    return (heads * cos + rotated * sin).view(x.shape)


def _silu_mul(x: Any) -> Any:
    from torch.nn.functional import silu

    gate, up = x.chunk(2, -1)
    return silu(gate) * up


def _kv_write(x: Any, cache: Any, slots: Any) -> Any:
    """New keys and values go to the slots of their pages; the last one is read back as proof."""
    cache.index_copy_(0, slots, x)
    return cache[slots[-1]]


def _quant(x: Any) -> Any:
    """One scale per token, as W8A8 engines quantise activations."""
    import torch

    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    scale = wide.abs().amax(-1, keepdim=True).clamp_min(1e-6) / 127.0
    return (wide / scale).round().to(torch.int8)


def _sampling(x: Any, noise: Any) -> Any:
    """Softmax over the vocabulary and one draw per sequence (exponential race)."""
    return (x.to(noise.dtype).softmax(-1) / noise).argmax(-1)


def _copy(x: Any) -> Any:
    return x.clone()


def _no_partner(_x: Any, _inputs: Inputs) -> tuple[Any, ...]:
    return ()


def _weight(x: Any, inputs: Inputs) -> tuple[Any, ...]:
    return (inputs.randn(x.shape[1], dtype="fp32").to(x.dtype),)


def _residual(x: Any, inputs: Inputs) -> tuple[Any, ...]:
    return (x.flip(0).clone(), *_weight(x, inputs))


def _angles(x: Any, inputs: Inputs) -> tuple[Any, ...]:
    angle = inputs.randn(x.shape[0], 1, ROPE_DIM, dtype="fp32")
    return angle.cos().to(x.dtype), angle.sin().to(x.dtype)


def _slots(x: Any, inputs: Inputs) -> tuple[Any, ...]:
    import torch

    held = max(_CACHE_SLOTS, x.shape[0])
    return torch.zeros(held, x.shape[1], dtype=x.dtype), inputs.randperm(held)[: x.shape[0]]


def _noise(x: Any, inputs: Inputs) -> tuple[Any, ...]:
    import torch

    return (torch.empty(x.shape, dtype=torch.float32).exponential_(generator=inputs.generator).clamp_min(1e-9),)


OPS: dict[str, tuple[Callable[..., Any], Callable[[Any, Inputs], tuple[Any, ...]]]] = {
    "rms_norm": (_norm, _weight), "add_rms_norm": (_add_norm, _residual), "rope": (_rope, _angles),
    "silu_mul": (_silu_mul, _no_partner), "kv_write": (_kv_write, _slots), "quant_int8": (_quant, _no_partner),
    "sampling": (_sampling, _noise), "copy": (_copy, _no_partner),
}
"""Each op, and what it needs beside its input."""

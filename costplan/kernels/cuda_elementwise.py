"""The small kernels between matrix products on a GPU, each fused by torch.compile as engines fuse them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.compiling import compiled
from costplan.kernels.inputs import Inputs, relative_error
from costplan.kernels.library import Library, probe, version_of
from costplan.profile.case import Case

ROPE_DIM = 128
"""Head size of the rotated heads; the cost depends on the number of elements."""
CACHE_SLOTS = 16384
TOLERANCE = 2e-2
TOLERANCE_FP8 = 4e-2
"""Rounding to three bits of mantissa alone is 2.6 %."""
EPS = 1e-6


class CudaElementwise:
    """``m`` tokens by ``k`` elements; the input of ``silu_mul`` is twice as wide, ``k`` of ``sampling`` is the
    vocabulary. Without Triton nothing is fused, and the kernel's name says eager."""

    name, device, domain, families = "torch-elementwise", "cuda", "torch-cuda", frozenset({"elementwise"})

    def probe(self) -> Availability:
        return probe(Library("torch", "torch", "pip install torch triton", limits={
            "fused": "by torch.compile" if version_of("triton") else "no: triton is not installed"}))

    def supports(self, case: Case) -> str | None:
        if case.family != "elementwise":
            return f"runs elementwise kernels, not {case.family}"
        op, k = case.text("op"), case.size("k")
        if op not in OPS:
            return f"no op {op}"
        if case.text("dtype") not in ("bf16", "fp16"):
            return f"no kernel for {case.text('dtype')}"
        if min(case.size("m"), k) < 1:
            return "not a case: a size is zero"
        return f"k must be a multiple of the head size {ROPE_DIM}" if op == "rope" and k % ROPE_DIM else None

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        op, m, k, dtype = case.text("op"), case.size("m"), case.size("k"), case.text("dtype")
        width = 2 * k if op == "silu_mul" else k
        run, partner = OPS[op]
        count = inputs.sets(m * width * 2 * (2 if partner is _residual else 1))
        given = [(x, *partner(x, inputs)) for x in (inputs.randn(m, width, dtype=dtype) for _ in range(count))]
        fused = inputs.device == "cuda" and version_of("triton") is not None
        call = compiled(run, "cuda" if fused else "cpu")
        tolerance = TOLERANCE_FP8 if op == "quant_fp8" else TOLERANCE
        return Prepared([partial(call, *args) for args in given], partial(_error, op, given[0]), tolerance,
                        f"torch-{'compiled' if fused else 'eager'}-{op.replace('_', '-')}", {"sets": count})


def _error(op: str, given: tuple[Any, ...], out: Any) -> float:
    """Against the same operation in fp64 on the CPU; a drawn token against the best score of its row."""
    args = [x.cpu().double() if x.is_floating_point() else x.cpu() for x in given]
    if op == "quant_fp8":
        stored, scale = out
        return relative_error(stored.float() * scale, args[0])
    if op == "kv_write":
        return relative_error(out[given[2]], args[0])
    if op == "sampling":
        scores = args[0].softmax(-1) / args[1]
        return relative_error(scores.gather(1, out.cpu()[:, None])[:, 0], scores.amax(-1))
    return relative_error(out, OPS[op][0](*args))


def _norm(x: Any, weight: Any) -> Any:
    from torch.nn.functional import rms_norm

    return rms_norm(x, (x.shape[1],), weight, EPS)


def _add_norm(x: Any, residual: Any, weight: Any) -> Any:
    return _norm(x + residual, weight)


def _rope(x: Any, cos: Any, sin: Any) -> Any:
    import torch

    heads, half = x.view(x.shape[0], -1, ROPE_DIM), ROPE_DIM // 2
    turned = torch.cat((-heads[..., half:], heads[..., :half]), -1)
    return (heads * cos + turned * sin).view(x.shape)


def _silu_mul(x: Any) -> Any:
    from torch.nn.functional import silu

    gate, up = x.chunk(2, -1)
    return silu(gate) * up


def _kv_write(x: Any, cache: Any, slots: Any) -> Any:
    """New rows go to the slots of their pages; the check reads them there."""
    cache[slots] = x
    return cache


def _quant_fp8(x: Any) -> tuple[Any, Any]:
    """A scale per token, as W8A8 engines quantise activations."""
    import torch

    wide = x.float()
    scale = wide.abs().amax(-1, keepdim=True).clamp_min(1e-6) / 448.0
    return (wide / scale).to(torch.float8_e4m3fn), scale


def _sampling(x: Any, noise: Any) -> Any:
    """Softmax over the vocabulary and one draw per sequence, by the exponential race that vLLM runs."""
    return (x.float().softmax(-1) / noise).argmax(-1)


def _copy(x: Any) -> Any:
    return x.clone()


def _nothing(_x: Any, _inputs: Inputs) -> tuple[Any, ...]:
    return ()


def _weight(x: Any, inputs: Inputs) -> tuple[Any, ...]:
    return (inputs.randn(x.shape[1], dtype="fp32").to(x.dtype),)


def _residual(x: Any, inputs: Inputs) -> tuple[Any, ...]:
    return (inputs.randn(*x.shape, dtype="fp32").to(x.dtype), *_weight(x, inputs))


def _angles(x: Any, inputs: Inputs) -> tuple[Any, ...]:
    angle = inputs.randn(x.shape[0], 1, ROPE_DIM, dtype="fp32")
    return angle.cos().to(x.dtype), angle.sin().to(x.dtype)


def _slots(x: Any, inputs: Inputs) -> tuple[Any, ...]:
    held = max(CACHE_SLOTS, x.shape[0])
    return x.new_zeros(held, x.shape[1]), inputs.randperm(held)[:x.shape[0]]


def _noise(x: Any, inputs: Inputs) -> tuple[Any, ...]:
    import torch

    race = torch.empty(x.shape, dtype=torch.float32, device=x.device)
    return (race.exponential_(generator=inputs.generator).clamp_min(1e-9),)


OPS: dict[str, tuple[Callable[..., Any], Callable[[Any, Inputs], tuple[Any, ...]]]] = {
    "rms_norm": (_norm, _weight), "add_rms_norm": (_add_norm, _residual), "rope": (_rope, _angles),
    "silu_mul": (_silu_mul, _nothing), "kv_write": (_kv_write, _slots), "quant_fp8": (_quant_fp8, _nothing),
    "sampling": (_sampling, _noise), "copy": (_copy, _nothing),
}
"""Each op, and what it needs beside its input."""

"""Which kernel torch's ``scaled_dot_product_attention`` really runs for given inputs, and why not the others."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from costplan.core.errors import InputError

EXAMPLE = "dtype=bf16 heads=32/8 head_dim=128 q=4096 kv=4096 causal"
KERNELS = {"cudnn": "cudnn_attention", "flash": "flash_attention", "efficient": "efficient_attention", "math": "math"}
_WORDS = frozenset({"dtype", "heads", "head_dim", "q", "kv", "batch"})


@dataclass(frozen=True, slots=True)
class Question:
    """Inputs of one call."""

    dtype: str
    num_heads: int
    num_kv_heads: int
    head_dim: int
    q_len: int
    kv_len: int
    batch: int
    causal: bool


def read(text: str) -> Question:
    """The question in words like ``EXAMPLE``. Raises InputError."""
    values: dict[str, str] = {}
    causal = False
    for word in text.split():
        name, equals, value = word.partition("=")
        if word == "causal":
            causal = True
        elif equals and name in _WORDS and re.fullmatch(r"[a-z0-9/]{1,20}", value):
            values[name] = value
        else:
            raise InputError(f"{word!r} says nothing about attention", where="--sdpa", hint=f"for example: {EXAMPLE!r}")
    heads, _, kv_heads = values.get("heads", "32").partition("/")
    try:
        sizes = [int(x) for x in (heads, kv_heads or heads, values.get("head_dim", "128"), values.get("q", "1"),
                                  values.get("kv", values.get("q", "1")), values.get("batch", "1"))]
    except ValueError as e:
        raise InputError("sizes are whole numbers", where="--sdpa", hint=f"for example: {EXAMPLE!r}") from e
    dtype = values.get("dtype", "bf16")
    if dtype not in ("bf16", "fp16", "fp32") or min(sizes) < 1 or max(sizes) > 1 << 20 or sizes[0] % sizes[1]:
        raise InputError("torch's attention takes bf16, fp16 or fp32, and heads that divide among KV heads",
                         where="--sdpa", hint=f"for example: {EXAMPLE!r}")
    num_heads, num_kv_heads, head_dim, q_len, kv_len, batch = sizes
    return Question(dtype, num_heads, num_kv_heads, head_dim, q_len, kv_len, batch, causal)


def choice(text: str) -> dict[str, Any]:
    """Device, the kernel that ran (by the profiler), and each kernel's refusal. Runs one small call; imports torch."""
    import torch

    asked = read(text)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    q, k, v = _inputs(asked, device)
    ran, operators = _ran(asked, q, k, v)
    return {"question": text, "device": device, "ran": ran, "operators": operators,
            "kernels": _refusals(asked, q, k, v) if device == "cuda" else {}}


def _inputs(asked: Question, device: str) -> tuple[Any, Any, Any]:
    import torch

    from costplan.kernels.inputs import torch_dtype

    def draw(heads: int, length: int) -> Any:
        return torch.randn(asked.batch, heads, length, asked.head_dim, device=device, dtype=torch_dtype(asked.dtype))

    return (draw(asked.num_heads, asked.q_len), draw(asked.num_kv_heads, asked.kv_len),
            draw(asked.num_kv_heads, asked.kv_len))


def _ran(asked: Question, q: Any, k: Any, v: Any) -> tuple[str, list[str]]:
    """Name of the kernel below the call, and the operators that the profiler saw."""
    from torch.nn.functional import scaled_dot_product_attention
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as seen:
        scaled_dot_product_attention(q, k, v, is_causal=asked.causal, enable_gqa=asked.num_heads != asked.num_kv_heads)
    names = sorted({str(e.key) for e in seen.key_averages() if "attention" in str(e.key)})
    found = next((kernel for kernel, word in KERNELS.items() if any(word in n for n in names)), "unknown")
    return found, names


def _refusals(asked: Question, q: Any, k: Any, v: Any) -> Mapping[str, str | None]:
    """Of each fused CUDA kernel, None where torch could use it, else what torch says against it."""
    from torch.backends import cuda

    params = cuda.SDPAParams(q, k, v, None, 0.0, asked.causal, asked.num_heads != asked.num_kv_heads)
    checks: dict[str, Any] = {"cudnn": cuda.can_use_cudnn_attention, "flash": cuda.can_use_flash_attention,
                              "efficient": cuda.can_use_efficient_attention}
    out: dict[str, str | None] = {}
    for name, check in checks.items():
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            usable = bool(check(params, True))
        words = "; ".join(str(w.message).split("(Triggered")[0].strip() for w in said)
        out[name] = None if usable else words[:400] or "torch gives no reason"
    return out

"""Number formats of weights and KV caches: stored bits, scales included, and what computes them.

Names are the field's (vLLM, compressed-tensors). Block formats count their scales: MXFP4 has one 8-bit
scale per 32 values (OCP MX v1.0), NVFP4 one FP8 scale per 16, ``fp8_block`` one fp32 scale per
128x128 tile (DeepSeek-V3, arXiv 2412.19437), INT4 (AWQ/GPTQ, group 128) a 16-bit scale and a 4-bit zero;
``int4_g32`` has a 16-bit scale per 32 values (Kimi-K2).
"""

from __future__ import annotations

from dataclasses import dataclass

from costplan.core.errors import UnknownNameError


@dataclass(frozen=True, slots=True)
class Dtype:
    """One storage format. ``bits`` is per element, scales included."""

    name: str
    bits: float
    weight_only: bool = False

    @property
    def bytes(self) -> float:
        return self.bits / 8


_ALL = (
    Dtype("fp32", 32), Dtype("fp16", 16), Dtype("bf16", 16),
    Dtype("fp8", 8), Dtype("fp8_block", 8 + 32 / (128 * 128)), Dtype("mxfp8", 8 + 8 / 32), Dtype("int8", 8),
    Dtype("int4", 4 + 20 / 128, weight_only=True), Dtype("int4_g32", 4 + 16 / 32, weight_only=True),
    Dtype("nvfp4", 4 + 8 / 16), Dtype("mxfp4", 4 + 8 / 32),
)
DTYPES: dict[str, Dtype] = {d.name: d for d in _ALL}

_ALIASES = {
    "float32": "fp32", "float": "fp32", "float16": "fp16", "half": "fp16", "bfloat16": "bf16",
    "fp8_e4m3": "fp8", "fp8_e5m2": "fp8", "float8_e4m3fn": "fp8", "fp4": "nvfp4",
    "awq": "int4", "gptq": "int4", "w4a16": "int4", "int4_wo": "int4", "w8a16": "int8", "w8a8": "int8",
    "sq": "int8", "int8_wo": "int8",
}


def dtype(name: str, *, kind: str = "dtype", where: str | None = None) -> Dtype:
    """The format called ``name`` (aliases accepted). Raises UnknownNameError with near misses."""
    key = name.strip().lower()
    found = DTYPES.get(_ALIASES.get(key, key))
    if found is None:
        raise UnknownNameError(kind, name, DTYPES, where=where)
    return found

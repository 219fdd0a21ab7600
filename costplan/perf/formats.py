"""How a weight format is multiplied on a GPU: natively, or unpacked into 16 bits on the way (weight-only).

A format that the GPU's tensor cores do not know (FP8 on Ampere, FP4 on Hopper) still saves memory traffic:
the kernel reads the small weights and multiplies in BF16 (Marlin; vLLM and SGLang fall back to it).
"""

from __future__ import annotations

from dataclasses import dataclass

from costplan.catalog.gpu_spec import GpuSpec
from costplan.core.dtypes import dtype


@dataclass(frozen=True, slots=True)
class MatmulFormat:
    """One way to multiply. ``tables`` names the measured dtypes to read, best first; a fallback beyond the
    first says that the efficiency of another format stands in for an unmeasured one."""

    weight: str
    compute: str
    weight_bytes: float
    act_bytes: float
    peak_flops: float
    tables: tuple[str, ...]


_NATIVE: dict[str, tuple[str, float, tuple[str, ...]]] = {
    "fp8": ("fp8", 1.0, ("fp8", "fp8_block", "int8", "bf16")),
    "fp8_block": ("fp8", 1.0, ("fp8_block", "fp8", "bf16")),
    "mxfp8": ("fp8", 1.0, ("mxfp8", "fp8_block", "fp8", "bf16")),
    "int8": ("int8", 1.0, ("int8", "fp8", "bf16")),
    "nvfp4": ("fp4", 0.5625, ("nvfp4", "mxfp4_a8", "fp8", "fp8_block", "bf16")),
    "mxfp4": ("fp4", 0.53125, ("mxfp4_a8", "mxfp4", "nvfp4", "fp8_block", "fp8", "bf16")),
}
_WEIGHT_ONLY: dict[str, tuple[str, ...]] = {
    "fp8": ("int8_wo", "bf16"), "fp8_block": ("int8_wo", "bf16"), "mxfp8": ("int8_wo", "bf16"),
    "int8": ("int8_wo", "bf16"), "int4": ("int4", "mxfp4", "bf16"),
    "int4_g32": ("int4", "mxfp4", "bf16"), "nvfp4": ("int4", "mxfp4", "bf16"),
    "mxfp4": ("mxfp4", "int4", "bf16"),
}


def matmul_format(gpu: GpuSpec, weight: str, *, weight_only: bool = False) -> MatmulFormat:
    """The way ``gpu`` multiplies weights stored as ``weight``. ``weight_only`` forces 16-bit activations."""
    fmt = dtype(weight)
    base = gpu.peak("bf16") or gpu.peak("fp16") or gpu.peak("fp32") or 0.0
    native = _NATIVE.get(fmt.name)
    if native and not weight_only and not fmt.weight_only:
        compute, act_bytes, tables = native
        peak = gpu.peak(compute)
        if fmt.name == "mxfp4" and peak:  # activations stay MXFP8 or 16 bits: FP8 rate
            peak = gpu.peak("fp8") or peak
        if peak:
            return MatmulFormat(fmt.name, compute, fmt.bytes, act_bytes, peak, tables)
    tables = _WEIGHT_ONLY.get(fmt.name, ("bf16",))
    return MatmulFormat(fmt.name, "bf16", fmt.bytes if fmt.bits < 16 else 2.0, 2.0, base, tables)

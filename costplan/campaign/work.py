"""FLOPs and bytes of one case, and the memory that its inputs take: what a design knows before it measures."""

from __future__ import annotations

from collections.abc import Callable

from costplan.campaign.device import Device
from costplan.core.dtypes import DTYPES
from costplan.perf import roofline
from costplan.perf.kernel_source import measured_format, peak
from costplan.perf.roofline import Work
from costplan.perf.timed import LAUNCH_S
from costplan.profile.case import Case
from costplan.profile.lengths import pairs_of

EFFICIENCY = {"gemm": 0.6, "attn_prefill": 0.45, "attn_decode": 0.55, "attn_ragged": 0.4, "mla_prefill": 0.4,
              "mla_decode": 0.45, "moe": 0.45, "elementwise": 0.6, "collective": 0.5, "linear_attention": 0.3,
              "mla_bmm": 0.4}
"""Typical shares of the roofline, over all kernels of a family (medians of the shipped tables, a little below)."""
CPU_EFFICIENCY = {"attn_decode": 0.1, "attn_ragged": 0.1, "attn_prefill": 0.25}
"""SDPA on a CPU reads a shared KV head once per query head (1.2 of 20 GB/s measured in decode)."""
MLA_RANK, MLA_ROPE, MLA_NOPE, MLA_V = 512, 64, 128, 128
ELEMENT_BYTES = {"rms_norm": 4.0, "add_rms_norm": 8.0, "rope": 4.0, "silu_mul": 6.0, "kv_write": 4.0,
                 "quant_fp8": 3.0, "quant_int8": 3.0, "sampling": 8.0, "copy": 4.0}
"""Bytes read and written per output element of 16-bit tensors; logits are fp32 and read twice."""


def work_of(case: Case) -> Work:
    """Compulsory FLOPs and bytes of one call. MLA cases have the widths of DeepSeek-V3: the family knows no other."""
    work = _WORK.get(case.family)
    return Work(0.0, 0.0) if work is None else work(case)


def _gemm(case: Case) -> Work:
    _, w, a = measured_format(case.text("dtype"))
    return roofline.gemm(case.size("m"), case.size("n"), case.size("k"), w, a)


def _mla_decode(case: Case) -> Work:
    return roofline.mla_decode(case.size("batch"), case.size("kv_len"), case.size("num_heads"), MLA_RANK, MLA_ROPE,
                               _kv(case))


def _mla_prefill(case: Case) -> Work:
    return roofline.mla_prefill(case.size("batch"), case.size("q_len"), case.size("kv_len"), case.size("num_heads"),
                                MLA_NOPE + MLA_ROPE, MLA_V)


def _moe(case: Case) -> Work:
    _, w, _ = measured_format(case.text("dtype"))
    return roofline.moe(case.size("tokens"), case.size("hidden_size"), case.size("inter_size"), case.size("top_k"),
                        case.size("num_experts"), case.size("tp"), case.size("ep"), w)


def _elementwise(case: Case) -> Work:
    return Work(0.0, case.size("m") * case.size("k") * ELEMENT_BYTES.get(case.text("op"), 4.0))


def _collective(case: Case) -> Work:
    return Work(0.0, 2.0 * case.size("message_bytes"))


def _attention(case: Case) -> Work:
    heads, kv_heads, dim = case.size("num_heads"), case.size("num_kv_heads"), case.size("head_dim")
    flops = data = 0.0
    for q, kv in pairs_of(case) if case.family == "attn_ragged" else pairs_of(case)[:1]:
        one = roofline.attn_prefill(1, q, kv, heads, kv_heads, dim, _kv(case), case.size("window"))
        flops, data = flops + one.flops, data + one.bytes
    times = 1 if case.family == "attn_ragged" else case.size("batch")
    return Work(flops * times, data * times)


def _linear(case: Case) -> Work:
    tokens = case.size("batch") * max(1, case.size("seq_len"))
    state = case.size("num_v_heads") * case.size("head_k_dim") * case.size("head_v_dim")
    values = 2 * case.size("num_k_heads") * case.size("head_k_dim") + 3 * case.size("num_v_heads") * case.size(
        "head_v_dim")
    return Work(8.0 * tokens * state, 8.0 * case.size("batch") * state + 2.0 * tokens * values)


_WORK: dict[str, Callable[[Case], Work]] = {
    "gemm": _gemm, "attn_prefill": _attention, "attn_decode": _attention, "attn_ragged": _attention,
    "mla_prefill": _mla_prefill, "mla_decode": _mla_decode, "moe": _moe, "collective": _collective,
    "elementwise": _elementwise, "linear_attention": _linear,
}


def _kv(case: Case) -> float:
    name = case.text("kv_dtype")
    return DTYPES[name].bytes if name in DTYPES else 2.0


def input_bytes(case: Case) -> float:
    """Bytes of one input set with its result."""
    if case.family == "moe":  # all local experts lie in memory, whichever the tokens touch
        _, w, _ = measured_format(case.text("dtype"))
        experts = 3.0 * case.size("hidden_size") * case.size("inter_size") * case.size("num_experts") * w
        return experts / (case.size("tp") * case.size("ep")) + work_of(case).bytes
    return work_of(case).bytes


def compute_format(case: Case) -> str:
    """The format whose peak bounds the FLOPs of a case."""
    return measured_format(case.text("dtype"))[0] if case.family in ("gemm", "moe") else "bf16"


def call_s(case: Case, device: Device) -> float:
    """Seconds of one call as far as a roofline with typical efficiencies can tell."""
    table = EFFICIENCY | CPU_EFFICIENCY if device.kind == "cpu" else EFFICIENCY
    flops = peak(device.gpu, compute_format(case))
    least = work_of(case).time_s(flops, device.gpu.mem_bandwidth_bytes_per_s)
    return least / table.get(case.family, 0.4) + LAUNCH_S


def fits(case: Case, device: Device) -> bool:
    """Whether inputs and result of a case fit into the device's memory."""
    return input_bytes(case) <= device.memory_bytes

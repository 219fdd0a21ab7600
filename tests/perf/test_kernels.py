"""Kernels from measured tables: which rows answer, and what is said about them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from costplan.catalog.gpus import gpu
from costplan.core.errors import OutOfRangeError
from costplan.core.evidence import Evidence
from costplan.perf import roofline
from costplan.perf.attention_kernel import AttentionShape, MlaShape, attention, mla, nearest_heads
from costplan.perf.collective_kernel import collective
from costplan.perf.formats import matmul_format
from costplan.perf.gemm_kernel import gemm
from costplan.perf.kernel_source import KernelSource
from costplan.perf.linear_kernel import LinearShape, linear_attention
from costplan.perf.moe_kernel import MoeShape, moe
from costplan.profile.store import Profile
from costplan.profile.table import Table

H200 = gpu("h200_sxm")


class Fake:
    """A profile in memory."""

    engine = "vllm"

    def __init__(self, name: str, *tables: Table) -> None:
        self.name = name
        self._tables = {t.family: t for t in tables}

    def table(self, family: str) -> Table | None:
        return self._tables.get(family)


def table(family: str, texts: dict[str, str], rows: Sequence[dict[str, float]]) -> Table:
    names = rows[0].keys()
    columns = {n: np.array([r[n] for r in rows], dtype=float if n == "latency_s" else int) for n in names}
    codes = {k: np.zeros(len(rows), dtype=int) for k in texts}
    return Table(family, columns, codes, {k: (v,) for k, v in texts.items()})


def gemm_table(dtype: str, factor: float, kernel: str = "k") -> Table:
    """Times at ``factor`` x the H200 roofline."""
    peak = H200.peak_flops["fp8" if dtype == "fp8" else "bf16"]
    size = 1.0 if dtype == "fp8" else 2.0
    rows = []
    for m in (1, 8, 64, 512, 4096):
        for n in (1024, 4096, 16384):
            for k in (1024, 4096, 16384):
                t = roofline.gemm(m, n, k, size, size).time_s(peak, H200.mem_bandwidth_bytes_per_s)
                rows.append({"m": m, "n": n, "k": k, "latency_s": factor * t + 2e-6})
    return table("gemm", {"dtype": dtype, "kernel": kernel}, rows)


def source(*tables: Table, target: str = "h200_sxm") -> KernelSource:
    return KernelSource([Fake("mine", *tables)], H200, gpu(target))


def test_a_measured_gemm_reads_back() -> None:
    t = gemm(source(gemm_table("bf16", 1.5)), 4096, 4096, matmul_format(H200, "bf16"), "o_proj", static_quant=False)
    timing = t.time((64,))
    assert timing.evidence is Evidence.MEASURED
    exact = roofline.gemm(64, 4096, 4096, 2, 2).time_s(H200.peak_flops["bf16"], H200.mem_bandwidth_bytes_per_s)
    assert timing.seconds == pytest.approx(1.5 * exact + 2e-6, rel=1e-6)


def test_a_gemm_between_the_lines_has_their_efficiency() -> None:
    t = gemm(source(gemm_table("bf16", 1.5)), 28672, 8192, matmul_format(H200, "bf16"), "up", static_quant=False)
    exact = roofline.gemm(2048, 28672, 8192, 2, 2).time_s(H200.peak_flops["bf16"], H200.mem_bandwidth_bytes_per_s)
    assert t.time((2048,)).seconds == pytest.approx(1.5 * exact, rel=0.02)


def test_no_gemm_reads_its_weights_faster_than_hbm() -> None:
    """Microbenchmarks find small weights in L2; a model larger than L2 does not."""
    t = gemm(source(gemm_table("bf16", 0.3)), 4096, 4096, matmul_format(H200, "bf16"), "o", static_quant=False)
    assert t.time((1,)).seconds >= 4096 * 4096 * 2 / H200.mem_bandwidth_bytes_per_s


def test_another_format_stands_in_only_as_extrapolation() -> None:
    t = gemm(source(gemm_table("bf16", 1.5)), 4096, 4096, matmul_format(H200, "fp8"), "o", static_quant=False)
    timing = t.time((512,))
    assert timing.evidence is Evidence.EXTRAPOLATED
    assert timing.log_sd > 0.1


def test_another_gpu_stands_in_with_its_efficiency_and_more_doubt() -> None:
    h20 = gpu("h20")
    src = source(gemm_table("bf16", 1.5), target="h20")
    timing = gemm(src, 4096, 4096, matmul_format(h20, "bf16"), "o", static_quant=False).time((4096,))
    exact = roofline.gemm(4096, 4096, 4096, 2, 2).time_s(h20.peak_flops["bf16"], h20.mem_bandwidth_bytes_per_s)
    assert timing.seconds == pytest.approx(1.5 * exact, rel=0.05)
    assert timing.evidence is Evidence.EXTRAPOLATED
    assert timing.log_sd >= 0.2


def test_without_any_table_the_answer_is_analytic() -> None:
    nothing = KernelSource([], None, H200)
    timing = gemm(nothing, 4096, 4096, matmul_format(H200, "bf16"), "o", static_quant=False).time((64,))
    assert timing.evidence is Evidence.ANALYTIC


def test_far_outside_the_measured_range_is_refused() -> None:
    t = gemm(source(gemm_table("bf16", 1.5)), 4096, 4096, matmul_format(H200, "bf16"), "o_proj", static_quant=False)
    assert t.time((8192,)).evidence is Evidence.EXTRAPOLATED
    with pytest.raises(OutOfRangeError, match="o_proj"):
        t.time((4096 * 64,))


def test_static_quantisation_takes_the_fastest_plain_gemm() -> None:
    own, other = Fake("own", gemm_table("fp8", 3.0)), Fake("other", gemm_table("fp8", 1.4))
    src = KernelSource([own, other], H200, H200)
    fmt = matmul_format(H200, "fp8")
    dynamic, static = (gemm(src, 4096, 4096, fmt, "o", static_quant=s).time((64,)) for s in (False, True))
    assert static.seconds < 0.7 * dynamic.seconds
    assert static.evidence is Evidence.INTERPOLATED


def test_a_second_profile_answers_for_a_family_that_the_first_lacks() -> None:
    src = KernelSource([Fake("own"), Fake("other", gemm_table("bf16", 1.5))], H200, H200)
    timing = gemm(src, 4096, 4096, matmul_format(H200, "bf16"), "o", static_quant=False).time((64,))
    assert timing.evidence is Evidence.INTERPOLATED


def test_weight_only_formats_multiply_in_16_bits() -> None:
    a100 = gpu("a100_80gb_sxm")
    fp8 = matmul_format(a100, "fp8")
    assert (fp8.compute, fp8.act_bytes, fp8.weight_bytes) == ("bf16", 2.0, 1.0)
    assert matmul_format(H200, "fp8").compute == "fp8"
    assert matmul_format(H200, "int8", weight_only=True).act_bytes == 2.0
    assert matmul_format(gpu("b200_sxm"), "nvfp4").peak_flops > matmul_format(gpu("b200_sxm"), "fp8").peak_flops


# -- the shipped tables ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> KernelSource:
    return KernelSource([Profile.load("h200_sxm-vllm"), Profile.load("h200_sxm-sglang")], H200, H200)


def test_llama_decode_attention_is_measured_and_bandwidth_bound(shipped: KernelSource) -> None:
    t = attention(shipped, AttentionShape(32, 8, 128, "bf16"), prefill=False).time((64, 4096))
    assert t.bound == "bandwidth"
    assert t.evidence in (Evidence.MEASURED, Evidence.INTERPOLATED)
    ideal = 64 * 4096 * 8 * 128 * 2 * 2 / H200.mem_bandwidth_bytes_per_s
    assert ideal < t.seconds < 2 * ideal


def test_attention_time_grows_with_batch_and_length(shipped: KernelSource) -> None:
    kernel = attention(shipped, AttentionShape(64, 8, 128, "bf16"), prefill=False)
    times = [[kernel.time((b, s)).seconds for s in (1024, 4096, 16384)] for b in (4, 16, 64)]
    assert all(x < y for row in times for x, y in itertools.pairwise(row))
    assert all(a < b for r1, r2 in itertools.pairwise(times) for a, b in zip(r1, r2, strict=True))


def test_a_head_shape_that_nobody_measured_is_not_called_measured(shipped: KernelSource) -> None:
    odd = AttentionShape(28, 4, 128, "bf16")
    t = attention(shipped, odd, prefill=False).time((16, 2048))
    assert t.evidence in (Evidence.INTERPOLATED, Evidence.EXTRAPOLATED)
    rows = shipped.select("attn_decode", "kv_dtype", ("bf16",))
    assert rows is not None
    _, found, octaves = nearest_heads(rows.rows, odd)
    assert found.head_dim == 128
    assert found.window == 0
    assert 0 < octaves < 1


def test_windowed_attention_is_bounded(shipped: KernelSource) -> None:
    kernel = attention(shipped, AttentionShape(64, 8, 64, "bf16", 128), prefill=False)
    assert kernel.time((32, 65536)).seconds < 4 * kernel.time((32, 1024)).seconds


def test_experts_cost_more_when_more_tokens_touch_them(shipped: KernelSource) -> None:
    kernel = moe(shipped, MoeShape(2880, 2880, 4, 128, 1, 1), matmul_format(H200, "mxfp4"))
    times = [kernel.time((t,)).seconds for t in (1, 8, 64, 1024, 8192)]
    assert times == sorted(times)
    assert times[1] > 2 * times[0]


def test_experts_of_an_unmeasured_shape_take_their_neighbours_efficiency(shipped: KernelSource) -> None:
    fmt = matmul_format(H200, "bf16")
    near = moe(shipped, MoeShape(2560, 1536, 6, 64, 1, 1), fmt).time((64,))
    assert near.evidence is not Evidence.MEASURED
    ideal = roofline.moe(64, 2560, 1536, 6, 64, 1, 1, 2.0).time_s(fmt.peak_flops, H200.mem_bandwidth_bytes_per_s)
    assert ideal * 0.6 < near.seconds < ideal * 6


def test_all_reduce_has_a_latency_and_a_bandwidth_regime(shipped: KernelSource) -> None:
    kernel = collective(shipped, "all_reduce", 8)
    small, large = kernel.time((16384,)).seconds, kernel.time((1 << 28,)).seconds
    assert small < 20e-6
    bus = 2 * 7 / 8 * (1 << 28) / large
    assert 0.2 * (H200.link_bytes_per_s or 0) < bus < (H200.link_bytes_per_s or 0)


def test_one_hosts_slow_pcie_path_does_not_become_a_property_of_the_gpu() -> None:
    l40s = gpu("l40s")
    src = KernelSource([Profile.load("l40s-vllm")], l40s, l40s)
    two, eight = (collective(src, "all_reduce", n).time((1 << 26,)) for n in (2, 8))
    assert eight.seconds < 4 * two.seconds
    assert eight.evidence is Evidence.EXTRAPOLATED


def test_linear_mixers_are_a_sum_of_kernels(shipped: KernelSource) -> None:
    shape = LinearShape("gdn", 16, 128, 32, 128, 2048)
    decode = linear_attention(shipped, shape, prefill=False)
    assert len(decode) >= 2
    assert all(k.time((64.0,)).seconds > 0 for k in decode)
    unknown = linear_attention(shipped, replace(shape, kind="mamba1"), prefill=True)
    assert [k.time((1.0, 512.0)).evidence for k in unknown] == [Evidence.ANALYTIC]


def test_mla_reads_the_engine_that_measured_it(shipped: KernelSource) -> None:
    t = mla(shipped, MlaShape(16, 512, 64, 128, 128, "bf16"), prefill=False).time((32, 4096))
    assert math.isfinite(t.seconds)
    assert t.evidence is Evidence.INTERPOLATED

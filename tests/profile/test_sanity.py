"""What cannot be true is refused with its reason; what is merely surprising is kept."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.profile import sanity
from costplan.profile.merge import concat
from costplan.profile.physics import bytes_moved, flops, visible_pairs


def _physical(m: int, n: int = 4096, k: int = 4096) -> float:
    return max(2 * m * n * k / 1e15, 2 * n * k / 4e12) * 1.3


def test_a_plausible_sweep_is_kept_whole(make: SimpleNamespace) -> None:
    sweep = make.gemm(*((m, _physical(m)) for m in (1, 2, 4, 8, 64, 512, 4096, 32768)))
    kept, dropped = sanity.check(sweep, make.peaks)
    assert (len(kept), dropped) == (8, {})


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf"), 1e-12, 1e4])
def test_useless_latencies(make: SimpleNamespace, bad: float) -> None:
    kept, dropped = sanity.check(make.gemm((1, bad), (2, _physical(2))), make.peaks)
    assert (kept.columns["m"].tolist(), dropped) == ([2], {"non_positive": 1})


def test_a_kernel_timed_without_a_graph_goes_entirely_and_alone(make: SimpleNamespace) -> None:
    sizes = [(m, n) for m in (1, 2, 4, 8, 16) for n in (128, 256, 512, 1024, 2048)]
    slow = [make.gemm((m, 150e-6), n=n, k=512, dtype="fp8_block", kernel="eager") for m, n in sizes]
    fast = [make.gemm((m, 3e-6), n=n, k=512, dtype="fp8", kernel="graph") for m, n in sizes]
    kept, dropped = sanity.check(concat([*slow, *fast]), make.peaks)
    assert dropped == {"launch_bound": 25}
    assert set(kept.text("kernel")) == {"graph"}


def test_faster_than_the_tensor_cores(make: SimpleNamespace) -> None:
    least = 2 * 32768 * 4096 * 4096 / 1e15
    kept, dropped = sanity.check(make.gemm((32768, least * 0.97), (16384, least * 0.6)), make.peaks)
    assert (kept.columns["m"].tolist(), dropped) == ([16384], {"above_compute_peak": 1})
    assert sanity.check(make.gemm((32768, least * 0.99)), make.peaks)[1] == {}
    assert sanity.check(make.gemm((32768, least * 0.6), dtype="fp8"), make.peaks)[1] == {}


def test_faster_than_memory_but_only_beyond_l2(make: SimpleNamespace) -> None:
    def decode(kv_len: int, share: float) -> object:
        moved = 2 * 64 * kv_len * 8 * 128 * 2
        return make.table("attn_decode", [{"batch": 64, "kv_len": kv_len, "num_heads": 32, "num_kv_heads": 8,
                                           "head_dim": 128, "dtype": "bf16", "kv_dtype": "bf16",
                                           "latency_s": moved / 4e12 * share}])
    assert sanity.check(decode(8192, 0.8), make.peaks)[1] == {"above_bandwidth_peak": 1}
    in_l2 = decode(128, 0.5)
    assert sanity.check(in_l2, make.peaks)[1] == {}
    assert sanity.faster_than_memory(in_l2, make.peaks) == 1


def test_a_window_bounds_what_decode_reads(make: SimpleNamespace) -> None:
    row = {"batch": 64, "kv_len": 131072, "num_heads": 32, "num_kv_heads": 8, "head_dim": 128, "window": 128,
           "dtype": "bf16", "kv_dtype": "fp8", "latency_s": 20e-6}
    assert sanity.check(make.table("attn_decode", [row]), make.peaks)[1] == {}


def test_a_group_that_often_breaks_physics_is_refused_whole(make: SimpleNamespace) -> None:
    least = 2 * 65536 * 4096 / 1e15
    cells = [(m, m * least * (0.8 if i % 10 == 0 else 1.2)) for i, m in enumerate(range(8192, 8192 + 300 * 64, 64))]
    wrong, right = make.gemm(*cells), make.gemm(*((m, m * least * 1.2) for m, _ in cells), kernel="other")
    wide = [t.take(np.arange(len(t))) for t in (wrong, right)]
    for t in wide:
        t.columns["n"][:] = 65536
    kept, dropped = sanity.check(concat(wide), make.peaks)
    assert dropped == {"impossible_group": 300}
    assert set(kept.text("kernel")) == {"other"}


def test_one_spike_between_agreeing_neighbours(make: SimpleNamespace) -> None:
    sweep = [(m, _physical(m)) for m in (64, 128, 192, 256, 320)]
    kept, dropped = sanity.check(make.gemm(*sweep[:2], (192, 5 * _physical(192)), *sweep[3:]), make.peaks)
    assert dropped == {"outlier": 1}
    assert 192 not in kept.columns["m"].tolist()


def test_unaligned_sizes_are_slow_and_true(make: SimpleNamespace) -> None:
    cells = [(m + odd, (1 + 3 * odd) * _physical(m)) for m in (128, 256, 512, 1024) for odd in (0, 1)]
    assert sanity.check(make.gemm(*cells), make.peaks)[1] == {}


def test_a_step_is_no_spike(make: SimpleNamespace) -> None:
    cells = [(64, 10e-6), (128, 10e-6), (192, 40e-6), (256, 40e-6)]
    assert sanity.check(make.gemm(*cells), make.peaks)[1] == {}


@given(q=st.integers(1, 40), past=st.integers(0, 40), window=st.integers(0, 50))
def test_visible_pairs_counts_what_a_mask_shows(q: int, past: int, window: int) -> None:
    kv = q + past
    seen = sum(min(p, window) if window else p for p in range(past + 1, kv + 1))
    got = visible_pairs(np.array([float(q)]), np.array([float(kv)]), np.array([float(window)]))
    assert got[0] == seen


def test_work_of_known_cases(make: SimpleNamespace) -> None:
    work = flops(make.gemm((16, 1.0)), make.peaks.flops)
    assert work is not None and (work[0][0], work[1][0]) == (2 * 16 * 4096 * 4096, 1e15)
    moved = bytes_moved(make.gemm((16, 1.0), dtype="nvfp4"))
    assert moved is not None and moved[0] == 4096 * 4096 / 2 + 2 * 16 * 4096
    moe = {"tokens": 4096, "hidden_size": 1024, "inter_size": 512, "top_k": 2, "num_experts": 8, "tp": 2, "ep": 4,
           "dtype": "fp8", "latency_s": 1.0}
    table = make.table("moe", [{**moe, "distribution": "balanced"}, {**moe, "distribution": "power_law_1.2"}])
    work = flops(table, make.peaks.flops)
    assert work is not None and work[0].tolist() == [4 * 4096 * 2 * 1024 * 512 / 8, 0.0]
    assert bytes_moved(table) is None
    assert flops(make.table("collective", [{"latency_s": 1.0}]), make.peaks.flops) is None


def test_a_format_without_units_runs_on_bf16s(make: SimpleNamespace) -> None:
    work = flops(make.gemm((16, 1.0), dtype="nvfp4"), make.peaks.flops)
    assert work is not None and work[1][0] == 1e15


def test_empty_tables_pass(make: SimpleNamespace) -> None:
    empty = make.gemm((1, 1.0)).take(np.array([False]))
    kept, dropped = sanity.check(empty, make.peaks)
    assert (len(kept), dropped) == (0, {})

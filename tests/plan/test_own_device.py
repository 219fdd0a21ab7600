"""Planning on a device that a profile brings: one engine, one rank, 16-bit KV, and the page's own kernel time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from costplan.catalog.gpus import forget_devices, gpu
from costplan.catalog.price import Price
from costplan.core.errors import InputError
from costplan.perf.devices import add_device_of
from costplan.plan.bench import Bench
from costplan.plan.emit import emit
from costplan.plan.page_size import measured_efficiency
from costplan.plan.question import question
from costplan.plan.space import Candidate, Space, default_page, space
from costplan.profile.store import Profile
from costplan.workload.workload import Candidates, Constraints, Workload

from .. import own_profile as own  # noqa: TID252
from .conftest import PRICES, price


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[Profile]:
    forget_devices()
    made = own.write(tmp_path / "cpu_x-costplan")
    add_device_of(made)
    yield made
    forget_devices()


@pytest.fixture
def small(workload: Workload) -> Workload:
    return replace(workload, model="qwen3-0.6b")


def spaced(small: Workload, prices: tuple[Price, ...] = (price("cpu_x", 0.1),), measured: str = "cpu_x",
           **choices: object) -> Space:
    asked = question(small, 0)
    return space(asked.spec, Candidates(**choices), Constraints(), prices,  # type: ignore[arg-type]
                 max_tokens=asked.shape.max_tokens, model="qwen3-0.6b", measured=frozenset({measured}))


def reasons(found: Space) -> set[str]:
    return {e.reason for e in found.excluded}


def test_only_what_runs_on_a_cpu_is_tried(profile: Profile, small: Workload) -> None:
    found = spaced(small)
    assert {(s.gpu, s.engine, s.layout.num_gpus, s.weight_dtype, s.kv_dtype) for s in found.by_system} == {
        ("cpu_x", "vllm", 1, "bf16", "bf16")}
    assert "on a CPU only vLLM is planned" in reasons(found)
    for c in (c for group in found.by_system.values() for c in group):
        assert c.config.block_size == 128
        assert (c.budget.graph_bytes, c.budget.runtime_bytes) == (0, 0)
        assert c.budget.kv_bytes == pytest.approx(
            0.92 * own.DEVICE["mem_bytes"] - c.budget.weights.total - c.budget.activation_bytes, abs=2)


@pytest.mark.parametrize(("choices", "reason"), [
    ({"tp": (2,)}, "a CPU runs one rank"), ({"weights": ("fp8",)}, "no CPU kernel multiplies weights of this format"),
    ({"kv_cache_dtype": ("fp8",)}, "vLLM keeps the KV cache of a CPU in 16 bits"),
    ({"engines": ("sglang",)}, "on a CPU only vLLM is planned"),
])
def test_what_a_cpu_cannot_do_is_left_out_with_its_reason(profile: Profile, small: Workload,
                                                          choices: dict[str, object], reason: str) -> None:
    found = spaced(small, **choices)
    assert len(found) == 0
    assert reason in reasons(found)


def test_a_measured_device_needs_a_price(profile: Profile, small: Workload) -> None:
    assert "no price of a measured device; give --price NAME=USD" in reasons(spaced(small, PRICES))


def candidates(found: Space) -> dict[int, Candidate]:
    """One candidate per page size."""
    return {c.config.block_size: c for group in found.by_system.values() for c in group if c.config.max_num_seqs == 64}


def test_each_candidate_is_charged_the_kernel_time_of_its_page(profile: Profile, small: Workload) -> None:
    bench = Bench(question(small, 0), {"cpu_x": profile})
    by_page = candidates(spaced(small, block_size=(16, 64, 128)))
    ticks = {size: bench.table(c).decode_ticks(16, 1024) for size, c in by_page.items()}
    for size, cost in own.PAGE_COST.items():
        assert ticks[size] == pytest.approx(cost * ticks[128], rel=0.01)
    step = {size: bench.table(c).step_s(16, 16 * 1024) for size, c in by_page.items()}
    assert step[16] > step[64] > step[128]


def test_where_pages_are_not_recorded_candidates_of_all_pages_share_a_table(workload: Workload) -> None:
    asked = question(workload, 0)
    found = space(asked.spec, Candidates(gpus=("h100_sxm",), engines=("vllm",), tp=(1,), weights=("bf16",),
                                         kv_cache_dtype=("auto",), block_size=(16, 64)), Constraints(), PRICES,
                  max_tokens=asked.shape.max_tokens, model=asked.spec.name)
    bench = Bench(asked)
    a, b = candidates(found).values()
    assert bench.page(a) == bench.page(b) == 0
    assert bench.table(a) is bench.table(b)


def test_page_speed_compares_one_kernel_with_itself(profile: Profile, small: Workload) -> None:
    """The rows of a faster kernel, and of splits that nobody asked for, do not mix in."""
    c = next(iter(candidates(spaced(small)).values()))
    found = measured_efficiency(question(small, 0).spec, c, 128, profile)
    assert found == {size: pytest.approx(1 / cost, rel=1e-3) for size, cost in own.PAGE_COST.items()}


def test_emit_says_that_it_writes_no_command_for_a_cpu(profile: Profile, small: Workload) -> None:
    c = next(iter(candidates(spaced(small)).values()))
    with pytest.raises(InputError, match="emit does not support CPUs") as e:
        emit(c.config, "vllm", spec=question(small, 0).spec)
    assert "VLLM_CPU_KVCACHE_SPACE" in str(e.value.hint)
    assert default_page("vllm", question(small, 0).spec, gpu("cpu_x")) == 128

"""Memory fractions between engines: KV bytes kept, never more than planned."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costplan.catalog.gpus import gpu
from costplan.catalog.models import model
from costplan.core.errors import DoesNotFitError, InputError
from costplan.perf.layout import Layout
from costplan.perf.memory import ENGINES
from costplan.plan.config import EngineConfig
from costplan.plan.emit_memory import STEP, budget_of_config, convert_memory_fraction, fraction_ceiling

SPEC, GPU = model("llama-3.1-8b"), gpu("h100_sxm")
CONFIG = EngineConfig(SPEC.name, GPU.name, "vllm", Layout(), "bf16", "bf16", 16, 256, 8192, 8192, 0.9)


@settings(max_examples=60, deadline=None)
@given(pair=st.sampled_from(list(permutations(ENGINES, 2))), fraction=st.floats(0.4, 0.85))
def test_kv_bytes_are_kept_and_never_exceeded(pair: tuple[str, str], fraction: float) -> None:
    source = budget_of_config(replace(CONFIG, engine=pair[0]), SPEC, GPU, memory_fraction=fraction)
    parts = budget_of_config(CONFIG, SPEC, GPU, engine=pair[1], memory_fraction=1.0)
    converted = convert_memory_fraction(source, parts)
    after = budget_of_config(CONFIG, SPEC, GPU, engine=pair[1], memory_fraction=converted)
    assert 0 < converted <= fraction_ceiling(parts)
    assert after.kv_bytes <= source.kv_bytes + 1
    bounded = converted + 1 / STEP > fraction_ceiling(parts)
    assert bounded or source.kv_bytes - after.kv_bytes <= GPU.mem_bytes / STEP + 2


@pytest.mark.parametrize("engine", ENGINES)
def test_to_the_same_engine_and_back_is_the_identity(engine: str) -> None:
    b = budget_of_config(CONFIG, SPEC, GPU, engine=engine, memory_fraction=0.75)
    assert convert_memory_fraction(b, b) == pytest.approx(0.75, abs=1.01 / STEP)


def test_more_kv_never_means_a_smaller_fraction() -> None:
    parts = budget_of_config(CONFIG, SPEC, GPU, engine="sglang", memory_fraction=1.0)
    got = [convert_memory_fraction(budget_of_config(CONFIG, SPEC, GPU, memory_fraction=f / 100), parts)
           for f in range(40, 99, 6)]
    assert got == sorted(got)


def test_the_three_meanings_differ() -> None:
    """A large model: TensorRT-LLM's share of what is left is far from vLLM's share of the device."""
    spec = model("llama-3.1-70b")
    config = replace(CONFIG, model=spec.name, layout=Layout(tp=4))
    source = budget_of_config(config, spec, GPU, memory_fraction=0.7)
    trtllm = convert_memory_fraction(source, budget_of_config(config, spec, GPU, engine="trtllm", memory_fraction=1.0))
    assert trtllm < 0.55


def test_budgets_of_different_gpus_are_refused() -> None:
    other = gpu("h200_sxm")
    with pytest.raises(InputError, match="different GPUs"):
        convert_memory_fraction(budget_of_config(CONFIG, SPEC, GPU), budget_of_config(CONFIG, SPEC, other))


def test_no_room_is_said() -> None:
    source = budget_of_config(CONFIG, SPEC, GPU)
    parts = budget_of_config(CONFIG, SPEC, GPU, engine="sglang", memory_fraction=1.0)
    starved = replace(parts, activation_bytes=GPU.mem_bytes)
    with pytest.raises(DoesNotFitError, match="leaves room"):
        convert_memory_fraction(source, starved)

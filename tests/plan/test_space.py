"""Candidates: what is generated, what is left out and why, and memory laws."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costplan.catalog.gpus import gpu
from costplan.catalog.models import model
from costplan.core.errors import DoesNotFitError, UnknownNameError
from costplan.core.units import GIB
from costplan.perf.layout import Layout
from costplan.plan.space import Space, System, candidate, space, tp_problem, weight_problem
from costplan.workload.workload import Candidates, Constraints

from .conftest import MODEL, PRICES, price

SPEC = model(MODEL)


def made(choices: Candidates, limits: Constraints | None = None, name: str = MODEL) -> Space:
    return space(model(name), choices, limits or Constraints(), PRICES, max_tokens=4000, model=name)


def reasons(found: Space) -> set[str]:
    return {e.reason for e in found.excluded}


def test_choices_are_respected() -> None:
    found = made(Candidates(gpus=("h100",), engines=("vllm",), tp=(2,), pp=(1,), weights=("fp8",),
                            kv_cache_dtype=("fp8",), block_size=(16, 32), max_num_seqs=(64,),
                            max_num_batched_tokens=(2048, 4096)))
    assert len(found) == 4
    (system, candidates), = found.by_system.items()
    assert system == System("h100_sxm", "vllm", Layout(2), "fp8", "fp8")
    assert {c.config.block_size for c in candidates} == {16, 32}
    assert all(c.config.max_model_len >= 4000 for c in candidates)
    assert found.excluded == ()


def test_what_the_user_leaves_free_is_filled_in() -> None:
    found = made(Candidates(gpus=("h100_sxm",)))
    systems = list(found.by_system)
    assert {s.engine for s in systems} == {"vllm", "sglang", "trtllm"}
    assert {s.weight_dtype for s in systems} == {"bf16", "fp8", "int4"}
    assert {s.kv_dtype for s in systems} == {"bf16", "fp8"}
    assert {s.layout.tp for s in systems} == {1, 2, 4, 8}


def test_a_gpu_without_fp8_units_gets_int8_and_16_bit_kv() -> None:
    systems = list(made(Candidates(gpus=("a100_80gb_sxm",))).by_system)
    assert {s.weight_dtype for s in systems} == {"bf16", "int8", "int4"}
    assert {s.kv_dtype for s in systems} == {"bf16"}


def test_a_quantised_checkpoint_keeps_its_format() -> None:
    found = made(Candidates(gpus=("h100_sxm",), engines=("vllm",)), name="openai/gpt-oss-20b")
    assert {s.weight_dtype for s in found.by_system} == {"mxfp4"}
    asked = made(Candidates(gpus=("h100_sxm",), engines=("vllm",), weights=("fp8",)), name="openai/gpt-oss-20b")
    assert not asked.by_system
    assert "the checkpoint is quantised already" in reasons(asked)


@pytest.mark.parametrize(("choices", "reason"), [
    (Candidates(gpus=("l40s",), engines=("vllm",), tp=(16,)), "tensor parallelism does not cross nodes"),
    (Candidates(gpus=("h100_sxm",), engines=("vllm",), tp=(3,)), "tp and the number of KV heads do not divide"),
    (Candidates(gpus=("h100_sxm",), engines=("vllm",), block_size=(24,)), "needs pages of a multiple of 16 tokens"),
    (Candidates(gpus=("h100_sxm",), kv_cache_dtype=("nvfp4",)), "needs a GPU with FP4 units"),
    (Candidates(gpus=("h100_sxm",), max_num_seqs=(4096,)), "max_num_batched_tokens below max_num_seqs"),
    (Candidates(gpus=("b200_sxm",)), "no price within the constraints"),
])
def test_every_exclusion_says_why(choices: Candidates, reason: str) -> None:
    assert any(reason in r for r in reasons(made(choices)))


def test_too_many_gpus_per_replica() -> None:
    found = made(Candidates(gpus=("h100_sxm",), engines=("vllm",)), Constraints(max_gpus_per_replica=2))
    assert {s.layout.num_gpus for s in found.by_system} == {1, 2}
    assert "a replica may have at most 2 GPUs" in reasons(found)


def test_weights_that_do_not_fit() -> None:
    found = made(Candidates(gpus=("l40s",), engines=("vllm",), tp=(1,), pp=(1,), weights=("bf16",)),
                 name="meta-llama/Llama-3.1-70B-Instruct")
    assert not found.by_system
    assert reasons(found) == {"does not fit in memory"}


def test_unknown_gpus_are_errors_with_near_misses() -> None:
    with pytest.raises(UnknownNameError) as e:
        made(Candidates(gpus=("h100_smx",)))
    assert "h100_sxm" in e.value.nearest


def test_free_gpus_are_those_priced_and_measured() -> None:
    found = space(SPEC, Candidates(engines=("vllm",), tp=(1,), weights=("bf16",)), Constraints(),
                  (*PRICES, price("t4", 0.3)), max_tokens=4000, model=MODEL)
    assert {s.gpu for s in found.by_system} == {"h100_sxm", "a100_80gb_sxm", "l40s", "h200_sxm"}
    assert any("no measured kernels" in r for r in reasons(found))


@settings(max_examples=40, deadline=None)
@given(st.integers(24, 200), st.integers(1, 100), st.sampled_from(["vllm", "sglang", "trtllm"]))
def test_more_memory_never_fits_fewer_sequences(gib: int, more: int, engine: str) -> None:
    """Unless the engine's own defaults change with the size, which the fraction pins here."""
    base = gpu("h100_sxm")
    system = System("h100_sxm", engine, Layout(1), "bf16", "bf16")

    def fits(size: int) -> float:
        spec_gpu = replace(base, mem_bytes=size * GIB)
        try:
            c = candidate(SPEC, spec_gpu, system, 32, 64, 2048, max_tokens=2000, model=MODEL, memory_fraction=0.9)
        except DoesNotFitError:
            return 0.0
        return c.budget.concurrency(2000)

    assert fits(gib + more) >= fits(gib)


def test_problems_in_words() -> None:
    assert tp_problem(SPEC, gpu("h100_sxm"), 8) is None
    assert weight_problem(SPEC, gpu("v100_sxm_32gb"), "int4") is not None
    assert weight_problem(SPEC, gpu("h100_sxm"), "bf16") is None


def test_an_unknown_engine_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as refused:
        made(Candidates(gpus=("h100",), engines=("vlm",)))
    assert refused.value.nearest[0] == "vllm"

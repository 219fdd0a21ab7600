"""Step times composed from kernels: laws that must hold for every model, and agreement with a hand sum."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costplan.catalog.gpus import gpu
from costplan.catalog.models import builtin_models, model
from costplan.core.errors import InputError
from costplan.core.evidence import Evidence
from costplan.perf.assemble import latency_model, most_similar, sources_for
from costplan.perf.batch import BatchState
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.layout import Layout
from costplan.perf.ops import equal_square
from costplan.perf.overhead import BOUNDS
from costplan.perf.roofline import causal_pairs

DECODE = BatchState(decode_seqs=32, decode_kv_tokens=32 * 2048)


def llama(size: str = "8B", gpu_name: str = "h200_sxm", engine: str = "vllm", **kw: object) -> KernelLatencyModel:
    layout = Layout(**{k: int(str(kw.pop(k))) for k in ("tp", "pp", "dp", "ep") if k in kw})
    return latency_model(model(f"meta-llama/Llama-3.1-{size}-Instruct"), gpu(gpu_name), layout, engine=engine,
                         **kw)  # type: ignore[arg-type]


def test_a_step_is_the_sum_of_its_parts() -> None:
    m = llama()
    step = m.step(DECODE)
    assert step.seconds == pytest.approx(sum(step.parts.values()))
    assert step.seconds == pytest.approx(m.step_s(DECODE))
    assert sum(step.shares.values()) == pytest.approx(1.0)
    alone = sum(t.seconds * c for t, c in step.timings)
    scaled = step.seconds - step.parts["engine"]
    factors = [f for pair in m.overhead.factors for f in pair]
    assert min(factors) * alone <= scaled <= max(factors) * alone


@given(seqs=st.integers(1, 512), kv=st.integers(1, 20000), prompt=st.integers(0, 9000))
def test_the_quick_sum_is_the_full_one(seqs: int, kv: int, prompt: int) -> None:
    m = llama("70B", "h200_sxm", tp=2)
    batch = BatchState(seqs, seqs * kv, prompt, prompt // 2, int(prompt > 0))
    assert m.step_s(batch) == pytest.approx(m.step(batch).seconds, rel=1e-12)


def test_the_kernels_of_llama_8b_decode_take_one_to_two_weight_reads() -> None:
    weights = 2 * 8.03e9 - 2 * 128256 * 4096  # without the embedding
    ideal = weights / 4.8e12
    step = llama().step(BatchState(1, 1024))
    assert ideal < step.seconds - step.parts["engine"] < 2 * ideal
    assert step.seconds < 2.5 * ideal
    assert step.bound == "bandwidth"


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
@pytest.mark.parametrize("gpu_name", ["h100_sxm", "h200_sxm", "b200_sxm", "a100_80gb_sxm", "l40s"])
@pytest.mark.parametrize(("size", "tp", "read"), [("8B", 1, 7.50e9), ("70B", 4, 69.5e9)])
def test_a_decode_step_reads_the_weights_at_a_bandwidth_that_was_measured(engine: str, gpu_name: str, size: str,
                                                                          tp: int, read: float) -> None:
    m = llama(size, gpu_name, engine, tp=tp)
    read_s = 2 * read / tp / gpu(gpu_name).mem_bandwidth_bytes_per_s
    for seqs in (1, 8):
        step = m.step(BatchState(seqs, seqs * 1024))
        most = BOUNDS["gemm_small"][1] * 1.35  # measured kernels themselves take up to 1.35 times the read at peak
        assert 0.8 * read_s < step.parts["gemm"] + step.parts["head"] < most * read_s + 0.5e-3


def test_prefill_of_a_long_prompt_is_compute_bound_and_near_half_of_peak() -> None:
    step = llama().step(BatchState(prefill_tokens=8192, prefill_seqs=1))
    ideal = 2 * 7.5e9 * 8192 / 989.4e12
    assert step.bound == "compute"
    assert ideal < step.seconds < 2.5 * ideal


@settings(max_examples=30)
@given(seqs=st.integers(1, 256), kv=st.integers(16, 8192), prompt=st.integers(0, 4096))
def test_more_work_never_takes_less_time(seqs: int, kv: int, prompt: int) -> None:
    m = llama()
    base = m.step_s(BatchState(seqs, seqs * kv, prompt, 0, int(prompt > 0)))
    slack = 0.95  # measured matrix products of 2 tokens take 4 % longer than of 4
    assert m.step_s(BatchState(seqs, 2 * seqs * kv, prompt, 0, int(prompt > 0))) >= slack * base
    assert m.step_s(BatchState(seqs, seqs * kv, prompt + 1024, 0, 1)) >= slack * base
    assert m.step_s(BatchState(2 * seqs, 2 * seqs * kv, prompt, 0, int(prompt > 0))) >= slack * base


def test_tensor_parallelism_helps_less_than_linearly() -> None:
    one, two, eight = (llama("70B", "h200_sxm", tp=tp).step_s(DECODE) for tp in (1, 2, 8))
    assert one > two > eight
    assert one < 2 * two < 8 * eight


def test_fp8_weights_are_faster_but_not_twice() -> None:
    bf16, fp8 = (llama("70B", tp=2, weight_dtype=w).step_s(DECODE) for w in ("bf16", "fp8"))
    assert 1.1 < bf16 / fp8 < 2.0


def test_pipeline_stages_follow_each_other() -> None:
    whole, split = (llama("70B", "h200_sxm", pp=pp).step_s(BatchState(64, 64 * 1024)) for pp in (1, 2))
    assert 0.9 * whole < split < 2.2 * whole


@pytest.mark.parametrize("name", sorted(builtin_models()))
def test_every_built_in_model_has_a_finite_step_time(name: str) -> None:
    m = latency_model(model(name), gpu("h200_sxm"), Layout(tp=8), engine="sglang")
    for b in (BatchState(8, 8 * 1000), BatchState(4, 4000, 512, 100, 2)):
        assert 1e-5 < m.step_s(b) < 10


@pytest.mark.parametrize("name", ["h100_sxm", "a100_40gb_sxm", "h20", "mi300x", "l4", "rtx_4090", "gh200", "tpu_v6e",
                                  "v100_sxm_32gb"])
def test_every_gpu_answers_and_says_whose_kernels_stand_in(name: str) -> None:
    m = llama("8B", name)
    step = m.step(DECODE)
    assert m.measured_on
    assert 1e-4 < step.seconds < 1
    if m.measured_on != name:
        assert step.evidence in (Evidence.EXTRAPOLATED, Evidence.ANALYTIC)
        assert step.log_sd > 0.1


def test_the_most_similar_gpu_shares_the_architecture() -> None:
    measured = [gpu(n) for n in ("h100_sxm", "h200_sxm", "a100_80gb_sxm", "l40s", "b200_sxm")]
    pairs = {"a100_80gb_pcie": "a100_80gb_sxm", "h100_nvl": "h100_sxm", "rtx_4090": "l40s", "gb200": "b200_sxm"}
    found = {name: most_similar(gpu(name), measured) for name in pairs}
    assert {k: v.name for k, v in found.items() if v} == pairs or found["h100_nvl"] == gpu("h200_sxm")


def test_a_stated_profile_leads() -> None:
    from costplan.profile.store import Profile

    mine = Profile.load("h100_sxm-sglang")
    assert sources_for(gpu("h100_sxm"), "vllm", mine).profiles[0].name == mine.name
    assert sources_for(gpu("h100_sxm"), "vllm").profiles[0].name == "h100_sxm-vllm"


@given(q=st.integers(1, 5000), c=st.integers(0, 100000), window=st.sampled_from([0, 128, 4096]))
def test_a_chunk_equals_a_fresh_prompt_with_as_many_pairs(q: int, c: int, window: int) -> None:
    side = equal_square(q, q + c, window)
    whole = window * (window + 1) / 2
    pairs = side * (side + 1) / 2 if not window or side <= window else whole + (side - window) * window
    assert pairs == pytest.approx(causal_pairs(q, q + c, window), rel=1e-6)


def test_a_cached_context_costs_only_attention() -> None:
    m = llama()
    fresh, cached = (m.step(BatchState(0, 0, 512, ctx, 1)) for ctx in (0, 8192))
    assert cached.parts["gemm"] == pytest.approx(fresh.parts["gemm"])
    assert cached.parts["attention"] > 3 * fresh.parts["attention"]


@pytest.mark.parametrize("bad", [{"tp": 0}, {"pp": -1}, {"tp": 4, "ep": 3}])
def test_an_impossible_layout_is_refused(bad: dict[str, int]) -> None:
    with pytest.raises(InputError):
        Layout(**bad)

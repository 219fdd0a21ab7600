"""Predictions: evidence and intervals survive, and the published worked examples come out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from costplan.catalog.gpus import gpu
from costplan.catalog.models import model
from costplan.core.errors import DoesNotFitError
from costplan.core.evidence import Evidence
from costplan.perf.layout import Layout
from costplan.perf.op_terms import KERNEL_TERMS
from costplan.perf.overhead import CPU, Overhead, Traits, bounds, cell, overhead, table, version_key, version_on
from costplan.perf.predict import Deployment, predict
from costplan.perf.residual import residual, was_seen
from costplan.perf.steady import Load, LoadKind

SPEC = model("meta-llama/Llama-3.1-8B-Instruct")
ONE = Deployment(SPEC, gpu("h100_sxm"))
LOAD = Load(LoadKind.CONCURRENCY, 32, 1024, 256)


def test_every_metric_carries_evidence_and_nested_intervals() -> None:
    p = predict(ONE, LOAD)
    for e in (p.ttft_s, p.tpot_s, p.e2e_s, p.output_tok_s, p.output_tok_s_per_gpu):
        assert e.i90[0] < e.i50[0] < e.value < e.i50[1] < e.i90[1]
        assert isinstance(e.evidence, Evidence)
        assert e.shares
        assert sum(e.shares.values()) == pytest.approx(1)
    assert p.profiles[0] == "h100_sxm-vllm"
    assert p.measured_on == "h100_sxm"


def test_throughput_and_latency_agree() -> None:
    p = predict(ONE, LOAD)
    assert p.e2e_s.value == pytest.approx(p.ttft_s.value + 255 * p.tpot_s.value, rel=1e-6)
    assert p.output_tok_s.value * p.e2e_s.value / 256 == pytest.approx(32, rel=0.1)


def test_replicas_share_the_load() -> None:
    one, four = predict(ONE, LOAD), predict(replace(ONE, replicas=4), replace(LOAD, value=128))
    assert four.output_tok_s.value == pytest.approx(4 * one.output_tok_s.value)
    assert four.output_tok_s_per_gpu.value == pytest.approx(one.output_tok_s_per_gpu.value)


def test_attention_data_parallelism_counts_its_gpus_once() -> None:
    spec = model("deepseek-ai/DeepSeek-V3")
    dep = Deployment(spec, gpu("h200_sxm"), Layout(tp=1, dp=8, ep=8), engine="sglang", weight_dtype="fp8_block")
    p = predict(dep, replace(LOAD, value=256))
    assert dep.num_gpus == 8
    assert p.output_tok_s_per_gpu.value == pytest.approx(p.output_tok_s.value / 8)


def test_more_doubt_where_another_gpu_stands_in() -> None:
    own, other = predict(ONE, LOAD), predict(replace(ONE, gpu=gpu("rtx_4090"), weight_dtype="fp8"), LOAD)
    assert other.tpot_s.log_sd > own.tpot_s.log_sd
    assert other.tpot_s.evidence is Evidence.EXTRAPOLATED
    assert other.measured_on != "rtx_4090"


def test_a_model_that_does_not_fit_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(DoesNotFitError, match="weights take"):
        predict(replace(ONE, spec=model("meta-llama/Llama-3.1-405B-Instruct")), LOAD)


def test_a_request_longer_than_the_cache_is_refused() -> None:
    small = replace(ONE, gpu=gpu("rtx_4090"), memory_fraction=0.95)
    with pytest.raises(DoesNotFitError):
        predict(small, replace(LOAD, isl=500_000))


def test_memory_limits_are_named_as_what_binds() -> None:
    p = predict(replace(ONE, gpu=gpu("l4"), memory_fraction=0.92, max_model_len=8192),
                Load(LoadKind.CONCURRENCY, 200, 4000, 500))
    assert p.point.saturated
    assert p.bound == "memory"


@pytest.mark.parametrize(("text", "key"), [("0.7.3", (0, 7, 3)), ("v0.5.0", (0, 5, 0)), ("nightly", ()), (None, ()),
                                           ("1.0 (pytorch backend)", (1, 0)), ("~0.10.2", (0, 10, 2))])
def test_versions_are_compared_as_numbers(text: str | None, key: tuple[int, ...]) -> None:
    assert version_key(text) == key


def test_an_engine_of_unknown_version_is_taken_as_the_newest() -> None:
    assert overhead("vllm").name == overhead("vllm", "99.0").name
    assert overhead("vllm", "0.6.3").name != overhead("vllm").name
    assert overhead("nim").name == overhead("trtllm", "0.17").name


def test_a_run_that_states_only_its_date_gets_the_version_of_that_day() -> None:
    assert version_on("vllm", "2024-11-09") == "0.1"
    assert version_on("trtllm", "2025-10-29") == "0.18"
    assert version_on("vllm", "") is None
    assert version_on("vllm", "2020-01") is None


def test_fitted_factors_are_physical_and_explained() -> None:
    data = table()
    assert set(data) == {"meaning", *data["meaning"]}
    scopes = [(e["term"], *sorted(e["scope"].items())) for e in data["factors"]]
    assert len(scopes) == len(set(scopes))
    assert {k for e in data["factors"] for k in e["scope"]} <= {"engine", "since", "arch", "format", "moe", "hybrid"}
    for entry in data["factors"]:
        assert 0.2 < entry["factor"] < 5
    for models in data["cells"].values():
        assert all(0.5 < f < 2 for engines in models.values() for pair in engines.values() for f in pair)
    for row in data["engines"]:
        for arch in ("ampere", "ada", "hopper", "blackwell"):
            for fmt in ("16", "fp8", "weight_only"):
                own = overhead(row["engine"], row["since"], launches=100.0,
                               traits=Traits(arch=arch, weight_format=fmt, moe=True))
                for term, (small, large) in zip(KERNEL_TERMS, own.factors, strict=True):
                    name = "gemm" if term == "head" else term
                    split = name in ("gemm", "experts")
                    for value, size in ((small, "small"), (large, "large" if term != "head" else "small")):
                        least, most = bounds(f"{name}_{size}" if split else name, fmt)
                        assert least <= value <= most
                assert own.step_s0 < 0.01 and own.seq_s < 5e-4 and own.eager_s < 0.05 and own.request_s < 0.2


def test_what_was_published_of_a_model_on_a_gpu_scales_its_own_kernels_only() -> None:
    known = Traits("h100_sxm", "meta-llama/Llama-3.1-70B-Instruct", "hopper", "fp8")
    small, large = cell(known.gpu, known.model, "trtllm") or (0.0, 0.0)
    with_cell = dict(zip(KERNEL_TERMS, overhead("trtllm", traits=known).factors, strict=True))
    without = dict(zip(KERNEL_TERMS, overhead("trtllm", traits=replace(known, model="nobody/has-run-this")).factors,
                       strict=True))
    assert with_cell["gemm"][0] == pytest.approx(min(1.4, max(0.8, without["gemm"][0] * small)))
    assert with_cell["attention_decode"][0] == pytest.approx(without["attention_decode"][0] * small)
    assert with_cell["attention_prefill"][0] == pytest.approx(without["attention_prefill"][0] * large)
    assert with_cell["elementwise"] == without["elementwise"]


def test_kernels_measured_on_a_cpu_stand_as_they_are() -> None:
    own = overhead("vllm", launches=1000.0, traits=Traits(arch=CPU))
    assert {f for pair in own.factors for f in pair} == {1.0} and own.eager_s == 0


def test_a_factor_moves_from_few_tokens_to_many() -> None:
    own = Overhead(((1.0, 1.2),) * len(KERNEL_TERMS))
    factors = [own.factor("gemm", n) for n in (1, 128, 256, 512, 1024, 8192)]
    assert factors == sorted(factors)
    assert factors[1] == 1.0 and factors[-1] == pytest.approx(1.2)


@pytest.mark.parametrize("load", [None, *LoadKind])
def test_doubt_grows_as_evidence_weakens(load: LoadKind | None) -> None:
    for metric in ("tpot", "ttft", "output_tok_s"):
        known = residual(metric, Evidence.EXTRAPOLATED, load)
        assert residual(metric, Evidence.ANALYTIC, load).log_sd > known.log_sd
        assert 0 < known.log_sd < 1.5 and 0.4 < known.tail < 3


def test_a_model_that_ran_on_this_gpu_is_better_known() -> None:
    assert was_seen("h100_sxm", "meta-llama/Llama-3.1-70B-Instruct", "trtllm")
    assert not was_seen("h100_sxm", "meta-llama/Llama-3.1-70B-Instruct", "nobody's")
    assert not was_seen("h100_sxm", "nobody/has-run-this", "vllm")
    for metric in ("tpot", "output_tok_s"):
        assert residual(metric, Evidence.MEASURED, seen=True).log_sd < residual(metric, Evidence.MEASURED).log_sd

"""Predictions: evidence and intervals survive, and the published worked examples come out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from costplan.catalog.gpus import gpu
from costplan.catalog.models import model
from costplan.core.errors import DoesNotFitError
from costplan.core.evidence import Evidence
from costplan.perf.layout import Layout
from costplan.perf.overhead import overhead, residual_log_sd, table, version_key
from costplan.perf.predict import Deployment, predict
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
    assert overhead("nim").name == overhead("trtllm").name


def test_fitted_constants_are_physical_and_explained() -> None:
    data = table()
    assert set(data["meaning"]) >= {"kernel_factor", "step_s0", "seq_s", "eager_layer_s", "request_s", "mixed",
                                    "vendor_kernel_factor", "residual_log_sd"}
    for row in data["engines"]:
        assert 0.8 <= row["kernel_factor"] <= 1.3
        assert 0 <= row["step_s0"] < 0.01
        assert 0 <= row["eager_layer_s"] < 0.004
        assert 0 <= row["request_s"] < 0.2
    assert data["vendor_kernel_factor"]["NVIDIA"] == 1.0


def test_doubt_grows_as_evidence_weakens() -> None:
    for metric in ("tpot", "ttft", "output_tok_s"):
        sds = [residual_log_sd(metric, e) for e in Evidence]
        assert sds == sorted(sds)

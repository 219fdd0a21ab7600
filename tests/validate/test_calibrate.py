"""From runs to deployments and loads: whatever a file says, the worst is a clear error."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.core.errors import CostplanError, InputError
from costplan.perf.steady import LoadKind
from costplan.validate.bench_deployment import Given, deployment, load
from costplan.validate.bench_read import ResultFile
from costplan.validate.bench_run import BenchRun
from costplan.validate.calibrate import calibrate, doubts

RUN = BenchRun("vllm bench serve", "r.json:1", LoadKind.CONCURRENCY, 16, 1000, 200, 160, 0.06, 0.01, None, 1500.0, 0.0,
               "vllm", None, "llama-3.1-8b")
GIVEN = Given(gpu="h100_sxm", tp=1)
NUMBERS = st.none() | st.floats(1e-12, 1e18)
SIZES = st.none() | st.integers(1, 10**18)
NAMES = st.none() | st.text(max_size=8) | st.sampled_from(["fp8", "bf16", "trtllm", "h100_sxm", "1.2", "llama-3.1-8b"])


def of_file(*runs: BenchRun) -> list[ResultFile]:
    return [ResultFile("r.json", "0" * 64, runs)]


def test_measured_and_predicted_stand_beside_each_other() -> None:
    found = calibrate(of_file(RUN, replace(RUN, load_value=32.0)), GIVEN)
    assert [x.load.value for x in found.runs] == [16, 32]
    for x in found.runs:
        measured, predicted = x.pair("tpot")
        assert measured == pytest.approx(0.01)
        assert predicted == x.prediction.tpot_s.value
    assert found.errors["tpot"][0] == 2


def test_an_open_loop_that_keeps_up_says_nothing_about_throughput() -> None:
    calm = replace(RUN, load_kind=LoadKind.RATE, load_value=1.0, output_tok_s=200.0)
    (x,) = calibrate(of_file(calm), GIVEN).runs
    assert set(x.observed.log_error) == {"tpot", "ttft"}


def test_runs_of_two_deployments_need_two_files() -> None:
    with pytest.raises(InputError, match="another deployment"):
        calibrate(of_file(replace(RUN, tp=1), replace(RUN, tp=2)), Given(gpu="h100_sxm"))


def test_only_runs_that_can_be_used_count() -> None:
    aside = replace(RUN, skipped="it is different")
    assert calibrate(of_file(RUN, aside), GIVEN).skipped == ("r.json:1: it is different",)
    with pytest.raises(InputError, match="no run can be used"):
        calibrate(of_file(aside), GIVEN)
    with pytest.raises(InputError, match="no run measures"):
        calibrate(of_file(replace(RUN, ttft_s=None, tpot_s=None, output_tok_s=None)), GIVEN)


def test_runs_that_cannot_have_fitted_are_named_and_left_out() -> None:
    found = calibrate(of_file(RUN, replace(RUN, isl=5_000_000.0, tpot_s=0.02)), GIVEN)
    assert len(found.runs) == 1
    assert "fit" in found.skipped[0]


def test_a_run_that_is_there_twice_counts_once() -> None:
    found = calibrate(of_file(RUN, replace(RUN, where="other.json:1")), GIVEN)
    assert len(found.runs) == 1
    assert found.skipped == ("other.json:1: it is the run of r.json:1 again",)


def test_all_that_is_missing_is_asked_for_at_once() -> None:
    with pytest.raises(InputError, match="which engine ran, which model ran, on which GPU") as e:
        deployment(replace(RUN, engine=None, model=None), Given())
    assert "--engine" in str(e.value.hint)
    assert "--tp" in str(e.value.hint)


@pytest.mark.parametrize(("named", "weights"), [
    ("zai-org/GLM-5-FP8", "fp8"), ("meta-llama/Llama-3.1-8B-Instruct-NVFP4", "nvfp4"), ("llama-3.1-8b", None),
    ("Meta-Llama-3.1-8B-Instruct-GPTQ", "int4")])
def test_the_name_of_a_checkpoint_tells_its_format(named: str, weights: str | None) -> None:
    run = replace(RUN, model=named)
    assert deployment(run, GIVEN).weight_dtype == weights
    assert deployment(run, replace(GIVEN, weights="bf16")).weight_dtype == "bf16"


def test_runs_beyond_all_error_bars_question_their_description() -> None:
    first = calibrate(of_file(RUN), GIVEN).runs[0].prediction.ttft_s.value
    assert not doubts(calibrate(of_file(replace(RUN, ttft_s=first)), GIVEN))
    slow = calibrate(of_file(replace(RUN, tpot_s=0.5, output_tok_s=30.0)), GIVEN)
    assert any("tpot: measured is" in d and "description" in d for d in doubts(slow))


@given(st.fixed_dictionaries({}, optional={
    "load_kind": st.none() | st.sampled_from(list(LoadKind)),
    **dict.fromkeys(("load_value", "isl", "osl", "ttft_s", "tpot_s", "output_tok_s", "spread"), NUMBERS),
    **dict.fromkeys(("requests", "tp", "pp", "ep", "max_num_seqs", "max_num_batched_tokens"), SIZES),
    **dict.fromkeys(("engine", "engine_version", "model", "gpu", "weights", "kv"), NAMES)}))
def test_no_run_does_worse_than_a_clear_error(changed: dict[str, Any]) -> None:
    run = replace(RUN, **changed)
    for read in (deployment, load):
        try:
            read(run, Given(gpu="h100_sxm"))
        except CostplanError as e:
            assert str(e)


def test_flags_and_runs_name_the_same_things() -> None:
    shared = {f.name for f in fields(BenchRun)} & {f.name for f in fields(Given)}
    assert {"gpu", "model", "engine", "tp", "weights", "kv", "isl", "osl"} <= shared

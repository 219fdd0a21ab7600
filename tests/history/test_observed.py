"""Windows of a real service: vLLM's metrics as text and from Prometheus, benchmark files, and what is neither."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costplan.core.errors import InputError
from costplan.history import bench_file, vllm_metrics
from costplan.history.observed import Observed, json_values

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
START = AT.timestamp() - 1000


def scrape(tokens: float, requests: float, buckets: dict[str, float], engine: str = "0", start: float = START) -> bytes:
    """What /metrics of one vLLM engine says, the parts that matter and some that do not."""
    labels = f'engine="{engine}",model_name="meta-llama/Llama-3.1-8B-Instruct"'
    lines = ["# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.",
             "# TYPE process_start_time_seconds gauge", f"process_start_time_seconds {start}",
             "# HELP vllm:generation_tokens_total Number of generation tokens processed.",
             "# TYPE vllm:generation_tokens_total counter", f"vllm:generation_tokens_total{{{labels}}} {tokens}",
             "# TYPE vllm:request_success_total counter",
             f'vllm:request_success_total{{{labels},finished_reason="stop"}} {requests}',
             f'vllm:request_success_total{{{labels},finished_reason="length"}} 0.0',
             "# TYPE vllm:inter_token_latency_seconds histogram",
             f'vllm:inter_token_latency_seconds_bucket{{{labels},le="+Inf"}} 999.0']
    for name in ("time_to_first_token_seconds", "request_time_per_output_token_seconds"):
        lines.append(f"# TYPE vllm:{name} histogram")
        lines += [f'vllm:{name}_bucket{{{labels},le="{le}"}} {v}' for le, v in buckets.items()]
        lines += [f"vllm:{name}_sum{{{labels}}} 1.0", f"vllm:{name}_count{{{labels}}} {requests}"]
    return ("\n".join(lines) + "\n").encode()


BUCKETS = {"0.1": 0.0, "0.2": 80.0, "0.4": 100.0, "+Inf": 100.0}


@pytest.fixture(autouse=True)
def _parser() -> None:
    pytest.importorskip("prometheus_client", reason="prometheus-client is not installed (extra history)")


def test_one_scrape_covers_the_time_since_the_start() -> None:
    found = vllm_metrics.of_scrapes(scrape(50_000, 100, BUCKETS), None, AT, None, "m")
    assert found.output_tok_s == pytest.approx(50.0) and found.requests_per_s == pytest.approx(0.1)
    assert found.ttft_p50_s == pytest.approx(0.1 + 0.1 * 50 / 80)  # as PromQL's histogram_quantile
    assert found.tpot_p99_s == pytest.approx(0.2 + 0.2 * 19 / 20)


def test_two_scrapes_cover_the_time_between() -> None:
    earlier = scrape(20_000, 40, {"0.1": 0.0, "0.2": 40.0, "0.4": 40.0, "+Inf": 40.0})
    found = vllm_metrics.of_scrapes(scrape(50_000, 100, BUCKETS), earlier, AT, 600.0, "m")
    assert found.output_tok_s == pytest.approx(50.0) and found.requests_per_s == pytest.approx(0.1)
    assert found.ttft_p50_s == pytest.approx(0.1 + 0.1 * 30 / 40)
    with pytest.raises(InputError) as e:
        vllm_metrics.of_scrapes(scrape(50_000, 100, BUCKETS), earlier, AT, None, "m")
    assert "--seconds" in str(e.value.hint)


def test_a_restart_counts_from_zero() -> None:
    found = vllm_metrics.of_scrapes(scrape(3_000, 10, BUCKETS), scrape(20_000, 40, BUCKETS), AT, 100.0, "m")
    assert found.output_tok_s == pytest.approx(30.0)


def test_engines_add_up() -> None:
    both = scrape(10_000, 10, BUCKETS) + scrape(30_000, 30, BUCKETS, engine="1")
    assert vllm_metrics.of_scrapes(both, None, AT, 1000.0, "m").output_tok_s == pytest.approx(40.0)


def test_what_lies_in_the_open_bucket_is_unknown() -> None:
    found = vllm_metrics.of_scrapes(scrape(5, 10, {"0.1": 1.0, "+Inf": 10.0}), None, AT, 10.0, "m")
    assert found.ttft_p50_s is None
    empty = vllm_metrics.of_scrapes(scrape(5, 0, {"0.1": 0.0, "+Inf": 0.0}), None, AT, 10.0, "m")
    assert empty.ttft_p50_s is None


def ranged(**series: list[float]) -> dict[str, object]:
    """An answer of api/v1/query_range, a point each minute."""
    return {"status": "success", "data": {"resultType": "matrix", "result": [
        {"metric": {"__name__": name.replace("vllm_", "vllm:"), "pod": "a"},
         "values": [[AT.timestamp() + 60 * (i - len(v) + 1), str(x)] for i, x in enumerate(v)]}
        for name, v in series.items()]}}


def test_a_range_query_is_summed_over_restarts() -> None:
    found = vllm_metrics.of_range(ranged(vllm_generation_tokens_total=[1000, 4000, 0, 3000],
                                         vllm_request_success_total=[1, 2, 3, 4]), "r")
    assert found.at == AT
    assert found.output_tok_s == pytest.approx(6000 / 180) and found.requests_per_s == pytest.approx(3 / 180)
    assert found.ttft_p50_s is None


@pytest.mark.parametrize(("document", "said"), [
    ({"data": {"resultType": "vector", "result": []}}, "vector"), ({"data": {}}, "KeyError"),
    ({"data": {"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "2"]]}]}}, "range query"),
    (ranged(vllm_generation_tokens_total=[5]), "single instant"), (ranged(up=[1, 1]), "no vllm:generation"),
    (ranged(vllm_generation_tokens_total=[]), "range query")])
def test_other_answers_are_refused(document: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        vllm_metrics.of_range(document, "r")


def test_a_benchmark_file_is_read_in_seconds() -> None:
    run = {"date": "20261121-120000", "duration": 100.0, "completed": 50, "total_output_tokens": 10_000,
           "median_ttft_ms": 120.0, "p99_ttft_ms": 400, "median_tpot_ms": 20.0, "p99_tpot_ms": None}
    assert bench_file.observed(run, "b") == Observed("benchmark", AT, 100.0, 0.5, 0.12, 0.4, 0.02, None)
    assert bench_file.observed({**run, "date": "20269999-000000"}, "b").at is None


@pytest.mark.parametrize("run", [
    [], 3, {}, {"duration": 1}, {"duration": 0, "total_output_tokens": 5},
    {"duration": 10**400, "total_output_tokens": 5}, {"duration": "1", "total_output_tokens": 5},
    {"duration": True, "total_output_tokens": 5}])
def test_what_is_no_benchmark_is_refused(run: object) -> None:
    with pytest.raises(InputError):
        bench_file.observed(run, "b")


@pytest.mark.parametrize("tokens", [0.0, float("nan"), float("inf"), -1.0])
def test_a_window_without_tokens_has_no_cost(tokens: float) -> None:
    with pytest.raises(InputError, match="no output tokens"):
        Observed("x", AT, tokens, 1.0).checked("x")


@pytest.mark.shared
@pytest.mark.parametrize(("name", "tok_s"), [
    ("vllm_bench_serve_summary_8xH100_llama405b_fp8_16qps.json", 1198.888),
    ("sglang_bench_serving_deepseek_dp_mla_output.jsonl", 12412.395)])
def test_real_result_files_give_the_throughput_that_they_state(shared: Path, name: str, tok_s: float) -> None:
    data = (shared / "data" / "bench_samples" / name).read_bytes()
    runs = json_values(data, name)
    found = bench_file.observed(runs[-1], name).checked(name)
    assert found.output_tok_s == pytest.approx(tok_s, rel=1e-4)
    assert found.output_tok_s == pytest.approx(runs[-1]["output_throughput"], rel=1e-4)


@settings(max_examples=150)
@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace")),
                      st.sampled_from([b"vllm:generation_tokens_total", b"a{", b"# TYPE x", b'a{b="\\', b"a 1e999",
                                       b"process_start_time_seconds nan\nvllm:generation_tokens_total 5"])))
def test_no_scrape_crashes(data: bytes) -> None:
    with suppress(InputError):
        vllm_metrics.of_scrapes(data, None, AT, None, "m").checked("m")


_KEYS = ("data", "resultType", "result", "metric", "values", "duration", "total_output_tokens", "__name__")
_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers() | st.just(10**400),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), x, max_size=4), max_leaves=12)


@settings(max_examples=150)
@given(value=_JSON)
def test_no_json_crashes(value: object) -> None:
    for read in (vllm_metrics.of_range, bench_file.observed):
        with suppress(InputError):
            read(value, "j").checked("j")


def test_json_says_the_line() -> None:
    assert json_values(b'{"a": 1}\n{"a": Infinity}\n', "f") == [{"a": 1}, {"a": float("inf")}]
    with pytest.raises(InputError) as e:
        json_values(json.dumps({"a": 1}).encode() + b"\n{oops\n", "f")
    assert e.value.where == "f:2"
    with pytest.raises(InputError, match="UTF-8"):
        json_values(b"{\xff", "f")

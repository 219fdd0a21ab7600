"""workload.yaml: what is written is what is loaded; what is wrong is said with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.core.errors import CostplanError, InputError
from costplan.core.yaml_door import parse_yaml
from costplan.workload.arrivals import ClosedLoop, GammaArrivals, TraceArrivals
from costplan.workload.load import load_workload, workload_of
from costplan.workload.workload import Metric, SloTarget, Workload

LENGTHS = "lengths: {isl: {fixed: 512}, osl: {fixed: 64}}\n"
BASE = "name: x\nload: {rate: {requests_per_s: 2}}\n" + LENGTHS


def load(text: str, folder: Path = Path()) -> Workload:
    return workload_of(parse_yaml(text, "w.yaml"), folder)


def refuse(text: str, folder: Path = Path()) -> InputError:
    with pytest.raises(InputError) as e:
        load(text, folder)
    return e.value


FULL = """\
name: full
description: everything at once
model: ./llama/config.json
load: {rate: {requests_per_s: 4, cv: 2}}
lengths:
  isl: {lognormal: {p50: 1000, mean: 1500, max: 8000}}
  osl: {mean: 100, quantiles: {min: 1, p50: 80, p99: 400, max: 500}}
  rank_correlation: 0.3
prefix:
  block_tokens: 64
  system_prompt_tokens: 300
  groups: {count: 10, tokens: 400, zipf: 1.2}
  multi_turn: {share: 0.4, gap: 90s}
  measured: [{cache_tokens: 1000, hit_rate: 0.1}, {cache_tokens: null, hit_rate: 0.5}]
slo: {ttft: {p99: 2s, p50: 300ms}, tpot: {p95: 50ms}, e2e: {p99.9: 1min}}
candidates: {gpus: [h100_sxm], engines: [vllm, sglang], tp: [1, 2], weights: [fp8, bfloat16], block_size: [16, 32]}
constraints: {max_gpus: 16, purchase: [spot, 1y], budget_usd_per_month: 9e4, headroom: 0.2, spare_replicas: 1}
tenants: [{name: a, share: 0.75, priority: 1}, {name: b, share: 0.25, max_tokens_per_s: 1000}]
diurnal: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 13]
hosted_api: {name: api, input_usd_per_mtok: 0.5, output_usd_per_mtok: 1.5}
"""


def test_everything_that_can_be_written() -> None:
    w = load(FULL, Path("models"))
    assert w.arrivals == GammaArrivals(4.0, 0.25)
    assert w.model_path == Path("models/llama/config.json")
    assert w.slo.of(Metric.TTFT) == (SloTarget(Metric.TTFT, 0.5, 0.3), SloTarget(Metric.TTFT, 0.99, 2.0))
    assert w.slo.limit_s(Metric.TTFT) == 2.0 and w.slo.limit_s(Metric.ITL) is None
    assert w.slo.of(Metric.E2E)[0].limit_s == 60.0 and w.slo.of(Metric.E2E)[0].percentile == pytest.approx(0.999)
    assert w.candidates.weights == ("fp8", "bf16") and w.candidates.pp is None
    assert w.constraints.purchase == ("spot", "1y") and w.constraints.budget_usd_per_month == 90_000
    assert w.prefix and w.prefix.shared_tokens == 700 and w.prefix.measured[1].cache_tokens is None
    assert w.diurnal and sum(w.diurnal) == pytest.approx(24)
    assert w.peak_requests_per_s == pytest.approx(4 * 13)
    assert w.mean_osl == pytest.approx(100) and w.tenants[1].max_tokens_per_s == 1000
    assert w.hosted_api and w.hosted_api.cached_input_usd_per_mtok is None


def test_shortest_workloads(tmp_path: Path) -> None:
    assert load(BASE).arrivals == GammaArrivals(2.0, 1.0)
    assert load(BASE.replace("{rate: {requests_per_s: 2}}", "{concurrency: {n: 8}}")).arrivals == ClosedLoop(8)
    (tmp_path / "t.csv").write_text("arrival_s,isl,osl\n5,10,2\n7,30,4\n")
    w = load("name: x\nload: {trace: {path: t.csv, speedup: 2}}\n", tmp_path)
    assert isinstance(w.arrivals, TraceArrivals) and w.lengths is None and w.mean_isl == 20
    assert w.requests_per_s == pytest.approx(1.0)  # 2 requests in 2 s and the gap after them, twice as fast
    w = load("name: x\nload: {rate: {requests_per_s: 1}}\nlengths: {trace: {path: t.csv}}\n", tmp_path)
    assert w.arrivals == GammaArrivals(1.0) and w.mean_osl == 3


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "t.csv").write_text("arrival_s,isl,osl\n0,10,2\n")
    (tmp_path / "w.yaml").write_text("name: x\nload: {trace: {path: sub/t.csv}}\n")
    assert load_workload(tmp_path / "w.yaml").path == tmp_path / "w.yaml"


@pytest.mark.parametrize(("more", "where", "says", "hint"), [
    ("slo: {ttft: {p95: 800}}", 4, "slo.ttft.p95: 800 has no unit", "800ms"),
    ("slo: {ttft: {p95: '800'}}", 4, "has no unit", "800ms"),
    ("slo: {ttft: 800ms}", 4, "needs a percentile", "{p95: 800ms}"),
    ("slo: {ttft: {p95: 3 parsecs}}", 4, "unknown unit 'parsecs'", "ms"),
    ("slo: {ttft: {p95: 0s}}", 4, "above 0", ""),
    ("slo: {ttft: {p95: -1s}}", 4, "must be a duration", "800ms"),
    ("slo: {ttft: {p100: 1s}}", 4, "between p0 and p100", "p95"),
    ("slo: {ttft: {95: 1s}}", 4, "not a percentile", "p95"),
    ("slo: {ttft: {}}", 4, "slo.ttft", ""),
    ("slo: {tpto: {p95: 1s}}", 4, "slo.tpto: unknown key", "tpot"),
    ("candidates: {weights: [bf15]}", 4, "unknown dtype 'bf15'", "bf16"),
    ("candidates: {gpus: [a, a]}", 4, "twice", ""),
    ("candidates: {engines: [vlm]}", 4, "must be vllm, sglang or trtllm", ""),
    ("constraints: {headroom: 1.0}", 4, "must be below 1", ""),
    ("constraints: {max_gpus: 0}", 4, "must be at least 1", ""),
    ("constraints: {budget_usd_per_month: .inf}", 4, "finite", ""),
    ("tenants: [{name: a, share: 0.5}]", 1, "sum to 0.5", ""),
    ("diurnal: [1, 2]", 4, "diurnal", ""),
    ("prefix: {system_prompt_tokens: 512}", 4, "do not fit in prompts of at most 512", "isl counts"),
    ("prefix: {multi_turn: {share: 1.5, gap: 1s}}", 4, "must be at most 1", ""),
    ("modle: llama", 4, "modle: unknown key", "model"),
    ("model: ''", 4, "must not be empty", ""),
    ('model: "a\\e[0m"', 4, "printable", ""),
])
def test_what_is_refused(more: str, where: int, says: str, hint: str) -> None:
    error = refuse(BASE + more + "\n")
    assert says in error.message and error.where == f"w.yaml:{where}"
    assert hint in (error.hint or "")


@pytest.mark.parametrize(("load_text", "says"), [
    ("{}", "exactly one of rate, concurrency or trace"),
    ("{rate: {requests_per_s: 1}, concurrency: {n: 1}}", "not rate and concurrency"),
    ("{rate: {requests_per_s: 0}}", "must be above 0, got 0"),
    ("{rate: {requests_per_s: -3}}", "must be above 0, got -3"),
    ("{rate: {requests_per_s: .nan}}", "finite"),
    ("{rate: {requests_per_s: 5 rps}}", "must be a number, got '5 rps'"),
    ("{rate: {requests_per_s: yes}}", "must be a number, got 'yes'"),
    ("{rate: {requests_per_s: true}}", "must be a number, got true"),
    ("{rate: {requests_per_s: 1, cv: 1, burstiness: 1}}", "not both"),
    ("{concurrency: {n: 1.5}}", "whole number"),
    ("{trace: {path: nowhere.csv}}", "no such file"),
    ("{trace: {path: ., format: splitwise}}", "must be"),
    ("null", "load"),
])
def test_loads_that_are_refused(load_text: str, says: str) -> None:
    error = refuse(f"name: x\nload: {load_text}\n" + LENGTHS)
    assert says in str(error) and "w.yaml:2" in str(error)


@pytest.mark.parametrize(("lengths", "says"), [
    ("{isl: {fixed: 1}}", "isl and osl, or trace"),
    ("{trace: {path: a}, isl: {fixed: 1}}", "remove isl"),
    ("{isl: {}, osl: {fixed: 1}}", "exactly one of fixed, lognormal or quantiles"),
    ("{isl: {fixed: 0}, osl: {fixed: 1}}", "at least 1"),
    ("{isl: {fixed: 1e3}, osl: {fixed: 1}}", "whole number"),
    ("{isl: {fixed: 1, mean: 2}, osl: {fixed: 1}}", "mean belongs to quantiles"),
    ("{isl: {lognormal: {p50: 9, mean: 8, max: 20}}, osl: {fixed: 1}}", "not below its median"),
    ("{isl: {lognormal: {p50: 9, max: 20}}, osl: {fixed: 1}}", "exactly one of mean or sigma"),
    ("{isl: {lognormal: {p50: 9, sigma: 1, min: 30, max: 20}}, osl: {fixed: 1}}", "below min"),
    ("{isl: {quantiles: {p50: 9, p99: 20}}, osl: {fixed: 1}}", "no upper end"),
    ("{isl: {quantiles: {p50: 9, p40: 10, max: 20}}, osl: {fixed: 1}}", "must not fall: 9 at p50 is below 10 at p40"),
    ("{isl: {quantiles: {p101: 9, max: 20}}, osl: {fixed: 1}}", "'p101' is not a percentile"),
    ("{isl: {quantiles: {min: 1, max: 20}, mean: 30}, osl: {fixed: 1}}", "a mean of 30 contradicts"),
    ("{isl: {fixed: 1}, osl: {fixed: 1}, rank_correlation: 2}", "at most 1"),
])
def test_lengths_that_are_refused(lengths: str, says: str) -> None:
    error = refuse(f"name: x\nload: {{concurrency: {{n: 1}}}}\nlengths: {lengths}\n")
    assert says in str(error) and "w.yaml:3" in str(error)


def test_a_trace_without_times_cannot_be_replayed(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("isl,osl\n10,2\n")
    error = refuse("name: x\nload:\n  trace: {path: t.csv}\n", tmp_path)
    assert "no times" in error.message and "lengths.trace" in str(error.hint)


def test_rate_without_lengths() -> None:
    assert "lengths are missing" in refuse("name: x\nload: {rate: {requests_per_s: 1}}\n").message


KEYS = st.sampled_from(["name", "load", "rate", "requests_per_s", "lengths", "isl", "osl", "fixed", "slo", "ttft",
                        "p95", "prefix", "trace", "path", "tenants", "quantiles", "max", "zzz"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["1s", "x", "", "800ms"]),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(KEYS, v, max_size=4), max_leaves=12)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_document_is_a_workload_or_a_costplan_error(data: dict[str, Any]) -> None:
    text = json.dumps(data).replace("NaN", ".nan").replace("Infinity", ".inf")
    try:
        load(text)
    except CostplanError as e:
        assert "w.yaml" in str(e)


@given(st.floats(0.001, 1e6), st.sampled_from(["us", "ms", "s", "min", "h"]))
def test_durations_keep_their_value(x: float, unit: str) -> None:
    seconds = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600}[unit]
    w = load(BASE + f"slo: {{ttft: {{p95: {x:.6f}{unit}}}}}\n")
    assert w.slo.limit_s(Metric.TTFT) == pytest.approx(round(x, 6) * seconds)

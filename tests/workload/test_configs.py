"""The shipped workloads: they load, match their schema, and say what their sources say."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from costplan.core.yaml_door import parse_yaml, read_yaml
from costplan.workload.fit import FRACTIONS, fit_yaml
from costplan.workload.lengths import QuantileTable
from costplan.workload.load import load_workload, workload_of
from costplan.workload.read_trace import read_trace
from costplan.workload.requests import sample_requests
from costplan.workload.schema import schema
from costplan.workload.summary import summarise

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
TRACES = ROOT.parent / "shared" / "data" / "traces"
NAMES = ("chat", "code", "long-context", "reasoning", "summarisation")
SOURCES = {
    "chat": "AzureLLMInferenceTrace_conv.csv.gz", "code": "AzureLLMInferenceTrace_code.csv.gz",
    "long-context": "mooncake_conversation_trace.jsonl.gz",
    "summarisation": "vidur_arxiv_summarization_stats_llama2_tokenizer_filtered_v2.csv.gz"}


def source(name: str) -> Path:
    if not TRACES.is_dir():
        pytest.skip("no reference traces beside the repository (../shared/data/traces)")
    return TRACES / name


def test_schema_file_is_that_of_the_code() -> None:
    committed = json.loads((CONFIGS / "workload.schema.json").read_text())
    assert committed == schema(), "write it again: costplan schema workload > configs/workload.schema.json"


def test_every_config_is_listed_here() -> None:
    assert sorted(p.stem for p in CONFIGS.glob("*.yaml")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_configs_load_and_can_be_drawn_from(name: str) -> None:
    w = load_workload(CONFIGS / f"{name}.yaml")
    assert w.name == name and w.model and w.candidates.gpus
    r = sample_requests(w, 2000, 0)
    assert r.isl.mean() == pytest.approx(w.mean_isl, rel=0.15) and r.osl.mean() == pytest.approx(w.mean_osl, rel=0.15)


@pytest.mark.parametrize("name", NAMES)
def test_configs_name_gpus_and_models_of_the_catalogue(name: str) -> None:
    from costplan.catalog.gpus import gpu
    from costplan.catalog.models import model

    w = load_workload(CONFIGS / f"{name}.yaml")
    assert w.model and model(w.model).name == w.model
    assert [gpu(g).name for g in w.candidates.gpus or ()] == list(w.candidates.gpus or ())


@pytest.mark.parametrize("name", NAMES)
def test_configs_name_source_and_licence(name: str) -> None:
    text = (CONFIGS / f"{name}.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=workload.schema.json\n")
    assert " @ " in text and any(licence in text for licence in ("CC-BY-4.0", "Apache-2.0", "MIT"))


@pytest.mark.parametrize("name", NAMES)
def test_configs_match_the_schema_as_editors_read_it(name: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(read_yaml(CONFIGS / f"{name}.yaml").data, schema())


@pytest.mark.parametrize("bad", [
    {"slo": {"ttft": {"p95": 800}}}, {"load": {}}, {"lengths": {"isl": {"fixed": 1}}}, {"modle": "x"},
    {"slo": {"ttft": {"q95": "1s"}}}, {"load": {"rate": {"requests_per_s": 1}, "concurrency": {"n": 1}}}])
def test_the_schema_refuses_what_the_door_refuses(bad: dict[str, object]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    data = read_yaml(CONFIGS / "chat.yaml").data | bad
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, schema())


@pytest.mark.shared
@pytest.mark.parametrize("name", SOURCES)
def test_configs_are_the_fit_of_their_traces(name: str) -> None:
    text = fit_yaml(read_trace(source(SOURCES[name])), name=name, model=None, today=date(2026, 11, 21))
    ours, fit = load_workload(CONFIGS / f"{name}.yaml"), workload_of(parse_yaml(text, "fit"), Path())
    assert ours.lengths == fit.lengths and ours.prefix == fit.prefix
    if fit.requests_per_s is not None:
        assert ours.arrivals == fit.arrivals


@pytest.mark.shared
@pytest.mark.parametrize(("side", "column"), [("isl", "input_tokens"), ("osl", "output_tokens")])
def test_reasoning_is_the_histogram_of_servegen(side: str, column: str) -> None:
    path = source("servegen") / f"servegen_deepseek-r1_{column}_hist.csv.gz"
    with gzip.open(path, "rt") as f:
        rows = np.array([[float(v) for v in row] for row in list(csv.reader(f))[1:]])
    values, weights = rows[rows[:, 1] > 0].T
    share = np.cumsum(weights) / weights.sum()
    lengths = load_workload(CONFIGS / "reasoning.yaml").lengths
    assert lengths is not None
    table = getattr(lengths, side)
    assert isinstance(table, QuantileTable)
    for p in FRACTIONS:
        assert table.quantile(p) == values[np.searchsorted(share, p)]
    assert (table.quantile(0), table.quantile(1)) == (values[0], values[-1])
    assert table.mean == pytest.approx((values * weights).sum() / weights.sum(), rel=1e-4)


@pytest.mark.shared
def test_reasoning_has_the_hours_of_servegen() -> None:
    with gzip.open(source("servegen") / "servegen_deepseek-r1_rate_10min.csv.gz", "rt") as f:
        rates = np.array([float(row[1]) for row in list(csv.reader(f))[1:]]).reshape(24, 6).mean(axis=1)
    w = load_workload(CONFIGS / "reasoning.yaml")
    assert w.requests_per_s == pytest.approx(rates.mean(), rel=1e-3)
    assert np.array(w.diurnal) * rates.mean() == pytest.approx(rates, abs=0.02)
    assert w.peak_requests_per_s == pytest.approx(rates.max(), rel=1e-3)


PUBLISHED = {  # computed independently by the collector of the traces, 2026-11-21: rows, input and output
    "chat": (19366, (1154.7, 1020, 4083, 14050), (211.1, 129, 451, 1000), 5.53, 1.54, 1.09),
    "code": (8819, (2047.8, 1469, 7303, 7437), (27.9, 13, 90, 1899), 2.57, 4.16, 13.15),
    "long-context": (12031, (12035, 6909, 39550, 126195), (342.6, 350, 698, 2000), 3.40, 1.21, 3.03),
}


@pytest.mark.shared
@pytest.mark.parametrize("name", PUBLISHED)
def test_summaries_agree_with_published_statistics(name: str) -> None:
    n, isl, osl, rate, peak, cv = PUBLISHED[name]
    s = summarise(read_trace(source(SOURCES[name])))
    assert s.requests == n and s.load is not None
    for found, expected in ((s.isl, isl), (s.osl, osl)):
        assert (found.mean, found.p50, found.p95, found.max) == pytest.approx(expected, rel=5e-4, abs=0.06)
    assert s.load.requests_per_s == pytest.approx(rate, abs=0.006)
    assert s.load.interarrival_cv == pytest.approx(cv, abs=0.006)
    assert s.load.peak_1min_over_mean == pytest.approx(peak, rel=0.02)  # ours leaves the unfinished last minute out


@pytest.mark.shared
@pytest.mark.parametrize(("name", "unlimited", "finite", "requests_hit"), [
    ("mooncake_conversation_trace.jsonl.gz", 0.374, (0.045, 0.113, 0.293, 0.362), 0.9999),
    ("mooncake_synthetic_trace.jsonl.gz", 0.651, (0.084, 0.284, 0.582, 0.651), 0.446)])
def test_prefix_sharing_agrees_with_published_lru_curves(
        name: str, unlimited: float, finite: tuple[float, ...], requests_hit: float) -> None:
    p = summarise(read_trace(source(name))).prefix
    assert p is not None and p.hit_rate_unlimited == pytest.approx(unlimited, abs=6e-4)
    assert [r for _, r in p.hit_rate_by_cache_blocks] == pytest.approx(finite, abs=6e-4)
    assert p.requests_hit == pytest.approx(requests_hit, abs=6e-4)


@pytest.mark.shared
def test_the_parametric_prefix_model_follows_the_finite_cache_curve() -> None:
    measured = summarise(read_trace(source(SOURCES["long-context"]))).prefix
    w = load_workload(CONFIGS / "long-context.yaml")
    modelled = summarise(sample_requests(w, 12031, 0).as_trace("x")).prefix
    assert measured and modelled
    assert modelled.hit_rate_unlimited == pytest.approx(measured.hit_rate_unlimited, abs=0.08)
    for (_, a), (_, b) in zip(measured.hit_rate_by_cache_blocks, modelled.hit_rate_by_cache_blocks, strict=True):
        assert b == pytest.approx(a, abs=0.07)

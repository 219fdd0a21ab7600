"""A fitted workload file says what its trace says, and loads."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.core.yaml_door import parse_yaml
from costplan.workload.fit import fit_yaml, quantile_keys, shared_prefix
from costplan.workload.load import workload_of
from costplan.workload.requests import sample_requests
from costplan.workload.summary import summarise
from costplan.workload.trace import Trace
from costplan.workload.workload import Workload

TODAY = date(2026, 11, 21)


def fitted(trace: Trace) -> tuple[str, Workload]:
    text = fit_yaml(trace, name="x", model=None, today=TODAY)
    return text, workload_of(parse_yaml(text, "x.yaml"), Path())


def drawn(n: int = 5000) -> Trace:
    text = """\
name: x
load: {rate: {requests_per_s: 5, burstiness: 0.5}}
lengths:
  isl: {lognormal: {p50: 800, sigma: 0.7, min: 100, max: 9000}}
  osl: {lognormal: {p50: 90, sigma: 1, max: 900}}
  rank_correlation: 0.4
prefix: {block_tokens: 16, system_prompt_tokens: 64, multi_turn: {share: 0.4, gap: 30s}}
"""
    return sample_requests(workload_of(parse_yaml(text, "w"), Path()), n, 0).as_trace("drawn")


def test_fit_finds_what_the_trace_was_drawn_from() -> None:
    trace = drawn()
    text, w = fitted(trace)
    assert text.startswith("# yaml-language-server: $schema=") and "2026-11-21" in text
    assert w.requests_per_s == pytest.approx(5, rel=0.1)
    assert w.lengths and w.lengths.rank_correlation == pytest.approx(0.4, abs=0.05)
    assert w.mean_isl == pytest.approx(trace.isl.mean(), rel=1e-4)
    assert w.mean_osl == pytest.approx(trace.osl.mean(), rel=1e-4)
    assert w.prefix and w.prefix.system_prompt_tokens == 64
    assert w.prefix.multi_turn and w.prefix.multi_turn.share == pytest.approx(0.4, abs=0.05)
    assert w.prefix.multi_turn.gap_s == pytest.approx(30, rel=0.5)


def test_requests_of_the_fit_share_about_as_much_as_the_trace() -> None:
    trace = drawn()
    _, w = fitted(trace)
    a, b = summarise(trace).prefix, summarise(sample_requests(w, 5000, 1).as_trace("x")).prefix
    assert a and b and b.hit_rate_unlimited == pytest.approx(a.hit_rate_unlimited, abs=0.06)
    for (_, x), (_, y) in zip(a.hit_rate_by_cache_blocks, b.hit_rate_by_cache_blocks, strict=True):
        assert y == pytest.approx(x, abs=0.08)


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), min_size=1, max_size=40), st.booleans())
def test_any_trace_gives_a_file_that_loads(pairs: list[tuple[int, int]], timed: bool) -> None:
    isl, osl = (np.array(c, dtype=np.int64) for c in zip(*pairs, strict=True))
    times = np.arange(len(pairs)) * 0.5 if timed else None
    _, w = fitted(Trace(times, isl, osl, "a\nb\x1b.csv", "csv", dropped={"0 output tokens": 3}))
    assert w.mean_isl == pytest.approx(isl.mean(), rel=2e-3, abs=0.01)
    assert w.lengths and w.lengths.isl.max_tokens == isl.max() and w.lengths.osl.quantile(0) == osl.min()


def test_quantiles_are_observed_values() -> None:
    assert quantile_keys(np.array([1, 1000], dtype=np.int64))["p50"] == 1


def test_nothing_is_shared_where_nothing_is_known() -> None:
    trace = drawn(50)
    assert shared_prefix(Trace(trace.arrival_s, trace.isl, trace.osl, "x", "csv")) is None

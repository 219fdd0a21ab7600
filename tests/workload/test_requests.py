"""Drawn requests: same seed, same bytes; each stream apart; shared prefixes as asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costplan.core.errors import InputError
from costplan.core.yaml_door import parse_yaml
from costplan.workload.arrivals import GammaArrivals
from costplan.workload.load import workload_of
from costplan.workload.requests import sample_requests
from costplan.workload.summary import curve_of, summarise
from costplan.workload.workload import Workload

TEXT = """\
name: x
load: {rate: {requests_per_s: 5, burstiness: 0.5}}
lengths:
  isl: {lognormal: {p50: 800, sigma: 0.7, min: 100, max: 9000}}
  osl: {lognormal: {p50: 90, sigma: 1, max: 900}}
"""


def load(text: str, folder: Path = Path()) -> Workload:
    return workload_of(parse_yaml(text, "w.yaml"), folder)


def test_same_seed_same_requests_and_another_rate_keeps_the_lengths() -> None:
    w = load(TEXT)
    a, b, c = sample_requests(w, 500, 1), sample_requests(w, 500, 1), sample_requests(w, 500, 2)
    assert a.arrival_s.tobytes() == b.arrival_s.tobytes() and a.isl.tobytes() == b.isl.tobytes()
    assert a.isl.tobytes() != c.isl.tobytes()
    faster = sample_requests(replace(w, arrivals=GammaArrivals(50.0, 0.5)), 500, 1)
    assert (faster.isl == a.isl).all() and (faster.osl == a.osl).all()
    assert faster.arrival_s == pytest.approx(a.arrival_s / 10)


@pytest.mark.parametrize("shape", [0.3, 1.0, 4.0])
def test_burstiness_is_the_gamma_shape(shape: float) -> None:
    w = replace(load(TEXT), arrivals=GammaArrivals(8.0, shape))
    s = summarise(sample_requests(w, 40_000, 0).as_trace("x")).load
    assert s and s.interarrival_cv == pytest.approx(shape**-0.5, rel=0.03)
    assert s.requests_per_s == pytest.approx(8, rel=0.03) and s.burstiness == pytest.approx(shape, rel=0.1)


def test_a_closed_loop_has_no_times_of_its_own() -> None:
    w = load(TEXT.replace("{rate: {requests_per_s: 5, burstiness: 0.5}}", "{concurrency: {n: 4}}"))
    r = sample_requests(w, 9, 0)
    assert r.concurrency == 4 and not r.arrival_s.any() and r.as_trace("x").arrival_s is None


def test_tenants_follow_their_shares() -> None:
    r = sample_requests(load(TEXT + "tenants: [{name: a, share: 0.8}, {name: b, share: 0.2}]\n"), 20_000, 0)
    assert r.tenant is not None and r.tenant.mean() == pytest.approx(0.2, abs=0.01) and set(r.tenant) == {0, 1}


def test_system_prompt_is_common_to_all() -> None:
    w = load(TEXT + "prefix: {block_tokens: 16, system_prompt_tokens: 50}\n")
    r = sample_requests(w, 300, 0)
    assert r.hash_ids is not None and r.hash_offsets is not None
    heads = {tuple(r.hash_ids[o:o + 3]) for o in r.hash_offsets[:-1]}
    assert len(heads) == 1  # 50 tokens are 3 full blocks of 16
    assert len(np.unique(r.hash_ids)) == len(r.hash_ids) - 299 * 3


def test_groups_follow_zipf() -> None:
    w = load(TEXT + "prefix: {block_tokens: 10, groups: {count: 3, tokens: 100, zipf: 1}}\n")
    r = sample_requests(w, 30_000, 0)
    assert r.hash_ids is not None and r.hash_offsets is not None
    _, counts = np.unique(r.hash_ids[r.hash_offsets[:-1]], return_counts=True)
    assert sorted(counts / 30_000, reverse=True) == pytest.approx([6 / 11, 3 / 11, 2 / 11], abs=0.01)


def test_multi_turn_share_and_more_share_means_more_hits() -> None:
    rates = []
    for share in (0.0, 0.3, 0.6):
        w = load(TEXT + f"prefix: {{multi_turn: {{share: {share}, gap: 20s}}}}\n")
        curve = curve_of(sample_requests(w, 4000, 0).as_trace("x"))
        assert curve is not None
        rates.append(curve.hit_rate())
        assert curve.requests_hit / 4000 == pytest.approx(share, abs=0.05)
    assert rates == sorted(rates) and rates[0] == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 700), st.integers(0, 90), st.integers(0, 3), st.floats(0, 1))
def test_blocks_cover_each_prompt(n: int, block: int, system: int, groups: int, share: float) -> None:
    group = f", groups: {{count: {groups}, tokens: 30}}" if groups else ""
    w = load(TEXT + f"prefix: {{block_tokens: {block}, system_prompt_tokens: {system}{group}, "
                    f"multi_turn: {{share: {share}, gap: 1s}}}}\n")
    r = sample_requests(w, n, 0)
    assert r.hash_offsets is not None and r.hash_ids is not None
    assert (np.diff(r.hash_offsets) == -(-r.isl // block)).all() and len(r.hash_ids) == r.hash_offsets[-1]
    for a, b in zip(r.hash_offsets[:-1], r.hash_offsets[1:], strict=True):
        assert len(set(r.hash_ids[a:b])) == b - a  # no block twice in one prompt


def test_a_trace_is_replayed_in_order_and_repeated_with_new_prefixes(tmp_path: Path) -> None:
    rows = [(0, 600, 5, [1, 2]), (1000, 700, 6, [1, 3]), (3000, 512, 7, [9])]
    (tmp_path / "t.jsonl").write_text("".join(
        f'{{"timestamp": {t}, "input_length": {i}, "output_length": {o}, "hash_ids": {h}}}\n' for t, i, o, h in rows))
    w = load("name: x\nload: {trace: {path: t.jsonl, speedup: 2}}\n", tmp_path)
    r = sample_requests(w, 7, 0)
    assert r.isl.tolist() == [600, 700, 512, 600, 700, 512, 600]
    assert r.arrival_s.tolist() == [0, 0.5, 1.5, 2.25, 2.75, 3.75, 4.5]
    assert r.hash_ids is not None and r.hash_ids.tolist() == [0, 1, 0, 2, 3, 4, 5, 4, 6, 7, 8, 9]
    assert r.block_tokens == 512 and len(sample_requests(w, 2, 0)) == 2


@pytest.mark.parametrize("n", [0, -1, 10**12])
def test_impossible_counts(n: int) -> None:
    with pytest.raises(InputError, match="cannot draw"):
        sample_requests(load(TEXT), n, 0)

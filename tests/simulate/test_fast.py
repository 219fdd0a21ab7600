"""The fast engine gives the numbers of the reference engine, bit for bit, on whatever trace."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costplan.simulate.fast import run_fast
from costplan.simulate.fast_layout import SEQ_BYTES, arrays, fields, scalars, work_bytes
from costplan.simulate.policy import EnginePolicy, Preemption, SchedulerLimits
from costplan.simulate.quota import Quota
from costplan.simulate.reference import run_reference
from costplan.simulate.requests import SimRequests
from costplan.simulate.setup import setup
from costplan.simulate.step_table import StepTable
from costplan.simulate.tally import COUNTERS, Tally

PER_REQUEST = ("arrival", "admitted", "first", "finish", "max_gap", "preempted")


@st.composite
def prefixes(draw: st.DrawFn, isl: list[int], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Block ids: each request follows one of few shared chains for a while, then goes its own way."""
    names: dict[tuple[int, int], int] = {}
    ids, offsets = [], [0]
    for i, length in enumerate(isl):
        chain, shared = draw(st.integers(0, 2)), draw(st.integers(0, 12))
        for b in range(-(-length // size) if draw(st.booleans()) else length // size):
            ids.append(names.setdefault((chain if b < shared else 100 + i, b), len(names)))
        offsets.append(len(ids))
    return np.asarray(ids, dtype=np.int64), np.asarray(offsets, dtype=np.int64)


@st.composite
def traces(draw: st.DrawFn, block_size: int, num_blocks: int) -> SimRequests:
    n = draw(st.integers(1, 25))
    longest = max(2, min(200, block_size * num_blocks * 2 // 3))
    isl = draw(st.lists(st.integers(1, longest), min_size=n, max_size=n))
    osl = draw(st.lists(st.integers(1, draw(st.sampled_from([1, 6, 60, 300]))), min_size=n, max_size=n))
    gaps = st.sampled_from([0.0, 0.0, 1e-4, 0.003, 0.05, 0.7])
    arrival = np.cumsum(draw(st.lists(gaps, min_size=n, max_size=n)))
    closed = draw(st.none() | st.integers(1, 9))
    out = SimRequests(np.zeros(n) if closed else arrival, np.asarray(isl), np.asarray(osl), concurrency=closed,
                      think_s=draw(st.sampled_from([0.0, 0.0, 0.01, 0.5])))
    few = st.lists(st.integers(0, 2), min_size=n, max_size=n)
    if draw(st.booleans()):
        out = replace(out, tenant=np.asarray(draw(few)))
    if draw(st.booleans()):
        out = replace(out, priority=np.asarray(draw(few)))
    if draw(st.booleans()):
        size = block_size * draw(st.sampled_from([1, 2]))
        if block_size % 2 == 0 and draw(st.booleans()):
            size = block_size // 2
        ids, offsets = draw(prefixes(isl, size))
        out = replace(out, hash_ids=ids, hash_offsets=offsets, block_tokens=size)
    return out


@st.composite
def policies(draw: st.DrawFn) -> EnginePolicy:
    reserve = draw(st.sampled_from([False, False, False, True]))
    return EnginePolicy(
        "drawn", mixed_steps=draw(st.booleans()), chunked_prefill=draw(st.booleans()),
        static_batch=draw(st.sampled_from([False, False, False, True])), reserve_output=reserve,
        output_reserve=0.0 if reserve else draw(st.sampled_from([0.0, 0.0, 0.098, 0.5, 1.0])),
        preemption=draw(st.sampled_from(list(Preemption))), prefix_caching=draw(st.booleans()))


@st.composite
def limits(draw: st.DrawFn) -> SchedulerLimits:
    return SchedulerLimits(
        draw(st.sampled_from([1, 2, 4, 16, 64])), draw(st.sampled_from([4, 64, 256, 512])),
        draw(st.integers(8, 60)), draw(st.sampled_from([1, 2, 4, 7, 16])),
        watermark_blocks=draw(st.sampled_from([0, 0, 1, 3])), swap_s_per_block=draw(st.sampled_from([0.0, 1e-5])))


def assert_same(a: Tally, b: Tally) -> None:
    for name in PER_REQUEST:
        assert getattr(a, name).tolist() == getattr(b, name).tolist(), name
    assert a.counters == b.counters
    assert a.gaps.tolist() == b.gaps.tolist()
    assert b.running_area == pytest.approx(a.running_area, rel=1e-9)
    assert b.held_area == pytest.approx(a.held_area, rel=1e-9)


QUOTAS = st.lists(st.none() | st.builds(Quota, st.integers(50, 5000), st.integers(100, 2000)), max_size=3)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_fast_equals_reference(table: StepTable, late_table: StepTable, data: st.DataObject) -> None:
    lim = data.draw(limits())
    requests = data.draw(traces(lim.block_size, lim.num_blocks))
    used = data.draw(st.sampled_from([table, late_table]))
    ready = setup(requests, used, lim, data.draw(policies()), data.draw(QUOTAS))
    assert_same(run_reference(ready), run_fast(ready))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_also_where_steps_get_shorter_as_contexts_grow(table: StepTable, data: st.DataObject) -> None:
    """Measured kernels are not monotone: a leap must not rely on rising durations."""
    odd = replace(table, slope=-table.slope // 2)
    lim = data.draw(limits())
    ready = setup(data.draw(traces(lim.block_size, lim.num_blocks)), odd, lim, data.draw(policies()))
    assert_same(run_reference(ready), run_fast(ready))


def test_many_gaps_of_falling_length_are_kept_for_whoever_needs_them(table: StepTable) -> None:
    """More different gaps than the engine keeps: it must drop only those nobody asks for."""
    rng = np.random.default_rng(5)
    n = 600
    requests = SimRequests(np.cumsum(rng.exponential(0.002, n)), rng.integers(1, 60, n), rng.integers(1, 400, n))
    ready = setup(requests, table, SchedulerLimits(2, 64, 4000, 4), EnginePolicy("x", mixed_steps=False))
    assert_same(run_reference(ready), run_fast(ready))


def test_the_same_input_gives_the_same_bytes(table: StepTable) -> None:
    requests = SimRequests(np.arange(50) * 0.01, np.arange(50) % 90 + 1, np.arange(50) % 37 + 1)
    ready = setup(requests, table, SchedulerLimits(8, 128, 60, 4), EnginePolicy("x"))
    a, b = run_fast(ready), run_fast(ready)
    assert all(getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in (*PER_REQUEST, "gaps"))


def test_host_and_engine_agree_on_the_layout(table: StepTable) -> None:
    """Every pointer and parameter of sim.h is filled by the host, and no other."""
    ready = setup(SimRequests(np.zeros(1), np.ones(1, int), np.ones(1, int)), table, SchedulerLimits(1, 1, 1, 1),
                  EnginePolicy("x"))
    filled = {*scalars(ready), *arrays(ready), *work_bytes(ready)}
    state = list(fields())[list(fields()).index("now"):]
    sums = {*COUNTERS, "running_area", "held_area"}
    assert filled | sums | set(state) == set(fields())
    assert not filled & (sums | set(state))
    text = files("costplan.simulate.engine").joinpath("sim.h").read_text(encoding="utf-8")
    seq = re.sub(r"/\*.*?\*/", "", text[text.index("typedef struct {"):text.index("} Seq;")], flags=re.DOTALL)
    size = sum(int(bits) // 8 * len(names.split(",")) for bits, names in re.findall(r"i(64|32) ([^;]*);", seq))
    assert size == SEQ_BYTES


@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="needs pip install ziglang==0.17.0")
def test_the_shipped_module_is_what_its_sources_give() -> None:
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "build_engine.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

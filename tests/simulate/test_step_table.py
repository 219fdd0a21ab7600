"""The table gives the times of the model it was made from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from costplan.catalog.gpus import gpu
from costplan.catalog.models import model
from costplan.core.errors import OutOfRangeError
from costplan.perf.assemble import latency_model
from costplan.perf.batch import BatchState
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.layout import Layout
from costplan.perf.op_terms import KERNEL_TERMS
from costplan.perf.overhead import Overhead
from costplan.perf.step_parts import KernelStepParts, StepParts
from costplan.simulate.policy import SchedulerLimits
from costplan.simulate.requests import all_at_once
from costplan.simulate.run import table_for
from costplan.simulate.step_table import StepTable, TableRange, step_table

WITHIN = TableRange(max_seqs=256, max_tokens=8192, max_kv=16_384, capacity_tokens=500_000)
CASES = [
    ("meta-llama/Llama-3.1-8B-Instruct", "h100_sxm", Layout(), "vllm"),
    ("meta-llama/Llama-3.1-70B-Instruct", "h200_sxm", Layout(tp=4), "trtllm"),
    ("deepseek-ai/DeepSeek-V3", "h200_sxm", Layout(tp=8, ep=8), "sglang"),
    ("openai/gpt-oss-120b", "h100_sxm", Layout(tp=2), "vllm"),
    ("Qwen/Qwen3-30B-A3B", "l40s", Layout(pp=2), "vllm"),
]


def batches(count: int, seed: int) -> list[BatchState]:
    """Random steps as a scheduler forms them: decoding, prompts, or both within the budget."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        n = int(rng.choice([0, int(2 ** rng.uniform(0, 8))]))
        kv = min(int(2 ** rng.uniform(4, 14)), WITHIN.capacity_tokens // max(1, n))
        prompts = n == 0 or rng.random() < 0.5
        s = min(int(2 ** rng.uniform(0, 4)), WITHIN.max_seqs - n) if prompts else 0
        tokens = max(s, min(int(2 ** rng.uniform(3, 13)), WITHIN.max_tokens - n)) if s else 0
        context = int(rng.choice([0, rng.integers(0, 8192)])) * s
        if n or s:
            out.append(BatchState(n, n * kv, tokens, context, s))
    return out


def in_table(table: StepTable, b: BatchState) -> float:
    return table.step_s(b.decode_seqs, b.decode_kv_tokens, b.prefill_seqs, b.prefill_tokens, b.prefill_context_tokens)


@pytest.mark.parametrize(("name", "on", "layout", "engine"), CASES, ids=[c[0].split("/")[1] for c in CASES])
def test_the_table_is_within_a_percent_of_the_model(name: str, on: str, layout: Layout, engine: str) -> None:
    m = latency_model(model(name), gpu(on), layout, engine=engine)
    table = step_table(m, WITHIN)
    ratio = np.asarray([in_table(table, b) / m.step_s(b) for b in batches(400, 7)])
    error = np.abs(ratio - 1)
    assert error.mean() < 0.003
    assert np.quantile(error, 0.98) < (0.01 if layout.pp == 1 else 0.03)
    assert error.max() < (0.05 if layout.pp == 1 else 0.12)


@pytest.mark.parametrize(("name", "on", "layout", "engine"), CASES, ids=[c[0].split("/")[1] for c in CASES])
def test_the_parts_add_up_to_the_step(name: str, on: str, layout: Layout, engine: str) -> None:
    m = latency_model(model(name), gpu(on), layout, engine=engine)
    p = KernelStepParts(m)
    for b in batches(60, 8):
        busy = p.tokens_s(b.tokens) + p.seqs_s(b.decode_seqs + b.prefill_seqs)
        busy += p.decode_s(b.decode_seqs, b.decode_kv_tokens) if b.decode_seqs else 0.0
        if b.prefill_tokens:
            busy += p.prefill_s(b.prefill_seqs, b.prefill_tokens, b.prefill_context_tokens)
            busy = max(busy, p.prefill_floor_s)
        total = busy + p.host_s(b.decode_seqs + b.prefill_seqs)
        assert total == pytest.approx(m.step_s(b), rel=1e-9 if layout.pp == 1 else 0.02)


def test_the_engines_own_time_is_carried_over() -> None:
    m = latency_model(model("meta-llama/Llama-3.1-8B-Instruct"), gpu("h200_sxm"), Layout(), engine="vllm")
    own = Overhead(((1.5, 1.2),) * len(KERNEL_TERMS), step_s0=1e-3, seq_s=1e-5, eager_s=0.05, request_s=0.2,
                   prompt_token_s=1e-5)
    slow = KernelLatencyModel(m.ops, own)
    table = step_table(slow, replace(WITHIN, max_seqs=32))
    for b in (BatchState(decode_seqs=16, decode_kv_tokens=32_000), BatchState(prefill_tokens=10, prefill_seqs=1)):
        assert in_table(table, b) == pytest.approx(slow.step_s(b), rel=0.01)
    assert table.prefill_floor == 5 * 10**9
    assert table.request_ticks == 2 * 10**10
    assert table.prompt_token_ticks == 10**6


def test_an_affine_model_is_reproduced_to_the_tick(parts: StepParts, table: StepTable) -> None:
    for n, kv in ((1, 1), (1, 1999), (7, 700), (64, 64_000)):
        expected = parts.tokens_s(n) + parts.seqs_s(n) + parts.decode_s(n, kv // n * n) + parts.host_s(n)
        assert table.step_s(n, kv) == pytest.approx(expected, abs=5e-9)
    assert table.step_ticks(0, 0, 0, 0, 0) == 0


def test_a_step_costs_more_with_more_of_anything(table: StepTable) -> None:
    base = (8, 8000, 2, 100, 400)
    for i, more in enumerate((1, 800, 1, 10, 100)):
        larger = [*base]
        larger[i] += more
        if i == 0:
            larger[1] += 1000
        assert table.step_ticks(*larger) >= table.step_ticks(*base)


def test_a_question_beyond_what_was_measured_is_an_error() -> None:
    m = latency_model(model("meta-llama/Llama-3.1-8B-Instruct"), gpu("h100_sxm"), Layout(), engine="vllm")
    with pytest.raises(OutOfRangeError):
        step_table(m, replace(WITHIN, max_kv=10**9, capacity_tokens=10**9))


def test_a_table_covers_what_its_requests_can_do(parts: StepParts) -> None:
    table = table_for(parts, all_at_once(40, 700, 300), SchedulerLimits(256, 4096, 100, 16))
    assert (table.max_seqs, table.max_tokens, int(table.kv_knots[-1])) == (40, 4096, 999)

"""From memory to scheduler limits, and what importing the simulator costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from costplan.catalog.gpus import gpu
from costplan.catalog.models import model
from costplan.perf.kv_budget import EngineSettings, kv_budget
from costplan.simulate.policy import limits_of


def test_a_plain_pool_is_taken_as_it_is() -> None:
    budget = kv_budget(model("meta-llama/Llama-3.1-8B-Instruct"), gpu("h100_sxm"))
    limits = limits_of(budget, 3000, block_bytes_per_s=50e9)
    assert limits.num_blocks == budget.num_blocks
    assert limits.block_size == budget.block_size == 16
    assert limits.max_num_seqs == budget.limits.max_num_seqs
    assert limits.swap_s_per_block == pytest.approx(budget.pool.block_bytes / 50e9)


@pytest.mark.parametrize("tokens", [500, 4000, 30_000])
def test_a_pool_with_windows_holds_as_many_sequences(tokens: int) -> None:
    budget = kv_budget(model("openai/gpt-oss-120b"), gpu("h200_sxm"), EngineSettings(tp=1))
    limits = limits_of(budget, tokens)
    assert limits.num_blocks // -(-tokens // limits.block_size) == int(budget.concurrency(tokens))


def test_the_compiled_engine_is_loaded_only_to_run() -> None:
    """`costplan predict` and `--help` never pay for it."""
    code = "import sys, costplan.simulate.run, costplan.simulate.metrics; sys.exit('wasmtime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""What published launch scripts say where a row does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from costplan.validate import harness
from costplan.validate.harness import harness_of

QWEN = {"family": "inferencex", "engine": "sglang", "model": "Qwen/Qwen3.5-397B-A17B", "gpu": "b300_sxm"}
KNOWN = {"kv_dtype", "max_num_batched_tokens", "max_num_seqs", "memory_fraction", "recv_interval", "prompts_per_slot",
         "shape"}


def rules() -> list[dict[str, object]]:
    path = Path(harness.__file__).parent / "data" / "harness.json"
    loaded: list[dict[str, object]] = json.loads(path.read_text(encoding="utf-8"))["rules"]
    return loaded


def test_every_rule_cites_its_source_and_only_known_settings() -> None:
    for rule in rules():
        assert rule["source"]
        assert set(rule) - {"match", "source"} <= KNOWN


@pytest.mark.parametrize(("concurrency", "steps"), [(4, 10), (8, 10), (16, 30), (128, 30)])
def test_the_scheduler_looks_less_often_at_high_concurrency(concurrency: float, steps: int) -> None:
    assert harness_of(QWEN).recv_interval(concurrency) == steps


def test_the_first_rule_that_knows_a_setting_gives_it() -> None:
    found = harness_of({**QWEN, "engine": "vllm", "model": "openai/gpt-oss-120b", "gpu": "b200_sxm"})
    assert (found.kv_dtype, found.max_num_seqs(64)) == ("fp8", 512)
    other = harness_of({**QWEN, "engine": "vllm", "model": "openai/gpt-oss-120b", "gpu": "h200_sxm"})
    assert (other.kv_dtype, other.max_num_seqs(64)) == (None, 64)


def test_budgets_follow_the_prompt_where_the_script_says_so() -> None:
    mini = harness_of({**QWEN, "engine": "vllm", "model": "MiniMaxAI/MiniMax-M2.5"})
    assert mini.max_num_batched_tokens(7372.8, 921.6) == 2 * 8192
    llama = harness_of({**QWEN, "engine": "trtllm", "model": "meta-llama/Llama-3.1-70B-Instruct"})
    assert llama.max_num_batched_tokens(7372.8, 921.6) == 8192 + 1024 + 400


def test_nothing_is_known_of_a_stranger() -> None:
    found = harness_of({"family": "mine", "engine": "vllm", "length_kind": "fixed"})
    assert found.kv_dtype is None and found.memory_fraction is None and found.recv_interval(64) is None
    assert found.max_num_batched_tokens(100, 100) is None and found.max_num_seqs(8) is None
    assert (found.spread, found.log_sd, found.prompts_per_slot) == (0.0, 0.0, None)

"""vLLM's Triton kernels, called as the backends call them, computed by Triton's interpreter on a CPU. Needs triton and
vLLM's kernel files (the whole package, or the few that docs/gpu-run.md carries); numpy below 2.4; float16 only."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
from costplan.kernels import registry
from costplan.kernels.inputs import Inputs
from costplan.profile.case import Case
name, cases = json.loads(sys.argv[1])
for content in cases:
    prepared = registry.backend(name).prepare(Case.from_json(content), Inputs("cpu", 1, 1 << 26, 3))
    print(prepared.error(prepared.calls[0]()))
"""
HEADS: dict[str, int | str] = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 64, "dtype": "fp16", "kv_dtype": "fp16"}


def _missing() -> str | None:
    for name in ("torch", "triton", "vllm"):
        if importlib.util.find_spec(name) is None:
            return f"{name} is not installed"
    return None


def errors(name: str, cases: list[dict[str, int | str]]) -> list[float]:
    """Relative error of each case, in a process with Triton's interpreter switched on."""
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", PROGRAM, json.dumps([name, cases])], capture_output=True, text=True,
                          env=env, check=False, timeout=560)
    assert done.returncode == 0, done.stderr[-2000:]
    return [float(line) for line in done.stdout.split()]


@pytest.mark.skipif(_missing() is not None, reason=f"{_missing()}: nothing to interpret")
@pytest.mark.parametrize(("name", "base", "variants"), [
    ("triton-unified", {"family": "attn_decode", "batch": 2, "kv_len": 70},
     [{"page_size": p, "num_splits": s} for p, s in ((16, 0), (1, 1), (64, 4), (256, 1))] + [
         {"page_size": 16, "num_splits": 1, "window": 20}]),
    ("triton-unified", {"family": "attn_prefill", "batch": 2, "q_len": 19, "kv_len": 45}, [{"page_size": 16}]),
    ("triton-unified", {"family": "attn_ragged", "batch": 3, "q_tokens": 7, "kv_tokens": 59, "max_kv_len": 33,
                        "lengths": "5:19,1:33,1:7"}, [{"page_size": 32}]),
    ("triton-decode", {"family": "attn_decode", "batch": 2, "kv_len": 70},
     [{"page_size": p, "num_splits": s} for p, s in ((1, 1), (16, 4), (64, 8))])],
    ids=["unified decode", "unified prefill", "unified mixed", "flash decoding"])
def test_interpreted(name: str, base: dict[str, int | str], variants: list[dict[str, int | str]]) -> None:
    found = errors(name, [{**base, **HEADS, **v} for v in variants])
    assert len(found) == len(variants)
    assert max(found) < 2e-3, found


@pytest.mark.skipif(_missing() is not None, reason=f"{_missing()}: nothing to interpret")
def test_interpreted_latent() -> None:
    case: dict[str, int | str] = {"family": "mla_decode", "batch": 2, "kv_len": 70, "num_heads": 16, "dtype": "fp16",
                                  "kv_dtype": "fp16"}
    assert errors("triton-mla", [case])[0] < 2e-3

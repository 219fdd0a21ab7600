"""Emitted commands and files: known flags only, every refusal named, nothing that a shell or YAML could misread."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from costplan.catalog.models import model as model_named
from costplan.core.errors import CostplanError, DoesNotFitError, InputError, UnknownNameError
from costplan.perf.drafting import Drafting
from costplan.perf.layout import Layout
from costplan.plan.config import EngineConfig
from costplan.plan.emit import Emitted, Kind, emit
from costplan.plan.emit_drafts import NAME_IT
from costplan.plan.emit_facts import engine_facts, engine_names

GOLDENS = Path(__file__).parent / "goldens"
LLAMA = EngineConfig("llama-3.1-8b", "h200_sxm", "vllm", Layout(), "bf16", "bf16", 16, 256, 8192, 32768, 0.92)
SGLANG = replace(LLAMA, engine="sglang", block_size=64, memory_fraction=0.88, kv_dtype="fp8", weight_dtype="fp8",
                 layout=Layout(tp=2), prefix_caching=False)
TRTLLM = replace(LLAMA, engine="trtllm", block_size=32, memory_fraction=0.9, layout=Layout(tp=4))
CASES: dict[str, tuple[EngineConfig, str, dict[str, Any]]] = {
    "vllm.sh": (LLAMA, "vllm", {}),
    "sglang.sh": (SGLANG, "sglang", {"replicas": 3}),
    "trtllm.yaml": (TRTLLM, "trtllm", {}),
    "k8s-vllm.yaml": (replace(LLAMA, layout=Layout(tp=2), weight_dtype="fp8", kv_dtype="fp8"), "k8s",
                      {"replicas": 4, "name": "Chat API", "namespace": "serving"}),
    "k8s-trtllm.yaml": (TRTLLM, "k8s", {"replicas": 2}),
    "vllm-nvfp4.sh": (replace(LLAMA, gpu="b200_sxm", weight_dtype="nvfp4"), "vllm", {}),
}
# Written by hand from the sources named in data/engines.json, so that a wrong edit of the table is seen.
VLLM_033 = {
    "--host", "--port", "--tensor-parallel-size", "--pipeline-parallel-size", "--data-parallel-size",
    "--enable-expert-parallel", "--dtype", "--quantization", "--kv-cache-dtype", "--block-size",
    "--gpu-memory-utilization", "--max-model-len", "--max-num-seqs", "--max-num-batched-tokens",
    "--enable-prefix-caching", "--no-enable-prefix-caching", "--enable-chunked-prefill", "--no-enable-chunked-prefill",
    "--speculative-config"}
SGLANG_0523 = {
    "--model-path", "--host", "--port", "--tp-size", "--pp-size", "--attn-dp-size", "--ep-size", "--dtype",
    "--quantization", "--kv-cache-dtype", "--page-size", "--mem-fraction-static", "--context-length",
    "--max-running-requests", "--chunked-prefill-size", "--max-prefill-tokens", "--disable-radix-cache",
    "--speculative-algorithm", "--speculative-draft-model-path", "--speculative-num-steps", "--speculative-eagle-topk",
    "--speculative-num-draft-tokens"}


def words(out: Emitted) -> list[str]:
    """The command's words; comments dropped as a shell drops them."""
    body = "\n".join(ln for ln in out.text.splitlines() if not ln.startswith("#"))
    return shlex.split(body.replace("\\\n", ""))


def flag(out: Emitted, name: str) -> str | None:
    w = words(out)
    return w[w.index(name) + 1] if name in w else None


def dotted(data: dict[str, Any], prefix: str = "") -> set[str]:
    keys = set()
    for k, v in data.items():
        keys.add(prefix + k)
        if isinstance(v, dict):
            keys |= dotted(v, f"{prefix}{k}.")
    return keys


@pytest.mark.parametrize("name", CASES)
def test_goldens(name: str) -> None:
    config, engine, extra = CASES[name]
    assert emit(config, engine, **extra).text == (GOLDENS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(("draft", "method", "algorithm", "kind", "path"), [
    ("eagle", "eagle3", "EAGLE3", "Eagle3", "org/head"), ("ngram", "ngram", "NGRAM", "NGram", None),
    ("llama-3.2-1b", "draft_model", "STANDALONE", "Draft_Target", "org/head")])
def test_drafts_in_the_words_of_each_engine(draft: str, method: str, algorithm: str, kind: str,
                                            path: str | None) -> None:
    drafts = Drafting(draft, 0.7, 3, checkpoint="org/head")
    told = json.loads(flag(emit(replace(LLAMA, speculative=drafts), "vllm"), "--speculative-config") or "")
    assert told == {"method": method, "num_speculative_tokens": 3} | ({"model": path} if path else {})
    sglang = emit(replace(SGLANG, speculative=drafts), "sglang")
    assert flag(sglang, "--speculative-algorithm") == algorithm
    assert flag(sglang, "--speculative-num-draft-tokens") == "4"
    assert flag(sglang, "--speculative-draft-model-path") == path
    trtllm = emit(replace(TRTLLM, speculative=drafts), "trtllm")
    _check_trtllm(yaml.safe_load(trtllm.text))
    assert yaml.safe_load(trtllm.text)["speculative_config"] == (
        {"decoding_type": kind, "max_draft_len": 3} | ({"speculative_model": path} if path else {}))


def test_a_head_that_nobody_named_is_asked_for() -> None:
    out = emit(replace(LLAMA, speculative=Drafting("eagle", 0.7)), "vllm")
    assert any(NAME_IT in n for n in out.notes)
    with pytest.raises(InputError, match="not a model"):
        emit(replace(LLAMA, speculative=Drafting("eagle", 0.7, checkpoint="a; rm -rf b")), "vllm")
    with pytest.raises(InputError, match="multi-token prediction"):
        emit(replace(LLAMA, speculative=Drafting("mtp", 0.7)), "vllm")


def test_flags_are_those_of_the_version() -> None:
    assert engine_facts("vllm").flags == VLLM_033
    assert engine_facts("sglang").flags == SGLANG_0523
    for name in engine_names():
        facts = engine_facts(name)
        assert facts.version and facts.source and re.match(r"\d{4}-\d\d-\d\d$", facts.read)
        assert set(facts.kv_names.values()) <= set(facts.kv_dtypes)
        assert facts.version in facts.image


configs = st.builds(
    EngineConfig, model=st.sampled_from(["llama-3.1-8b", "qwen3-30b-a3b", "qwen3-next-80b-a3b-instruct",
                                         "deepseek-v2-lite", "openai/gpt-oss-20b", "deepseek-ai/DeepSeek-V3.2"]),
    gpu=st.sampled_from(["h200_sxm", "a100_80gb_sxm", "b200_sxm", "l40s", "t4", "mi300x"]),
    engine=st.sampled_from(["vllm", "sglang", "trtllm"]),
    layout=st.builds(Layout, tp=st.sampled_from([1, 2, 4, 8]), pp=st.sampled_from([1, 2])),
    weight_dtype=st.sampled_from(["bf16", "fp8", "fp8_block", "int4", "nvfp4"]),
    kv_dtype=st.sampled_from(["auto", "bf16", "fp16", "fp8", "nvfp4"]),
    block_size=st.sampled_from([1, 8, 16, 32, 48, 64, 128, 256]), max_num_seqs=st.integers(1, 1100),
    max_num_batched_tokens=st.integers(1000, 32768), max_model_len=st.integers(256, 32768),
    memory_fraction=st.floats(0.3, 1.0), prefix_caching=st.booleans(), chunked_prefill=st.booleans(),
    speculative=st.none() | st.builds(Drafting, st.sampled_from(["eagle", "ngram", "mtp", "qwen3-0.6b"]), st.just(0.7),
                                      st.integers(1, 16)))


@settings(max_examples=150, deadline=None)
@given(config=configs, engine=st.sampled_from(["vllm", "sglang", "trtllm", "k8s"]))
def test_whatever_is_emitted_keeps_the_rules_of_its_engine(config: EngineConfig, engine: str) -> None:
    try:
        out = emit(config, engine, 2)
    except CostplanError as e:
        assert str(e)
        return
    target = config.engine if engine == "k8s" else engine
    if out.kind is Kind.SHELL:
        _check_command(out, target, words(out)[len(engine_facts(target).command):])
    elif out.kind is Kind.YAML:
        _check_trtllm(yaml.safe_load(out.text))
    else:
        docs = list(yaml.safe_load_all(out.text))
        deployment = next(d for d in docs if d["kind"] == "Deployment")
        box = deployment["spec"]["template"]["spec"]["containers"][0]
        assert all(isinstance(a, str) for a in box["args"])
        assert set(box["resources"]["limits"].values()) == {config.num_gpus}
        if target == "trtllm":
            _check_trtllm(yaml.safe_load(next(iter(docs[0]["data"].values()))))
        else:
            _check_command(out, target, box["args"])


def _check_command(out: Emitted, engine: str, args: list[str]) -> None:
    facts = engine_facts(engine)
    assert {a for a in args if a.startswith("--")} <= facts.flags
    value = {a: b for a, b in pairwise(args) if a.startswith("--")}
    assert value["--kv-cache-dtype"] in facts.kv_dtypes
    if engine == "vllm":
        tokens, seqs = int(value["--max-num-batched-tokens"]), int(value["--max-num-seqs"])
        assert tokens >= seqs
        assert "--enable-chunked-prefill" in args or tokens >= int(value["--max-model-len"])
        assert int(value.get("--block-size", 16)) % 16 == 0
        assert 0 < float(value["--gpu-memory-utilization"]) < 1
        assert value.get("--quantization") != "fp8"  # refused by vLLM 0.33 for a 16-bit checkpoint
    else:
        chunk = int(value["--chunked-prefill-size"])
        assert chunk == -1 or chunk % int(value.get("--page-size", 1)) == 0


def _check_trtllm(data: dict[str, Any]) -> None:
    assert dotted(data) <= engine_facts("trtllm").keys
    page = data["kv_cache_config"]["tokens_per_block"]
    assert page & (page - 1) == 0
    assert data["enable_chunked_prefill"] or data["max_num_tokens"] >= data["max_seq_len"]
    assert 0 < data["kv_cache_config"]["free_gpu_memory_fraction"] <= 1


@pytest.mark.parametrize(("change", "engine", "says"), [
    ({"max_num_batched_tokens": 128}, "vllm", "below max_num_seqs"),
    ({"chunked_prefill": False}, "vllm", "without chunked prefill"),
    ({"block_size": 8}, "vllm", "multiple of 16"),
    ({"max_model_len": 1_000_000}, "vllm", "exceeds"),
    ({"memory_fraction": float("nan")}, "vllm", "fraction"),
    ({"memory_fraction": 1.0}, "vllm", "CUDA context"),
    ({"layout": Layout(tp=3)}, "vllm", "attention heads"),
    ({"layout": Layout(tp=16)}, "vllm", "a machine has 8"),
    ({"layout": Layout(dp=2)}, "vllm", "experts"),
    ({"gpu": "gaudi3"}, "vllm", "no vLLM command"),
    ({"gpu": "t4", "kv_dtype": "fp8", "max_model_len": 1024}, "vllm", "no kernel"),
    ({"kv_dtype": "nvfp4"}, "vllm", "no kernel"),
    ({"kv_dtype": "fp16"}, "sglang", "no fp16 KV cache"),
    ({"max_num_seqs": 0}, "vllm", "at least 1"),
    ({"gpu": "l4", "memory_fraction": 0.9, "max_model_len": 131072}, "vllm", "one sequence"),
])
def test_what_would_not_start_is_refused(change: dict[str, Any], engine: str, says: str) -> None:
    with pytest.raises(CostplanError, match=says):
        emit(replace(LLAMA, **change), engine)


def test_sglang_refuses_what_it_would_change_silently() -> None:
    with pytest.raises(InputError, match="no multiple of page size 64") as e:
        emit(replace(SGLANG, max_num_batched_tokens=8200), "sglang")
    assert e.value.hint == "use 8192"
    with pytest.raises(InputError, match="16 or 32 or 64 or 128"):
        emit(replace(SGLANG, gpu="b200_sxm", block_size=1), "sglang")


def test_trtllm_pages_are_powers_of_two() -> None:
    with pytest.raises(InputError, match="power of two"):
        emit(replace(TRTLLM, block_size=48), "trtllm")


def test_unknown_names_come_with_near_misses() -> None:
    with pytest.raises(UnknownNameError) as e:
        emit(LLAMA, "vlm")
    assert e.value.nearest == ["vllm"]
    with pytest.raises(UnknownNameError, match="KV dtype"):
        emit(replace(LLAMA, kv_dtype="fp9"), "vllm")


def test_hybrid_models_choose_their_own_page() -> None:
    base = replace(LLAMA, model="Qwen/Qwen3-Next-80B-A3B-Instruct", layout=Layout(tp=4))
    assert flag(emit(base, "vllm"), "--block-size") is None
    assert flag(emit(replace(base, engine="sglang", memory_fraction=0.8), "sglang"), "--page-size") is None
    out = emit(replace(base, engine="trtllm", block_size=32, memory_fraction=0.8), "trtllm")
    assert yaml.safe_load(out.text)["kv_cache_config"]["enable_block_reuse"] is False
    assert any("prefix caching is off" in n for n in out.notes)


def test_sparse_mla_pages_by_64() -> None:
    base = replace(LLAMA, model="deepseek-ai/DeepSeek-V3.2", layout=Layout(tp=8), weight_dtype="fp8_block")
    with pytest.raises(InputError, match="multiple of 64"):
        emit(base, "vllm")
    assert flag(emit(replace(base, block_size=64), "vllm"), "--kv-cache-dtype") == "bfloat16"  # auto would be FP8


def test_an_nvfp4_checkpoint_does_not_bring_its_own_kv_format() -> None:
    """ModelOpt exports carry FP8 KV scales, which ``auto`` would follow."""
    config = replace(LLAMA, gpu="b200_sxm", weight_dtype="nvfp4")
    assert flag(emit(config, "vllm", checkpoint="org/x"), "--kv-cache-dtype") == "bfloat16"
    assert flag(emit(replace(config, kv_dtype="auto"), "vllm", checkpoint="org/x"), "--kv-cache-dtype") == "fp8"
    with pytest.raises(InputError, match="has no bf16 KV cache"):
        emit(replace(config, block_size=32), "trtllm", checkpoint="org/x")


def test_weights_that_no_option_makes_need_a_checkpoint() -> None:
    config = replace(LLAMA, weight_dtype="int4")
    out = emit(config, "vllm")
    assert "${MODEL:?set it to a int4 checkpoint}" in out.text and "llama" not in " ".join(words(out)).lower()
    with pytest.raises(InputError, match="checkpoint") as e:
        emit(config, "k8s")
    assert e.value.where == "checkpoint"
    assert words(emit(config, "vllm", checkpoint="org/my-awq"))[2] == "org/my-awq"


@pytest.mark.parametrize(("engine", "weights", "option"), [
    ("vllm", "fp8", "fp8_per_tensor"), ("vllm", "fp8_block", "fp8_per_block"), ("vllm", "bf16", None)])
def test_quantisation_at_start_up(engine: str, weights: str, option: str | None) -> None:
    assert flag(emit(replace(LLAMA, weight_dtype=weights), engine), "--quantization") == option


def test_quantised_checkpoints_get_no_option() -> None:
    config = replace(LLAMA, model="deepseek-ai/DeepSeek-V3", layout=Layout(tp=8), weight_dtype="fp8", block_size=64)
    assert flag(emit(config, "vllm"), "--quantization") is None
    assert "MODEL:?" in emit(replace(config, weight_dtype="bf16", gpu="b300_sxm"), "vllm").text


def test_old_gpus_get_float16() -> None:
    config = replace(LLAMA, model="qwen3-0.6b", gpu="t4", max_model_len=2048, max_num_seqs=32)
    assert flag(emit(config, "vllm"), "--dtype") == "float16"


def test_attention_data_parallelism_in_each_engine() -> None:
    moe = replace(LLAMA, model="qwen3-30b-a3b", layout=Layout(tp=1, dp=4, ep=4))
    assert flag(emit(moe, "vllm"), "--data-parallel-size") == "4"
    out = emit(replace(moe, engine="sglang", memory_fraction=0.8), "sglang")
    assert [flag(out, f) for f in ("--tp-size", "--attn-dp-size", "--max-running-requests")] == ["4", "4", "1024"]
    data = yaml.safe_load(emit(replace(moe, engine="trtllm", block_size=32, memory_fraction=0.8), "trtllm").text)
    assert (data["tensor_parallel_size"], data["enable_attention_dp"]) == (4, True)
    with pytest.raises(InputError, match="ep"):
        emit(replace(moe, layout=Layout(dp=4, ep=2)), "vllm")


def test_another_engine_says_what_changed() -> None:
    out = emit(replace(SGLANG, block_size=1), "vllm")
    assert flag(out, "--block-size") == "16"
    assert any("page size 1 of sglang became 16" in n for n in out.notes)
    assert any("was not simulated" in n for n in out.notes)


@pytest.mark.parametrize("model", ["meta-llama/Llama-3.1-8B-Instruct", "/data/my models/llama 3"])
def test_a_real_shell_reads_the_same_words(model: str) -> None:
    out = emit(replace(LLAMA, model=model), "vllm", spec=model_named("llama-3.1-8b"))
    shell = shutil.which("sh")
    if shell is None:
        pytest.skip("no POSIX shell here")
    script = "vllm() { for a in \"$@\"; do printf '%s\\n' \"$a\"; done; }\n" + out.text
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == words(out)[1:]
    assert done.stdout.splitlines()[1] == model


def test_a_missing_checkpoint_stops_the_shell() -> None:
    shell = shutil.which("sh")
    if shell is None:
        pytest.skip("no POSIX shell here")
    text = emit(replace(LLAMA, weight_dtype="int4"), "vllm").text
    done = subprocess.run([shell, "-c", "vllm() { echo started; }\n" + text], capture_output=True, text=True,
                          check=False, env={})
    assert done.returncode != 0 and "int4 checkpoint" in done.stderr and done.stdout == ""


def test_one_sequence_must_fit() -> None:
    with pytest.raises(DoesNotFitError):
        emit(replace(LLAMA, model="llama-3.1-70b"), "vllm")

"""Every benchmark format becomes runs in seconds and tokens; nothing in a file can do worse than a clear error."""

from __future__ import annotations

import gzip
import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.core.errors import CostplanError, InputError
from costplan.perf.steady import LoadKind as L
from costplan.validate.bench_read import read_runs
from costplan.validate.bench_run import BenchRun

EXAMPLES = Path(__file__).parent / "bench_files"  # small files in every format, shaped like real ones
TEXTS = {p.stem: p.read_text(encoding="utf-8") for p in sorted(EXAMPLES.glob("*.txt"))}
GENAI_CSV = TEXTS["genai_csv"]
VLLM, SGLANG, LLAMA = json.loads(TEXTS["vllm"]), json.loads(TEXTS["sglang"]), json.loads(TEXTS["llama"])[0]
GIVEN = {"isl": 1000.0, "osl": None, "batch": 8.0}


def runs(tmp_path: Path, name: str) -> tuple[BenchRun, ...]:
    (tmp_path / name).write_text(TEXTS[name], encoding="utf-8")
    return read_runs(tmp_path / name, GIVEN).runs


@pytest.mark.parametrize(("name", "load", "lengths", "seconds", "tok_s"), [
    ("vllm", (L.CONCURRENCY, 16), (1000, 200), (0.06, 0.008), 1066.7),
    ("inferencex", (L.CONCURRENCY, 16), (1024, 128), (0.29, 0.0336), 403.6),
    ("guidellm", (L.RATE, 2), (1000, 200), (0.008, 0.008), 390),
    ("guidellm_v1", (L.CONCURRENCY, 8), (1000, 200), (0.008, 0.008), 390),
    ("aiperf", (L.CONCURRENCY, 1), (100, 200), (0.03, 0.018), 50),
    ("aiperf_lines", (L.CONCURRENCY, 2), (100, 110), (0.03, 0.018), 110),
    ("trtllm", (L.ALL_AT_ONCE, 300), (1000, 200), (0.9, 0.03), 9000),
    ("genai_csv", (None, None), (1000, 200), (0.008, 0.011), 456),
    ("sglang", (L.ALL_AT_ONCE, 300), (1000, 200), (0.5, None), 4000),
    ("throughput", (L.ALL_AT_ONCE, 256), (1000, 200), (None, None), 512),
    ("latency", (L.STATIC_BATCH, 8), (1000, None), (None, None), None),
    ("llama", (L.BATCH1, 1), (1, 128), (None, 1 / 120), 120),
    ("llama_csv", (L.BATCH1, 1), (1, 128), (None, 1 / 120), 120)])
def test_formats(tmp_path: Path, name: str, load: object, lengths: object, seconds: tuple[float | None, float | None],
                 tok_s: float | None) -> None:
    r = runs(tmp_path, name)[0]
    assert ((r.load_kind, r.load_value), (r.isl, r.osl)) == (load, lengths)
    for found, wanted in zip((r.ttft_s, r.tpot_s, r.output_tok_s), (*seconds, tok_s), strict=True):
        assert found == (None if wanted is None else pytest.approx(wanted))


def test_appended_runs_and_bare_infinity(tmp_path: Path) -> None:
    assert [r.load_value for r in runs(tmp_path, "vllm_append")] == [16, 32]
    assert "Infinity" in TEXTS["sglang_lines"]
    burst, paced = runs(tmp_path, "sglang_lines")
    assert (burst.load_kind, paced.load_kind, paced.load_value) == (L.ALL_AT_ONCE, L.RATE, 4)
    assert paced.tpot_s == pytest.approx((9.0 - 0.5) / 199)
    assert paced.spread == 1.0  # lengths uniform from 0 to the nominal one


def test_the_best_self_describing_report_says_where_it_ran(tmp_path: Path) -> None:
    (r,) = runs(tmp_path, "trtllm")
    assert (r.engine, r.engine_version, r.gpu, r.tp, r.weights, r.kv) == (
        "trtllm", "1.2", "NVIDIA H100 80GB HBM3", 1, "fp8", "fp8")


def test_llama_bench_is_read_and_set_aside(tmp_path: Path) -> None:
    assert all("llama.cpp" in (r.skipped or "") for r in runs(tmp_path, "llama_lines"))


def test_speculative_runs_are_set_aside(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps(SGLANG | {"accept_length": 2.7}), encoding="utf-8")
    assert "speculative" in (read_runs(tmp_path / "r.json").runs[0].skipped or "")


def test_gzip_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "r.json.gz").write_bytes(gzip.compress(TEXTS["vllm"].encode()))
    assert read_runs(tmp_path / "r.json.gz").runs[0].isl == 1000


@pytest.mark.parametrize(("text", "said"), [
    ("", "is empty"), ("hello", "not a benchmark result"), ("{}", "not a benchmark result"), ("[]", "empty list"),
    ('{"output_throughput": -3, "completed": 5}', "output_throughput: must not be negative"),
    ('{"output_throughput": NaN, "completed": 5}', "NaN"), ('{"output_throughput": "x", "completed": 5}', "a number"),
    ('{"completed": 5, "output_throughput": {}}', "must be a number"), ("{" * 100_000, "not JSON"),
    ("[" * 100_000, "nested too deeply"), ('{"a": 1', "not JSON"),
    (GENAI_CSV.replace("(ms)", "(fortnights)"), "unknown unit")])
def test_bad_files_say_where(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as e:
        read_runs(tmp_path / "bad.json")
    assert said in str(e.value)
    assert "bad.json" in str(e.value)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(b"\x1f\x8bnot gzip")
    (tmp_path / "x.bin").write_bytes(b"\xff\xfe\x00")
    for name in ("no.json", "x.gz", "x.bin", "."):
        with pytest.raises(InputError):
            read_runs(tmp_path / name)


JUNK = st.sampled_from(["null", "NaN", "-1", "1e999", "Infinity", '"x"', "[]", "{}", "true", "0", "1" * 400, "é", ""])


@given(st.sampled_from(sorted(TEXTS)), st.integers(0, 10**6), st.lists(JUNK, min_size=1, max_size=3))
def test_no_mutation_crashes_the_reader(tmp_path_factory: pytest.TempPathFactory, name: str, seed: int,
                                        junk: list[str]) -> None:
    text, rng = TEXTS[name], random.Random(seed)
    for piece in junk:
        spots = [i for i, ch in enumerate(text) if ch in ":,"] or [0]
        at = rng.choice(spots)
        end = next((i for i in range(at + 1, len(text)) if text[i] in ",}]\n"), len(text))
        text = text[:at + 1] + piece + text[end:] if rng.random() < 0.8 else text[:at]
    path = tmp_path_factory.mktemp("m") / "m.json"
    path.write_text(text, encoding="utf-8")
    try:
        found = read_runs(path, GIVEN)
    except CostplanError:
        return
    for r in found.runs:
        for value in (r.isl, r.osl, r.ttft_s, r.tpot_s, r.e2e_s, r.output_tok_s, r.load_value):
            assert value is None or (math.isfinite(value) and value > 0)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from([*VLLM, *LLAMA, "benchmarks", "metrics", "metadata", "performance",
                                         "request_info", "avg_latency", "config", "elapsed_time", "num_requests"]),
                        inner, max_size=6), max_leaves=20))
def test_no_json_crashes_the_reader(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("j") / "j.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    try:
        read_runs(path, GIVEN)
    except CostplanError:
        return


def test_the_real_samples_are_read(shared: Path) -> None:
    folder = shared / "data" / "bench_samples"
    found = {p.name: read_runs(p, {"isl": 2048.0, "osl": None, "batch": 32.0}).runs for p in sorted(folder.iterdir())
             if p.is_file() and p.name != "README.md" and not p.name.startswith("dstack")}
    assert len(found) == 18
    assert sum(map(len, found.values())) >= 35
    assert len(list((folder / "inferencex_token_position").iterdir())) == 169
    for p in (folder / "inferencex_token_position").iterdir():
        (r,) = read_runs(p).runs
        assert r.tool == "InferenceX"
        assert r.ttft_s is not None
        assert r.ttft_s < 600
    serve = found["vllm_bench_serve_detailed_8xH100_llama405b_fp8_16qps.json.gz"][0]
    assert (serve.load_value, round(serve.isl or 0), round(serve.tpot_s or 0, 3)) == (16, 215, 0.107)

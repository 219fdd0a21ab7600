"""`costplan validate --kv`: the door, the metrics, and the error on the logs that we have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.catalog.gpus import gpu
from costplan.catalog.hf_config import read_model
from costplan.catalog.model_spec import Attention, DenseMlp, Layer, LayerGroup, ModelSpec
from costplan.core.errors import CostplanError, UnknownNameError
from costplan.report.kv_text import render_kv_errors
from costplan.validate.kv_file import KvRow, read_kv_rows
from costplan.validate.kv_rows import KvResult, predict_rows, report, result_rows, score, validate_kv

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared"
LOGS = SHARED / "truth" / "kv_tune.csv"
HEADER = "model,gpu,tp,kv_tokens,notes\n"
LAYER = Layer((Attention(32, 8, 128, 128),), DenseMlp(14336))
LLAMA = ModelSpec("llama-8b", "llama", 4096, 128256, (LayerGroup(LAYER, 32),), False, "bf16", "bf16")


def one_model(name: str) -> ModelSpec:
    if name != "llama-8b":
        raise UnknownNameError("model", name, ["llama-8b"])
    return LLAMA


def write(tmp_path: Path, text: str | bytes) -> Path:
    file = tmp_path / "logs.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def predict(row: KvRow) -> KvResult:
    return predict_rows([row], one_model, gpu)[0]


def test_logged_gib_become_tokens_by_division() -> None:
    r = predict(KvRow("1", "llama-8b", tp=1, available_kv_gib=20.0, kv_tokens=163_840.0))
    assert r.predicted == {"kv_tokens_from_gib": 20 * 2**30 // (131072 * 16) * 16}
    assert r.refused is None
    assert r.not_from_scratch == "the row states no GPU"


def test_from_scratch_uses_the_engine_defaults_of_the_version() -> None:
    old, new = (predict(KvRow("1", "llama-8b", "l40s", 1, v, kv_tokens=1.0)).predicted["kv_tokens"]
                for v in ("0.20.0", "0.21.0"))
    assert old != new


def test_derived_tokens_are_concurrency_times_length() -> None:
    row = KvRow("1", "llama-8b", tp=1, available_kv_gib=20.0, kv_tokens=1.0, max_model_len=1000, semantics="DERIVED")
    assert predict(row).predicted["kv_tokens_from_gib"] == pytest.approx(10240 / 63 * 1000)


def test_a_failed_start_is_refused_with_the_arithmetic() -> None:
    r = predict(KvRow("1", "llama-8b", "t4", 1, kv_tokens=1.0))
    assert r.refused is not None
    assert "leaves -" in r.refused
    assert "no weight dtype" in r.refused


def test_unknown_names_are_refused_one_by_one() -> None:
    found = report(predict_rows([KvRow("a", "nope", "l4", 1, kv_tokens=1.0), KvRow("b", "llama-8b", "nope", 1)],
                                one_model, gpu))
    assert [r["id"] for r in found["refused"]] == ["a", "b"]  # type: ignore[attr-defined]
    assert found["metrics"] == {}


@pytest.mark.parametrize("row", [
    KvRow("1", "llama-8b", "l4", 1, kv_dtype="turbo", available_kv_gib=5.0, kv_tokens=1.0),
    KvRow("1", "llama-8b", "l4", 1, weight_dtype="q9", weights_gib=5.0), KvRow("1", "llama-8b", "l4", 1, "newest"),
])
def test_settings_that_costplan_does_not_know_refuse_their_row_only(row: KvRow) -> None:
    assert predict(row).refused


def test_report_is_json_and_text() -> None:
    rows = [KvRow(str(i), "llama-8b", "h100_sxm", 1, "0.19", kv_tokens=400_000.0 + i) for i in range(3)]
    results = predict_rows(rows, one_model, gpu)
    found = json.loads(json.dumps(report(results)))
    assert set(found) == {"rows", "refused", "not_from_scratch", "metrics", "groups"}
    assert set(found["metrics"]["kv_tokens"]) == {"n", "median_ape", "p90_ape", "mape", "bias", "coverage_50",
                                                  "coverage_90"}
    assert found["groups"]["gpu"]["h100_sxm"]["kv_tokens"]["n"] == 3
    assert "capacity from scratch" in render_kv_errors(found)
    assert [r["metric"] for r in result_rows(results)] == ["kv_tokens", "kv_tokens_from_gib"] * 3


def test_score_is_signed_in_the_bias_only() -> None:
    rows = [KvResult(KvRow(str(i), "m"), {"weights_gib": p}, {"weights_gib": 10.0}, None, None)
            for i, p in enumerate((9.0, 10.0, 12.0))]
    s = score(rows, "weights_gib")
    assert (s.n, s.median_ape, s.bias) == (3, pytest.approx(0.1), pytest.approx(0.0))
    assert s.p90_ape == pytest.approx(0.18)


def test_settings_written_in_the_notes_are_used(tmp_path: Path) -> None:
    note = "max_num_batched_tokens=5120; max_num_seqs 64; parallel: EP; GPU memory GiB=23.58; parallel: DCP2"
    row = read_kv_rows(write(tmp_path, HEADER + f"m,l4,2,100,{note}\n"))[0]
    assert (row.max_num_batched_tokens, row.max_num_seqs, row.expert_parallel, row.gpu_memory_gib, row.dcp) == (
        5120, 64, True, 23.58, 2)
    assert row.id == "line 2"


@pytest.mark.parametrize(("text", "message"), [
    ("", "missing column"), (HEADER, "no rows"), ("model,gpu,tp\n", "missing column 'kv_tokens'"),
    ("model,model,gpu,tp,kv_tokens\n", "appears twice"), ("model,gpu,tp,kv_token\n", "unknown column 'kv_token'"),
    (HEADER + "m,l4,1\n", "3 fields"), (HEADER + "m,l4,1,-5,\n", "positive"), (HEADER + "m,l4,1,inf,\n", "positive"),
    (HEADER + "m,l4,1,many,\n", "not a number"), (HEADER + "m,l4,1.5,10,\n", "whole number"),
    (HEADER + ",l4,1,10,\n", "no model"), (b"model,gpu,tp,kv_tokens\n\xff\xfe,l4,1,10\n", "not UTF-8"),
    ("gpu_memory_utilization," + HEADER + "90,m,l4,1,10,\n", "0.9 means"), (HEADER + '"m,l4,1,10,\n', "CSV"),
])
def test_bad_files_are_refused_with_their_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(CostplanError) as e:
        read_kv_rows(file)
    assert message in f"{e.value.message} {e.value.hint}"
    assert str(file) in str(e.value.where)


def test_missing_and_oversized_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CostplanError, match="cannot read"):
        read_kv_rows(tmp_path / "absent.csv")
    monkeypatch.setattr("costplan.validate.kv_file.MAX_BYTES", 3)
    with pytest.raises(CostplanError, match="larger than"):
        read_kv_rows(write(tmp_path, HEADER))


@given(st.text(max_size=300))
def test_any_text_is_rows_or_a_refusal(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.mktemp("kv") / "x.csv"
    file.write_text(HEADER + text, encoding="utf-8", errors="replace")
    try:
        assert all(r.model for r in read_kv_rows(file))
    except CostplanError as e:
        assert e.where


def shared_model(name: str) -> ModelSpec:
    alias = {"google/gemma-4-26B-A4B-it": "google/gemma-4-26B-A4B"}
    file = SHARED / "data" / "models" / (alias.get(name, name).replace("/", "--") + "_config.json")
    if not file.is_file():
        raise UnknownNameError("model", name, [])
    return read_model(file)


@pytest.mark.shared
@pytest.mark.skipif(not LOGS.is_file(), reason="the shared start-up logs are absent")
def test_capacities_agree_with_real_start_up_logs() -> None:
    metrics = report(validate_kv(LOGS, shared_model, gpu))["metrics"]
    scratch, converted = (metrics[m] for m in ("kv_tokens", "kv_tokens_from_gib"))  # type: ignore[index]
    assert scratch["n"] >= 8
    assert scratch["median_ape"] <= 0.03
    assert scratch["p90_ape"] <= 0.10
    assert converted["median_ape"] <= 0.001

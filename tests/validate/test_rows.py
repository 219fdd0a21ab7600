"""The door of `costplan validate`: good rows become deployments and loads, bad ones clear errors."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.core.errors import CostplanError, InputError, UnknownNameError
from costplan.perf.layout import Layout
from costplan.perf.steady import LoadKind
from costplan.validate.rows import REQUIRED, deployment, engine_args, load, read_rows
from costplan.validate.run import validate_file

GOOD = {"id": "a1", "family": "x", "engine": "vllm", "engine_version": "0.19.0", "gpu": "h100_sxm", "n_gpu": "1",
        "model": "meta-llama/Llama-3.1-8B-Instruct", "tp": "1", "pp": "1", "dp": "1", "ep": "", "weight_dtype": "bf16",
        "kv_dtype": "auto", "isl": "1024", "osl": "256", "load_kind": "concurrency", "load_value": "16",
        "num_prompts": "160", "output_tok_s": "1900", "ttft_mean_ms": "60", "tpot_mean_ms": "8.0", "engine_args": "",
        "score_ttft": "1", "score_tpot": "1", "score_tput": "1", "notes": ""}


def write(path: Path, *rows: Mapping[str, str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as f:
        out = csv.DictWriter(f, rows[0].keys())
        out.writeheader()
        out.writerows(rows)
    return path


def test_a_row_becomes_a_deployment_and_a_load(tmp_path: Path) -> None:
    args = "gpu_memory_utilization=0.85 max_num_seqs=64"
    (row,) = read_rows(write(tmp_path / "r.csv", {**GOOD, "engine_args": args}))
    dep, asked = deployment(row, "r.csv"), load(row, "r.csv")
    assert (dep.layout, dep.replicas, dep.memory_fraction, dep.max_num_seqs) == (Layout(), 1, 0.85, 64)
    assert (asked.kind, asked.value, asked.requests) == (LoadKind.CONCURRENCY, 16, 160)
    assert (row.ttft_s, row.tpot_s, row.output_tok_s) == (0.06, 0.008, 1900)


def test_replicas_and_attention_data_parallelism_differ(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path / "r.csv", {**GOOD, "dp": "4", "n_gpu": "4"},
                           {**GOOD, "id": "a2", "dp": "4", "n_gpu": "4", "engine_args": "attention_dp=1"}))
    apart, inside = (deployment(r, "r.csv") for r in rows)
    assert (apart.replicas, apart.layout.dp) == (4, 1)
    assert (inside.replicas, inside.layout.dp, inside.layout.ep) == (1, 4, 4)
    assert apart.num_gpus == inside.num_gpus == 4


def test_an_unscored_metric_is_not_judged(tmp_path: Path) -> None:
    (row,) = read_rows(write(tmp_path / "r.csv", {**GOOD, "score_ttft": "0"}))
    assert row.ttft_s is None


def test_weight_only_checkpoints_multiply_in_16_bits(tmp_path: Path) -> None:
    (row,) = read_rows(write(tmp_path / "r.csv", {**GOOD, "weight_dtype": "int8", "notes": "suite C; W8A16"}))
    assert deployment(row, "r.csv").weight_only


def test_engine_args_tolerate_how_people_write_them() -> None:
    assert engine_args("num-scheduler-step=15 chunked=FALSE max_num_seqs=1024. enable_mixed_chunk") == {
        "num_scheduler_step": "15", "chunked": "FALSE", "max_num_seqs": "1024", "enable_mixed_chunk": "1"}


@pytest.mark.parametrize(("change", "match"), [
    ({"isl": "-5"}, "isl: must be positive"), ({"osl": "nan"}, "osl: must be positive"),
    ({"isl": "1k"}, "isl: not a number"), ({"load_kind": "burst"}, "load_kind: unknown"),
    ({"load_value": ""}, "load_value must be given"), ({"isl": ""}, "isl and osl"),
    ({"tp": "0"}, "tp: must be positive")])
def test_bad_values_name_line_and_column(tmp_path: Path, change: dict[str, str], match: str) -> None:
    path = write(tmp_path / "r.csv", GOOD, {**GOOD, "id": "a2", **change})
    row = read_rows(path)[1]
    with pytest.raises(InputError, match=match) as e:
        deployment(row, "r.csv")
        load(row, "r.csv")
    assert e.value.where == "r.csv:3"


def test_unknown_models_and_gpus_offer_near_misses(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path / "r.csv", {**GOOD, "gpu": "h100_smx"},
                           {**GOOD, "model": "meta-llama/Llama-3.1-8B-Instrukt"}))
    for row in rows:
        with pytest.raises(UnknownNameError) as e:
            deployment(row, "r.csv")
        assert "did you mean" in (e.value.hint or "")


@pytest.mark.parametrize(("text", "match"), [
    ("", "missing column"), ("id,model\n", "missing column"), (",".join(REQUIRED) + "\n", "no rows"),
    (",".join((*REQUIRED, "id")) + "\n", "duplicate column"),
    (",".join(REQUIRED) + "\na,b\n", "expected 7 fields")])
def test_broken_files_are_refused(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "r.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=match):
        read_rows(path)


def test_other_encodings_and_absent_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes("id,modèle\n".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        read_rows(path)
    with pytest.raises(InputError, match="cannot read"):
        read_rows(tmp_path / "absent.csv")


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), st.text(max_size=12), max_size=4))
def test_any_text_in_any_field_is_an_answer_or_a_clear_error(tmp_path_factory: pytest.TempPathFactory,
                                                             change: dict[str, str]) -> None:
    path = write(tmp_path_factory.mktemp("rows") / "r.csv", {**GOOD, **change})
    try:
        for row in read_rows(path):
            deployment(row, "r.csv")
            load(row, "r.csv")
    except CostplanError as e:
        assert e.message


def test_refusals_are_counted_with_their_reason(tmp_path: Path) -> None:
    impossible = {**GOOD, "id": "big", "model": "meta-llama/Llama-3.1-405B-Instruct"}
    report = validate_file(write(tmp_path / "r.csv", GOOD, impossible))
    assert report.rows == 2
    assert [r.id for r in report.refused] == ["big"]
    assert "does not fit" in report.refused[0].reason
    assert {s.metric for s in report.scored} == {"ttft", "tpot", "output_tok_s", "usd_per_mtok_out"}

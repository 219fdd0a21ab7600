"""`costplan validate`: stable JSON, a CSV of every row, refusals counted with their reason."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from costplan.cli.app import main

HEADER = ("id,family,engine,engine_version,model,gpu,tp,pp,dp,ep,weight_dtype,kv_dtype,isl,osl,load_kind,load_value,"
          "num_prompts,output_tok_s,ttft_mean_ms,tpot_mean_ms,engine_args,score_ttft,score_tpot,score_tput,notes")
ROWS = (
    "a,f,vllm,,meta-llama/Llama-3.1-8B,h100_sxm,1,1,1,,bf16,auto,1000,200,concurrency,16,,2000,60,7.5,,1,1,1,",
    "b,f,sglang,,meta-llama/Llama-3.1-8B,h200_sxm,1,1,1,,fp8,auto,1000,200,concurrency,16,,,50,6,,1,1,0,",
    "=c,f,vllm,,no/such-model,h100_sxm,1,1,1,,bf16,auto,1000,200,concurrency,16,,2000,60,7.5,,1,1,1,",
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "measured.csv"
    path.write_text("\n".join((HEADER, *ROWS)) + "\n", encoding="utf-8")
    return path


def test_json_is_stable(capsys: pytest.CaptureFixture[str], table: Path) -> None:
    assert main(["validate", str(table), "--json", "--by", "gpu,engine"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["rows", "refused", "metrics", "groups"]
    assert found["rows"] == 3
    assert [r["id"] for r in found["refused"]] == ["=c"]
    assert "no/such-model" in found["refused"][0]["reason"]
    assert {m: s["n"] for m, s in found["metrics"].items()} == {
        "tpot": 2, "ttft": 2, "output_tok_s": 1, "usd_per_mtok_out": 1}
    for summary in found["metrics"].values():
        assert list(summary) == ["n", "median_ape", "mape", "p90_ape", "bias", "coverage_50", "coverage_90"]
        assert 0 <= summary["coverage_50"] <= summary["coverage_90"] <= 1
    assert set(found["groups"]) == {"gpu", "engine"}
    assert set(found["groups"]["gpu"]) == {"h100_sxm", "h200_sxm"}


def test_rows_file_has_a_line_per_row_and_metric(capsys: pytest.CaptureFixture[str], table: Path,
                                                 tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"
    assert main(["validate", str(table), "-o", str(target)]) == 0
    page, err = capsys.readouterr()
    assert "3 rows: 2 scored, 1 refused" in page
    assert f"wrote {target}" in err
    rows = list(csv.DictReader(target.read_text(encoding="utf-8").splitlines()))
    assert [(r["id"], r["metric"]) for r in rows] == [
        ("a", "ttft"), ("a", "tpot"), ("a", "output_tok_s"), ("a", "usd_per_mtok_out"), ("b", "ttft"), ("b", "tpot"),
        ("'=c", "")]
    for r in rows[:-1]:
        measured, predicted = float(r["measured"]), float(r["predicted"])
        assert float(r["error"]) == pytest.approx(predicted / measured - 1)
        assert float(r["i90_low"]) < float(r["i50_low"]) < predicted < float(r["i50_high"]) < float(r["i90_high"])
        assert r["evidence"] in ("measured", "interpolated", "extrapolated", "analytic")
    assert "no/such-model" in rows[-1]["refused"]


def test_nothing_is_half_written(capsys: pytest.CaptureFixture[str], table: Path, tmp_path: Path) -> None:
    assert main(["validate", str(table), "-o", str(tmp_path / "no" / "rows.csv")]) == 2
    bad = tmp_path / "bad.csv"
    bad.write_text(table.read_text(encoding="utf-8").replace(",7.5,", ",-7.5,"), encoding="utf-8")
    assert main(["validate", str(bad), "-o", str(tmp_path / "rows.csv")]) == 2
    assert "bad.csv:2: tpot_mean_ms: must be positive" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.csv", "measured.csv"]


@pytest.mark.parametrize("width", ["80", "120"])
def test_page_fits(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, table: Path,
                   width: str) -> None:
    monkeypatch.setenv("COLUMNS", width)
    assert main(["validate", str(table), "--by", "model,moe,evidence"]) == 0
    page, err = capsys.readouterr()
    assert max(map(len, page.splitlines())) <= int(width)
    assert err == ""


def test_kv_capacities_are_judged_alike(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "kv.csv"
    path.write_text("model,gpu,tp,weight_dtype,gpu_memory_utilization,kv_tokens\n"
                    "meta-llama/Llama-3.1-8B,h100_sxm,1,bf16,0.9,430000\n", encoding="utf-8")
    assert main(["validate", "--kv", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 1
    assert found["metrics"]["kv_tokens"]["n"] == 1
    target = tmp_path / "kv_rows.csv"
    assert main(["validate", "--kv", str(path), "-o", str(target)]) == 0
    rows = list(csv.DictReader(target.read_text(encoding="utf-8").splitlines()))
    assert rows[0]["metric"] == "kv_tokens"
    assert float(rows[0]["logged"]) == 430000

"""`costplan catalog`: filters, sources, ages, and a config.json of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from costplan.cli.app import main


def run(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert main(list(args)) == 0
    return capsys.readouterr().out


def found(capsys: pytest.CaptureFixture[str], *args: str) -> list[dict[str, object]]:
    rows = json.loads(run(capsys, *args, "--json"))
    assert isinstance(rows, list)
    return rows


def test_every_price_shows_its_age(capsys: pytest.CaptureFixture[str]) -> None:
    rows = found(capsys, "catalog", "prices")
    assert rows
    for row in rows:
        assert isinstance(row["stale"], bool) and row["source"]
        assert (row["price_date"] is None) is (row["age_days"] is None)
        if row["age_days"] is None or int(str(row["age_days"])) > 90:
            assert row["stale"] is True
    text = run(capsys, "catalog", "prices", "--limit", "5").splitlines()
    assert all(("undated, stale" in line or " days" in line) for line in text[1:6])
    assert "5 of " in "\n".join(text)


def test_prices_are_filtered_and_cheapest_first(capsys: pytest.CaptureFixture[str]) -> None:
    rows = found(capsys, "catalog", "prices", "--gpu", "H100", "--provider", "gcp", "--purchase", "on-demand")
    assert {(r["gpu"], r["provider"], r["purchase"]) for r in rows} == {("h100_sxm", "gcp", "on_demand")}
    costs = [float(str(r["price_usd_per_gpu_h"])) for r in rows]
    assert costs == sorted(costs)


def test_each_gpu_number_has_a_source(capsys: pytest.CaptureFixture[str]) -> None:
    for gpu in found(capsys, "catalog", "gpus"):
        sources = gpu["sources"]
        assert isinstance(sources, dict) and isinstance(gpu["peak_flops_per_s"], dict)
        assert {f"peak_flops.{k}" for k in gpu["peak_flops_per_s"]} <= set(sources)
        assert {"mem_bytes", "mem_bandwidth_bytes_per_s"} <= set(sources)


def test_one_gpu_cites_every_source_once(capsys: pytest.CaptureFixture[str]) -> None:
    page = run(capsys, "catalog", "gpus", "inferentia2")
    assert "unknown" in page
    assert page.count("[1]  ") == 1
    assert "notes" in page


def test_short_gpu_name_says_what_was_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "gpus", "h100"]) == 0
    assert "'h100' is taken as h100_sxm" in capsys.readouterr().err


def test_a_model_shows_parameters_and_kv(capsys: pytest.CaptureFixture[str]) -> None:
    model = json.loads(run(capsys, "catalog", "models", "llama-3.1-8b", "--json"))
    assert (model["params_total"], model["kv_bytes_per_token"]) == (8_030_261_248, 131_072)
    page = run(capsys, "catalog", "models", "deepseek-v3")
    for said in ("8 of 256 experts", "MLA", "active per token", "MTP"):
        assert said in page


def test_part_of_a_name_lists_the_models_that_have_it(capsys: pytest.CaptureFixture[str]) -> None:
    names = [str(m["name"]) for m in found(capsys, "catalog", "models", "gemma")]
    assert len(names) > 2
    assert all("gemma" in n.lower() for n in names)


def test_a_config_json_is_a_model_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024, "num_hidden_layers": 4,
              "num_attention_heads": 16, "num_key_value_heads": 4, "intermediate_size": 4096, "vocab_size": 32000,
              "torch_dtype": "bfloat16", "max_position_embeddings": 4096, "tie_word_embeddings": False}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    for target in (path, tmp_path):
        model = json.loads(run(capsys, "catalog", "models", str(target), "--json"))
        assert model["kv_bytes_per_token"] == 2 * 4 * 4 * 64 * 2
        assert model["attention"] == "GQA 16/4"


@pytest.mark.parametrize("width", ["80", "120", "200"])
@pytest.mark.parametrize("args", [("gpus",), ("models",), ("prices",), ("gpus", "b200_sxm"), ("models", "kimi-k2")],
                         ids=" ".join)
def test_pages_fit_their_width(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: str,
                               args: tuple[str, ...]) -> None:
    monkeypatch.setenv("COLUMNS", width)
    page = run(capsys, "catalog", *args)
    assert max(map(len, page.splitlines())) <= int(width)
    assert "\x1b" not in page

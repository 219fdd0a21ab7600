"""The built-in models: names, sources, and the models that published measurements speak of."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.catalog import models
from costplan.catalog.models import aliases, builtin_models, canonical_name, model
from costplan.catalog.params import count
from costplan.core.dtypes import DTYPES
from costplan.core.errors import InputError, UnknownNameError

TRUTH = Path(__file__).resolve().parents[2] / ".." / "shared" / "truth"
NAMES = list(builtin_models())


@pytest.mark.parametrize("name", NAMES)
def test_every_row_parses_and_says_where_it_comes_from(name: str) -> None:
    row = models._rows()[name]
    spec = model(name)
    assert spec.name == name
    assert len(spec.source) > 10
    assert spec.base_dtype in DTYPES
    assert spec.weight_dtype in DTYPES
    assert spec.max_position is not None or row["config"].get("model_type") in {"mamba", "bloom"}
    assert not any("not known" in note for note in spec.notes)
    assert row.keys() <= {"source", "aliases", "published_params", "estimated", "config", "like"}
    assert any("estimated" in note for note in spec.notes) == ("estimated" in row)
    if "published_params" in row:
        assert count(spec).total == row["published_params"]


def test_no_spelling_means_two_models() -> None:
    owner: dict[str, str] = {}
    for name in NAMES:
        for spelling in (name, *aliases(name)):
            for key in {spelling.lower(), spelling.rsplit("/", 1)[-1].lower()}:
                assert owner.setdefault(key, name) == name, key


def test_like_points_to_a_flat_row() -> None:
    rows = models._rows()
    for name, row in rows.items():
        if "like" in row:
            assert "like" not in rows[row["like"]], name
            assert not row["config"] or "text_config" not in rows[row["like"]]["config"], name


@pytest.mark.parametrize(("spelling", "name"), [
    ("qwen3-8b", "Qwen/Qwen3-8B"), ("LLAMA-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct"),
    ("meta-llama/Meta-Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
    ("meta-llama/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.1-70B-Instruct"),
    ("google/gemma-2-9b-it", "google/gemma-2-9b-it"), ("falcon-180b", "tiiuae/falcon-180B"),
    ("deepseek-r1", "deepseek-ai/DeepSeek-R1"), (" mixtral-8x7b ", "mistralai/Mixtral-8x7B-Instruct-v0.1"),
])
def test_names_and_aliases_in_any_case(spelling: str, name: str) -> None:
    assert canonical_name(spelling) == name
    assert model(spelling).name == name


def test_unknown_name_offers_near_misses_and_a_path() -> None:
    with pytest.raises(UnknownNameError) as caught:
        model("Qwen3-8BB", where="workload.yaml:3")
    assert "Qwen3-8B" in caught.value.nearest
    assert "config.json" in str(caught.value.hint)
    assert caught.value.where == "workload.yaml:3"


def test_a_quantised_name_is_not_taken_for_the_plain_model() -> None:
    with pytest.raises(UnknownNameError):
        model("Qwen/Qwen3-8B-FP8")


def test_a_path_reads_the_file(tmp_path: Path) -> None:
    config = models._rows()["Qwen/Qwen3-8B"]["config"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    read = model(tmp_path)
    assert read.layers == model("Qwen/Qwen3-8B").layers
    assert model(str(tmp_path / "config.json")).layers == read.layers
    with pytest.raises(InputError, match="no such file"):
        model("./nowhere/config.json")


@given(st.text(max_size=30))
def test_any_text_is_a_model_or_an_input_error(text: str) -> None:
    try:
        assert model(text).num_layers > 0
    except InputError as error:
        assert error.hint


def test_mapping_is_lazy_and_complete() -> None:
    table = builtin_models()
    assert len(table) == len(NAMES) >= 100
    assert "nope" not in table
    with pytest.raises(KeyError):
        table["nope"]


def test_import_stays_light() -> None:
    code = ("import sys; from costplan.catalog.models import model; model('qwen3-8b'); "
            "sys.exit(','.join({'pydantic', 'pandas', 'numpy', 'yaml', 'torch'} & sys.modules.keys()) or 0)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.shared
@pytest.mark.parametrize("file", ["tune.csv", "kv_tune.csv"])
def test_every_measured_model_is_built_in(file: str) -> None:
    path = TRUTH / file
    if not path.is_file():
        pytest.skip("no reference measurements beside the repository")
    with path.open(encoding="utf-8", newline="") as handle:
        named = {row["model"] for row in csv.DictReader(handle)}
    assert named
    assert not [name for name in sorted(named) if canonical_name(name) is None]

"""The YAML door: plain values in, exact places in every error, nothing else gets through."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from costplan.core.errors import CostplanError, InputError
from costplan.core.yaml_door import MAX_BYTES, check, parse_yaml, read_yaml


class Inner(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    rate: float = Field(gt=0)
    tokens: int = 1


class Outer(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    name: str
    inner: Inner | None = None
    items: list[Inner] = Field(default_factory=list)


def refuse(text: str) -> InputError:
    with pytest.raises(InputError) as e:
        parse_yaml(text, "f.yaml")
    return e.value


def test_places_are_those_of_the_keys() -> None:
    doc = parse_yaml("a: 1\nb:\n  - c: x\n  - {d: [1, 2]}\n", "f.yaml")
    assert doc.data == {"a": 1, "b": [{"c": "x"}, {"d": [1, 2]}]}
    assert doc.place(("a",)) == (1, 1)
    assert doc.place(("b", 1, "d")) == (4, 6)
    assert doc.where(("b", 0, "c", "nothing", "below")) == "f.yaml:3"


@pytest.mark.parametrize(("text", "value"), [
    ("no", "no"), ("on", "on"), ("1:30", "1:30"), ("1_000", "1_000"), ("1e6", 1e6), ("2026-01-01", "2026-01-01"),
    ("~", None), ("true", True), ("'1'", "1"), ("-7", -7), (".5", 0.5), ("017", 17), ("=", "="), ("", None)])
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    found = parse_yaml(f"a: {text}\n", "f.yaml").data["a"]
    assert found == value and type(found) is type(value)


def test_keys_are_the_words_that_stand_there() -> None:
    assert parse_yaml("on: 1\n0.50: 2\nnull: 3\n", "f").data == {"on": 1, "0.50": 2, "null": 3}


@pytest.mark.parametrize(("text", "says", "line"), [
    ("a: 1\nb: &x [1]\nc: *x\n", "anchor", 2),
    ("a: *x\n", "alias", 1),
    ("a: !!python/object/apply:os.system ['true']\n", "tag", 1),
    ("a: !!str 1\n", "tag", 1),
    ("a: 1\nb: 2\na: 3\n", "given twice", 3),
    ("a: 1\n---\nb: 2\n", "second document", 2),
    ("a: 1\nb: [1,\n", "not valid YAML", 3),
    ("? [1, 2]\n: 3\n", "plain word", 1),
    ("? &k a\n: 3\n", "anchor", 1),
])
def test_what_is_refused(text: str, says: str, line: int) -> None:
    error = refuse(text)
    assert says in error.message and error.where == f"f.yaml:{line}"


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "null\n"])
def test_empty(text: str) -> None:
    assert "empty" in refuse(text).message


def test_billion_laughs_is_refused_before_it_grows() -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"{c}: &{c} [*{p}, *{p}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True))
    assert "anchor" in refuse(bomb).message


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 50_000, "- " * 5_000, "a:\n" + "".join(
    " " * i + "b:\n" for i in range(1, 500))])
def test_deep_nesting_is_refused(text: str) -> None:
    assert "nested deeper" in refuse(text).message


def test_a_control_character_is_refused() -> None:
    assert "control character" in refuse("a: \x00\n").message


def test_size_is_checked_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(b"a: 1\n" + b"\xff" * MAX_BYTES)  # not UTF-8: reading it would say so
    with pytest.raises(InputError, match="1,048,581 bytes"):
        read_yaml(path)
    path.write_text("a: 1\n" + "#" * (MAX_BYTES - 5))
    assert read_yaml(path).data == {"a": 1}


def test_not_utf8_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(InputError, match="not UTF-8") as e:
        read_yaml(path)
    assert e.value.where == f"{path}:2"


def test_missing_file_names_a_near_one(tmp_path: Path) -> None:
    (tmp_path / "chat.yaml").write_text("a: 1\n")
    with pytest.raises(InputError, match="no such file") as e:
        read_yaml(tmp_path / "chta.yaml")
    assert "chat.yaml" in str(e.value.hint)
    with pytest.raises(InputError, match="folder"):
        read_yaml(tmp_path)


def test_a_byte_order_mark_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(tmp_path / "bom.yaml").data == {"a": 1}


def wrong(text: str) -> InputError:
    with pytest.raises(InputError) as e:
        check(parse_yaml(text, "f.yaml"), Outer)
    return e.value


def test_one_problem_keeps_its_place_and_hint() -> None:
    error = wrong("name: x\ninner:\n  rate: 1\n  token: 3\n")
    assert (error.where, error.message, error.hint) == (
        "f.yaml:4", "inner.token: unknown key", "did you mean tokens?")


def test_several_problems_come_together_in_file_order() -> None:
    error = wrong("nam: x\ninner: {rate: -1, tokens: 2.5}\nitems:\n  - {rate: 5 rps}\n  - {tokens: 1}\n")
    assert str(error).splitlines() == [
        "6 problems in f.yaml",
        "  f.yaml:1: nam: unknown key (did you mean name?)",
        "  f.yaml:1: name: required key is missing",
        "  f.yaml:2: inner.rate: must be above 0, got -1",
        "  f.yaml:2: inner.tokens: must be a whole number, got 2.5",
        "  f.yaml:4: items.0.rate: must be a number, got '5 rps'",
        "  f.yaml:5: items.1.rate: required key is missing",
    ]


def test_unknown_key_inside_a_list_knows_its_neighbours() -> None:
    assert wrong("name: x\nitems: [{rate: 1, rat: 2}]\n").hint == "did you mean rate?"
    assert wrong("name: x\nzzz: 1\n").hint == "known here: name, inner, items"


def test_hostile_names_are_escaped() -> None:
    error = wrong('name: x\n"\\e[31m\\nforged": 1\n')
    assert "\x1b" not in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_not_finite(value: str) -> None:
    assert "finite" in wrong(f"name: x\ninner: {{rate: {value}}}\n").message


def test_the_root_must_be_a_mapping() -> None:
    assert "keys and values" in wrong("- 1\n").message


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-10**9, 10**9) | st.text(st.characters(codec="utf-8", exclude_categories=(
        "Cc", "Cs", "Cn", "Co", "Zl", "Zp")), max_size=8),
    lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text("abcdef", min_size=1, max_size=4), v, max_size=4),
    max_leaves=20)


@settings(deadline=None)
@given(plain.filter(lambda v: v is not None))
def test_json_is_read_as_itself(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    if "\ufeff" in text or "\ufffe" in text:
        return
    assert parse_yaml(text, "f").data == value


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_gives_values_or_a_costplan_error(text: str) -> None:
    try:
        doc = parse_yaml(text, "f")
    except CostplanError:
        return
    assert doc.place(()) >= (1, 1)


@settings(deadline=None)
@given(st.text("ab:{}[]-&*!?|>'\"#% \n\t,.~\\", max_size=60))
def test_any_yaml_like_text_gives_values_or_a_costplan_error(text: str) -> None:
    try:
        parse_yaml(text, "f")
    except CostplanError as e:
        assert e.message


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_survive(x: float) -> None:
    found = parse_yaml(f"a: {x!r}", "f").data["a"]
    assert math.isclose(found, x, rel_tol=0, abs_tol=0)

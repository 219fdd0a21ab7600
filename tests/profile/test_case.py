"""Cases and the spelling of ragged batches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.core.errors import InputError, UnknownNameError
from costplan.profile.case import Case, case_columns
from costplan.profile.families import FAMILIES
from costplan.profile.lengths import pairs_of, ragged_case, read, spell

HEADS = {"num_heads": 8, "num_kv_heads": 2, "head_dim": 64, "dtype": "bf16", "kv_dtype": "bf16"}
pairs = st.lists(st.tuples(st.integers(1, 4096), st.integers(0, 60_000)).map(lambda p: (p[0], p[0] + p[1])),
                 min_size=1, max_size=40)


@given(st.sampled_from(sorted(FAMILIES)), st.data())
def test_a_case_survives_json_and_its_key_is_its_own(family: str, data: st.DataObject) -> None:
    values: dict[str, int | str] = {n: data.draw(st.integers(0, 1 << 40)) for n in FAMILIES[family].ints}
    values |= {n: data.draw(st.sampled_from(["bf16", "fp8", "x"])) for n in case_columns(family) if n not in values}
    case = Case.of(family, **values)
    assert Case.from_json(case.as_json()) == case
    assert case.values() == values
    name = FAMILIES[family].ints[0]
    other = Case.of(family, **{**values, name: case.size(name) + 1})
    assert other.key != case.key


def test_wrong_names_and_sizes_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="gem"):
        Case.of("gem")
    with pytest.raises(InputError, match="no column 'batch'"):
        Case.of("gemm", batch=1, dtype="bf16")
    with pytest.raises(InputError, match="needs dtype"):
        Case.of("gemm", m=1, n=1, k=1)
    with pytest.raises(InputError, match="negative"):
        Case.of("gemm", m=-1, n=1, k=1, dtype="bf16")


@given(pairs)
def test_lengths_survive_spelling(p: list[tuple[int, int]]) -> None:
    assert read(spell(p)) == tuple(p)
    case = ragged_case(p, **HEADS)
    assert pairs_of(case) == tuple(p)
    assert case.size("kv_tokens") == sum(kv for _, kv in p)
    assert case.size("q_tokens") == sum(q for q, _ in p)


def test_equal_sequences_fold() -> None:
    assert spell([(512, 4096), (1, 812), (1, 812), (1, 9)]) == "512:4096,1:812x2,1:9"


@given(st.text(max_size=30))
def test_any_other_word_is_an_error(word: str) -> None:
    try:
        found = read(word)
    except InputError:
        return
    assert all(0 < q <= kv for q, kv in found)


def test_pairs_of_uniform_cases() -> None:
    decode = Case.of("attn_decode", batch=3, kv_len=100, **HEADS)
    prefill = Case.of("attn_prefill", batch=2, q_len=10, kv_len=40, **HEADS)
    assert pairs_of(decode) == ((1, 100),) * 3
    assert pairs_of(prefill) == ((10, 40),) * 2

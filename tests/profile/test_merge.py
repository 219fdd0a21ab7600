"""Versions become one table: whole curves, one row per key."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.profile import merge
from costplan.profile.families import FAMILIES


def test_every_family_has_a_sweep_within_its_columns() -> None:
    assert set(merge.SWEEPS) == set(FAMILIES)
    for name, sweep in merge.SWEEPS.items():
        assert set(sweep) <= set(FAMILIES[name].ints)


def test_only_curves_that_are_missing_are_filled(make: SimpleNamespace) -> None:
    base = make.gemm((1, 1e-5), (2, 1e-5))
    other = merge.concat([make.gemm((4, 9e-5), kernel="old"), make.gemm((1, 2e-5), (2, 2e-5), n=8192)])
    new = other.take(merge.fill(base, other))
    assert new.columns["n"].tolist() == [8192, 8192]


def test_vocabularies_are_merged_by_word(make: SimpleNamespace) -> None:
    both = merge.concat([make.gemm((1, 1e-5), dtype="fp8", kernel="z"), make.gemm((1, 2e-5), dtype="bf16", kernel="a")])
    assert both.vocab == {"dtype": ("bf16", "fp8"), "kernel": ("a", "z")}
    assert (both.text("dtype"), both.text("kernel")) == (["fp8", "bf16"], ["z", "a"])


def test_unused_words_leave_the_vocabulary(make: SimpleNamespace) -> None:
    both = merge.concat([make.gemm((1, 1e-5), kernel="a"), make.gemm((1, 2e-5), kernel="b")])
    assert merge.concat([both.take(both.mask(kernel="b"))]).vocab["kernel"] == ("b",)


def test_duplicates_fold_to_their_median(make: SimpleNamespace) -> None:
    folded = merge.fold_duplicates(make.gemm((1, 1e-5), (2, 3e-5), (1, 4e-5), (1, 2e-5)))
    t = folded.table
    assert (folded.rows, t.columns["m"].tolist(), t.columns["runs"].tolist()) == (2, [1, 2], [3, 1])
    assert t.columns["latency_s"].tolist() == pytest.approx([2e-5, 3e-5])
    assert t.columns["spread"].tolist() == pytest.approx([0.75, 0.0])
    assert folded.worst_spread == pytest.approx(0.75)


def test_runs_survive_a_table_that_has_none(make: SimpleNamespace) -> None:
    folded = merge.fold_duplicates(make.gemm((1, 1e-5), (1, 3e-5))).table
    both = merge.sort(merge.concat([folded, make.gemm((2, 5e-5))]))
    assert (both.columns["runs"].tolist(), both.columns["spread"].tolist()) == ([2, 1], [0.5, 0.0])


@given(st.lists(st.tuples(st.integers(1, 9), st.floats(1e-6, 1e-3)), min_size=1, max_size=40))
def test_folding_keeps_every_key_once_and_stays_within_its_values(make: SimpleNamespace,
                                                                  cells: list[tuple[int, float]]) -> None:
    folded = merge.fold_duplicates(make.gemm(*cells))
    t = folded.table
    assert sorted(t.columns["m"].tolist()) == sorted({m for m, _ in cells})
    assert folded.rows == len(cells) - len(t)
    for m, s in zip(t.columns["m"].tolist(), t.columns["latency_s"].tolist(), strict=True):
        same = [x for k, x in cells if k == m]
        assert min(same) <= s * (1 + 1e-12) and s <= max(same) * (1 + 1e-12)


def test_rows_are_sorted_along_the_sweep(make: SimpleNamespace) -> None:
    t = merge.sort(merge.concat([make.gemm((8, 1.0), (1, 1.0), n=2), make.gemm((4, 1.0), n=1)]))
    assert list(zip(t.columns["n"].tolist(), t.columns["m"].tolist(), strict=True)) == [(1, 4), (2, 1), (2, 8)]

"""Tables fit their width, whatever they hold."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.core.evidence import Estimate, Evidence
from costplan.report.columns import Column, dropped, facts, table
from costplan.report.numbers import gib, percent, seconds, si, significant, spread, usd
from costplan.report.style import Style, plain

WORD = st.text(alphabet=st.characters(blacklist_categories=("Cs",)), max_size=60)


def test_columns_are_aligned() -> None:
    lines = table((Column("name"), Column("n", right=True)), [["a", "1"], ["longer", "1000"]], Style(80))
    assert lines == ["name       n", "a          1", "longer  1000"]


def test_expendable_columns_leave_in_order() -> None:
    columns = (Column("keep"), Column("first", expendable=2), Column("second", expendable=1))
    rows = [["x" * 20, "y" * 20, "z" * 20]]
    assert dropped(columns, rows, Style(64)) == []
    assert dropped(columns, rows, Style(50)) == ["first"]
    assert dropped(columns, rows, Style(30)) == ["first", "second"]


def test_long_text_wraps_under_itself() -> None:
    lines = table((Column("n", right=True), Column("text")), [["1", "some words that need room"]], Style(20))
    assert lines == ["n  text", "1  some words that", "   need room"]


@given(st.lists(st.tuples(WORD, WORD, WORD), max_size=6), st.integers(60, 200))
def test_tables_fit_and_cannot_steer_a_terminal(rows: list[tuple[str, ...]], width: int) -> None:
    columns = (Column("a"), Column("b", widest=20), Column("c", expendable=1))
    for line in [*table(columns, rows, Style(width)), *facts([(r[0][:9], r[1]) for r in rows], Style(width))]:
        assert len(line) <= width
        assert line.isprintable()


@given(WORD)
def test_plain_keeps_printable_text(text: str) -> None:
    assert plain(text).isprintable()
    assert plain(plain(text)) == plain(text)


@pytest.mark.parametrize(("x", "said"), [
    (0, "0"), (0.000123456, "0.000123"), (1.2345, "1.23"), (12.345, "12.3"), (999.6, "1,000"), (12345.6, "12,346"),
    (1_358_480, "1,360,000"), (1e-9, "1.00e-09"), (float("inf"), "inf")])
def test_significant(x: float, said: str) -> None:
    assert significant(x) == said


@given(st.floats(1e-3, 1e11))
def test_significant_is_within_half_a_percent(x: float) -> None:
    assert float(significant(x).replace(",", "")) == pytest.approx(x, rel=0.00501)


@given(st.floats(1.0, 1e20))
def test_si_is_within_half_a_percent(x: float) -> None:
    number, _, prefix = si(x).partition(" ")
    power = {"": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}[prefix.strip()]
    assert float(number.replace(",", "")) * 1000**power == pytest.approx(x, rel=0.00501)


def test_units() -> None:
    assert [seconds(x) for x in (3e-6, 0.0123, 2.5)] == ["3.00 us", "12.3 ms", "2.50 s"]
    assert (gib(2**30), percent(0.123)) == ("1.00 GiB", "12%")
    money = [usd(x) for x in (0.0001234, 0.9, 1.5, 44.0, 12345.6)]
    assert money == ["$0.000123", "$0.900", "$1.50", "$44.00", "$12,346"]
    e = Estimate(0.1, 0.1, Evidence.MEASURED)
    low, high = e.i90
    assert spread(e, "s") == f"{significant(low * 1e3)} .. {significant(high * 1e3)} ms"
    assert math.isclose(low * high, 0.01)

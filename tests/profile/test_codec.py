"""Tables survive storage: what comes back is what went in, or a ProfileError."""

from __future__ import annotations

import io
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.core.errors import ProfileError
from costplan.profile.codec import LATENCY, decode, decode_latency, encode, encode_latency
from costplan.profile.families import FAMILIES
from costplan.profile.table import Table

latencies = st.floats(min_value=1.1e-9, max_value=499.0)


@given(st.lists(latencies, max_size=60))
def test_latency_is_kept_within_half_a_step(values: list[float]) -> None:
    back = decode_latency(encode_latency(np.array(values, dtype=float)))
    assert np.allclose(back, values, rtol=0.00051, atol=0)


@pytest.mark.parametrize("bad", [0.0, -1e-6, float("nan"), float("inf"), 1e-10, 600.0])
def test_impossible_latencies_are_refused(bad: float) -> None:
    with pytest.raises(ProfileError, match="latency_s"):
        encode_latency(np.array([1e-5, bad]))


@given(family=st.sampled_from(sorted(FAMILIES)), data=st.data())
def test_every_family_round_trips(make: SimpleNamespace, family: str, data: st.DataObject) -> None:
    f = FAMILIES[family]
    row = st.fixed_dictionaries({**{n: st.integers(0, 2**40) for n in f.ints},
                                 **{n: st.sampled_from(["a", "b", "ü"]) for n in f.texts}, "latency_s": latencies})
    rows = data.draw(st.lists(row, min_size=1, max_size=20))
    made = make.table(family, rows)
    raw = encode(made)
    back = decode(family, raw, rows=len(rows), vocab=made.vocab, where="t.npz")
    assert raw == encode(made)
    assert all((back.columns[n] == made.columns[n]).all() for n in f.ints)
    assert all(back.text(n) == [r[n] for r in rows] for n in f.texts)


def test_runs_and_spread_are_kept(make: SimpleNamespace) -> None:
    made = make.gemm((1, 1e-5), (2, 2e-5))
    extra = {**made.columns, "runs": np.array([1, 3]), "spread": np.array([0.0, 0.25])}
    back = decode("gemm", encode(Table("gemm", extra, made.codes, made.vocab)), rows=2, vocab=made.vocab, where="t")
    assert back.columns["runs"].tolist() == [1, 3]
    assert back.columns["spread"].tolist() == [0.0, 0.25]


def _repack(raw: bytes, change: dict[str, np.ndarray | bytes | None]) -> bytes:
    """The same archive with members replaced, added, or (None) left out."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as z, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as w:
        members = {i.filename.removesuffix(".npy"): z.read(i) for i in z.infolist()}
        for name, value in change.items():
            if value is None:
                del members[name]
            elif isinstance(value, bytes):
                members[name] = value
            else:
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, value, version=(1, 0), allow_pickle=True)
                members[name] = buffer.getvalue()
        for name, data in members.items():
            w.writestr(f"{name}.npy", data)
    return out.getvalue()


@pytest.fixture(scope="module")
def made(make: SimpleNamespace) -> Table:
    table: Table = make.gemm((1, 1e-5), (2, 2e-5))
    return table


@pytest.mark.parametrize(("change", "says"), [
    ({"m": None}, "column m of family gemm is missing"),
    ({"surprise": np.array([1, 2], dtype=np.uint8)}, "unknown column 'surprise'"),
    ({"m": np.array([1.0, 2.0], dtype="<f4")}, "column m is <f4"),
    ({"m": np.array([1, -2], dtype="<i4")}, "column m is <i4"),
    ({"m": np.array([1, 2, 3], dtype=np.uint8)}, r"column m is \|u1 \(3,\)"),
    ({"m": np.array([1, "x"], dtype=object)}, "column m is"),
    ({"m": b"\0" * 100_000}, "too many for 2 rows"),
    ({"m": b"\x93NUMPY\x01\x00"}, "not a readable table"),
    ({"dtype": np.array([0, 7], dtype=np.uint8)}, "vocabulary does not have"),
    ({LATENCY: np.full((2, 2), 255, dtype=np.uint8)}, "latency codes lie outside"),
    ({"spread": np.array([0.1, np.nan], dtype="<f4")}, "column spread holds"),
])
def test_damaged_columns_are_named(made: Table, change: dict[str, np.ndarray | bytes | None], says: str) -> None:
    raw = _repack(encode(made), change)
    with pytest.raises(ProfileError, match=says) as e:
        decode("gemm", raw, rows=2, vocab=made.vocab, where="gemm.npz")
    assert e.value.where == "gemm.npz"


def test_a_zip_bomb_is_refused_before_it_is_unpacked() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name in (*FAMILIES["gemm"].ints, *FAMILIES["gemm"].texts, LATENCY):
            z.writestr(f"{name}.npy", bytes(5_000_000))
    with pytest.raises(ProfileError, match="too many for 10 rows"):
        decode("gemm", out.getvalue(), rows=10, vocab={"dtype": ["a"], "kernel": ["b"]}, where="bomb.npz")


@given(st.binary(max_size=300))
def test_arbitrary_bytes_never_become_a_table(made: Table, data: bytes) -> None:
    with pytest.raises(ProfileError):
        decode("gemm", data, rows=2, vocab=made.vocab, where="x")


def test_what_is_no_integer_is_not_written(made: Table) -> None:
    floats = {**made.columns, "m": np.array([1.5, 2.5])}
    with pytest.raises(ProfileError, match="column m must hold integers"):
        encode(Table("gemm", floats, made.codes, made.vocab))
    negative = {**made.columns, "m": np.array([1, -2])}
    with pytest.raises(ProfileError, match="column m holds a negative number"):
        encode(Table("gemm", negative, made.codes, made.vocab))

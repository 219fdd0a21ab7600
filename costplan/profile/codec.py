"""One measurement table <-> the bytes of a ``.npz`` file, deterministic, numpy only, nothing pickled.

Integers and vocabulary codes take the smallest unsigned type that holds them. ``latency_s`` is kept as
``latency_code``: the zigzagged difference between successive rows of ``round(ln(latency_s / 1 ns) / 0.001)``,
low bytes first and high bytes second (``uint8 [2, rows]``). That rounds a latency by 0.05 % at most, far below
what a measurement repeats to, and takes about one byte per row.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from costplan.core.errors import ProfileError
from costplan.profile.families import FAMILIES, Family
from costplan.profile.table import Table

LATENCY = "latency_code"
LOG_STEP = 0.001
_FLOOR_S = 1e-9
_MAX_CODE = 27_000  # e^27 ns = 532 s
_HEADER_BYTES = 4096
_EPOCH = (1980, 1, 1, 0, 0, 0)
_KINDS = {"<u1": "|u1", "|u1": "|u1", "<u2": "<u2", "<u4": "<u4", "<u8": "<u8", "<f4": "<f4"}


def encode_latency(latency_s: NDArray[np.floating]) -> NDArray[np.uint8]:
    """``uint8 [2, rows]`` of latencies in seconds. Raises ProfileError unless all lie in 1 ns .. 500 s."""
    if latency_s.size and not (np.isfinite(latency_s).all() and (latency_s > 0).all()):
        raise ProfileError("latency_s must be positive and finite")
    code = np.rint(np.log(latency_s / _FLOOR_S) / LOG_STEP).astype(np.int64)
    if code.size and (code.min() < 0 or code.max() > _MAX_CODE):
        raise ProfileError("latency_s must lie between 1 ns and 500 s", hint="is the unit seconds?")
    step = np.diff(code, prepend=0)
    zigzag = ((step << 1) ^ (step >> 63)).astype(np.uint16)
    return np.stack([zigzag & 0xFF, zigzag >> 8]).astype(np.uint8)


def decode_latency(code: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Seconds from `encode_latency`'s bytes. Raises ProfileError on codes that no latency has."""
    zigzag = code[0].astype(np.int64) | (code[1].astype(np.int64) << 8)
    log_code = np.cumsum((zigzag >> 1) ^ -(zigzag & 1))
    if log_code.size and (log_code.min() < 0 or log_code.max() > _MAX_CODE):
        raise ProfileError("latency codes lie outside 1 ns .. 500 s")
    return np.asarray(_FLOOR_S * np.exp(LOG_STEP * log_code), dtype=np.float64)


def encode(table: Table) -> bytes:
    """The ``.npz`` bytes of a table; the same table always gives the same bytes (with one zlib)."""
    arrays: dict[str, NDArray[np.generic]] = {LATENCY: encode_latency(_floats(table.columns["latency_s"]))}
    for name, values in table.columns.items():
        if name == "spread":
            arrays[name] = values.astype("<f4")
        elif name != "latency_s":
            arrays[name] = _smallest(name, values)
    arrays |= {name: _smallest(name, codes) for name, codes in table.codes.items()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(arrays[name]), version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            z.writestr(info, member.getvalue(), compresslevel=9)
    return out.getvalue()


def decode(family: str, data: bytes, *, rows: int, vocab: Mapping[str, Sequence[str]], where: str) -> Table:
    """The table in ``data``, checked against the family's schema, ``rows`` and ``vocab``. Raises ProfileError."""
    try:
        return _decode(FAMILIES[family], data, rows, vocab)
    except ProfileError as e:
        raise ProfileError(e.message, hint=e.hint, where=where) from e
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, OSError, OverflowError, SyntaxError,
            NotImplementedError, RuntimeError, TypeError) as e:
        raise ProfileError(f"not a readable table: {e}", where=where) from e


def _decode(family: Family, data: bytes, rows: int, vocab: Mapping[str, Sequence[str]]) -> Table:
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        found = [i.filename.removesuffix(".npy") for i in z.infolist()]
        check_columns(family, found)
        arrays = {i.filename.removesuffix(".npy"): _member(z, i, rows) for i in z.infolist()}
    columns: dict[str, NDArray[np.generic]] = {"latency_s": decode_latency(arrays[LATENCY].astype(np.uint8))}
    for name in (*family.ints, "runs"):
        if name in arrays:
            if arrays[name].dtype.kind != "u":
                raise ProfileError(f"column {name} has type {arrays[name].dtype}, not an unsigned integer")
            columns[name] = arrays[name].astype(np.int64)
    if "spread" in arrays:
        spread = arrays["spread"].astype(np.float64)
        if not (np.isfinite(spread).all() and (spread >= 0).all()):
            raise ProfileError("column spread holds a negative or non-finite number")
        columns["spread"] = spread
    codes = {name: _codes(name, arrays[name], vocab) for name in family.texts}
    return Table(family.name, columns, codes, {name: tuple(vocab[name]) for name in family.texts})


def check_columns(family: Family, found: Sequence[str]) -> None:
    """Raise ProfileError unless the stored columns are the family's, each once, with its optional ones."""
    needed = {*family.ints, *family.texts, LATENCY}
    if len(set(found)) != len(found):
        raise ProfileError("a column occurs twice")
    if missing := needed - set(found):
        raise ProfileError(f"column {sorted(missing)[0]} of family {family.name} is missing")
    if unknown := set(found) - needed - {"spread", "runs"}:
        raise ProfileError(f"unknown column {sorted(unknown)[0]!r} in family {family.name}")


def _member(z: zipfile.ZipFile, info: zipfile.ZipInfo, rows: int) -> NDArray[np.generic]:
    """One array. Its size is bounded by the row count before anything is unpacked."""
    name = info.filename.removesuffix(".npy")
    if info.file_size > rows * 8 + _HEADER_BYTES:
        raise ProfileError(f"column {name} unpacks to {info.file_size} bytes, too many for {rows} rows")
    with z.open(info) as f:
        raw = io.BytesIO(f.read(rows * 8 + _HEADER_BYTES + 1))
    if np.lib.format.read_magic(raw) != (1, 0):
        raise ProfileError(f"column {name} has an unknown array format")
    shape, fortran, kind = np.lib.format.read_array_header_1_0(raw)
    want = (2, rows) if name == LATENCY else (rows,)
    if shape != want or fortran or kind.str not in _KINDS or (name == "spread") != (kind.kind == "f"):
        raise ProfileError(f"column {name} is {kind.str} {shape}; expected {want}")
    body = raw.read()
    if len(body) != int(np.prod(want)) * kind.itemsize:
        raise ProfileError(f"column {name} is truncated")
    return np.frombuffer(body, dtype=kind).reshape(want)


def _codes(name: str, codes: NDArray[np.generic], vocab: Mapping[str, Sequence[str]]) -> NDArray[np.integer]:
    out = codes.astype(np.int64)
    if out.size and (codes.dtype.kind != "u" or out.max() >= len(vocab[name])):
        raise ProfileError(f"column {name} holds a code that its vocabulary does not have")
    return out


def _smallest(name: str, values: NDArray[np.generic]) -> NDArray[np.unsignedinteger]:
    if values.dtype.kind not in "iu":
        raise ProfileError(f"column {name} must hold integers, not {values.dtype}")
    top = int(values.max()) if values.size else 0
    if values.size and int(values.min()) < 0:
        raise ProfileError(f"column {name} holds a negative number")
    kind = next(k for k, limit in (("u1", 2**8), ("<u2", 2**16), ("<u4", 2**32), ("<u8", 2**64)) if top < limit)
    return values.astype(kind)


def _floats(values: NDArray[np.generic]) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)

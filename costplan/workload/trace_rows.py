"""Rows on their way into a Trace: each value checked where it stands, with the line it stands in."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from costplan.core.errors import InputError, UnknownNameError
from costplan.core.yaml_door import shown
from costplan.workload.trace import Trace

UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
MAX_TOKENS = 100_000_000
_ISO = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d):(\d\d(?:\.\d{1,12})?)(Z|[+-]\d\d:?\d\d)?\Z")



@dataclass(frozen=True, slots=True)
class Clock:
    """Turns a time as written into ``seconds``; ``signed`` if a row may lie before the first one."""

    seconds: Callable[[Any], float]
    signed: bool = False


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a trace is to be read; None and False leave it to the file's content."""

    format: str = "auto"
    time_unit: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    block_tokens: int | None = None
    sort: bool = False
    drop_failed: bool = False


class Rows:
    """Collects requests. ``clock`` turns a time as written into seconds; None means that there are no times."""

    def __init__(self, source: str, clock: Clock | None, options: ReadOptions, *, with_hashes: bool) -> None:
        self.source = source
        self.clock = clock
        self.options = options
        self.times = array("d")
        self.isl = array("q")
        self.osl = array("q")
        self.hashes = array("q")
        self.offsets: array[int] | None = array("q", [0]) if with_hashes else None
        self.failed = 0
        self.unsorted_line = 0

    def add(self, line: int, time: Any, isl: Any, osl: Any, ids: Any = None) -> None:
        """Append one request from ``line``. Raises InputError for a value that cannot be."""
        prompt, answer = self._tokens(line, isl, "input"), self._tokens(line, osl, "output")
        if answer == 0:
            if not self.options.drop_failed:
                raise self.bad(line, "0 output tokens: a request that failed?",
                               "--drop-failed (drop_failed: true) leaves it out")
            self.failed += 1
            return
        if prompt == 0:
            raise self.bad(line, "0 input tokens", "remove this row")
        if self.clock is not None:
            t = self._time(line, time)
            if self.times and t < self.times[-1] and not self.unsorted_line:
                self.unsorted_line = line
            self.times.append(t)
        if self.offsets is not None:
            self._hashes(line, ids)
            self.offsets.append(len(self.hashes))
        self.isl.append(prompt)
        self.osl.append(answer)

    def bad(self, line: int, message: str, hint: str | None = None) -> InputError:
        """Error in ``line`` of this source."""
        return InputError(message, where=f"{self.source}:{line}", hint=hint)

    def _time(self, line: int, value: Any) -> float:
        assert self.clock is not None
        try:
            t = self.clock.seconds(value)
        except (ValueError, TypeError, OverflowError):
            raise self.bad(line, f"{_quoted(value)} is not a time",
                           "see --time-unit, --column timestamp=NAME") from None
        if not math.isfinite(t):
            raise self.bad(line, f"time is {_quoted(value)}")
        if t < 0 and not self.clock.signed:
            raise self.bad(line, f"negative time {_quoted(value)}", "times count up from the start of the trace")
        return t

    def _tokens(self, line: int, value: Any, what: str) -> int:
        try:
            tokens = value if type(value) is int else int(value) if isinstance(value, str) else None
            if tokens is None:
                tokens = _whole(value)
        except (ValueError, TypeError, OverflowError):
            try:
                tokens = _whole(value)
            except (ValueError, TypeError, OverflowError):
                raise self.bad(line, f"{what} tokens: {_quoted(value)} is not a whole number") from None
        if tokens < 0:
            raise self.bad(line, f"negative {what} tokens: {tokens}")
        if tokens > MAX_TOKENS:
            raise self.bad(line, f"{tokens} {what} tokens cannot be", "are the columns in the right places?")
        return tokens

    def _hashes(self, line: int, ids: Any) -> None:
        if not isinstance(ids, list):
            raise self.bad(line, f"hash ids must be a list, got {_quoted(ids)}")
        try:
            self.hashes.extend(ids)
        except (TypeError, OverflowError):
            raise self.bad(line, "hash ids must be whole numbers of at most 63 bits") from None

    def trace(self, fmt: str, block_tokens: int | None = None) -> Trace:
        """The collected requests. Raises InputError if there are none, or out of order."""
        if not self.isl:
            hint = f"all {self.failed:,} rows have 0 output tokens" if self.failed else None
            raise InputError("the trace holds no requests", where=self.source, hint=hint)
        if self.unsorted_line and not self.options.sort:
            raise self.bad(self.unsorted_line, "earlier than the row before: the trace is not in order of time",
                           "--sort (sort: true) puts it in order")
        dropped = {"0 output tokens": self.failed} if self.failed else {}
        times = None if self.clock is None else np.array(self.times, dtype=np.float64)
        trace = Trace(times, np.array(self.isl, dtype=np.int64), np.array(self.osl, dtype=np.int64),
                      self.source, fmt, dropped=dropped)
        if self.offsets is not None:
            trace = _with_hashes(trace, np.array(self.hashes, dtype=np.int64),
                                 np.array(self.offsets, dtype=np.int64), block_tokens)
        return settled(trace)


def _with_hashes(t: Trace, ids: Any, offsets: Any, block_tokens: int | None) -> Trace:
    return Trace(t.arrival_s, t.isl, t.osl, t.source, t.format, ids, offsets, block_tokens, t.dropped)


def settled(t: Trace) -> Trace:
    """``t`` in order of arrival (equal times keep their order), times counted from the first request."""
    if t.arrival_s is None:
        return t
    arrival, ids, offsets, isl, osl = t.arrival_s, t.hash_ids, t.hash_offsets, t.isl, t.osl
    if (np.diff(arrival) < 0).any():
        order = np.argsort(arrival, kind="stable")
        if ids is not None and offsets is not None:
            parts = [ids[offsets[i]:offsets[i + 1]] for i in order.tolist()]
            offsets = np.concatenate([[0], np.cumsum(np.diff(offsets)[order])]).astype(np.int64)
            ids = np.concatenate(parts)
        arrival, isl, osl = arrival[order], isl[order], osl[order]
    return Trace(arrival - arrival[0], isl, osl, t.source, t.format, ids, offsets, t.block_tokens, t.dropped)


def _whole(value: Any) -> int:
    number = float(value)
    if isinstance(value, bool) or not number.is_integer():
        raise ValueError
    return int(number)


def _quoted(value: Any) -> str:
    return "nothing" if value is None or value == "" else shown(str(value))


def clock_for(unit: str, where: str) -> Clock:
    """Reader of times in ``unit`` (s, ms, us, ns or iso) as seconds."""
    if unit == "iso":
        return _iso_clock()
    if unit not in UNITS_S:
        raise InputError(f"unknown time unit {unit!r}", where=where, hint="units are s, ms, us, ns and iso (dates)")
    factor = UNITS_S[unit]

    def seconds(value: Any) -> float:
        if isinstance(value, bool):
            raise ValueError
        return float(value) * factor

    return Clock(seconds)


def _iso_clock() -> Clock:
    """Reader of ``2023-11-16 18:15:46.6805900`` as seconds since the first minute: all decimals are kept."""
    minutes: dict[str, float] = {}
    base: list[datetime] = []

    def seconds(value: Any) -> float:
        found = _ISO.match(value.strip()) if isinstance(value, str) else None
        if found is None:
            raise ValueError
        key = found[1] + (found[3] or "")
        if key not in minutes:
            moment = datetime.fromisoformat(key)
            if not base:
                base.append(moment)
            if (moment.tzinfo is None) != (base[0].tzinfo is None):
                raise ValueError
            minutes[key] = (moment - base[0]).total_seconds()
        return minutes[key] + float(found[2])

    return Clock(seconds, signed=True)


def is_iso(value: Any) -> bool:
    """Whether ``value`` is a date with a time of day."""
    return isinstance(value, str) and _ISO.match(value.strip()) is not None


def pick(columns: Sequence[str], role: str, names: Sequence[str], options: ReadOptions, where: str) -> str | None:
    """Column for ``role``: the one asked for, or the first of the usual ``names``."""
    wanted = options.columns.get(role)
    if wanted is not None:
        if wanted not in columns:
            raise UnknownNameError("column", wanted, [c for c in columns if c], where=where)
        return wanted
    lower = {c.strip().lower().replace(" ", "_"): c for c in columns}
    return next((lower[n] for n in names if n in lower), None)

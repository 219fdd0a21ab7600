"""From a file and flags of `costplan history add` to an entry: which kind of file, when, at what price."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costplan.core.errors import InputError, UnknownNameError
from costplan.history import bench_file, vllm_metrics
from costplan.history.entry import Entry, Kind, instant, service_name, usd_per_mtok, utc
from costplan.history.observed import ACCEPTED, LARGEST_BYTES, Observed, json_values
from costplan.report.plan_file import PlanFile, parse_plan
from costplan.workload.workload import Metric

if TYPE_CHECKING:
    from costplan.history.store import Store

LONGEST_CONFIGURATION = 400


@dataclass(frozen=True, slots=True)
class Given:
    """The flags."""

    service: str | None
    at: str | None
    before: Path | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Unpriced:
    """What was observed of a service, before its price is known."""

    service: str
    at: datetime
    digest: str
    seen: Observed


def read(path: Path, given: Given) -> Entry | Unpriced:
    """What one file holds. Raises InputError."""
    data, where = _bytes(path), str(path)
    at = instant(given.at) if given.at is not None else None
    values = json_values(data, where) if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[") else None
    if values and isinstance(values[0], dict) and str(values[0].get("schema", "")).startswith("costplan.plan/"):
        return _planned(parse_plan(data, where), data, given, at)
    return _actual(_observed(values, data, given, at, where).checked(where), data, given, at, where)


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise InputError(f"larger than {LARGEST_BYTES // 2**20} MiB", where=str(path), hint=ACCEPTED)
        return path.read_bytes()
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror}", hint=ACCEPTED) from None


def _observed(values: list[Any] | None, data: bytes, given: Given, at: datetime | None, where: str) -> Observed:
    if values is None:
        before = _bytes(given.before) if given.before is not None else None
        return vllm_metrics.of_scrapes(data, before, at or utc(datetime.now(UTC)), given.seconds, where)
    if isinstance(values[0], dict) and "resultType" in (values[0].get("data") or {}):
        return vllm_metrics.of_range(values[0], where)
    return bench_file.observed(values[-1], where)


def _planned(f: PlanFile, data: bytes, given: Given, at: datetime | None) -> Entry:
    p = f.ranked(1)

    def seconds(metric: Metric, fraction: float) -> float | None:
        found = p.latency(metric)
        e = found.at(fraction) if found is not None else None
        return None if e is None else e.value

    m = p.money
    return Entry(
        service_name(given.service or f.workload.name), Kind.PLAN, at or utc(datetime.now(UTC)), "plan",
        sha256(data).hexdigest(), m.usd_per_mtok_out.value, m.rental.usd_per_h, p.output_tok_s.value, p.requests_per_s,
        seconds(Metric.TTFT, 0.5), seconds(Metric.TTFT, 0.99), seconds(Metric.TPOT, 0.5), seconds(Metric.TPOT, 0.99),
        m.i90_usd_per_mtok_out.low, m.i90_usd_per_mtok_out.high, f"{p.replicas} x {p.name}"[:LONGEST_CONFIGURATION])


def _actual(o: Observed, data: bytes, given: Given, at: datetime | None, where: str) -> Unpriced:
    if given.service is None:
        raise InputError("which service is this", where=where, hint="add --service NAME")
    when = at or o.at
    if when is None:
        raise InputError("the file does not say when it was measured", where=where, hint="add --at TIME")
    return Unpriced(service_name(given.service), utc(when), sha256(data).hexdigest(), o)


def check_price(usd_per_h: float | None) -> None:
    """Raises InputError for a price that is none."""
    if usd_per_h is not None and not 0 < usd_per_h < math.inf:
        raise InputError("must be above 0", where="--usd-per-h")


def priced(found: Sequence[Entry | Unpriced], usd_per_h: float | None, store: Store) -> tuple[Entry, ...]:
    """All as entries: actuals at ``usd_per_h``, else at the price of the plan in force then. Raises InputError where
    there was none."""
    new = [e for e in found if isinstance(e, Entry)]
    return tuple(e if isinstance(e, Entry) else _entry(e, usd_per_h or _planned_price(e, new, store)) for e in found)


def _planned_price(u: Unpriced, new: Sequence[Entry], store: Store) -> float:
    plans = [p for p in (*store.entries(u.service), *new)
             if p.kind is Kind.PLAN and p.service == u.service and p.at <= u.at]
    if not plans:
        raise InputError(f"what {u.service} cost at {u.at:%Y-%m-%d %H:%M}Z is not known: no plan of it was kept before",
                         hint="add --usd-per-h, or its plan first (with --at)")
    return max(plans, key=lambda p: p.at).usd_per_h


def _entry(u: Unpriced, usd_per_h: float) -> Entry:
    o = u.seen
    return Entry(u.service, Kind.ACTUAL, u.at, o.source, u.digest, usd_per_mtok(usd_per_h, o.output_tok_s), usd_per_h,
                 o.output_tok_s, o.requests_per_s, o.ttft_p50_s, o.ttft_p99_s, o.tpot_p50_s, o.tpot_p99_s)


def of_service(db: str, service: str | None) -> tuple[Entry, ...]:
    """What is kept, of one service or of all. Raises InputError for a service that is not there."""
    from costplan.history.store import opened

    with opened(db, create=False) as store:
        found = store.entries()
    names = {e.service for e in found}
    if service is not None and service not in names:
        raise UnknownNameError("service", service, names, where="--service")
    return tuple(e for e in found if service in (None, e.service))

"""One point in the history of a service: what it was planned to cost, or what it did cost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from costplan.core.errors import InputError

LONGEST_NAME = 200


class Kind(StrEnum):
    PLAN = "plan"
    ACTUAL = "actual"


@dataclass(frozen=True, slots=True)
class Entry:
    """``at`` is when a plan was made, or when a measured window ended (UTC, whole seconds). Percentiles are over
    requests. ``low90`` and ``high90`` are the plan's interval; ``high90`` None: no fleet would do, or an actual.
    ``digest`` names the content it was read from: the same content at the same time is one entry.
    """

    service: str
    kind: Kind
    at: datetime
    source: str
    digest: str
    usd_per_mtok_out: float
    usd_per_h: float
    output_tok_s: float
    requests_per_s: float | None = None
    ttft_p50_s: float | None = None
    ttft_p99_s: float | None = None
    tpot_p50_s: float | None = None
    tpot_p99_s: float | None = None
    low90: float | None = None
    high90: float | None = None
    configuration: str = ""


def usd_per_mtok(usd_per_h: float, output_tok_s: float) -> float:
    """USD per 1M output tokens: ``1e6 * $/h / (tokens/s * 3600)``."""
    return 1e6 * usd_per_h / (output_tok_s * 3600)


def service_name(name: str) -> str:
    """``name`` if it can name a service. Raises InputError."""
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise InputError(f"no name of a service: {name[:40]!r}", where="--service",
                         hint=f"1 to {LONGEST_NAME} printable characters")
    return name


def instant(text: str, where: str = "--at") -> datetime:
    """ISO 8601 as a UTC time of whole seconds; without a zone it is UTC. Raises InputError."""
    try:
        found = datetime.fromisoformat(text)
        return utc(found if found.tzinfo else found.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise InputError(f"not a time: {text[:60]!r}", where=where, hint="for example 2026-11-21T12:00:00Z") from None


def utc(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(microsecond=0)

"""vLLM's Prometheus metrics as a window of the service: two scrapes, one since the start, or a range query.

Counters are summed over engines and pods; one that fell was restarted and counts from zero, as in PromQL's
``increase``. TPOT is vLLM's per-request mean, never the gaps between tokens (ITL).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from costplan.core.errors import InputError
from costplan.history.observed import ACCEPTED, Observed, decoded

TOKENS = "vllm:generation_tokens_total"
REQUESTS = "vllm:request_success_total"
TTFT = "vllm:time_to_first_token_seconds_bucket"
TPOT = "vllm:request_time_per_output_token_seconds_bucket"
START = "process_start_time_seconds"

Key = tuple[str, tuple[tuple[str, str], ...]]
"""Name and labels of one series."""


def of_scrapes(after: bytes, before: bytes | None, at: datetime, seconds: float | None, where: str) -> Observed:
    """From ``/metrics`` at ``at``, and the same ``seconds`` earlier; without ``before`` since the process started."""
    new = _series(after, where)
    old = _series(before, where) if before is not None else {}
    if not any(name == TOKENS for name, _ in new):
        raise InputError(f"no {TOKENS} in it", where=where, hint=ACCEPTED)
    if seconds is None:
        started = [v for (name, _), v in new.items() if name == START]
        if not started or before is not None:
            raise InputError("the length of the window is not known", where=where,
                             hint=f"give --seconds; without it and without --before, {START} in the file tells")
        seconds = at.timestamp() - min(started)
    if not 0 < seconds < math.inf:
        raise InputError(f"a window of {seconds:g} s", where=where, hint="is --at before the start of the process?")
    risen = {k: v - old[k] if k in old and v >= old[k] else v for k, v in new.items()}
    return _window(risen, seconds, at, where)


def of_range(document: Any, where: str) -> Observed:
    """From the answer of Prometheus to a range query over vLLM's counters and buckets."""
    try:
        result = document["data"]["result"]
        kind = document["data"]["resultType"]
        if kind != "matrix":
            raise InputError(f"a Prometheus {kind}, which has no duration", where=where, hint="ask api/v1/query_range")
        risen, first, last = {}, math.inf, -math.inf
        for series in result:
            labels = dict(series["metric"])
            values = [(float(t), float(v)) for t, v in series["values"]]
            risen[(labels.pop("__name__"), tuple(sorted(labels.items())))] = _increase(v for _, v in values)
            first, last = min(first, values[0][0]), max(last, values[-1][0])
        at = datetime.fromtimestamp(last, UTC)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as e:
        raise InputError(f"not the answer of a Prometheus range query ({type(e).__name__}: {e})", where=where,
                         hint=ACCEPTED) from None
    if last <= first:
        raise InputError("a range query over a single instant", where=where, hint="give it a start and an end")
    return _window(risen, last - first, at, where)


def _series(data: bytes, where: str) -> dict[Key, float]:
    try:
        from prometheus_client.parser import text_string_to_metric_families
    except ImportError as e:
        raise InputError("reading /metrics needs prometheus-client", hint="pip install 'costplan[history]'") from e
    try:
        return {(s.name, tuple(sorted(s.labels.items()))): float(s.value)
                for family in text_string_to_metric_families(decoded(data, where)) for s in family.samples}
    except (ValueError, IndexError, KeyError) as e:
        raise InputError(f"not Prometheus text: {e}", where=where, hint=ACCEPTED) from None


def _increase(values: Iterable[float]) -> float:
    total, last = 0.0, None
    for v in values:
        if last is not None:
            total += v - last if v >= last else v
        last = v
    return total


def _window(risen: Mapping[Key, float], seconds: float, at: datetime, where: str) -> Observed:
    def summed(name: str) -> float | None:
        found = [v for (n, _), v in risen.items() if n == name]
        return math.fsum(found) if found else None

    tokens, requests = summed(TOKENS), summed(REQUESTS)
    if tokens is None:
        raise InputError(f"no {TOKENS} in it", where=where, hint=ACCEPTED)
    return Observed(
        "vllm metrics", at, tokens / seconds, None if requests is None else requests / seconds,
        *(_quantile(risen, name, q) for name in (TTFT, TPOT) for q in (0.5, 0.99)))


def _quantile(risen: Mapping[Key, float], name: str, fraction: float) -> float | None:
    """Linear within its bucket, as PromQL's ``histogram_quantile``; None without requests or in the open bucket."""
    buckets: dict[float, float] = defaultdict(float)
    for (n, labels), v in risen.items():
        if n == name:
            buckets[float(dict(labels).get("le", "nan"))] += v
    total = buckets.get(math.inf, 0.0)
    below, count = 0.0, 0.0
    for end in sorted(b for b in buckets if math.isfinite(b)):
        if total > 0 and buckets[end] >= fraction * total:
            inside = buckets[end] - count
            return end if inside <= 0 else below + (end - below) * (fraction * total - count) / inside
        below, count = end, buckets[end]
    return None

"""A workload or trace summary as JSON values with stable keys: tokens, seconds, fractions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from costplan.workload.summary import LengthSummary, PrefixSummary, TraceSummary
from costplan.workload.workload import Workload


def summary_json(s: TraceSummary) -> Mapping[str, object]:
    """``s`` as plain values with stable keys: tokens, seconds, fractions."""
    return {
        "source": s.source, "format": s.format, "requests": s.requests, "dropped": dict(s.dropped),
        "load": None if s.load is None else _fields(s.load),
        "isl": _length_json(s.isl), "osl": _length_json(s.osl),
        "correlation": s.correlation, "rank_correlation": s.rank_correlation,
        "prefix": None if s.prefix is None else _prefix_json(s.prefix)}


def _fields(value: object, leave_out: Sequence[str] = ()) -> dict[str, object]:
    names: Mapping[str, object] = getattr(value, "__dataclass_fields__", {})
    return {name: getattr(value, name) for name in names if name not in leave_out}


def _length_json(x: LengthSummary) -> dict[str, object]:
    bins = [{"from": a, "below": b, "requests": c} for a, b, c in x.bins]
    return {**_fields(x, ("bins",)), "histogram": bins}


def _prefix_json(p: PrefixSummary) -> dict[str, object]:
    curve = [{"cache_blocks": b, "cache_tokens": b * p.block_tokens, "hit_rate": r}
             for b, r in p.hit_rate_by_cache_blocks]
    return {**_fields(p, ("hit_rate_by_cache_blocks",)), "hit_rate_by_cache": curve}


def workload_json(w: Workload, s: TraceSummary) -> Mapping[str, object]:
    """A workload's own settings, and the summary of requests drawn from it under ``sample``."""
    return {
        "name": w.name, "model": w.model, "requests_per_s": w.requests_per_s,
        "peak_requests_per_s": w.peak_requests_per_s, "concurrency": w.arrivals.concurrency,
        "mean_isl": w.mean_isl, "mean_osl": w.mean_osl,
        "slo": [{"metric": t.metric.value, "percentile": t.percentile, "limit_s": t.limit_s} for t in w.slo.targets],
        "candidates": _fields(w.candidates), "constraints": _fields(w.constraints),
        "tenants": [_fields(t) for t in w.tenants], "diurnal": w.diurnal,
        "hosted_api": None if w.hosted_api is None else _fields(w.hosted_api), "sample": summary_json(s)}

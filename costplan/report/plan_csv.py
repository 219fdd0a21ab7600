"""Ranked plans as CSV: one line each, units in the names of the columns."""

from __future__ import annotations

import csv
import io

from costplan.plan.types import Plan, PlanSet
from costplan.workload.workload import Metric

_FRACTIONS = (0.5, 0.95, 0.99)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def plan_csv(s: PlanSet) -> str:
    """Header and one row per plan; an infeasible workload gives the header alone."""
    out = io.StringIO()
    rows = [_row(p, s) for p in s.plans]
    writer = csv.DictWriter(out, _NAMES, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _cell(v) for k, v in r.items()} for r in rows)
    return out.getvalue()


def _cell(value: object) -> object:
    """Numbers with ten digits; text that a spreadsheet would run as a formula gets a quote."""
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


_NAMES = (
    "rank", "name", "model", "gpu", "num_gpus", "replicas", "spare_replicas", "tp", "pp", "dp", "ep", "engine",
    "weight_dtype", "kv_dtype", "block_size", "max_num_seqs", "max_num_batched_tokens", "max_model_len",
    "usd_per_mtok_out", "usd_per_mtok_out_low90", "usd_per_mtok_out_high90", "usd_per_mtok_out_saturated",
    "usd_per_request", "usd_per_h", "usd_per_month", "p_meets_slo", "utilisation", "capacity_requests_per_s",
    *(f"{m}_p{100 * f:g}_s" for m in (Metric.TTFT, Metric.TPOT, Metric.E2E) for f in _FRACTIONS),
    "binding", "evidence", "pareto", "provider", "instance", "instances", "region", "purchase", "price_date", "stale")


def _row(p: Plan, s: PlanSet) -> dict[str, object]:
    c, m, price = p.config, p.money, p.money.rental.price
    interval = m.i90_usd_per_mtok_out
    found: dict[str, object] = {
        "rank": p.rank, "name": p.name, "model": c.model, "gpu": c.gpu, "num_gpus": p.num_gpus, "replicas": p.replicas,
        "spare_replicas": p.spare_replicas, "tp": c.layout.tp, "pp": c.layout.pp, "dp": c.layout.dp, "ep": c.layout.ep,
        "engine": c.engine, "weight_dtype": c.weight_dtype, "kv_dtype": c.kv_dtype, "block_size": c.block_size,
        "max_num_seqs": c.max_num_seqs, "max_num_batched_tokens": c.max_num_batched_tokens,
        "max_model_len": c.max_model_len, "usd_per_mtok_out": m.usd_per_mtok_out.value,
        "usd_per_mtok_out_low90": interval.low, "usd_per_mtok_out_high90": interval.high,
        "usd_per_mtok_out_saturated": m.usd_per_mtok_out_saturated.value, "usd_per_request": m.usd_per_request.value,
        "usd_per_h": m.rental.usd_per_h, "usd_per_month": m.usd_per_month, "p_meets_slo": p.p_meets_slo,
        "utilisation": p.utilisation, "capacity_requests_per_s": p.capacity_requests_per_s.value,
        "binding": p.binding.value, "evidence": p.evidence.value, "pareto": str(p.name in s.pareto).lower(),
        "provider": price.provider, "instance": price.instance, "instances": m.rental.instances,
        "region": price.region, "purchase": price.purchase.value,
        "price_date": price.price_date.isoformat() if price.price_date else "", "stale": str(m.rental.stale).lower()}
    for metric in (Metric.TTFT, Metric.TPOT, Metric.E2E):
        own = p.latency(metric)
        for f in _FRACTIONS:
            e = own.at(f) if own is not None else None
            found[f"{metric}_p{100 * f:g}_s"] = None if e is None else e.value
    return found

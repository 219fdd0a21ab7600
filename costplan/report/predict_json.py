"""`costplan predict --json`: stable keys with units in their names; fractions, not percent (docs/cli.md)."""

from __future__ import annotations

import math
from typing import Any

from costplan import __version__
from costplan.core.evidence import Estimate
from costplan.perf.batch import BatchState
from costplan.perf.latency import StepTime
from costplan.perf.steady import LoadKind
from costplan.report.answer import Answer, kernel_versions, waits
from costplan.report.kv_text import budget_json
from costplan.report.speculative_text import speculative_json

SCHEMA = "costplan.predict/1"


def predict_json(a: Answer) -> dict[str, Any]:
    """The answer as plain values. Keys are only ever added."""
    p = a.prediction
    return {
        "schema": SCHEMA,
        "tool": {"name": "costplan", "version": __version__},
        "deployment": _deployment(a),
        "load": _load(a),
        "metrics": {m.key: estimate_json(m.estimate) for m in a.metrics},
        "price": _price(a),
        "bound": p.bound,
        "saturated": p.point.saturated,
        "queue_s": None if math.isinf(p.point.queue_s) else p.point.queue_s,
        "mean_decode_seqs": p.point.batch,
        "steps": {"decode": _step(p.decode_step, p.point.decode_step),
                  "prefill": _step(p.prefill_step, p.point.prefill_step)},
        "memory": budget_json(p.budget) | {"sequences_that_fit": a.sequences_that_fit},
        "profile": _profile(a),
        "speculative": None if a.speculative is None or a.without_drafts is None else speculative_json(
            a.speculative, a.without_drafts),
        "warnings": list(a.warnings),
    }


def estimate_json(e: Estimate) -> dict[str, Any]:
    """One number with its intervals and evidence; ``shares`` sums to 1 over the evidence words, or is null."""
    return {"value": e.value, "interval_50": list(e.i50), "interval_90": list(e.i90), "evidence": e.evidence.value,
            "shares": None if e.shares is None else {k.value: v for k, v in sorted(e.shares.items())},
            "basis": e.basis}


def _deployment(a: Answer) -> dict[str, Any]:
    d, lay = a.deployment, a.deployment.layout
    return {"model": d.spec.name, "gpu": d.gpu.name, "num_gpus": d.num_gpus, "tp": lay.tp, "pp": lay.pp, "dp": lay.dp,
            "ep": lay.ep, "replicas": d.replicas, "engine": d.engine, "engine_version": d.engine_version,
            "weight_dtype": d.weight_dtype or d.spec.weight_dtype, "kv_dtype": d.stored_kv_dtype}


def _load(a: Answer) -> dict[str, Any]:
    load = a.load
    return {"concurrency": load.value if load.kind is LoadKind.CONCURRENCY else None,
            "rate_requests_per_s": load.value if load.kind is LoadKind.RATE else None,
            "isl_tokens": load.isl, "osl_tokens": load.osl}


def _price(a: Answer) -> dict[str, Any] | None:
    c = a.cost
    return None if c is None else {"usd_per_h": c.usd_per_h, "label": c.label, "stale": c.stale}


def _step(step: StepTime, batch: BatchState) -> dict[str, Any]:
    return {
        "time_s": estimate_json(step.estimate()), "bound": step.bound, "parts_s": dict(step.parts),
        "waits_for_share": waits(step),
        "batch": {"decode_seqs": batch.decode_seqs, "decode_kv_tokens": batch.decode_kv_tokens,
                  "prefill_tokens": batch.prefill_tokens, "prefill_context_tokens": batch.prefill_context_tokens,
                  "prefill_seqs": batch.prefill_seqs},
    }


def _profile(a: Answer) -> dict[str, Any] | None:
    m, p = a.manifest, a.prediction
    if m is None:
        return None
    return {"name": m.name, "measured_on": p.measured_on, "device": m.device, "engine": m.engine,
            "kernels": kernel_versions(m), "collected": list(m.collected), "licence": m.licence,
            "others": list(p.profiles[1:])}

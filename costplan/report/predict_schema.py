"""JSON Schema of `costplan predict --json`, for pipelines that read it."""

from __future__ import annotations

from typing import Any

from costplan.core.evidence import Evidence
from costplan.report.predict_json import SCHEMA

_NUMBER = {"type": "number"}
_POSITIVE = {"type": "number", "exclusiveMinimum": 0}
_COUNT = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string"}
_WORDS = [e.value for e in Evidence]
_INTERVAL = {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}
_SHARES = {"type": ["object", "null"], "propertyNames": {"enum": _WORDS}, "additionalProperties": _NUMBER}


def _object(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields)}


def _maybe(kind: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [kind, {"type": "null"}]}


def predict_schema() -> dict[str, Any]:
    """The schema; unknown keys are allowed, since keys may be added."""
    estimate = {"$ref": "#/$defs/estimate"}
    metrics = dict.fromkeys(("ttft_s", "tpot_s", "e2e_s", "output_tok_s_per_gpu", "output_tok_s", "requests_per_s",
                             "usd_per_mtok_out", "usd_per_request"), estimate)
    step = _object(time_s=estimate, bound=_TEXT, parts_s={"type": "object", "additionalProperties": _NUMBER},
                   waits_for_share={"type": "object", "additionalProperties": _NUMBER},
                   batch=_object(decode_seqs=_COUNT, decode_kv_tokens=_COUNT, prefill_tokens=_COUNT,
                                 prefill_context_tokens=_COUNT, prefill_seqs=_COUNT))
    body = _object(
        schema={"const": SCHEMA}, tool=_object(name=_TEXT, version=_TEXT), deployment=_deployment(),
        load=_object(concurrency=_maybe(_POSITIVE), rate_requests_per_s=_maybe(_POSITIVE), isl_tokens=_POSITIVE,
                     osl_tokens=_POSITIVE),
        metrics={"type": "object", "properties": metrics,
                 "required": [k for k in metrics if not k.startswith("usd")]},
        price=_maybe(_object(usd_per_h=_POSITIVE, label=_TEXT, stale={"type": "boolean"})),
        bound={"enum": ["compute", "bandwidth", "memory", "latency", "network"]}, saturated={"type": "boolean"},
        queue_s=_maybe(_NUMBER), mean_decode_seqs=_NUMBER, steps=_object(decode=step, prefill=step),
        memory=_memory(), profile=_maybe(_profile()),
        speculative=_maybe(_speculative()), warnings={"type": "array", "items": _TEXT})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "costplan predict --json", **body,
            "$defs": {"estimate": _object(value=_POSITIVE, interval_50=_INTERVAL, interval_90=_INTERVAL,
                                          evidence={"enum": _WORDS}, shares=_SHARES, basis=_TEXT)}}


def _deployment() -> dict[str, Any]:
    sizes = {k: {"type": "integer", "minimum": 1} for k in ("num_gpus", "tp", "pp", "dp", "ep", "replicas")}
    return _object(model=_TEXT, gpu=_TEXT, **sizes, engine=_TEXT, engine_version=_maybe(_TEXT), weight_dtype=_TEXT,
                   kv_dtype=_TEXT)


def _speculative() -> dict[str, Any]:
    row = _object(**dict.fromkeys(("plain_step_s", "draft_s", "verify_s", "speedup", "p95_speedup",
                                   "best_p95_speedup"), _NUMBER), decode_seqs=_COUNT, best_draft_tokens=_COUNT,
                  break_even_acceptance=_maybe(_NUMBER))
    return _object(drafter=_TEXT, draft_weight_bytes=_NUMBER, acceptance=_NUMBER, acceptance_spread=_NUMBER,
                   draft_tokens=_COUNT, adaptive={"type": "boolean"}, tokens_per_cycle=_NUMBER, here=row,
                   batches={"type": "array", "items": row},
                   without=_object(ttft_s=_NUMBER, tpot_s=_NUMBER, output_tok_s=_NUMBER))


def _memory() -> dict[str, Any]:
    sizes = ("total_bytes", "weights_bytes", "activation_bytes", "graph_bytes", "runtime_bytes", "reserved_bytes",
             "kv_bytes", "num_blocks", "block_size", "tokens", "sequences_that_fit")
    return _object(**dict.fromkeys(sizes, _NUMBER))


def _profile() -> dict[str, Any]:
    names = {"type": "array", "items": _TEXT}
    return _object(name=_TEXT, measured_on=_TEXT, device=_maybe(_TEXT), engine=_TEXT, kernels=_TEXT, collected=names,
                   licence=_TEXT, others=names)

"""A row of the reference table of measurements, read as a claim."""

from __future__ import annotations

from costplan.perf.steady import LoadKind
from costplan.validate.audit_claim import Claim
from costplan.validate.rows import Measured, deployment, load, number


def measured_claim(row: Measured, path: str) -> Claim:
    """The claim of a row. Raises CostplanError where model or GPU are unknown."""
    t, where = row.text, f"{path}:{row.line}"
    dep, asked = deployment(row, path), load(row, path)
    kv = t.get("kv_dtype", "")

    def seconds(*names: str) -> float | None:
        for name in names:
            raw = (t.get(name) or "").strip()
            if raw and float(raw) > 0:
                return (number(t, name, where) or 0.0) / 1e3
        return None

    closed = asked.kind is LoadKind.CONCURRENCY
    static = asked.kind is LoadKind.STATIC_BATCH
    one = asked.kind is LoadKind.BATCH1
    return Claim(
        name=row.id, spec=dep.spec, gpu=dep.gpu, num_gpus=dep.num_gpus, replicas=dep.replicas,
        weights=dep.weight_dtype, kv=None if kv in ("", "auto", "unknown") else kv, weight_only=dep.weight_only,
        batch=asked.value if static else 1.0 if one else None, concurrency=asked.value if closed else None,
        isl=asked.isl, osl=asked.osl, output_tok_s=row.output_tok_s,
        ttft_s=seconds("ttft_mean_ms", "ttft_p50_ms"), tpot_s=seconds("tpot_mean_ms", "tpot_p50_ms"),
        e2e_s=seconds("e2e_mean_ms"), ttft_p50_s=seconds("ttft_p50_ms"), tpot_p50_s=seconds("tpot_p50_ms"))

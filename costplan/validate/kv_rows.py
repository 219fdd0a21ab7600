"""Logged KV-cache capacities against what costplan predicts from the same settings.

Three questions, never mixed: ``kv_tokens`` predicts the capacity from scratch (GPU, model, settings);
``kv_tokens_from_gib`` only converts the logged GiB into tokens; ``weights_gib`` is the weights per GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median

from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.model_spec import ModelSpec
from costplan.core.errors import CostplanError
from costplan.core.evidence import Estimate
from costplan.core.units import GIB
from costplan.perf.kv import checkpoint_kv_dtype
from costplan.perf.kv_budget import OVERHEAD_SD_BYTES, EngineSettings, KvBudget, kv_budget, uses_marlin
from costplan.perf.kv_pool import KvPool, kv_pool
from costplan.perf.memory import BatchLimits, vllm_batch_limits, vllm_version_at
from costplan.perf.weights import weight_bytes_per_rank
from costplan.validate.errors_report import quantile
from costplan.validate.kv_file import KvRow, read_kv_rows

LABELS: dict[str, Callable[[KvRow], str]] = {
    "gpu": lambda r: r.gpu or "unstated",
    "model": lambda r: r.model,
    "engine_version": lambda r: r.version or "unstated",
    "weight_dtype": lambda r: r.weight_dtype or "unstated",
    "memory_fraction": lambda r: "stated" if r.memory_fraction else "engine default",
    "semantics": lambda r: "derived" if r.derived else "capacity",
}
METRICS = ("kv_tokens", "kv_tokens_from_gib", "available_kv_gib", "weights_gib")
UNKNOWN_LIMITS = BatchLimits(2048, 256)
UNDATED_VERSION = "0.19"
"""vLLM version assumed for a log that states neither version nor date."""


@dataclass(frozen=True, slots=True)
class KvResult:
    """One row: predicted and logged values by metric, and why a metric has none."""

    row: KvRow
    predicted: dict[str, float]
    logged: dict[str, float]
    estimate: Estimate | None
    not_from_scratch: str | None

    @property
    def refused(self) -> str | None:
        """The reason where the row says something to compare and nothing was predicted."""
        return None if self.predicted else self.not_from_scratch or "the row logs no capacity and no weights"


@dataclass(frozen=True, slots=True)
class KvScore:
    """Errors of one metric as fractions: ``(predicted - logged) / logged``; ``bias`` is the median of them."""

    n: int
    median_ape: float | None
    p90_ape: float | None
    mape: float | None
    bias: float | None
    coverage_50: float | None = None
    coverage_90: float | None = None

    def as_json(self) -> dict[str, float | int | None]:
        return {k: getattr(self, k) for k in
                ("n", "median_ape", "p90_ape", "mape", "bias", "coverage_50", "coverage_90")
                if getattr(self, k) is not None}


def validate_kv(path: Path, model_of: Callable[[str], ModelSpec],
                gpu_of: Callable[[str], GpuSpec]) -> list[KvResult]:
    """Predict every row of a CSV in the columns of ``kv_tune.csv``."""
    return predict_rows(read_kv_rows(path), model_of, gpu_of)


def predict_rows(rows: Iterable[KvRow], model_of: Callable[[str], ModelSpec],
                 gpu_of: Callable[[str], GpuSpec]) -> list[KvResult]:
    """Predict every row; a row that cannot be predicted carries its reason."""
    return [_predict(row, model_of, gpu_of) for row in rows]


def report(results: Sequence[KvResult]) -> dict[str, object]:
    """The stable JSON of ``costplan validate --kv``: rows, refused, metrics, groups (fractions)."""
    groups: dict[str, dict[str, object]] = {}
    for key, label in LABELS.items():
        values = sorted({label(r.row) for r in results})
        groups[key] = {v: _scores([r for r in results if label(r.row) == v]) for v in values}
    return {
        "rows": len(results),
        "refused": [{"id": r.row.id, "reason": r.refused} for r in results if r.refused],
        "not_from_scratch": [{"id": r.row.id, "reason": r.not_from_scratch} for r in results if r.not_from_scratch],
        "metrics": _scores(results),
        "groups": groups,
    }


def score(results: Sequence[KvResult], metric: str) -> KvScore:
    """Error of one metric over the rows that have it."""
    pairs = [(r.predicted[metric], r.logged[metric], r) for r in results
             if metric in r.predicted and metric in r.logged]
    if not pairs:
        return KvScore(0, None, None, None, None)
    errors = [p / t - 1 for p, t, _ in pairs]
    apes = sorted(abs(e) for e in errors)
    cover: list[float | None] = [None, None]
    if metric == "kv_tokens":
        inside = [[lo <= t <= hi for lo, hi in (r.estimate.i50, r.estimate.i90)]
                  for _, t, r in pairs if r.estimate is not None]
        cover = [fmean(i[k] for i in inside) for k in (0, 1)]
    return KvScore(len(pairs), median(apes), quantile(apes, 0.9), fmean(apes), median(errors), *cover)


def _scores(results: Sequence[KvResult]) -> dict[str, object]:
    return {m: s.as_json() for m in METRICS if (s := score(results, m)).n}


def _predict(row: KvRow, model_of: Callable[[str], ModelSpec], gpu_of: Callable[[str], GpuSpec]) -> KvResult:
    logged = {k: v for k, v in (("kv_tokens", row.kv_tokens), ("kv_tokens_from_gib", row.kv_tokens),
                                ("available_kv_gib", row.available_kv_gib), ("weights_gib", row.weights_gib))
              if v is not None}
    gpu, reason = _gpu(row, gpu_of)
    try:
        spec = model_of(row.model)
        predicted = _from_log(row, spec, gpu)
    except CostplanError as e:
        return KvResult(row, {}, logged, None, e.message)
    budget: KvBudget | None = None
    if gpu is not None and row.tp is not None:
        budget, reason = _from_scratch(row, spec, gpu)
    elif reason is None:
        reason = "the row states no tensor-parallel size"
    estimate = None
    if budget is not None:
        tokens = _tokens(row, budget.pool, budget.num_blocks, budget.limits)
        predicted |= {"kv_tokens": tokens, "available_kv_gib": budget.kv_bytes / GIB}
        estimate = replace(budget.kv_tokens, value=tokens)
    return KvResult(row, {k: v for k, v in predicted.items() if k in logged}, logged, estimate, reason)


def _from_log(row: KvRow, spec: ModelSpec, gpu: GpuSpec | None) -> dict[str, float]:
    """What follows from the row's own figures: tokens of its GiB, and the weights that it should have logged."""
    s = _settings(row)
    out: dict[str, float] = {}
    if row.weights_gib is not None and row.tp is not None:
        marlin = gpu is not None and uses_marlin(gpu)
        out["weights_gib"] = weight_bytes_per_rank(spec, s.tp, 1, s.ep, s.weight_dtype, marlin=marlin).total / GIB
    if row.available_kv_gib is not None:
        limits = vllm_batch_limits(gpu, s.version, row.max_model_len) if gpu else UNKNOWN_LIMITS
        pool = kv_pool(spec, checkpoint_kv_dtype(spec, s.weight_dtype, row.kv_dtype), tp=s.tp, dcp=s.dcp)
        out["kv_tokens_from_gib"] = _tokens(row, pool, pool.num_blocks(row.available_kv_gib * GIB), limits)
    return out


def _from_scratch(row: KvRow, spec: ModelSpec, gpu: GpuSpec) -> tuple[KvBudget | None, str | None]:
    """The budget that the stated settings give, or the reason why there is none."""
    try:
        budget = kv_budget(spec, gpu, _settings(row))
    except CostplanError as e:
        unstated = "" if row.weight_dtype else " (the row states no weight dtype: that of the checkpoint was taken)"
        return None, e.message + unstated
    if budget.kv_bytes < OVERHEAD_SD_BYTES:
        return None, (f"the cache ({budget.kv_bytes / GIB:.2f} GiB) is smaller than the uncertainty of the memory "
                      f"beside it ({OVERHEAD_SD_BYTES / GIB:g} GiB)")
    return budget, None


def _gpu(row: KvRow, gpu_of: Callable[[str], GpuSpec]) -> tuple[GpuSpec | None, str | None]:
    """The row's GPU, with the total memory that its log states where it does."""
    if row.gpu is None:
        return None, "the row states no GPU"
    try:
        gpu = gpu_of(row.gpu)
    except CostplanError as e:
        return None, e.message
    if row.gpu_memory_gib is not None:
        gpu = replace(gpu, mem_bytes=round(row.gpu_memory_gib * GIB))
    return gpu, None


def _settings(row: KvRow) -> EngineSettings:
    tp = row.tp or 1
    version = row.version or (vllm_version_at(row.source_date) if row.source_date else UNDATED_VERSION)
    return EngineSettings(
        engine="vllm", version=version, tp=tp, ep=tp if row.expert_parallel else 1, dcp=row.dcp,
        weight_dtype=row.weight_dtype, kv_dtype=row.kv_dtype, memory_fraction=row.memory_fraction,
        max_model_len=row.max_model_len, max_num_batched_tokens=row.max_num_batched_tokens,
        max_num_seqs=row.max_num_seqs, enforce_eager=row.enforce_eager)


def _tokens(row: KvRow, pool: KvPool, num_blocks: int, limits: BatchLimits) -> float:
    """Tokens as this row's engine version logs them: slots, or concurrency times the maximum length."""
    if row.derived and row.max_model_len is not None:
        slack = row.max_num_batched_tokens or limits.max_num_batched_tokens
        return pool.concurrency(num_blocks, row.max_model_len, slack) * row.max_model_len
    return float(pool.tokens(num_blocks))


def result_rows(results: Sequence[KvResult]) -> list[dict[str, object]]:
    """One flat record per row and metric, for ``-o rows.csv``."""
    out: list[dict[str, object]] = []
    for r in results:
        for metric in METRICS:
            if metric in r.logged:
                p = r.predicted.get(metric)
                out.append({"id": r.row.id, "model": r.row.model, "gpu": r.row.gpu, "metric": metric,
                            "logged": r.logged[metric], "predicted": p,
                            "error": None if p is None else p / r.logged[metric] - 1,
                            "reason": None if p is not None else r.not_from_scratch})
    return out

"""Published rows, ready to be simulated again and again with other engine terms.

Kernel times are tabulated once per deployment and term; a trial only scales and adds those tables, so that all rows
of a table of measurements run within seconds.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from costplan.core.errors import CostplanError
from costplan.perf.assemble import latency_model, traits_of
from costplan.perf.kv_budget import KvBudget
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.op_terms import KERNEL_TERMS, term_of
from costplan.perf.overhead import DOUBLINGS, SMALL_TOKENS, Overhead, Traits, era
from costplan.perf.predict import share_of
from costplan.perf.steady import Load, LoadKind
from costplan.simulate.clock import ticks
from costplan.simulate.operate import operate, reach_of
from costplan.simulate.policy import SchedulerLimits
from costplan.simulate.requests import SimRequests
from costplan.simulate.step_table import StepTable, TableRange, slopes, step_table
from costplan.validate.rows import Measured, deployment, load, read_rows
from costplan.validate.run import room_for

Floats = NDArray[np.float64]
KERNELS = ("gemm_small", "gemm_large", "experts_small", "experts_large", "attention_decode", "attention_prefill",
           "collective", "elementwise", "linear")
HOST = ("step_s0", "seq_s", "launch_s", "request_s", "prompt_token_s")
TERMS = KERNELS + HOST
METRICS = ("ttft", "tpot", "output_tok_s")


@dataclass(slots=True)
class Case:
    """One row: what ran, its kernels by term, and where its engine terms come from."""

    row: Measured
    model: KernelLatencyModel
    share: Load
    lanes: int
    budget: KvBudget
    engine: str
    since: str
    traits: Traits
    launches: float
    by_term: Mapping[str, KernelLatencyModel]
    kept: dict[TableRange, dict[str, StepTable]] = field(default_factory=dict)

    @property
    def cell(self) -> tuple[str, ...]:
        """GPU and model."""
        return self.row.text["gpu"], self.row.text["model"]

    @property
    def sweep(self) -> tuple[str, ...]:
        """One harness's runs of one deployment under several loads."""
        return tuple(self.row.text[k] for k in ("family", "engine", "engine_version", "gpu", "model", "weight_dtype"))

    @property
    def measured(self) -> tuple[float | None, float | None, float | None]:
        """In the order of `METRICS`."""
        return self.row.ttft_s, self.row.tpot_s, self.row.output_tok_s


_TABLES: dict[tuple[object, ...], dict[TableRange, dict[str, StepTable]]] = {}


def cases(path: Path) -> list[Case]:
    """All rows of ``path`` that can be predicted."""
    out = []
    for row in read_rows(path):
        try:
            out.append(_case(row, str(path)))
        except CostplanError as e:
            print(f"left out {row.id}: {e}", file=sys.stderr)
    return out


def _case(row: Measured, path: str) -> Case:
    dep, asked = deployment(row, path), load(row, path)
    model = latency_model(dep.spec, dep.gpu, dep.layout, engine=dep.engine, engine_version=dep.engine_version,
                          weight_dtype=dep.weight_dtype, kv_dtype=dep.stored_kv_dtype, weight_only=dep.weight_only)
    lanes = dep.replicas * dep.layout.dp
    found = era(dep.engine, dep.engine_version)
    groups = {t: [op for op in model.ops if term_of(op) == t] for t in KERNEL_TERMS}
    by_term = {t: KernelLatencyModel(ops, Overhead(), model.pp) for t, ops in groups.items() if ops}
    key = (dep.spec.name, dep.gpu.name, dep.layout, dep.engine, dep.weight_dtype, dep.stored_kv_dtype,
           dep.weight_only)
    return Case(row, KernelLatencyModel(model.ops, model.overhead, model.pp), share_of(asked, lanes), lanes,
                room_for(dep, asked), found["engine"], found["since"],
                traits_of(dep.spec, dep.gpu, dep.weight_dtype or dep.spec.weight_dtype, dep.weight_only),
                sum(op.count for op in model.ops), by_term, _TABLES.setdefault(key, {}))


def terms_present(case: Case) -> set[str]:
    """Terms that can change the prediction of ``case``."""
    sizes = {f"{t}_{s}" for t in case.by_term for s in ("small", "large")}
    return (set(case.by_term) | sizes | set(HOST)) & set(TERMS)


def simulated(case: Case, log_terms: Floats) -> Floats:
    """ln of TTFT, TPOT and output tokens/s with the terms exp(``log_terms``)."""
    t = dict(zip(TERMS, np.exp(log_terms).tolist(), strict=True))
    own = Overhead(step_s0=t["step_s0"], seq_s=t["seq_s"], eager_s=t["launch_s"] * case.launches,
                   request_s=t["request_s"], prompt_token_s=t["prompt_token_s"], mixed=case.model.overhead.mixed)
    case.model.overhead = own

    def tables(model: KernelLatencyModel, requests: SimRequests, limits: SchedulerLimits) -> StepTable:
        reach = reach_of(requests, limits)
        if reach not in case.kept:
            case.kept[reach] = {k: step_table(m, reach) for k, m in case.by_term.items()}
        return _sum(case.kept[reach], t, own, case.model.pp)

    point = operate(case.model, case.share, case.budget, tables)
    lanes = 1 if case.share.kind is LoadKind.BATCH1 else case.lanes
    return np.log([point.ttft_s, point.tpot_s, point.output_tok_s * lanes])


def _factors(term: str, t: Mapping[str, float], count: int) -> Floats:
    """Factor of ``term`` in a step of 0 ... ``count`` - 1 tokens."""
    if term == "head":
        return np.full(count, t["gemm_small"])
    if term not in ("gemm", "experts"):
        return np.full(count, t[term])
    small, large = t[f"{term}_small"], t[f"{term}_large"]
    share = np.clip(np.log2(np.maximum(np.arange(count), 1) / SMALL_TOKENS) / DOUBLINGS, 0.0, 1.0)
    return np.asarray(small * np.exp(share * math.log(large / small)))


def _sum(parts: Mapping[str, StepTable], t: Mapping[str, float], own: Overhead, pp: int) -> StepTable:
    """One table of all terms, scaled, with the host time of ``own``."""
    first = next(iter(parts.values()))
    tokens, seqs = np.zeros(len(first.tokens)), np.zeros(len(first.seqs))
    decode, prefill = np.zeros(first.decode.shape), np.zeros(first.prefill.shape)
    for term, table in parts.items():
        factor = _factors(term, t, len(tokens))
        tokens += factor * table.tokens
        seqs += factor[1] * table.seqs
        decode += factor[1] * table.decode
        prefill += factor[1] * table.prefill
    stage = -(-np.arange(len(seqs)) // pp)
    host = pp * (own.step_s0 + own.seq_s * stage) * ticks(1.0)
    host[0] = 0.0
    whole = np.rint(decode).astype(np.int64)
    return replace(first, tokens=np.rint(tokens).astype(np.int64), seqs=np.rint(seqs).astype(np.int64),
                   host=np.rint(host).astype(np.int64), decode=whole, slope=slopes(whole, first.kv_knots),
                   prefill=prefill, prefill_floor=ticks(pp * own.eager_s), request_ticks=ticks(own.request_s),
                   prompt_token_ticks=ticks(own.prompt_token_s))

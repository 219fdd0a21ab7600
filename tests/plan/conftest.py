"""Small workloads on a small space: one engine, few GPUs, an 8B model."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from costplan.catalog.price import Price, Purchase
from costplan.plan.planner import PlanOptions
from costplan.workload.arrivals import GammaArrivals
from costplan.workload.lengths import Fixed, JointLengths, LogNormal
from costplan.workload.workload import Candidates, Constraints, Metric, Slo, SloTarget, Workload

TODAY = date(2026, 11, 21)
MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def price(gpu: str, usd: float, count: int = 1, purchase: Purchase = Purchase.ON_DEMAND, day: date | None = TODAY,
          ) -> Price:
    return Price("someone", "here", f"{count}x{gpu}", gpu, count, purchase, usd * count, day, "test")


PRICES = (price("h100_sxm", 2.5), price("h100_sxm", 2.4, 8), price("a100_80gb_sxm", 1.3), price("l40s", 0.9),
          price("l40s", 0.8, 4), price("h200_sxm", 3.5, 8), price("h100_sxm", 1.2, 1, Purchase.SPOT))
QUICK = PlanOptions(exhaustive=True, sample_requests=600, verify_requests=1200, shown=4, robustness=False,
                    sensitivity=False)


def slo(ttft_s: float = 1.0, tpot_s: float = 0.05) -> Slo:
    return Slo((SloTarget(Metric.TTFT, 0.95, ttft_s), SloTarget(Metric.TPOT, 0.95, tpot_s)))


@pytest.fixture
def workload() -> Workload:
    """30 requests/s of about 500 tokens in and 150 out."""
    return Workload(
        "small", MODEL, GammaArrivals(30.0), JointLengths(LogNormal(400, 0.6, 10, 4000), LogNormal(120, 0.6, 2, 900)),
        slo=slo(), candidates=Candidates(gpus=("h100_sxm", "l40s"), engines=("vllm",), tp=(1,),
                                         weights=("bf16", "fp8"), kv_cache_dtype=("auto",), max_num_seqs=(32, 256),
                                         max_num_batched_tokens=(2048,)))


@pytest.fixture
def fixed(workload: Workload) -> Workload:
    """The same with equal requests."""
    return replace(workload, lengths=JointLengths(Fixed(500), Fixed(150)))


def within(workload: Workload, **constraints: object) -> Workload:
    return replace(workload, constraints=Constraints(**constraints))  # type: ignore[arg-type]


def choosing(workload: Workload, **candidates: object) -> Workload:
    return replace(workload, candidates=replace(workload.candidates, **candidates))  # type: ignore[arg-type]

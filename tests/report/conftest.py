"""A prediction and a plan made up by hand: goldens of the layout do not move when models are tuned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest

from costplan.catalog.gpus import gpu
from costplan.catalog.models import model
from costplan.catalog.price import Price, Purchase
from costplan.core.evidence import Estimate, Evidence
from costplan.core.units import GIB
from costplan.perf.batch import BatchState
from costplan.perf.explain import KernelRow
from costplan.perf.kv_budget import KvBudget
from costplan.perf.kv_pool import KvPool, PoolGroup
from costplan.perf.latency import StepTime
from costplan.perf.layout import Layout
from costplan.perf.memory import BatchLimits
from costplan.perf.predict import Deployment, Prediction
from costplan.perf.steady import Load, LoadKind, Point
from costplan.perf.timed import Timing
from costplan.perf.weights import WeightBytes
from costplan.plan.config import EngineConfig
from costplan.plan.cost import Cost
from costplan.plan.day import hours
from costplan.plan.types import (
    Binding,
    BreakEven,
    DiurnalCost,
    Excluded,
    Latencies,
    Loser,
    Memory,
    Money,
    PageChoice,
    Plan,
    PlanSet,
    PurchaseOption,
    Range,
    Relaxation,
    Rental,
    RobustnessCase,
    SearchStats,
    Sensitivity,
    SloMargin,
    TokenCosts,
)
from costplan.profile.manifest import Manifest
from costplan.report.answer import Answer
from costplan.report.html.page import rendered
from costplan.report.html.plan_page import plan_page
from costplan.report.roofline_text import RooflineView
from costplan.workload.arrivals import GammaArrivals
from costplan.workload.lengths import Fixed, JointLengths
from costplan.workload.workload import Constraints, HostedApi, Metric, Slo, SloTarget, Workload

SHARES = {Evidence.MEASURED: 0.25, Evidence.INTERPOLATED: 0.7, Evidence.ANALYTIC: 0.05}


def made(value: float, evidence: Evidence = Evidence.INTERPOLATED) -> Estimate:
    return Estimate(value, 0.2, evidence, "h100_sxm-vllm kernels", SHARES)


def step(seconds: float) -> StepTime:
    timings = [(Timing("gemm", seconds * 0.005, 0.05, Evidence.INTERPOLATED, "bandwidth"), 120.0),
               (Timing("attn", seconds * 0.25, 0.05, Evidence.MEASURED, "compute"), 1.0),
               (Timing("norm", seconds * 0.05, 0.05, Evidence.ANALYTIC, "latency"), 1.0)]
    parts = {"gemm": seconds * 0.6, "attention": seconds * 0.25, "elementwise": seconds * 0.05, "engine": seconds * 0.1}
    return StepTime(seconds, 0.06, Evidence.INTERPOLATED, SHARES, parts, "bandwidth", timings)


def budget() -> KvBudget:
    pool = KvPool(2 * 2**20, (PoolGroup(16),))
    return KvBudget("vllm", 0.9, 80 * GIB, WeightBytes((("mlp", 16.0 * GIB),)), GIB, 2 * GIB, GIB // 4,
                    8 * GIB, 52 * GIB + 3 * GIB // 4, BatchLimits(8192, 256), pool, 27_000)


@pytest.fixture
def answer() -> Answer:
    """64 requests in flight on four GPUs, everything known."""
    dep = Deployment(model("llama-3.1-70b"), gpu("h100_sxm"), Layout(tp=4), weight_dtype="fp8", kv_dtype="fp8")
    point = Point(0.08, 0.014, 4.3, 2000.0, 32.0, 0.0, False, BatchState(32, 70_000),
                  BatchState(32, 70_000, 2000, 0, 1))
    found = Prediction(made(0.0836), made(0.0142), made(4.29), made(2000.0), made(500.0), budget(), point, step(0.0103),
                       step(0.0467), "bandwidth", False, "h100_sxm", ("h100_sxm-vllm", "h100_sxm-sglang"))
    manifest = Manifest(
        "h100_sxm-vllm", "h100_sxm", "vllm", "NVIDIA H100 80GB HBM3", {"vllm:gemm": "0.31.0", "vllm:attn_decode":
                                                                       "0.25.0", "driver": None}, {},
        ("2026-09-17", "2026-10-14"), {}, "Apache-2.0", {})
    label = "verda 1H100 (1 GPU) in FIN-02, on demand, undated: stale"
    money = Cost(9.16, made(1.27), made(0.000381), label, stale=True)
    return Answer(dep, Load(LoadKind.CONCURRENCY, 64, 2000, 300), found, money, manifest)


def made_plan(rank: int, gpu_key: str, usd_per_h: float, seconds: float, below: bool) -> Plan:
    """One plan from a few numbers; TPOT is ``seconds``, TTFT ten times that."""
    config = EngineConfig("llama-3.1-70b", gpu_key, "vllm", Layout(tp=rank), "fp8" if below else "bf16", "fp8", 16, 256,
                          8192, 16384, 0.92)
    price = Price("verda", "FIN-02", f"{rank}X.80S", gpu_key, rank, Purchase.ON_DEMAND, usd_per_h, date(2026, 10, 1),
                  "price list of 2026-10")
    rental = Rental(price, 2, 2 * usd_per_h, 0, False, f"verda {rank}X.80S, on demand, 2026-10-01")
    spot = replace(rental, usd_per_h=usd_per_h, label=f"verda {rank}X.80S, spot, 2026-10-01")
    out = 1000.0
    cost = 1e6 * 2 * usd_per_h / (out * 3600)
    money = Money(
        rental, made(cost), Range(cost, cost), Range(cost * 0.5, None if rank == 3 else cost * 2), made(cost * 0.5),
        made(cost * 0.2), made(2 * usd_per_h / 3600 / 5), TokenCosts(0.1, 0.02, cost * 0.7, 0.25, 0.05, 0.7),
        (PurchaseOption(Purchase.ON_DEMAND, rental, cost), PurchaseOption(Purchase.SPOT, spot, cost / 2)),
        DiurnalCost(tuple([1] * 8 + [2] * 16), 48 * usd_per_h, 40 * usd_per_h),
        BreakEven("api.example", 0.002, 26_000.0, 10.0, 1.5, 0.2, True, 26_000.0 - 730 * 2 * usd_per_h))
    memory = Memory(80 * GIB, 35 * GIB, GIB, 2 * GIB, GIB // 4, 6 * GIB, 80 * GIB - 44 * GIB - GIB // 4, 11_000,
                    made(176_000.0, Evidence.ANALYTIC), 130.0, 0.4)
    pages = (PageChoice(16, True, "allowed", 1.0, "measured", 7.5, 0.006, 8.0, 130.0),
             PageChoice(64, False, "refused by this backend", None, "not measured", 31.5, 0.024, None, 126.0))
    shocks = (RobustnessCase("traffic_2x", "twice the traffic", False, Binding.TPOT, "31% of requests keep every limit",
                             0.09, 0.05, 4, 4 * usd_per_h),
              RobustnessCase("outliers_10x", "1% of prompts 10 times as long", True, None, "every limit holds", None,
                             None, 2, 2 * usd_per_h),
              RobustnessCase("prefill_storm", "10 s of traffic at one instant", False, Binding.TTFT, "no", 3.0, 1.0,
                             None, None))
    return Plan(
        rank, config, 2, 0, 5.0, 5.0, made(5.0), made(out), 0.5, 0.5, 0.9,
        (latencies(Metric.TTFT, 10 * seconds), latencies(Metric.TPOT, seconds), latencies(Metric.E2E, 200 * seconds)),
        (SloMargin(SloTarget(Metric.TTFT, 0.95, 1.0), made(20 * seconds), 0.98),
         SloMargin(SloTarget(Metric.TPOT, 0.95, 0.05), made(2 * seconds), 0.6)),
        0.6, 0.97, 0.1, 0.0, money, memory, Binding.TPOT, "bandwidth", Evidence.INTERPOLATED, SHARES,
        f"{gpu_key}-vllm kernels", below, pages if rank == 1 else (), shocks if rank == 1 else ())


def latencies(metric: Metric, mean: float) -> Latencies:
    return Latencies(metric, made(mean), tuple((q, made(mean * f)) for q, f in ((0.5, 0.9), (0.9, 1.6), (0.95, 2.0),
                                                                              (0.99, 3.0))))


@pytest.fixture
def planset() -> PlanSet:
    """Three plans, everything known."""
    plans = (made_plan(1, "h100_sxm", 3.0, 0.02, True), made_plan(2, "h200_sxm", 4.0, 0.015, False),
             made_plan(3, "a100_80gb_sxm", 5.0, 0.03, False))
    asked = Workload(
        "made", "llama-3.1-70b", GammaArrivals(5.0, 1.0), JointLengths(Fixed(1000), Fixed(200), 0.0),
        slo=Slo((SloTarget(Metric.TTFT, 0.95, 1.0), SloTarget(Metric.TPOT, 0.95, 0.05))),
        constraints=Constraints(headroom=0.1), hosted_api=HostedApi("api.example", 1.0, 4.0))
    knobs = (Sensitivity("KV cache", "fp8 -> bf16", 1.7, 0.03, 0.2, 2, "one replica serves -10% requests/s"),
             Sensitivity("purchase", "on_demand -> spot", 0.83, -0.83, -0.4, 2, "verda, spot"),
             Sensitivity("purchase", "on_demand -> 3y", None, None, None, None, "not listed for this GPU"))
    stats = SearchStats(900, (Excluded("does not fit in memory", 40, "h100_sxm tp1 bf16"),), 300, 500, 100, 700, 2500,
                        20_000, False)
    others = (Loser("a100_80gb_sxm", "6 GPUs instead of 2", plans[2], 1.11), Loser("l40s", "does not fit", None, None))
    return PlanSet(asked, "meta-llama/Llama-3.1-70B-Instruct", date(2026, 11, 1), 7, plans,
                   (plans[0].name, plans[1].name), others, knobs, (), stats, 1000.0, 200.0, ("check quality",),
                   plans[1])


@pytest.fixture
def infeasible(planset: PlanSet) -> PlanSet:
    """The same question without an answer."""
    ways = (Relaxation("slo", "ttft p95 1 s", "ttft p95 1.4 s (x 1.40) on 2 x h100_sxm tp1", None),
            Relaxation("max_gpus", "2", "4 (h100_sxm tp1)", None))
    return replace(planset, plans=(), pareto=(), losers=(), sensitivities=(), relaxations=ways, same_precision=None)


@pytest.fixture
def steps() -> dict[str, RooflineView]:
    """A mean step of each phase: one matrix product and one all-reduce."""
    rows = [KernelRow("gemm", "gate_up", 80.0, 2.0e11, 1.0e9, 4e-4, 5e-4, 0.1, "bandwidth", Evidence.MEASURED),
            KernelRow("comm", "all-reduce", 80.0, None, None, 1e-5, 2e-5, 0.1, "network", Evidence.ANALYTIC)]
    return {phase: RooflineView(phase, gpu("h100_sxm"), BatchState(32, 70_000), rows, 0.05, 0.001, "made")
            for phase in ("decode", "prefill")}


@pytest.fixture
def drawn(steps: dict[str, RooflineView]) -> Callable[[PlanSet], str]:
    """Renders a plan set as a page, with a day and a roofline where it has an answer."""
    return lambda s: page_of(s, steps)


def page_of(s: PlanSet, steps: dict[str, RooflineView]) -> str:
    asked = replace(s, workload=replace(s.workload, diurnal=tuple([0.5] * 12 + [1.5] * 12)))
    day = hours(s.best, asked.workload) if s.best is not None else ()
    return rendered(plan_page(asked, steps=steps if s.best is not None else {}, hours=day, behind={},
                              inputs={"prices_sha256": "ab" * 32}))

"""A prediction made up by hand: goldens of the layout do not move when the latency model is tuned."""

from __future__ import annotations

import pytest

from costplan.catalog.gpus import gpu
from costplan.catalog.models import model
from costplan.core.evidence import Estimate, Evidence
from costplan.core.units import GIB
from costplan.perf.batch import BatchState
from costplan.perf.kv_budget import KvBudget
from costplan.perf.kv_pool import KvPool, PoolGroup
from costplan.perf.latency import StepTime
from costplan.perf.layout import Layout
from costplan.perf.memory import BatchLimits
from costplan.perf.predict import Deployment, Prediction
from costplan.perf.steady import Load, LoadKind, Point
from costplan.perf.timed import Timing
from costplan.perf.weights import WeightBytes
from costplan.plan.cost import Cost
from costplan.profile.manifest import Manifest
from costplan.report.answer import Answer

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

"""A small demand, two devices, and a device of our own making whose every time is known."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import pytest

from costplan.campaign.campaign import Campaign, campaign_for
from costplan.campaign.device import Device, measured_device
from costplan.campaign.results import Result
from costplan.campaign.work import call_s
from costplan.catalog.gpus import gpu
from costplan.core.units import GIB
from costplan.plan.question import question
from costplan.profile.case import Case
from costplan.workload.arrivals import GammaArrivals
from costplan.workload.lengths import JointLengths, LogNormal
from costplan.workload.workload import Candidates, Workload

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
H200 = Device("cuda", gpu("h200_sxm"))
CPU = measured_device("cpu", "cpu_test_2c", peak_flops={"bf16": 0.4e12, "fp32": 0.18e12, "int8": 0.8e12},
                      bandwidth_bytes_per_s=20e9, mem_bytes=24 * GIB, cache_bytes=32 << 20)


def workload(isl: float = 800, osl: float = 150, log_sd: float = 0.8, **choices: object) -> Workload:
    lengths = JointLengths(LogNormal(isl, log_sd, 1, 8000), LogNormal(osl, log_sd, 1, 1000))
    return Workload("small", MODEL, GammaArrivals(5.0), lengths, candidates=Candidates(**choices))  # type: ignore[arg-type]


def synthetic_s(case: Case, noise: float = 0.01) -> float:
    """Seconds on a device with tile quantisation, waves over 132 cores, a change of algorithm and a cache cliff."""
    at = case.values()
    factor = 1.0
    if case.family == "gemm":
        m = int(at["m"])
        tile = 64 if m <= 64 else 128
        tiles = math.ceil(m / tile) * math.ceil(int(at["n"]) / 128)
        factor = math.ceil(tiles / 132) * 132 / tiles if tiles > 132 else 1.15
    elif case.family == "attn_decode":
        few = int(at["batch"]) * int(at["num_kv_heads"]) < 64  # too few blocks to fill the device
        factor = (1.6 if few else 1.0) * (1.25 if int(at["kv_len"]) > 2048 else 1.0)
    elif case.family == "attn_prefill":
        factor = 1.0 + 0.5 / (1.0 + int(at["q_len"]) / 512)
    digest = int(hashlib.sha256(case.key.encode()).hexdigest()[:12], 16) / 16**12
    return call_s(case, H200) * factor * math.exp(noise * (2 * digest - 1) * math.sqrt(3))


def measure(campaign: Campaign, seconds: Callable[[Case], float] = synthetic_s) -> list[Result]:
    """Run a campaign to its end on a device that answers by ``seconds``."""
    cases = campaign.first()
    results = [Result(c, "only", seconds(c)) for c in cases]
    while more := campaign.more(results):
        assert not set(more) & {r.case for r in results}
        results += [Result(c, "only", seconds(c)) for c in more]
    return results


@pytest.fixture(scope="session")
def planned() -> Campaign:
    """Llama-3.1-8B, tp 1 and 2, 16-bit and FP8, on an H200."""
    found = workload(tp=(1, 2), weights=("auto", "fp8"), kv_cache_dtype=("auto",))
    return campaign_for([question(found, 1)], H200, effort=0.2)


@pytest.fixture(scope="session")
def planned_cpu() -> Campaign:
    return campaign_for([question(workload(), 1)], CPU, tps=(1,), effort=0.2)

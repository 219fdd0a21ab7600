"""Tenants, token buckets and priorities."""

from __future__ import annotations

import numpy as np
import pytest

from costplan.core.errors import InputError
from costplan.simulate.policy import VLLM, SchedulerLimits
from costplan.simulate.quota import Quota
from costplan.simulate.requests import SimRequests
from costplan.simulate.run import quotas_of, simulate
from costplan.simulate.setup import Refusal
from costplan.simulate.step_table import StepTable
from costplan.workload.workload import Tenant

LIMITS = SchedulerLimits(4, 256, 1000, 16)


def test_a_tenant_gets_its_tokens_per_second_and_others_pass(table: StepTable) -> None:
    n = 20
    requests = SimRequests(np.zeros(n), np.full(n, 80), np.full(n, 20), tenant=np.arange(n) % 2)
    r = simulate(requests, table, LIMITS, VLLM, quotas=(Quota(100, 100),))
    limited = r.tally.admitted[::2] / 1e11
    assert limited == pytest.approx(np.arange(10), abs=0.05)
    assert r.e2e_s[1::2].max() < 1.0


def test_a_request_above_the_burst_is_refused(table: StepTable) -> None:
    requests = SimRequests(np.zeros(2), np.asarray([10, 200]), np.asarray([10, 10]))
    r = simulate(requests, table, LIMITS, VLLM, quotas=(Quota(1000, 100),))
    assert r.setup.refused.tolist() == [0, Refusal.QUOTA]


def test_lower_priority_numbers_go_first(table: StepTable) -> None:
    n = 12
    requests = SimRequests(np.zeros(n), np.full(n, 100), np.full(n, 50), priority=np.asarray([1, 0] * 6))
    r = simulate(requests, table, SchedulerLimits(2, 256, 1000, 16), VLLM)
    assert r.tally.finish[1::2].max() <= r.tally.admitted[0::2].min()


def test_the_least_important_gives_way(table: StepTable) -> None:
    n = 8
    requests = SimRequests(np.zeros(n), np.full(n, 60), np.full(n, 300), priority=np.asarray([1] * 4 + [0] * 4))
    r = simulate(requests, table, SchedulerLimits(8, 512, 60, 16), VLLM)
    assert r.tally.preempted[:4].sum() > r.tally.preempted[4:].sum()


def test_workload_tenants_become_buckets() -> None:
    tenants = [Tenant("a", 0.5), Tenant("b", 0.5, max_tokens_per_s=100.0)]
    assert quotas_of(tenants, burst_s=10) == (None, Quota(100, 1000))


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0), (2 * 10**9, 1), (1, 10**9)])
def test_impossible_quotas_are_refused(rate: int, burst: int) -> None:
    with pytest.raises(InputError):
        Quota(rate, burst)

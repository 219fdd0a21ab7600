"""What a workload asks of the kernels: weights, real lengths, and only what can be measured."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from costplan.campaign.campaign import Campaign, campaign_for
from costplan.campaign.design import initial
from costplan.campaign.device import Device
from costplan.campaign.kernel import kernel_of
from costplan.campaign.shapes import Demand, merged
from costplan.campaign.states import Step
from costplan.campaign.work import fits
from costplan.plan.question import question
from costplan.profile.lengths import pairs_of
from tests.campaign.conftest import CPU, H200, workload

SMALL = ("meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-30B-A3B", "deepseek-ai/DeepSeek-V3")


def consistent(demand: Demand) -> None:
    assert sum(p.weight for p in demand.points) == pytest.approx(1.0)
    assert all(p.weight > 0 and p.system < len(demand.systems) for p in demand.points)
    assert all(kernel_of(p.case) == (p.kernel, p.at) for p in demand.points)
    for case, weight in demand.ragged:
        pairs = pairs_of(case)
        assert weight > 0
        assert (case.size("batch"), case.size("q_tokens"), case.size("kv_tokens")) == (
            len(pairs), sum(q for q, _ in pairs), sum(kv for _, kv in pairs))


def test_weights_add_up_and_every_point_is_a_case(planned: Campaign) -> None:
    consistent(planned.demand)
    assert planned.demand.families[-1] == "attn_ragged"
    assert {"gemm", "attn_decode", "attn_prefill", "elementwise"} <= set(planned.demand.families)


def test_both_kinds_of_real_batches_are_spelled_out(planned: Campaign) -> None:
    kinds = {max(q for q, _ in pairs_of(c)) > 1 for c, _ in planned.demand.ragged}
    assert kinds == {True, False}
    assert any(len({kv for _, kv in pairs_of(c)}) > 2 for c, _ in planned.demand.ragged)


def test_collectives_are_asked_for_only_where_devices_are(planned: Campaign) -> None:
    assert [r for r, share in planned.demand.left_out if "collective" in r and share > 0]
    assert all(p.kernel.family != "collective" for p in planned.demand.points)
    found = workload(tp=(2,), weights=("auto",), kv_cache_dtype=("auto",))
    both = campaign_for([question(found, 1)], replace(H200, count=2), effort=0.1).demand
    assert not both.left_out
    assert any(p.kernel.family == "collective" for p in both.points)


def test_only_some_families() -> None:
    found = workload(tp=(1,), weights=("auto",), kv_cache_dtype=("auto",))
    demand = campaign_for([question(found, 1)], H200, only=("attn_decode",), effort=0.1).demand
    assert {p.kernel.family for p in demand.points} == {"attn_decode"}
    assert demand.ragged == ()
    consistent(demand)


def test_two_models_share_a_campaign(planned: Campaign) -> None:
    both = merged([planned.demand, planned.demand])
    consistent(both)
    assert len(both.systems) == 2 * len(planned.demand.systems)
    assert both.kernels == planned.demand.kernels


def test_a_step_adds_up() -> None:
    step = Step(1.0, (5, 7), ((100, 0), (20, 300)))
    assert step.pairs == ((100, 100), (20, 320), (1, 5), (1, 7))
    b = step.batch
    assert (b.decode_seqs, b.decode_kv_tokens, b.prefill_tokens, b.prefill_context_tokens, b.prefill_seqs) == (
        2, 12, 120, 300, 2)


@settings(max_examples=6, phases=(Phase.explicit, Phase.generate))
@given(isl=st.floats(20, 3000), osl=st.floats(2, 600), spread=st.floats(0.0, 1.2), model=st.sampled_from(SMALL),
       device=st.sampled_from([H200, CPU]), tp=st.sampled_from([1, 4, 8]))
def test_any_workload_and_model_gives_valid_affordable_cases(isl: float, osl: float, spread: float, model: str,
                                                             device: Device, tp: int) -> None:
    asked = question(workload(isl, osl, spread, tp=(tp,), weights=("auto",)), 1, model)
    c = campaign_for([asked], device, effort=0.05)
    consistent(c.demand)
    design = initial(c.demand, device, c.max_case_s)
    assert all(fits(w.case, device) and w.seconds <= c.max_case_s and w.value >= 0 for w in design)
    if device is H200:  # on a small CPU every prompt of a long workload may take longer than a case may
        assert {k.family for k in c.demand.kernels} <= {w.case.family for w in design}

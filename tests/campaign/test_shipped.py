"""A campaign against the shipped H200 tables: what they answer between their rows is taken for the truth."""

from __future__ import annotations

from costplan.campaign.campaign import Campaign, campaign_for
from costplan.campaign.estimate import estimate
from costplan.campaign.work import call_s
from costplan.perf.attention_kernel import AttentionShape
from costplan.perf.book import KernelBook
from costplan.perf.formats import matmul_format
from costplan.perf.ops import equal_square
from costplan.plan.question import question
from costplan.profile.case import Case
from costplan.profile.lengths import pairs_of
from costplan.profile.store import Profile
from tests.campaign.conftest import H200, measure, workload

BOOK = KernelBook([Profile.load(n) for n in ("h200_sxm-vllm", "h200_sxm-trtllm")], H200.gpu, H200.gpu)


def shipped_s(case: Case) -> float:
    """Seconds by the shipped tables; pages and splits, which they do not record, change nothing."""
    if case.family == "gemm":
        fmt = matmul_format(H200.gpu, case.text("dtype"))
        return BOOK.gemm(case.size("n"), case.size("k"), fmt, "x").seconds((case.size("m"),))
    if not case.family.startswith("attn"):
        return call_s(case, H200)
    shape = AttentionShape(case.size("num_heads"), case.size("num_kv_heads"), case.size("head_dim"),
                           case.text("kv_dtype"), case.size("window"))
    if case.family == "attn_decode":
        return BOOK.attn_decode(shape).seconds((case.size("batch"), case.size("kv_len")))
    prompts = [p for p in pairs_of(case) if p[0] > 1 or case.family == "attn_prefill"]
    decode = [kv for q, kv in pairs_of(case) if q == 1 and case.family == "attn_ragged"]
    seconds = BOOK.attn_decode(shape).seconds((len(decode), sum(decode) / len(decode))) if decode else 0.0
    if prompts:
        q, kv = (sum(x) / len(prompts) for x in zip(*prompts, strict=True))
        seconds += BOOK.attn_prefill(shape).seconds((len(prompts), max(1.0, equal_square(q, kv, 0))))
    return seconds


def test_three_minutes_reach_five_percent_on_shapes_of_the_shipped_tables() -> None:
    asked = question(workload(1100, 210, tp=(1, 4), weights=("auto", "fp8"), kv_cache_dtype=("auto", "fp8")), 1)
    planned = campaign_for([asked], H200, effort=0.2)
    c = Campaign(planned.demand, H200, budget_s=180.0, sites=planned.sites)
    results = measure(c, shipped_s)
    told = c.summary(results)
    assert estimate([r.case for r in results], H200).seconds <= 180.0
    assert told.plan_error <= 0.03
    assert told.held_out.median is not None
    assert told.held_out.median <= 0.05
    assert told.held_out.step_error is not None
    assert told.held_out.step_error <= 0.05

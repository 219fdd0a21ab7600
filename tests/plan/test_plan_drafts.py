"""Speculative decoding as a choice of the planner: it never costs, it is dropped where it does not pay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from costplan.core.errors import InputError
from costplan.plan.planner import plan
from costplan.workload.workload import Metric, Slo, SloTarget, Speculative, Workload

from .conftest import PRICES, QUICK, TODAY, choosing, slo

FULL = replace(QUICK, sensitivity=True)


@pytest.fixture
def tight(workload: Workload) -> Workload:
    """A TPOT limit near that of an idle GPU, where faster tokens are worth most."""
    few = choosing(workload, gpus=("h100_sxm",), weights=("bf16",), max_num_seqs=(256,))
    return replace(few, slo=slo(tpot_s=0.012))


def drafting(w: Workload, acceptance: float, *tokens: int) -> Workload:
    return replace(w, speculative=Speculative("eagle", acceptance, 0.05, tokens or (4,)))


def test_drafts_serve_more_under_a_tight_limit(tight: Workload) -> None:
    plain = plan(tight, today=TODAY, prices=PRICES, options=QUICK).best
    found = plan(drafting(tight, 0.8, 2, 4), today=TODAY, prices=PRICES, options=FULL)
    assert plain is not None and found.best is not None
    assert found.best.config.speculative is not None
    assert found.best.name.endswith(f"-eagle{found.best.config.speculative.tokens}")
    assert found.best.capacity_requests_per_s.value > plain.capacity_requests_per_s.value
    assert found.best.money.usd_per_mtok_out.value <= plain.money.usd_per_mtok_out.value
    assert any("acceptance" in n for n in found.notes)
    knobs = {s.change: s for s in found.sensitivities if s.knob in ("drafts", "acceptance")}
    assert {"0.80 -> 0.70", f"{found.best.config.speculative.label} -> none"} == set(knobs)
    assert all((s.delta_saturated_usd_per_mtok_out or 0) > 0 for s in knobs.values())


def test_drafts_that_are_never_kept_are_not_used(tight: Workload) -> None:
    plain = plan(tight, today=TODAY, prices=PRICES, options=QUICK)
    found = plan(drafting(tight, 0.0), today=TODAY, prices=PRICES, options=QUICK)
    assert plain.best is not None and found.best is not None
    assert found.best.config == plain.best.config
    assert found.stats.candidates == 2 * plain.stats.candidates


@pytest.mark.parametrize(("draft", "said"), [
    ("mtp", "multi-token"), ("egle", "unknown model"), ("qwen3-0.6b", "guess")])
def test_drafts_that_cannot_be_are_an_error_not_an_exclusion(tight: Workload, draft: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as e:
        plan(replace(tight, speculative=Speculative(draft, 0.7)), today=TODAY, prices=PRICES, options=QUICK)
    assert e.value.where == "speculative.draft"


def test_a_limit_on_single_gaps_rules_drafts_out(tight: Workload) -> None:
    gaps = replace(tight, slo=Slo((SloTarget(Metric.ITL, 0.5, 0.05),)))
    found = plan(drafting(gaps, 0.8), today=TODAY, prices=PRICES, options=QUICK)
    assert all(p.config.speculative is None for p in found.plans)
    assert any("ITL" in n for n in found.notes)

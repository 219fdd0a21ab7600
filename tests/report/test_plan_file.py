"""The plan file: strict, sorted, valid against its schema, and read back as it was written."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costplan.core.errors import InputError
from costplan.core.evidence import Estimate, Evidence
from costplan.plan.types import PlanSet
from costplan.report.derivation import Derivation, KvLayers, Step
from costplan.report.explain_text import chapters, explain_text
from costplan.report.plan_file import parse_plan
from costplan.report.plan_json import plan_json, written
from costplan.report.plan_schema import plan_schema
from costplan.report.style import Style

STEP = Step(30, 33_000, 0, Estimate(0.02, 0.1, Evidence.INTERPOLATED, "kernels", {Evidence.INTERPOLATED: 1.0}),
            {"gemm": 0.015, "attention": 0.004, "engine": 0.001}, {"bandwidth": 0.9, "engine": 0.1}, "bandwidth")
LAYERS = KvLayers(80, 2048.0, None, 0.0, "2 (K, V) x 8 KV heads x 128 x 1 byte")


def document(s: PlanSet) -> dict[str, Any]:
    found = Derivation((LAYERS,), 163_840.0, STEP, STEP, "h100_sxm", ("h100_sxm-vllm",))
    return plan_json(s, {"prices_sha256": "ab" * 32}, {p.name: found for p in s.plans})


def test_file_follows_the_schema(planset: PlanSet, infeasible: PlanSet) -> None:
    schema = plan_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for s in (planset, infeasible):
        jsonschema.validate(json.loads(written(document(s))), schema)
    broken = json.loads(written(document(planset)))
    del broken["plans"][0]["money"]["rental"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


def test_what_is_read_is_what_was_written(planset: PlanSet) -> None:
    text = written(document(planset))
    back = parse_plan(text.encode(), "plan.json")
    assert [p.name for p in back.plans] == [p.name for p in planset.plans]
    assert back.plans[0].config == planset.plans[0].config
    assert back.plans[0].money.rental == planset.plans[0].money.rental
    assert back.plans[2].money.i90_usd_per_mtok_out.high is None
    assert back.plans[0].money.usd_per_mtok_out.i90 == pytest.approx(planset.plans[0].money.usd_per_mtok_out.i90)
    assert back.best == planset.plans[0].name
    assert back.derivations[planset.plans[0].name].kv_layers == (LAYERS,)


def test_bytes_depend_on_nothing_but_the_answer(planset: PlanSet) -> None:
    text = written(document(planset))
    assert text == written(document(planset))
    assert str(planset.today) not in text
    keys = list(json.loads(text))
    assert keys == sorted(keys)


def test_losers_name_plans_of_the_file(planset: PlanSet) -> None:
    found = document(planset)
    names = {p["name"] for p in found["plans"]}
    assert {x["plan"] for x in found["losers"]} <= {*names, None}
    assert set(found["pareto"]) <= names


@pytest.mark.parametrize("data", [
    b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema": "costplan.plan/2"}', b'{"schema": "costplan.predict/1"}',
    b"NaN", b"[" * 100_000])
def test_other_files_are_refused_with_a_way_out(data: bytes) -> None:
    with pytest.raises(InputError) as e:
        parse_plan(data, "x.json")
    assert "costplan plan" in (e.value.hint or "") and "x.json" in str(e.value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_refused_or_harmless(planset: PlanSet, data: st.DataObject) -> None:
    """Any value replaced by any other: an InputError, or a file that still explains itself."""
    found: Any = json.loads(written(document(planset)))
    node, path = found, []
    while isinstance(node, dict | list) and node:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        path.append(key)
        parent, node = node, node[key]
    parent[path[-1]] = data.draw(st.sampled_from([None, "x", -1, 0, 1e300, [], {}, True, "\x1b[2J"]))
    try:
        back = parse_plan(json.dumps(found).encode(), "plan.json")
    except InputError:
        return
    assert "\x1b" not in explain_text(back, back.ranked(back.plans[0].rank), Style(80))


def test_a_missing_rank_names_the_ranks(planset: PlanSet, infeasible: PlanSet) -> None:
    back = parse_plan(written(document(planset)).encode(), "plan.json")
    with pytest.raises(InputError, match="no plan of rank 9"):
        back.ranked(9)
    with pytest.raises(InputError, match="infeasible"):
        parse_plan(written(document(infeasible)).encode(), "plan.json").ranked(1)


def test_formulas_hold_the_numbers_that_give_the_value(planset: PlanSet) -> None:
    """Products and quotients, as printed, give what is printed beside them."""
    back = parse_plan(written(document(planset)).encode(), "plan.json")
    for p in back.plans:
        lines = {x.name: x for _, found in chapters(back, p) for x in found}
        for name in ("$/1M output tokens", "$/1M at full load", "$ per month", "rent per hour"):
            sums = lines[name].formula.replace("$", "").replace(",", "").replace(" x ", " * ").replace(" h", "")
            assert eval(sums) == pytest.approx(float(lines[name].value.replace("$", "").replace(",", "")), rel=0.01)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_explanation_fits_its_width(planset: PlanSet, width: int) -> None:
    back = parse_plan(written(document(planset)).encode(), "plan.json")
    page = explain_text(back, back.ranked(1), Style(width))
    assert max(map(len, page.splitlines())) <= width
    for said in ("KV bytes per token", "80 layers x 2 (K, V) x 8 KV heads", "price list of 2026-10", "seed 7",
                 "abababab"):
        assert said in " ".join(page.split())

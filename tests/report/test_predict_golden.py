"""The page of `costplan predict` at three widths, its JSON, and what it warns of."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from costplan.catalog.gpus import gpu
from costplan.core.evidence import Evidence
from costplan.perf.steady import Load, LoadKind
from costplan.report.answer import Answer, kernel_versions, waits
from costplan.report.predict_json import predict_json
from costplan.report.predict_schema import predict_schema
from costplan.report.predict_text import predict_text
from costplan.report.style import Style

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("width", [80, 120])
def test_page_is_the_golden_one(answer: Answer, width: int) -> None:
    golden = (GOLDEN / f"predict_{width}.txt").read_text(encoding="utf-8")
    assert predict_text(answer, Style(width)) == golden


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_no_line_is_too_wide_or_ends_in_blanks(answer: Answer, width: int) -> None:
    for line in predict_text(answer, Style(width)).splitlines():
        assert len(line) <= width
        assert line == line.rstrip()


def test_first_lines_give_the_answer(answer: Answer) -> None:
    head = "\n".join(predict_text(answer, Style(100)).splitlines()[:3])
    for said in ("$1.27 per 1M output tokens", "90%", "500 output tok/s per GPU", "TTFT 83.6 ms", "TPOT 14.2 ms",
                 "interpolated"):
        assert said in head


def test_colour_changes_no_text(answer: Answer) -> None:
    plain, coloured = predict_text(answer, Style(80)), predict_text(answer, Style(80, color=True))
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain


def test_without_a_price_there_is_no_money(answer: Answer) -> None:
    page = predict_text(replace(answer, cost=None), Style(80))
    assert "$" not in page
    assert page.startswith("500 output tok/s per GPU (90%:")


def test_hostile_names_cannot_steer_the_terminal(answer: Answer) -> None:
    spec = replace(answer.deployment.spec, name="evil\x1b[2J\rname\u202e")
    page = predict_text(replace(answer, deployment=replace(answer.deployment, spec=spec)), Style(80))
    assert not {"\x1b", "\r", "\u202e"} & set(page)


def test_json_is_strict_and_follows_its_schema(answer: Answer) -> None:
    for a in (answer, replace(answer, cost=None, manifest=None), saturated_rate(answer)):
        found = json.loads(json.dumps(predict_json(a), allow_nan=False))
        jsonschema.validate(found, predict_schema())
    assert list(predict_json(answer)["metrics"]) == [
        "ttft_s", "tpot_s", "e2e_s", "output_tok_s_per_gpu", "output_tok_s", "requests_per_s", "usd_per_mtok_out",
        "usd_per_request"]


def test_json_says_what_the_text_says(answer: Answer) -> None:
    found = predict_json(answer)
    ttft = found["metrics"]["ttft_s"]
    assert ttft["value"] == answer.prediction.ttft_s.value
    assert ttft["interval_90"][0] < ttft["interval_50"][0] < ttft["value"] < ttft["interval_50"][1]
    assert sum(ttft["shares"].values()) == pytest.approx(1)
    assert found["price"] == {"usd_per_h": 9.16, "label": answer.cost.label if answer.cost else "", "stale": True}
    assert found["warnings"] == list(answer.warnings)


def saturated_rate(answer: Answer) -> Answer:
    p = answer.prediction
    point = replace(p.point, saturated=True, queue_s=float("inf"))
    return replace(answer, prediction=replace(p, point=point), load=Load(LoadKind.RATE, 40, 2000, 300))


def test_warnings_name_what_weakens_the_answer(answer: Answer) -> None:
    assert [w.split(":")[0].split("(")[0].strip() for w in answer.warnings] == ["the price is stale"]
    assert "saturated: 40 requests/s are offered and 6.67 can be served" in saturated_rate(answer).warnings[0]
    other = replace(answer, deployment=replace(answer.deployment, gpu=gpu("h20"), engine="sglang"))
    assert any("kernels of h100_sxm-vllm were measured on h100_sxm, not on h20" in w for w in other.warnings)
    assert any("kernels of vllm stand in for those of sglang" in w for w in other.warnings)
    assert any("no provider lists" in w for w in replace(answer, cost=None).warnings)
    assert any("no measured kernels" in w for w in replace(answer, manifest=None).warnings)
    p = answer.prediction
    far = replace(p.decode_step, shares={Evidence.EXTRAPOLATED: 0.4, Evidence.MEASURED: 0.6})
    warned = replace(answer, prediction=replace(p, decode_step=far)).warnings
    assert any(w.startswith("extrapolated: 40% of the decode step") for w in warned)


def test_saturated_closed_loop_says_how_long_the_others_wait(answer: Answer) -> None:
    p = answer.prediction
    full = replace(answer, prediction=replace(p, point=replace(p.point, saturated=True, queue_s=12.5)))
    assert full.warnings[0].startswith("saturated: of 64 requests in flight about 32 run, the others wait 12.5 s")


def test_waits_share_out_the_whole_step(answer: Answer) -> None:
    shares = waits(answer.prediction.decode_step)
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares) == ["bandwidth", "compute", "engine", "latency"]


def test_kernel_versions_name_the_measured_engine(answer: Answer) -> None:
    assert answer.manifest is not None
    assert kernel_versions(answer.manifest) == "vllm 0.25.0, 0.31.0"
    assert kernel_versions(replace(answer.manifest, versions={})) == "vllm, version not recorded"

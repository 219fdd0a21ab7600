"""Guardrails, exceptions, verdicts, headlines and exit codes: one meaning each."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from costplan.ci import guardrails
from costplan.ci.config_file import ConfigFile, config_schema
from costplan.ci.types import MetricDiff, Status, Verdict
from costplan.ci.verdict import moved
from costplan.core.errors import InputError
from costplan.core.yaml_door import check, parse_yaml

from .conftest import PRICES, Repo, Run, config, workload

TODAY = date(2026, 11, 21)


def settings(text: str) -> ConfigFile:
    return check(parse_yaml(f"workloads: [a.yaml]\nci:\n{text}", "costplan.yaml"), ConfigFile)


def metric(base: float | None, head: float, name: str = "cost_usd_per_mtok_out") -> dict[str, MetricDiff]:
    frac = None if base in (None, 0) else head / base - 1
    return {name: MetricDiff("usd/Mtok", base, head, frac)}


@pytest.mark.parametrize(("rule", "base", "head", "status"), [
    ("max_increase: 5%", 1.0, 1.05, Status.PASS), ("max_increase: 5%", 1.0, 1.0501, Status.FAIL),
    ("max_increase: 5%", 1.0, 0.5, Status.PASS), ("max_decrease: 5%", 1.0, 0.94, Status.FAIL),
    ("max_decrease: 5%", 1.0, 2.0, Status.PASS), ("max: 2", 1.0, 2.0, Status.PASS), ("max: 2", 1.0, 2.01, Status.FAIL),
    ("min: 2", None, 1.9, Status.FAIL), ("max: 2", None, 1.0, Status.PASS), ("max_increase: 5%", None, 9.0,
                                                                           Status.NOT_JUDGED),
    ("max_increase: 0%", 1.0, 1.004, Status.PASS), ("max_increase: 0%", 1.0, 1.006, Status.FAIL),
    ("max_increase: 5%", 0.0, 1.0, Status.NOT_JUDGED)])
def test_rules(rule: str, base: float | None, head: float, status: Status) -> None:
    ci = settings(f"  guardrails: [{{metric: cost_usd_per_mtok_out, {rule}}}]\n").ci
    (found,) = guardrails.judged(ci, "a", metric(base, head), TODAY)
    assert found.status is status
    assert bool(found.reason) is (status is Status.NOT_JUDGED)


@pytest.mark.parametrize(("day", "status"), [("2026-11-21", Status.ACCEPTED), ("2026-11-20", Status.FAIL)])
def test_an_exception_holds_through_its_last_day(day: str, status: Status) -> None:
    ci = settings("  guardrails: [{metric: monthly_cost_usd, max: 1}]\n"
                  f"  accept: [{{metric: monthly_cost_usd, workload: a, until: {day}, reason: launch}}]\n").ci
    (one,) = guardrails.judged(ci, "a", metric(1.0, 2.0, "monthly_cost_usd"), TODAY)
    (other,) = guardrails.judged(ci, "b", metric(1.0, 2.0, "monthly_cost_usd"), TODAY)
    assert one.status is status and day in one.reason and other.status is Status.FAIL


@pytest.mark.parametrize(("text", "said"), [
    ("  guardrails: [{metric: cost, max: 1}]\n", "unknown metric 'cost'"),
    ("  guardrails: [{metric: cost_usd_per_mtok_ou, max: 1}]\n", "unknown metric"),
    ("  guardrails: [{metric: monthly_cost_usd}]\n", "give exactly one of max_increase"),
    ("  guardrails: [{metric: monthly_cost_usd, max: 1, min: 0}]\n", "not max and min"),
    ("  guardrails: [{metric: monthly_cost_usd, max_increase: 5}]\n", "5 has no unit"),
    ("  guardrails: [{metric: monthly_cost_usd, max: .nan}]\n", "finite"),
    ("  guardrails: [{metric: monthly_cost_usd, max: 1, level: fatal}]\n", "must be"),
    ("  guardrail: []\n", "unknown key"),
    ("  accept: [{metric: monthly_cost_usd, until: soon, reason: x}]\n", "must be a date"),
    ("  accept: [{metric: monthly_cost_usd, until: 2026-02-30, reason: x}]\n", "must be a date"),
    ("  post_when: never\n", "must be")])
def test_wrong_settings_name_file_line_and_key(text: str, said: str) -> None:
    with pytest.raises(InputError) as e:
        settings(text)
    assert said in str(e.value) and str(e.value).startswith("costplan.yaml:3: ci.")


def test_committed_schema_is_the_one_of_the_code() -> None:
    import json

    path = Path(__file__).resolve().parents[2] / "configs" / "costplan.schema.json"
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(config_schema()))


def test_verdict_follows_cost_then_goodput_then_broken_limits() -> None:
    def both(cost: float, goodput: float) -> dict[str, MetricDiff]:
        return {"cost_usd_per_mtok_out": MetricDiff("", 1.0, 1 + cost, cost),
                "goodput_rps_per_gpu": MetricDiff("", 1.0, 1 + goodput, goodput)}

    assert moved(both(0.004, -0.004), [], 0.005) is Verdict.SAME
    assert moved(both(0.02, 0.5), [], 0.005) is Verdict.WORSE
    assert moved(both(-0.02, -0.5), [], 0.005) is Verdict.BETTER
    assert moved(both(0.0, -0.05), [], 0.005) is Verdict.WORSE


def test_warnings_do_not_fail_and_broken_rules_do(repo: Repo, run: Run, quick: list[str]) -> None:
    repo.commit({"costplan.yaml": config().replace("max_increase: 5%", "max_increase: 5%, level: warn"),
                 "prices.csv": PRICES.format(usd=3)})
    found = run(repo, "--base", "main")
    assert (found.code, found.report["verdict"]) == (0, "warned")
    assert "guardrails_changed" in [n["code"] for n in found.report["notes"]]
    repo.commit({"costplan.yaml": config()})
    assert run(repo, "--base", "main").code == 1
    assert run(repo, "--base", "main", "--no-fail").code == 0


def test_changed_rules_are_judged_on_unchanged_inputs(repo: Repo, run: Run, quick: list[str]) -> None:
    repo.commit({"costplan.yaml": config() + "    - {metric: monthly_cost_usd, max: 5}\n"})
    found = run(repo, "--base", "main")
    assert found.code == 1 and found.report["guardrails"][-1]["metric"] == "monthly_cost_usd"
    assert found.report["workloads"][0]["metrics"]["cost_usd_per_mtok_out"]["change_frac"] == 0


def test_a_change_that_leaves_no_plan_fails(repo: Repo, run: Run) -> None:
    repo.commit({"chat.yaml": workload().replace("ttft: {p95: 1s}", "ttft: {p95: 1ms}")})
    found = run(repo, "--base", "main")
    assert found.code == 1 and found.report["guardrails"][0]["metric"] == "feasible"
    assert found.comment.splitlines()[2] == "### costplan: ❌ no plan holds the limits any more"
    assert found.report["workloads"][0]["fix"]["field"] == "slo.ttft.p95"
    assert found.report["workloads"][0]["fix"]["passes"] is True


def test_wrong_input_and_environment_have_their_codes(repo: Repo, run: Run, quick: list[str], tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(repo, "--base", "nowhere").code == 2
    assert run(repo, "--format", "xml").code == 2
    assert run(repo, "--config", "other.yaml").code == 2
    assert run(repo, "--base=--upload-pack=x").code == 2
    repo.commit({"chat.yaml": workload(rate=3).replace("model:", "modle:")})
    found = run(repo, "--base", "main")
    (tmp_path / "file").write_text("", encoding="utf-8")
    from costplan.cli.app import main

    assert main(["ci", "--out-dir", str(tmp_path / "file")]) == 4
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(repo, "--base", "main").code == 4
    assert found.code in (0, 1)  # the quick planner does not check; the real one is tested below


def test_wrong_workload_is_named_as_in_the_repository(repo: Repo, run: Run) -> None:
    repo.commit({"chat.yaml": workload().replace("model:", "modle:")})
    found = run(repo, "--base", "main")
    assert found.code == 2 and found.err.startswith("error: chat.yaml:2: modle: unknown key")
    repo.commit({"chat.yaml": workload(), "prices.csv": "gpu,gpu_count\nx,1\n"})
    found = run(repo, "--base", "main")
    assert found.code == 2 and found.err.startswith("error: prices.csv:1") and "costplan-" not in found.err


def test_annotation_only_where_something_is_to_be_said(repo: Repo, run: Run, quick: list[str],
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert "::" not in run(repo, "--base", "main").err
    repo.commit({"prices.csv": PRICES.format(usd=3)})
    assert run(repo, "--base", "main").err.startswith("::error title=costplan::❌ cost per 1M output tokens +50.0%25")


def test_strict_stops_at_gaps_and_not_at_what_is_new(tmp_path: Path, repo: Repo, run: Run, quick: list[str]) -> None:
    """A first run and a new workload have nothing to be compared with: `--strict` lets them in."""
    repo.commit({"rag.yaml": workload("rag"), "costplan.yaml": config("chat.yaml", "rag.yaml")})
    found = run(repo, "--base", "main", "--strict")
    assert (found.code, found.report["verdict"]) == (0, "passed")
    repo.git("rm", "-q", "--cached", "costplan.yaml")
    repo.git("commit", "-q", "-m", "none yet")
    repo.git("branch", "-q", "before")
    assert run(repo, "--base", "before", "--strict").code == 0
    repo.commit({"costplan.yaml": config("chat.yaml") + "    - {metric: itl_p42_s, max_increase: 1%}\n"})
    found = run(repo, "--base", "main", "--strict")
    assert (found.code, found.report["verdict"]) == (3, "not_judged")


def test_more_extrapolation_than_allowed_is_a_gap(repo: Repo, run: Run, quick: list[str]) -> None:
    rail = "    - {metric: extrapolated_frac, max: 0.001, level: warn}\n"
    repo.commit({"chat.yaml": workload(rate=2.01), "costplan.yaml": config() + rail})
    found = run(repo, "--base", "main", "--strict")
    assert found.report["workloads"][0]["metrics"]["extrapolated_frac"]["head"] > 0.001
    assert (found.code, found.report["verdict"]) == (3, "warned")
    assert run(repo, "--base", "main").code == 0


def test_a_new_workload_without_any_plan_is_not_judged(repo: Repo, run: Run) -> None:
    hopeless = workload("rag").replace("ttft: {p95: 1s}", "ttft: {p95: 1ms}")
    repo.commit({"rag.yaml": hopeless, "costplan.yaml": config("chat.yaml", "rag.yaml")})
    found = run(repo, "--base", "main")
    assert (found.code, found.report["verdict"]) == (0, "not_judged")
    assert "no plan holds the limits" in found.comment.splitlines()[2]


def test_a_length_said_in_another_way_shows_both(repo: Repo, run: Run, quick: list[str]) -> None:
    text = workload(rate=2.2).replace("isl: {fixed: 500}", "isl: {mean: 900, quantiles: {p1: 10, p50: 800, p99: 2000}}")
    repo.commit({"chat.yaml": text})
    causes = {c["field"]: (c["base"], c["head"]) for c in run(repo, "--base", "main").report["workloads"][0]["causes"]}
    assert causes["lengths.isl"] == ("fixed: 500", "mean: 900")
    assert causes["load.rate.requests_per_s"] == ("2", "2.2")

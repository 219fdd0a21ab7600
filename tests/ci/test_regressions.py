"""Planted regressions with the real planner: verdict, first cause, exit code, the same bytes each time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from costplan.ci.report_file import parse_report, report_json, report_schema
from costplan.profile.manifest import Manifest
from costplan.profile.store import Profile, write_profile
from costplan.profile.table import Table

from .conftest import PRICES, Repo, Run, config, workload

# many short answers in a small KV cache: large pages waste most of it
SHORT = """\
name: chat
model: llama-3.1-8b
load: {{rate: {{requests_per_s: 10}}}}
lengths: {{isl: {{fixed: 40}}, osl: {{fixed: 400}}}}
slo: {{ttft: {{p95: 2s}}, tpot: {{p95: 100ms}}}}
candidates: {{gpus: [l40s], engines: [vllm], tp: [1], weights: [bf16], kv_cache_dtype: [auto], block_size: [{page}],
  max_num_seqs: [1024], max_num_batched_tokens: [2048]}}
"""
L40S = "l40s,1,1,our rack,on_demand,2026-11-01\n"


def test_no_change_is_silent_and_plans_nothing(repo: Repo, run: Run, quick: list[str]) -> None:
    repo.commit({"README.md": "words only"})
    found = run(repo, "--base", "main")
    assert found.code == 0 and quick == []
    base = repo.git("rev-parse", "main")
    assert found.summary == f"✅ no cost change (1 workload, base <code>{base[:7]}</code>)\n\n"
    assert found.report["verdict"] == "unchanged" and found.report["post"] is False
    assert found.out == f"✅ no cost change (1 workload, base {base[:7]})\n"


@pytest.mark.parametrize(("files", "kind", "field"), [
    ({"prices.csv": PRICES.format(usd=2.6) + L40S}, "prices", "prices.csv"),
    ({"chat.yaml": workload(isl=1500)}, "workload", "lengths.isl.fixed"),
    ({"chat.yaml": SHORT.format(page=512)}, "engine", "block_size"),
    ({"chat.yaml": workload(isl=520), "prices.csv": PRICES.format(usd=2.6)}, "prices", "prices.csv"),
], ids=["price", "longer prompts", "page size", "price first, prompts second"])
def test_planted_regression_fails_with_its_cause_first(repo: Repo, run: Run, files: dict[str, str], kind: str,
                                                       field: str) -> None:
    rules = config().replace("mtok_out, max_increase: 5%", "mtok_out_saturated, max_increase: 2%")
    repo.git("checkout", "-q", "main")
    repo.commit({"costplan.yaml": rules, "prices.csv": PRICES.format(usd=2) + L40S,
                 "chat.yaml": SHORT.format(page=16) if field == "block_size" else workload()})
    repo.git("checkout", "-q", "-B", "feature")
    repo.commit(files)
    found = run(repo, "--base", "main")
    one = found.report["workloads"][0]
    assert found.code == 1 and found.report["verdict"] == "failed" and one["verdict"] == "worse"
    first = one["causes"][0]
    assert (first["input"], first["field"]) == (kind, field) and first["change_frac"] > 0.01
    total = one["metrics"][one["cause_metric"]]["change_frac"]
    assert sum(c["change_frac"] for c in one["causes"]) == pytest.approx(total, abs=1e-4)
    assert found.comment.splitlines()[2].startswith("### costplan: ❌ cost per 1M output tokens at full load +")
    if kind in ("workload", "engine"):
        assert one["fix"]["passes"] and one["fix"]["field"] == field
    else:
        assert one["fix"] is None or one["fix"]["input"] != "prices"


def own_profile(folder: Path, factor: float, seed: int = 0, driver: str = "580.1", runs: int = 5) -> None:
    """The shipped H100 kernels as if measured here in ``runs`` runs that scatter by 1 %, ``factor`` times as slow."""
    shipped = Profile.load("h100_sxm-vllm")
    rng = np.random.default_rng(seed)
    tables = []
    for family in ("gemm", "attn_decode", "attn_prefill", "elementwise"):
        t = shipped.table(family)
        assert t is not None
        rows = np.arange(0, len(t), max(1, len(t) // 3000))
        t = t.take(rows)
        columns = {k: v for k, v in t.columns.items() if k not in ("runs", "spread")}
        columns["latency_s"] = t.columns["latency_s"] * factor * np.exp(0.003 * rng.standard_normal(len(t)))
        columns["runs"] = np.full(len(t), runs)
        columns["spread"] = np.full(len(t), 0.01)
        tables.append(Table(family, columns, t.codes, t.vocab))
    m: Manifest = replace(shipped.manifest, name=folder.name, versions={**shipped.manifest.versions, "driver": driver},
                          tables={})
    write_profile(folder, m, tables)


def profiled(repo: Repo, factor: float, **how: object) -> None:
    """A measured profile on main; the same again, ``factor`` times as slow, on the branch."""
    repo.git("checkout", "-q", "main")
    own_profile(repo.folder / "ours", 1.0, seed=1)
    rules = config().replace("cost_usd_per_mtok_out, max", "cost_usd_per_mtok_out_saturated, max")
    repo.commit({"costplan.yaml": f"profiles: [ours]\n{rules}"})
    repo.git("checkout", "-q", "-B", "feature")
    repo.git("rm", "-rq", "ours")
    own_profile(repo.folder / "ours", factor, seed=2, **how)  # type: ignore[arg-type]
    repo.commit()


def test_slower_profile_fails(repo: Repo, run: Run) -> None:
    profiled(repo, 1.2)
    found = run(repo, "--base", "main")
    one = found.report["workloads"][0]
    assert found.report["profiles"][0]["verdict"] == "worse"
    assert found.code == 1 and one["causes"][0]["input"] == "profile"
    assert found.report["profiles"][0]["median_ratio"] == pytest.approx(1.2, rel=0.01)


def test_the_same_machine_measured_again_changes_nothing(repo: Repo, run: Run) -> None:
    profiled(repo, 1.0)
    found = run(repo, "--base", "main")
    assert found.report["profiles"][0]["verdict"] == "same"
    assert found.code == 0


@pytest.mark.parametrize(("how", "verdict", "said"), [
    ({"driver": "590.2"}, "not_judged", "different machine: driver 580.1 -> 590.2"),
    ({"runs": 2}, "not_judged", "no kernel has 5 runs on both sides")])
def test_a_profile_that_cannot_be_judged_never_fails(repo: Repo, run: Run, how: dict[str, object], verdict: str,
                                                     said: str) -> None:
    profiled(repo, 1.3, **how)
    found = run(repo, "--base", "main")
    assert (found.code, found.report["verdict"]) == (0, "not_judged")
    assert found.report["profiles"][0]["verdict"] == verdict
    assert found.report["profiles"][0]["reason"] == said
    assert found.report["workloads"][0]["metrics"]["cost_usd_per_mtok_out_saturated"]["change_frac"] > 0.05
    assert run(repo, "--base", "main", "--strict").code == 3
    repo.commit({"prices.csv": PRICES.format(usd=3)})
    assert run(repo, "--base", "main").code == 1


def test_same_inputs_give_the_same_bytes_and_the_schema_holds(repo: Repo, run: Run) -> None:
    repo.commit({"chat.yaml": workload(isl=900)})
    one, two = run(repo, "--base", "main"), run(repo, "--base", "main")
    for name in ("report.json", "comment.md", "report.html", "plan.base.json", "plan.head.json"):
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes(), name
    jsonschema.validate(one.report, json.loads(json.dumps(report_schema())))
    data = (one.folder / "report.json").read_bytes()
    assert report_json(parse_report(data, "report.json")).encode() == data
    assert isinstance(one.report["workloads"][0]["metrics"]["monthly_cost_usd"]["head"], str)
    told = run(repo, str(one.folder / "plan.base.json"), str(one.folder / "plan.head.json"), command="diff")
    assert told.code == 0 and "why" in told.out
    assert "+" in told.out
    by_rev = run(repo, "main", "HEAD", "--json", command="diff")
    assert json.loads(by_rev.out)["workloads"][0]["metrics"] == one.report["workloads"][0]["metrics"]


def test_against_a_plan_file_of_another_version_the_version_is_the_cause(repo: Repo, run: Run, quick: list[str],
                                                                         sample_plan: dict[str, Any]) -> None:
    """Equal inputs by digest and another costplan: all of the change is its own."""
    other = json.loads(json.dumps(sample_plan))
    other["tool"]["version"] = "0.0.9"
    (repo.folder / "old.json").write_text(json.dumps(other), encoding="utf-8")
    repo.put({"chat.yaml": workload(rate=3)})
    found = run(repo, "--base", "old.json")
    one = found.report["workloads"][0]
    assert found.code == 1 and found.report["base"]["rev"] == "old.json"
    (cause,) = one["causes"]
    assert (cause["input"], cause["base"]) == ("costplan", "0.0.9")
    assert cause["change_frac"] == one["metrics"]["cost_usd_per_mtok_out"]["change_frac"]

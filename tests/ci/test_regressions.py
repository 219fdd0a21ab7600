"""Planted regressions with the real planner: verdict, first cause, exit code, the same bytes each time."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import resource
import subprocess
import sys
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

from .conftest import CI_NAMES, PRICES, Repo, Run, config, workload

ROOT = Path(__file__).resolve().parents[2]
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


def test_no_change_costs_little_and_imports_no_engine(repo: Repo) -> None:
    """Processor time of a new process: unlike a clock on the wall, other work on the machine hardly moves it."""
    heavy = ("torch", "pandas", "pyarrow", "numba", "vl_convert", "costplan.simulate", "costplan.plan.planner",
             "costplan.plan.search", "costplan.perf.assemble")
    code = ("import sys; from costplan.cli.app import main; "
            f"code = main(['ci', '--base', 'main']); found = set({heavy!r}) & set(sys.modules); "
            "sys.exit(code or ('imported ' + repr(found) if found else 0))")
    repo.commit({"README.md": "words only"})
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = {k: v for k, v in os.environ.items() if k not in CI_NAMES} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=repo.folder, env=env, capture_output=True, text=True,
                          check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("✅ no cost change")
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2.0


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


def own_profile(folder: Path, factor: float, seed: int = 0, driver: str = "580.1", runs: int = 4) -> None:
    """Some shipped H100 kernels as if measured here, ``factor`` times as slow; 40 of them with samples of ``runs``
    runs, each of which is fast or slow as a whole by 0.5 %."""
    shipped = Profile.load("h100_sxm-vllm")
    rng = np.random.default_rng(seed)
    tables, lines = [], []
    for family in ("gemm", "attn_decode", "attn_prefill", "elementwise"):
        t = shipped.table(family)
        assert t is not None
        t = t.take(np.arange(0, len(t), max(1, len(t) // 1000)))
        columns = {**t.columns, "latency_s": t.columns["latency_s"] * factor}
        tables.append(Table(family, columns, t.codes, t.vocab))
        if family == "gemm":
            lines = [(i, t) for i in range(0, len(t), len(t) // 40)]
    drift = np.exp(0.005 * rng.standard_normal(runs))
    text = "".join(_sample(t, i, r, float(t.columns["latency_s"][i]) * factor * drift[r] * noise)
                   for i, t in lines for r, noise in enumerate(np.exp(0.002 * rng.standard_normal(runs))))
    data = gzip.compress(text.encode(), mtime=0)
    origin = {"raw": {"file": "samples.jsonl.gz", "sha256": hashlib.sha256(data).hexdigest()}}
    m: Manifest = replace(shipped.manifest, name=folder.name, versions={**shipped.manifest.versions, "driver": driver},
                          origin=origin if runs else {}, tables={})
    write_profile(folder, m, tables)
    (folder / "samples.jsonl.gz").write_bytes(data)


def _sample(t: Table, i: int, run: int, seconds: float) -> str:
    case = {"family": "gemm", **{n: int(t.columns[n][i]) for n in ("m", "n", "k")}, "dtype": t.text("dtype")[i]}
    regime = {"regime": "steady", "samples_ns": [round(seconds * 1e9)], "median_s": seconds, "stop": "settled"}
    return json.dumps({"case": case, "backend": "b", "kernel": t.text("kernel")[i], "pass": 1, "run": f"r{run}",
                       "telemetry": {}, "regimes": [regime]}) + "\n"


def profiled(repo: Repo, factor: float, **how: object) -> None:
    """A measured profile on main; the same again, ``factor`` times as slow, on the branch. Prompts are long: the steps
    of short ones wait for the host, whatever the kernels take."""
    repo.git("checkout", "-q", "main")
    own_profile(repo.folder / "ours", 1.0, seed=1)
    rules = config().replace("cost_usd_per_mtok_out, max", "cost_usd_per_mtok_out_saturated, max")
    repo.commit({"costplan.yaml": f"profiles: [ours]\n{rules}", "chat.yaml": workload(isl=3000)})
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
    assert found.report["profiles"][0]["ratio"] == pytest.approx(1.2, rel=0.01)


def test_the_same_machine_measured_again_changes_nothing(repo: Repo, run: Run) -> None:
    profiled(repo, 1.0)
    found = run(repo, "--base", "main")
    assert found.report["profiles"][0]["verdict"] == "same"
    assert found.code == 0


@pytest.mark.parametrize(("how", "outcome", "verdict", "said"), [
    ({"driver": "590.2"}, "not_judged", "not_judged", "other driver class: 580 and 590"),
    ({"runs": 0}, "warned", "unclear", "one figure per case, no runs")])
def test_a_profile_that_cannot_be_judged_never_fails(repo: Repo, run: Run, how: dict[str, object], outcome: str,
                                                     verdict: str, said: str) -> None:
    profiled(repo, 1.3, **how)
    found = run(repo, "--base", "main", "--strict")
    assert (found.code, found.report["verdict"]) == (3 if verdict == "not_judged" else 0, outcome)
    assert found.report["profiles"][0]["verdict"] == verdict
    assert found.report["profiles"][0]["reason"] == said
    assert found.report["workloads"][0]["metrics"]["cost_usd_per_mtok_out_saturated"]["change_frac"] > 0.05
    repo.commit({"prices.csv": PRICES.format(usd=3)})
    assert run(repo, "--base", "main").code == 1


def test_same_inputs_give_the_same_bytes_and_the_schema_holds(repo: Repo, run: Run) -> None:
    repo.commit({"chat.yaml": workload(isl=900)})
    one, two = run(repo, "--base", "main"), run(repo, "--base", "main")
    for name in ("report.json", "comment.md", "plan.base.json", "plan.head.json"):
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes(), name
    jsonschema.validate(one.report, json.loads(json.dumps(report_schema())))
    data = (one.folder / "report.json").read_bytes()
    assert report_json(parse_report(data, "report.json")).encode() == data
    assert isinstance(one.report["workloads"][0]["metrics"]["monthly_cost_usd"]["head"], str)
    told = run(repo, str(one.folder / "plan.base.json"), str(one.folder / "plan.head.json"), command="diff")
    assert told.code == 0 and "why" in told.out and "+" in told.out
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

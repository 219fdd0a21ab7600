"""`costplan plan`, `explain` and `emit` as a user meets them: answers, files, refusals, exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costplan.cli.app import main
from costplan.plan import planner
from costplan.report.plan_schema import plan_schema

SMALL = """\
name: small
model: llama-3.1-8b
load: {rate: {requests_per_s: 2}}
lengths: {isl: {fixed: 500}, osl: {fixed: 50}}
slo: {ttft: {p95: 1s}, tpot: {p95: 50ms}}
candidates: {gpus: [h100_sxm], engines: [vllm], tp: [1], weights: [bf16], max_num_seqs: [64],
  max_num_batched_tokens: [2048]}
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("workloads") / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def plan_file(small: Path) -> Path:
    path = small.parent / "plan.json"
    assert main(["plan", str(small), "--json", "-o", str(path)]) == 0
    return path


def test_file_is_valid_and_the_same_each_time(small: Path, plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(small), "--json"]) == 0
    out = capsys.readouterr().out
    assert out == plan_file.read_text(encoding="utf-8")
    jsonschema.validate(json.loads(out), plan_schema())
    assert set(json.loads(out)["inputs"]) == {"workload_sha256", "prices_sha256", "own_profiles_sha256"}


def test_text_markdown_and_csv_agree(small: Path, plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = json.loads(plan_file.read_text(encoding="utf-8"))["plans"][0]
    for flag in ([], ["--markdown"], ["--csv"]):
        assert main(["plan", str(small), *flag]) == 0
        out = capsys.readouterr().out
        assert f"{best['money']['usd_per_mtok_out']['value']:.3g}"[:4] in out
        assert "h100" in out and "\x1b" not in out


def test_own_prices_replace_the_shipped(small: Path, plan_file: Path, tmp_path: Path,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "ours.csv"
    table.write_text("gpu,gpu_count,price_usd_per_gpu_h,provider,purchase,price_date\n"
                     "h100_sxm,1,0.5,our rack,on_demand,2026-11-01\n", encoding="utf-8")
    assert main(["plan", str(small), "--prices", str(table), "--json"]) == 0
    ours, listed = json.loads(capsys.readouterr().out), json.loads(plan_file.read_text(encoding="utf-8"))
    rental = ours["plans"][0]["money"]["rental"]
    assert rental["price"]["provider"] == "our rack"
    assert rental["usd_per_h"] == pytest.approx(0.5 * ours["plans"][0]["replicas"])
    assert ours["inputs"]["prices_sha256"] != listed["inputs"]["prices_sha256"]
    table.write_text("gpu,gpu_count\n", encoding="utf-8")
    assert main(["plan", str(small), "--prices", str(table)]) == 2
    assert "ours.csv:1" in capsys.readouterr().err


def test_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "plan"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(plan_schema()))


def test_infeasible_has_its_own_code_and_still_writes_what_would_help(small: Path, tmp_path: Path,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plan.json"
    assert main(["plan", str(small), "--budget", "1"]) == 5
    said = capsys.readouterr().out
    assert "infeasible" in said.splitlines()[0] and "budget_usd_per_month" in said
    assert main(["plan", str(small), "--budget", "1", "--json", "-o", str(out)]) == 5
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["feasible"] is False and found["relaxations"]
    assert main(["explain", str(out)]) == 2


def test_interruption_leaves_no_file_and_says_how_far_it_came(
        small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, progress: Any, **__: object) -> None:
        progress(3, 16, "h100_sxm tp1")
        raise KeyboardInterrupt

    monkeypatch.setattr(planner, "plan", interrupted)
    assert main(["plan", str(small), "--json", "-o", str(tmp_path / "plan.json")]) == 130
    assert "stopped after 3 of 16 systems; nothing was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("args", "said"), [
    (["plan", "chatt"], "did you mean chat"), (["plan", "no/such.yaml"], "no/such.yaml"),
    (["plan", "SMALL", "--gpu", "h1000"], "h100_sxm"), (["plan", "SMALL", "--engine", "vlm"], "vllm"),
    (["plan", "SMALL", "--purchase", "rent"], "on_demand"),
    (["plan", "SMALL", "--provider", "nobody"], "unknown provider"),
    (["plan", "SMALL", "--weights", "fp9"], "fp8"), (["plan", "SMALL", "--gpu", ","], "no name"),
    (["plan", "SMALL", "--json", "--csv"], "choose one"), (["plan", "SMALL", "--top", "0"], "--top"),
    (["plan", "SMALL", "--headroom", "nan"], "--headroom"), (["plan", "SMALL", "--budget", "inf"], "--budget"),
    (["plan", "SMALL", "--profile", "nope"], "unknown profile"), (["explain", "no.json"], "no such file"),
    (["explain", "chatt"], "did you mean chat"), (["emit", "FILE", "--rank", "99"], "no plan of rank 99"),
    (["emit", "FILE", "--engine", "vlm"], "vllm")])
def test_refusals_say_what_and_what_to_try(args: list[str], said: str, small: Path, plan_file: Path,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    named = {"SMALL": str(small), "FILE": str(plan_file)}
    assert main([named.get(a, a) for a in args]) == 2
    streams = capsys.readouterr()
    assert said in streams.err
    assert streams.out == ""


def test_explain_and_emit_need_the_file_only(plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(plan_file)]) == 0
    page = " ".join(capsys.readouterr().out.split())
    for said in ("1e6 x $/h / (T x 3600 x U)", "32 layers x 2 (K, V) x 8 KV heads x 128 x", "A mean decode step",
                 "by Little's law", "profiles h100_sxm-vllm"):
        assert said in page
    assert main(["explain", str(plan_file), "--json"]) == 0
    assert {"chapter", "number", "value", "formula", "source"} == set(json.loads(capsys.readouterr().out)["numbers"][0])
    for engine, said in (("vllm", "vllm serve"), ("sglang", "sglang.launch_server"), ("trtllm", "trtllm-serve"),
                         ("k8s", "kind: Deployment")):
        assert main(["emit", str(plan_file), "--engine", engine, "--checkpoint", "org/weights"]) == 0
        assert said in capsys.readouterr().out


def test_a_workload_is_planned_and_explained(small: Path, plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(plan_file)]) == 0
    from_file = capsys.readouterr().out
    assert main(["explain", str(small)]) == 0
    assert capsys.readouterr().out == from_file


def test_emitted_settings_are_those_of_the_plan(plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads(plan_file.read_text(encoding="utf-8"))["plans"][0]["config"]
    assert main(["emit", str(plan_file)]) == 0
    flags = dict(re.findall(r"--([a-z-]+) ([0-9.]+)", capsys.readouterr().out))
    assert flags["max-num-seqs"] == str(config["max_num_seqs"])
    assert flags["max-num-batched-tokens"] == str(config["max_num_batched_tokens"])
    assert flags["block-size"] == str(config["block_size"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flag=st.sampled_from(["--gpu", "--engine", "--weights", "--kv", "--provider", "--region", "--purchase",
                             "--max-gpus", "--budget", "--headroom", "--spare", "--seed", "--top", "--model",
                             "--profile"]),
       value=st.one_of(st.text(max_size=12), st.sampled_from(["nan", "-1", "1e999", "", "../x", "\x1b[2J", "0x1",
                                                                "9" * 40])))
def test_no_flag_value_crashes(small: Path, flag: str, value: str, monkeypatch: pytest.MonkeyPatch,
                               capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is typed, the answer is 0, 2 or 5, never a bug of ours, and no escape reaches the terminal."""
    code = main(["plan", str(small), f"{flag}={value}", "--csv"])
    assert code in (0, 2, 5), capsys.readouterr().err
    assert "\x1b" not in capsys.readouterr().err

"""Repositories with real commits and merges, and a quick planner: one real plan, scaled by its inputs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from costplan.ci.inputs import PlanInputs
from costplan.cli.app import main

WORKLOAD = """\
name: {name}
model: llama-3.1-8b
load: {{rate: {{requests_per_s: {rate}}}}}
lengths: {{isl: {{fixed: {isl}}}, osl: {{fixed: 50}}}}
slo: {{ttft: {{p95: 1s}}, tpot: {{p95: 50ms}}}}
candidates: {{gpus: [h100_sxm], engines: [vllm], tp: [1], weights: [bf16], kv_cache_dtype: [auto], block_size: [{page}],
  max_num_seqs: [64], max_num_batched_tokens: [2048]}}
"""
PRICES = """\
gpu,gpu_count,price_usd_per_gpu_h,provider,purchase,price_date
h100_sxm,1,{usd},our rack,on_demand,2026-11-01
"""
CONFIG = """\
workloads: [{files}]
prices: prices.csv
ci:
  guardrails:
    - {{metric: cost_usd_per_mtok_out, max_increase: 5%}}
    - {{metric: ttft_p95_s, max_increase: 50%, level: warn}}
"""
TODAY = "2026-11-21"


def workload(name: str = "chat", rate: float = 2, isl: int = 500, page: int = 16) -> str:
    return WORKLOAD.format(name=name, rate=rate, isl=isl, page=page)


def config(*files: str) -> str:
    return CONFIG.format(files=", ".join(files or ("chat.yaml",)))


@dataclass
class Repo:
    """A git repository in ``folder``; commits have fixed dates, so that ids repeat."""

    folder: Path

    def git(self, *args: str) -> str:
        env = {**os.environ, "GIT_AUTHOR_DATE": "2026-11-20T00:00:00Z", "GIT_COMMITTER_DATE": "2026-11-20T00:00:00Z",
               "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        who = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "protocol.file.allow=always", "-c",
               "commit.gpgsign=false")
        done = subprocess.run(["git", *who, *args], cwd=self.folder, env=env, capture_output=True, text=True,
                              check=True)
        return done.stdout.strip()

    def put(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def commit(self, files: dict[str, str] | None = None, message: str = "change") -> str:
        self.put(files or {})
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")


@dataclass
class Ran:
    """What one `costplan ci` did."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "report.json").read_text(encoding="utf-8"))
        return found

    @property
    def comment(self) -> str:
        return (self.folder / "comment.md").read_text(encoding="utf-8")

    @property
    def summary(self) -> str:
        return (self.folder / "summary.md").read_text(encoding="utf-8")


Run = Callable[..., Ran]
CI_NAMES = ("GITHUB_BASE_REF", "GITHUB_ACTIONS", "GITHUB_TOKEN", "GITLAB_TOKEN", "CI_MERGE_REQUEST_DIFF_BASE_SHA",
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "GITHUB_STEP_SUMMARY", "GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE")


def new_repo(folder: Path, branch: str = "main") -> Repo:
    folder.mkdir(parents=True)
    repo = Repo(folder)
    repo.git("init", "-q", "-b", branch)
    (folder / ".gitignore").write_text("costplan-report/\n", encoding="utf-8")
    return repo


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """One workload with own prices on main, and an open branch."""
    repo = new_repo(tmp_path / "repo")
    repo.commit({"chat.yaml": workload(), "prices.csv": PRICES.format(usd=2), "costplan.yaml": config()})
    repo.git("checkout", "-q", "-b", "feature")
    return repo


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`costplan ci` inside a repository, in an environment without CI variables."""
    for name in CI_NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    count = [0]

    def call(repo: Repo, *args: str, command: str = "ci") -> Ran:
        count[0] += 1
        out = tmp_path / f"out{count[0]}"
        out.mkdir()
        monkeypatch.chdir(repo.folder)
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(out / "summary.md"))
        capsys.readouterr()
        extra = ("--out-dir", str(out), "--today", TODAY) if command == "ci" else ("--today", TODAY)
        code = main([command, *args, *extra])
        said = capsys.readouterr()
        return Ran(code, said.out, said.err, out)

    return call


@pytest.fixture(scope="session")
def sample_plan(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The plan file of the small workload."""
    path = tmp_path_factory.mktemp("plan") / "chat.yaml"
    path.write_text(workload(), encoding="utf-8")
    assert main(["plan", str(path), "--json", "-o", str(path.with_suffix(".json"))]) == 0
    found: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return found


def scaled(plan: dict[str, Any], name: str, factor: float) -> str:
    """The plan of workload ``name`` at ``factor`` times the cost."""
    found = json.loads(json.dumps(plan))
    found["workload"]["name"] = name
    money = found["plans"][0]["money"]
    for key in ("usd_per_mtok_out", "usd_per_mtok_out_saturated", "usd_per_request"):
        money[key]["value"] *= factor
    money["rental"]["usd_per_h"] *= factor
    return json.dumps(found)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, sample_plan: dict[str, Any]) -> list[str]:
    """Replaces the planner: cost grows with rate, page size and price. Lists what was planned."""
    asked: list[str] = []

    def planner(today: date) -> Callable[[PlanInputs, bool], str]:
        def plan(inputs: PlanInputs, full: bool) -> str:
            data = inputs.workload().data
            asked.append(data["name"])
            table = inputs.prices.read_text(encoding="utf-8") if inputs.prices else ""
            usd = float(table.splitlines()[1].split(",")[2]) if table else 2.0
            factor = data["load"]["rate"]["requests_per_s"] / 2 * (1 + data["candidates"]["block_size"][0] / 1000)
            return scaled(sample_plan, data["name"], factor * usd / 2)

        return plan

    monkeypatch.setattr("costplan.cli.ci_planner.planner", planner)
    return asked

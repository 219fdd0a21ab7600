"""Real repositories: merges, first runs, shallow clones, renames, submodules, forks, two hundred workloads."""

from __future__ import annotations

from pathlib import Path

import pytest

from costplan.cli.app import main

from .conftest import PRICES, Repo, Run, config, new_repo, workload


def test_base_is_where_the_branch_parted_not_where_main_is_now(repo: Repo, run: Run, quick: list[str]) -> None:
    repo.commit({"chat.yaml": workload(rate=3)})
    repo.git("checkout", "-q", "main")
    repo.commit({"prices.csv": PRICES.format(usd=9)})
    repo.git("checkout", "-q", "feature")
    found = run(repo, "--base", "main")
    assert found.report["base"]["rev"] == repo.git("merge-base", "main", "feature")
    assert [c["field"] for c in found.report["workloads"][0]["causes"]] == ["load.rate.requests_per_s"]


def test_a_merge_commit_of_a_pull_request_counts_only_its_own_change(repo: Repo, run: Run, quick: list[str],
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """As GitHub checks it out: HEAD merges the branch into main, which has moved on; the token is not there."""
    repo.commit({"chat.yaml": workload(rate=2, page=64)})
    repo.git("checkout", "-q", "main")
    tip = repo.commit({"prices.csv": PRICES.format(usd=9)})
    repo.git("update-ref", "refs/remotes/origin/main", tip)
    repo.git("checkout", "-q", "--detach")
    repo.git("merge", "-q", "--no-ff", "-m", "merge", "feature")
    monkeypatch.setenv("GITHUB_BASE_REF", "main")
    found = run(repo)
    assert found.report["base"]["rev"] == tip
    assert [c["field"] for c in found.report["workloads"][0]["causes"]] == ["block_size"]
    cost = found.report["workloads"][0]["metrics"]["cost_usd_per_mtok_out"]
    assert cost["change_frac"] == pytest.approx(1.064 / 1.016 - 1)


def test_a_merge_request_of_gitlab_counts_from_its_diff_base(repo: Repo, run: Run, quick: list[str], tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    """As GitLab checks it out: the branch itself, detached, with the commit where it parted in the environment."""
    parted = repo.git("rev-parse", "main")
    repo.commit({"chat.yaml": workload(rate=3)})
    repo.git("checkout", "-q", "main")
    repo.commit({"prices.csv": PRICES.format(usd=9)})
    repo.git("clone", "-q", "--no-checkout", f"file://{repo.folder}", str(tmp_path / "job"))
    job = Repo(tmp_path / "job")
    job.git("checkout", "-q", "--detach", "origin/feature")
    monkeypatch.setenv("CI_MERGE_REQUEST_DIFF_BASE_SHA", parted)
    found = run(job)
    assert (found.code, found.report["base"]["rev"]) == (1, parted)
    assert [c["field"] for c in found.report["workloads"][0]["causes"]] == ["load.rate.requests_per_s"]
    monkeypatch.delenv("CI_MERGE_REQUEST_DIFF_BASE_SHA")
    monkeypatch.setenv("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main")
    assert run(job).report["base"]["rev"] == parted


def test_first_run_shows_the_plan_as_new(tmp_path: Path, run: Run, quick: list[str]) -> None:
    repo = new_repo(tmp_path / "repo")
    repo.commit({"README.md": "hello"})
    repo.git("checkout", "-q", "-b", "feature")
    repo.commit({"chat.yaml": workload(), "prices.csv": PRICES.format(usd=2), "costplan.yaml": config()})
    found = run(repo, "--base", "main")
    assert (found.code, found.report["verdict"], found.report["post"]) == (0, "new", True)
    assert found.report["workloads"][0]["verdict"] == "new" and "🆕" in found.summary
    repo.commit({"costplan.yaml": config() + "    - {metric: monthly_cost_usd, max: 1}\n"})
    assert run(repo, "--base", "main").code == 1


def test_shallow_clone_is_not_judged_and_says_how_to_fetch(repo: Repo, run: Run, quick: list[str],
                                                           tmp_path: Path) -> None:
    repo.commit({"chat.yaml": workload(rate=5)})
    repo.git("clone", "-q", "--depth", "1", "--branch", "feature", f"file://{repo.folder}", str(tmp_path / "shallow"))
    shallow = Repo(tmp_path / "shallow")
    found = run(shallow, "--base", "main")
    assert (found.code, found.report["verdict"]) == (0, "not_judged")
    assert "fetch-depth: 0" in found.report["notes"][0]["message"]
    assert "not judged" in found.comment.splitlines()[2]
    assert run(shallow, "--base", "main", "--strict").code == 3


def test_renamed_workload_is_followed(repo: Repo, run: Run, quick: list[str]) -> None:
    repo.git("mv", "chat.yaml", "eu.yaml")
    repo.commit({"costplan.yaml": config("eu.yaml"), "eu.yaml": workload("chat-eu")})
    found = run(repo, "--base", "main")
    assert (found.code, quick) == (0, [])
    one = found.report["workloads"][0]
    assert (one["name"], one["renamed_from"], one["verdict"]) == ("chat-eu", "chat", "same")
    repo.git("mv", "eu.yaml", "chat.yaml")
    repo.commit({"costplan.yaml": config("chat.yaml"), "chat.yaml": workload("chat-eu", rate=3)})
    found = run(repo, "--base", "main")
    assert "<code>chat</code> → <code>chat&#45;eu</code>" in found.comment and found.code == 1


def test_removed_workload_is_told(repo: Repo, run: Run, quick: list[str]) -> None:
    repo.git("checkout", "-q", "main")
    repo.commit({"rag.yaml": workload("rag"), "costplan.yaml": config("chat.yaml", "rag.yaml")})
    repo.git("checkout", "-q", "-B", "feature")
    repo.commit({"costplan.yaml": config("chat.yaml")})
    found = run(repo, "--base", "main")
    assert (found.code, found.report["verdict"]) == (0, "passed")
    assert {w["name"]: w["verdict"] for w in found.report["workloads"]} == {"chat": "same", "rag": "removed"}


def test_deleted_profile_is_an_error_while_it_is_named_and_not_judged_after(repo: Repo, run: Run,
                                                                            quick: list[str]) -> None:
    from costplan.profile.store import Profile, write_profile

    repo.git("checkout", "-q", "main")
    shipped = Profile.load("h100_sxm-vllm")
    table = shipped.table("elementwise")
    assert table is not None
    write_profile(repo.folder / "ours", shipped.manifest, [table])
    repo.commit({"costplan.yaml": "profiles: [ours]\n" + config()})
    repo.git("checkout", "-q", "-B", "feature")
    repo.git("rm", "-rq", "ours")
    repo.commit()
    found = run(repo, "--base", "main")
    assert found.code == 2 and found.err.startswith("error: costplan.yaml:1: profiles: ours is not the folder of")
    repo.commit({"costplan.yaml": config()})
    found = run(repo, "--base", "main")
    assert found.report["profiles"] == [{
        "cases": 0, "faster": 0, "name": "ours", "ratio": None, "slower": 0, "verdict": "not_judged",
        "reason": "removed: other measurements answer now"}]


def test_workload_in_a_submodule(repo: Repo, run: Run, quick: list[str], tmp_path: Path) -> None:
    inner = new_repo(tmp_path / "inner")
    inner.commit({"load/rag.yaml": workload("rag")})
    repo.git("checkout", "-q", "main")
    repo.git("submodule", "add", "-q", str(inner.folder), "sub")
    repo.commit({"costplan.yaml": config("chat.yaml", "sub/load/rag.yaml")})
    repo.git("checkout", "-q", "-B", "feature")
    Repo(repo.folder / "sub").commit({"load/rag.yaml": workload("rag", rate=4)})
    repo.commit()
    found = run(repo, "--base", "main")
    moved = {w["name"]: w["verdict"] for w in found.report["workloads"]}
    assert found.code == 1 and moved == {"chat": "same", "rag": "worse"}
    repo.git("clone", "-q", "--branch", "feature", str(repo.folder), str(tmp_path / "bare"))
    found = run(Repo(tmp_path / "bare"), "--base", "origin/main")
    assert found.code == 2 and "sub/load/rag.yaml" in found.err


def test_base_that_cannot_be_read_does_not_block_its_repair(repo: Repo, run: Run, quick: list[str]) -> None:
    repo.git("checkout", "-q", "main")
    repo.commit({"chat.yaml": "name: [\n"})
    repo.git("checkout", "-q", "-B", "feature")
    repo.commit({"chat.yaml": workload()})
    found = run(repo, "--base", "main")
    assert (found.code, found.report["verdict"]) == (0, "not_judged")
    assert "chat.yaml" in found.report["notes"][0]["message"]


def test_fork_needs_no_token_and_posting_without_one_says_why(repo: Repo, run: Run, quick: list[str],
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    repo.commit({"chat.yaml": workload(rate=3)})
    found = run(repo, "--base", "main")
    assert found.code == 1
    report = str(found.folder / "report.json")
    assert main(["ci", "comment", report, "--provider", "github", "--number", "7"]) == 2
    assert "GITHUB_TOKEN is not set" in capsys.readouterr().err
    assert main(["ci", "comment", report, "--provider", "github", "--number", "7", "--dry-run"]) == 0
    assert capsys.readouterr().out == found.comment


def test_two_hundred_workloads_stay_one_short_comment(tmp_path: Path, run: Run, quick: list[str]) -> None:
    repo = new_repo(tmp_path / "repo")
    names = [f"w{i:03d}" for i in range(200)]
    files = {f"load/{n}.yaml": workload(n) for n in names}
    repo.commit({**files, "prices.csv": PRICES.format(usd=2), "costplan.yaml": config(*files)})
    repo.git("checkout", "-q", "-b", "feature")
    assert run(repo, "--base", "main").code == 0 and quick == []
    repo.commit({"prices.csv": PRICES.format(usd=3)})
    found = run(repo, "--base", "main")
    assert found.code == 1 and len(found.report["workloads"]) == 200
    assert len(found.comment.encode()) <= 60_000
    rows = [line for line in found.comment.splitlines() if line.startswith("| <code>w")]
    assert len([r for r in rows if "❌ worse" in r and "req/s" in r]) == 20
    assert "180 more in report.json and report.html." in found.comment
    again = tmp_path / "again.md"
    assert main(["ci", "render", str(found.folder / "report.json"), "--markdown", "-o", str(again)]) == 0
    assert again.read_text(encoding="utf-8") == found.comment
    assert found.comment.rstrip().endswith("</sub>")


def test_uncommitted_changes_are_judged_and_named(repo: Repo, run: Run, quick: list[str]) -> None:
    repo.put({"chat.yaml": workload(rate=3)})
    found = run(repo, "--base", "main")
    assert found.code == 1 and found.report["head"]["dirty"] is True


def test_hooks_and_filters_of_the_repository_never_run(repo: Repo, run: Run, quick: list[str], tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    script = repo.folder / ".git" / "hooks" / "evil"
    script.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n", encoding="utf-8")
    script.chmod(0o755)
    repo.commit({".gitattributes": "* filter=evil diff=evil\n", "chat.yaml": workload(rate=3)})
    for key in ("filter.evil.clean", "filter.evil.smudge", "diff.evil.textconv", "core.fsmonitor"):
        repo.git("config", key, str(script))
    assert run(repo, "--base", "main").code == 1
    assert not mark.exists()


@pytest.mark.parametrize("named", ["../out.yaml", "/etc/passwd", "a/../../x.yaml", ".git/config", "~/x.yaml", "a\\\\b",
                                   "::error::x.yaml", "a##[error]b"])
def test_paths_stay_inside_the_repository(repo: Repo, run: Run, quick: list[str], named: str) -> None:
    repo.commit({"costplan.yaml": f'workloads: ["{named}"]\n'})
    found = run(repo, "--base", "main")
    assert found.code == 2 and found.err.startswith("error: costplan.yaml:1: ")


def test_symbolic_links_are_not_followed(repo: Repo, run: Run, quick: list[str], tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text(workload("secret"), encoding="utf-8")
    (repo.folder / "chat.yaml").unlink()
    (repo.folder / "chat.yaml").symlink_to(tmp_path / "secret.yaml")
    repo.commit()
    found = run(repo, "--base", "main")
    assert found.code == 2 and "symbolic link" in found.err
    repo.git("checkout", "-q", "main")
    found = run(repo, "--base", "main")
    assert found.code == 0
    told = run(repo, "main", "feature", command="diff")
    assert told.code == 2 and "symbolic link" in told.err


def test_trace_and_model_of_each_side_are_its_own(repo: Repo, run: Run, quick: list[str]) -> None:
    trace = "timestamp,isl,osl\n" + "".join(f"{i},{100 + i},20\n" for i in range(50))
    text = workload().replace("lengths: {isl: {fixed: 500}, osl: {fixed: 50}}",
                              "lengths: {trace: {path: data/t.csv, time_unit: s}}")
    repo.git("checkout", "-q", "main")
    repo.commit({"chat.yaml": text, "data/t.csv": trace})
    repo.git("checkout", "-q", "-B", "feature")
    assert run(repo, "--base", "main").code == 0 and quick == []
    repo.commit({"data/t.csv": trace + "50,999,9\n"})
    found = run(repo, "--base", "main")
    one = found.report["workloads"][0]
    assert one["metrics"] and one["reason"] == "" and quick == ["chat", "chat"]


def test_a_file_named_like_the_base_branch_does_not_stand_in_for_it(repo: Repo, run: Run, quick: list[str]) -> None:
    repo.commit({"chat.yaml": workload(rate=3), "main": "{}"})
    assert run(repo, "--base", "main").code == 1
    assert run(repo, "main", "HEAD", command="diff").code == 0


def test_no_line_of_an_error_is_a_workflow_command(repo: Repo, run: Run) -> None:
    repo.commit({"costplan.yaml": 'workloads: [chat.yaml]\n"::error::a": 1\n"##[error]b": 2\n"::add-mask::x": 3\n'})
    found = run(repo, "--base", "main")
    assert found.code == 2 and "3 problems" in found.err
    assert not any(line.strip().startswith("::") or "##[" in line for line in found.err.splitlines())

"""What the words BASE and HEAD of `costplan ci` and `costplan diff` mean: plan files, commits, the working tree."""

from __future__ import annotations

import json
from pathlib import Path

from costplan.ci.git import Git
from costplan.ci.inputs import digest
from costplan.ci.source import Commit
from costplan.ci.state import CONFIG, Entry, State, read_state
from costplan.ci.types import Side
from costplan.core.errors import InputError, UnknownNameError
from costplan.core.yaml_door import read_text
from costplan.report.plan_file import LARGEST_BYTES, parse_plan

PLANS = "costplan.plans/1"
MOST_BYTES = 4 * LARGEST_BYTES


def side_named(named: str, folder: Path, name: str) -> State:
    """The state that a word of `costplan diff` means: a plan file, or GIT_REV[:costplan.yaml]."""
    if named.endswith(".json") and Path(named).is_file():
        return plan_files(Path(named))
    rev, _, config = named.partition(":")
    git = Git(Path.cwd())
    commit = git.commit(rev) if git.root else None
    if commit is None:
        if named.endswith(".json"):
            raise InputError("no such file", where=named, hint="make it: costplan plan WORKLOAD --json -o PLAN.json")
        raise UnknownNameError("plan file or git revision", named[:80], [],
                               hint="give a plan.json, or REV:costplan.yaml")
    return read_state(Commit(git, commit), folder, name, config or CONFIG)


def plan_files(path: Path) -> State:
    """A plan file, or the plan.base.json and plan.head.json that `costplan ci` writes."""
    text = read_text(path, MOST_BYTES)
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise InputError(f"not JSON: {e}", where=str(path), hint="expected a plan file") from None
    several = isinstance(raw, dict) and raw.get("schema") == PLANS and isinstance(raw.get("plans"), dict)
    plans = {str(k): json.dumps(v) for k, v in raw["plans"].items()} if several else {"": text}
    entries = []
    for name, one in plans.items():
        found = parse_plan(one.encode(), f"{path}{f': {name[:80]}' if name else ''}")
        entries.append(Entry(name or found.workload.name, "", plan=found))
    return State(Side(path.name, digest(text)), tuple(entries))


def plans_text(plans: dict[str, str]) -> str:
    """Plan files by workload in one file, which `costplan diff` reads."""
    inner = {name: json.loads(text) for name, text in plans.items()}
    return json.dumps({"schema": PLANS, "plans": inner}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

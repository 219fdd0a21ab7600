"""Which commit a change is compared with: the merge base, named in the report, never silently another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from costplan.ci.git import Git
from costplan.ci.types import Note
from costplan.core.errors import InputError

_UNSHALLOW = "fetch the whole history: fetch-depth: 0 in actions/checkout, GIT_DEPTH: \"0\" in GitLab"


@dataclass(frozen=True, slots=True)
class Base:
    """The commit found; None with the reason why there is none."""

    commit: str | None
    note: Note | None = None


def find_base(git: Git, given: str | None, env: Mapping[str, str]) -> Base:
    """The merge base of HEAD and ``given``, or of what the CI service names in ``env``, or of origin/HEAD.

    Raises InputError for a ``given`` revision that a whole repository does not know.
    """
    head = git.commit("HEAD")
    if head is None:
        return Base(None, Note("no_base", "this repository has no commit yet"))
    named = given or _named(env)
    if named is None:
        named = next((r for r in ("origin/HEAD", "origin/main", "origin/master") if git.commit(r)), None)
    if named is None:
        return Base(None, Note("no_base", "no base branch is known: give --base"))
    commit = git.commit(named)
    if commit is None:
        if given and not git.shallow():
            raise InputError(f"git knows no revision {given[:80]!r}", where="--base",
                             hint="give a branch, a tag, a commit or a plan file")
        why = _UNSHALLOW if git.shallow() else "fetch it, or give --base"
        return Base(None, Note("no_base", f"the base {named[:80]} is not in this clone: {why}"))
    found = git.merge_base(commit, head)
    if found is None:
        why = _UNSHALLOW if git.shallow() else "the two have no common history"
        return Base(None, Note("no_base", f"no merge base of {named[:80]} and HEAD: {why}"))
    return Base(found)


def _named(env: Mapping[str, str]) -> str | None:
    """What GitHub and GitLab say about the target of the change."""
    if branch := env.get("GITHUB_BASE_REF"):
        return f"origin/{branch}"
    if commit := env.get("CI_MERGE_REQUEST_DIFF_BASE_SHA"):
        return commit
    branch = env.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME")
    return f"origin/{branch}" if branch else None

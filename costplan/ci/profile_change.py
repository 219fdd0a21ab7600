"""What a replaced profile means: the verdict of `costplan profile diff`, which judges by runs and not by samples."""

from __future__ import annotations

from pathlib import Path

from costplan.ci.types import ProfileChange, Verdict
from costplan.core.errors import ProfileError
from costplan.profile.compare import Finding, compare_profiles
from costplan.profile.compare import Verdict as Judged
from costplan.profile.store import Profile

_VERDICTS = {Judged.SAME: Verdict.SAME, Judged.BETTER: Verdict.BETTER, Judged.WORSE: Verdict.WORSE,
             Judged.UNCLEAR: Verdict.UNCLEAR, Judged.NOT_JUDGED: Verdict.NOT_JUDGED}


def profile_change(name: str, base: Path, head: Path) -> ProfileChange:
    """The verdict on a profile that is in both states, in folders ``base`` and ``head``."""
    try:
        found = compare_profiles(Profile.load(base), Profile.load(head))
    except ProfileError as e:
        return ProfileChange(name, Verdict.NOT_JUDGED, f"unreadable: {e.message}")
    whole = found.overall
    slower, faster = (sum(c.verdict is v for c in found.cases) for v in (Judged.WORSE, Judged.BETTER))
    return ProfileChange(name, _VERDICTS[whole.verdict], whole.reason or _said(whole, slower, faster), whole.cases,
                         slower, faster, whole.ratio)


def _said(f: Finding, slower: int, faster: int) -> str:
    runs = f"{f.runs[0]} runs against {f.runs[1]}"
    return f"{runs}: of {f.cases} cases {slower} are slower and {faster} faster"

"""How often the audit is wrong: published rows that break physics against rows that do not.

    python benchmarks/audit_rates.py rejected_physics.csv tune.csv

Prints how many bad rows are flagged, how many good ones are, and the same for the good rows of each family of sources
with the limits of `costplan/validate/data/best.json` set by the other families only.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest.mock import patch

from costplan.validate.audit import Audit, audit
from costplan.validate.audit_file import read_measurements
from costplan.validate.audit_limits import table

SLACK = 1.1
CHECKS = {"time per token": ("mbu", 0), "arithmetic": ("mfu", 0), "time to first token": ("ttft_mfu", 0),
          "decode rate": ("decode_share", 2)}


def audits(path: Path) -> list[Audit]:
    """Every row of a reference table, judged."""
    claims, refused = read_measurements(path)
    assert not refused, refused
    return [audit(c) for c in claims]


def best_of(found: Sequence[Audit]) -> dict[str, float]:
    """The highest efficiency among unflagged claims, by limit."""
    top: dict[str, float] = {}
    for a in found:
        if a.flagged or a.claim.spec is None:
            continue
        for f in a.findings:
            if f.check in CHECKS:
                name, place = CHECKS[f.check]
                moe = a.claim.spec.is_moe
                if name == "decode_share" and moe:
                    continue
                name = "mbu_moe" if name == "mbu" and moe else name
                top[name] = max(top.get(name, 0.0), f.amounts[place].value)
    return top


def rate(found: Sequence[Audit]) -> str:
    n = sum(a.flagged for a in found)
    return f"{n} of {len(found)} flagged ({n / len(found):.2%})"


def held_out(found: Sequence[Audit], families: Mapping[str, str]) -> None:
    """Each family judged by limits that the others set."""
    groups = defaultdict(list)
    for a in found:
        groups[families[a.claim.name]].append(a)
    total = 0
    for family, own in sorted(groups.items()):
        others = best_of([a for a in found if families[a.claim.name] != family])
        limits = {k: v for k, v in table().items() if isinstance(v, dict)}
        limits |= {k: {"limit": SLACK * v} for k, v in others.items()}
        with patch("costplan.validate.audit_limits.table", lambda limits=limits: limits):
            again = [audit(a.claim) for a in own]
        total += sum(a.flagged for a in again)
        print(f"  {family}: {rate(again)}")
    print(f"  together: {total} of {len(found)} ({total / len(found):.2%})")


def main(bad: Path, good: Path) -> None:
    wrong, fine = audits(bad), audits(good)
    print(f"rows that break physics: {rate(wrong)}; {dict(Counter(str(a.verdict) for a in wrong))}")
    print(f"good rows: {rate(fine)}; {dict(Counter(str(a.verdict) for a in fine))}")
    print("best of the good rows:", {k: round(v, 3) for k, v in best_of(fine).items()})
    with good.open(encoding="utf-8", newline="") as f:
        families = {r["id"]: r["family"] for r in csv.DictReader(f)}
    print("good rows by family, with limits from the other families:")
    held_out(fine, families)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

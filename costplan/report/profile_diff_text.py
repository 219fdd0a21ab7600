"""`costplan profile diff`: the verdict first, then families, then the cases that differ most."""

from __future__ import annotations

import math
from collections.abc import Sequence

from costplan.profile.compare import Comparison, Finding, Verdict
from costplan.report.columns import Column, facts, heading, table
from costplan.report.style import Style

_MOST_CASES = 15
_BASIS = {
    "runs": "runs: the median of each case in each run is one value; samples within a run are not independent",
    "one run": "a single run on a side: only differences far beyond the noise within it are judged",
    "tables": "tables only (no raw samples): one figure per case, so no verdict; the largest differences are listed",
    "nothing": "nothing could be judged"}


def diff_text(c: Comparison, style: Style) -> str:
    """The whole comparison."""
    blocks = [heading(f"{c.b} against {c.a}: {_headline(c.overall)}", style)]
    if c.families:
        blocks.append(_families(c, style))
    blocks += [b for b in (_changed(c, style), _not_judged(c, style)) if b]
    blocks.append(facts([*_counts(c), ("basis", _BASIS[c.basis]), *_advice(c)], style))
    return "\n\n".join("\n".join(b) for b in blocks) + "\n"


def _headline(f: Finding) -> str:
    if f.verdict is Verdict.NOT_JUDGED:
        return f"not judged ({f.reason})"
    reason = f" ({f.reason})" if f.reason else ""
    return f"{f.verdict}, {_change(f)} time over {f.cases:,} cases{reason}"


def _change(f: Finding) -> str:
    return "" if f.ratio is None else f"{(f.ratio - 1) * 100:+.1f}%"


def _interval(f: Finding) -> str:
    if f.interval is None:
        return ""
    low, high = f.interval
    return f"{(low - 1) * 100:+.1f} .. {(high - 1) * 100:+.1f}%"


def _families(c: Comparison, style: Style) -> list[str]:
    columns = (Column("family"), Column("verdict"), Column("time", right=True), Column("90% interval", right=True),
               Column("cases", right=True), Column("worse", right=True, expendable=2),
               Column("better", right=True, expendable=2), Column("runs", right=True, expendable=1))
    rows = []
    for f in (*c.families, c.overall):
        of = [x for x in c.cases if f.family in ("", x.family)]
        rows.append([f.name, f.verdict.value, _change(f), _interval(f), f"{f.cases:,}", _count(of, Verdict.WORSE),
                     _count(of, Verdict.BETTER), f"{f.runs[0]} : {f.runs[1]}"])
    return table(columns, rows, style)


def _count(findings: Sequence[Finding], verdict: Verdict) -> str:
    return str(sum(f.verdict is verdict for f in findings) or "-")


def _changed(c: Comparison, style: Style) -> list[str]:
    """Cases with a claim, worst first; from tables the largest differences, whatever they mean."""
    claimed = [f for f in c.cases if f.verdict in (Verdict.WORSE, Verdict.BETTER)]
    shown = [f for f in c.cases if f.ratio is not None] if c.basis == "tables" else claimed
    if not shown:
        return []
    ranked = sorted(shown, key=lambda f: -abs(math.log(f.ratio or 1.0)))[:_MOST_CASES]
    title = "largest differences" if c.basis == "tables" else "case [kernel]"
    columns = (Column(title), Column("verdict"), Column("time", right=True),
               Column("90% interval", right=True, expendable=1))
    lines = table(columns, [[f.name, f.verdict.value, _change(f), _interval(f)] for f in ranked], style)
    return [*lines, f"... and {len(shown) - len(ranked):,} more"] if len(shown) > len(ranked) else lines


def _not_judged(c: Comparison, style: Style) -> list[str]:
    reasons: dict[str, int] = {}
    for f in c.cases:
        if f.verdict is Verdict.NOT_JUDGED:
            reasons[f.reason] = reasons.get(f.reason, 0) + 1
    return facts([(f"{n} not judged", reason) for reason, n in reasons.items()], style)


def _counts(c: Comparison) -> list[tuple[str, str]]:
    alone = [f"{n:,} only in {name}" for n, name in ((c.only_a, c.a), (c.only_b, c.b)) if n]
    return [("not compared", ", ".join(alone))] if alone else []


def _advice(c: Comparison) -> list[tuple[str, str]]:
    """What the verdicts mean, and what would make an unclear one clear."""
    if c.basis == "nothing":
        return [("try", "measure both on the same machine, at the same power limit, and with nothing else running")]
    margin = f"{c.margin * 100:g}%"
    out = [("time", f"of {c.b} over {c.a}; same: within {margin}, worse and better: beyond it, at most 5 % of such "
                    "claims wrong")]
    if c.overall.verdict is Verdict.UNCLEAR and c.basis != "tables":
        a, b = c.overall.runs
        out.append(("try", f"more runs on each side ({a} and {b} so far); three or more show 10 % where runs scatter "
                           "by 2 %"))
    return out

"""A report as Markdown for a pull request and the job summary: at most 60,000 bytes, cut by whole rows."""

from __future__ import annotations

from collections.abc import Sequence

from costplan.ci import terms, words
from costplan.ci.types import Outcome, Report, WorkloadDiff
from costplan.ci.words import COLUMNS, Ink
from costplan.report.escape import code

MARKER = "<!-- costplan-report key=default schema=1 -->"
MOST_BYTES = 60_000
MOST_ROWS = 20
MOST_NOTES = 10
INK = Ink(code, lambda text: f"**{text}**")
END = "<sub>Updated in place on each push. Planned with one costplan, seed and set of profiles; never measured.</sub>"


def comment(r: Report) -> str:
    """The whole comment."""
    for rows in (MOST_ROWS, 10, 5, 1):
        for details in (True, False):
            text = _comment(r, rows, details)
            if len(text.encode()) <= MOST_BYTES:
                return text
    return _joined([MARKER, f"### costplan: {words.headline(r, INK)}", "The rest is in report.json."])


def summary(r: Report) -> str:
    """For the job summary: the comment, or one line where nothing changed."""
    if r.verdict is Outcome.UNCHANGED:
        return words.headline(r, INK) + "\n"
    return comment(r)


def _comment(r: Report, rows: int, details: bool) -> str:
    blocks = [MARKER, f"### costplan: {words.headline(r, INK)}"]
    if r.verdict is Outcome.UNCHANGED:
        return _joined([*blocks, END])
    shown = r.changed[:rows]
    blocks += [_notes(r), _table(COLUMNS, [words.row(r, w, INK) for w in shown], range(1, 6))]
    same = len(r.workloads) - len(r.changed)
    left = len(r.changed) - len(shown)
    blocks.append(" ".join(x for x in (f"{left} more in report.json and report.html." if left else "",
                                       f"{same} more without any change." if same else "") if x))
    blocks += [_why(w) for w in shown]
    if details:
        blocks.append(_details(r, shown))
    return _joined([*blocks, END])


def _joined(blocks: list[str]) -> str:
    return "\n\n".join(b for b in blocks if b) + "\n"


def _notes(r: Report) -> str:
    told = [f"> ⚠️ {INK.name(n.message, 300)}" for n in r.notes[:MOST_NOTES]]
    if len(r.notes) > MOST_NOTES:
        told.append(f"> ⚠️ {len(r.notes) - MOST_NOTES} more in report.json")
    return "\n>\n".join(told)


def _why(w: WorkloadDiff) -> str:
    """Causes and the way back of one workload."""
    lines = []
    if w.causes:
        metric = terms.label(w.cause_metric or "")
        lines.append(f"**Why** {INK.name(w.name)} ({metric}): " + " · ".join(words.why(w, INK)))
    elif w.reason and w.metrics:
        lines.append(f"{INK.name(w.name)}: {INK.name(w.reason, 300)}")
    if w.fix is not None:
        lines.append(f"**Cheapest fix found:** {words.fix(w.fix, INK)}.")
    return "\n\n".join(lines)


def _table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: range) -> str:
    """Columns ``right`` hold numbers."""
    if not rows:
        return ""
    rule = ["--:" if i in right else "---" for i in range(len(titles))]
    return "\n".join("| " + " | ".join(line) + " |" for line in ([*titles], rule, *rows))


def _details(r: Report, shown: tuple[WorkloadDiff, ...]) -> str:
    """Folded away: guardrails, plans, evidence, how to repeat it."""
    parts = [_guardrails(r), _plans(shown), _profiles(r), _repeat(r)]
    inner = "\n\n".join(p for p in parts if p)
    return f"<details><summary>Plans, guardrails, evidence</summary>\n\n{inner}\n\n</details>"


def _guardrails(r: Report) -> str:
    found = [g for g in terms.by_weight(r.guardrails) if not terms.nothing_before(r, g)]
    rows = [(INK.name(g.workload), terms.label(g.metric), *terms.limit(g), str(g.level),
             words.STATES[g.status] + (f": {INK.name(g.reason, 300)}" if g.reason else "")) for g in found[:100]]
    more = f"\n\n{len(found) - 100} more in report.json." if len(found) > 100 else ""
    return _table(("workload", "guardrail", "expected", "found", "level", "status"), rows, range(2, 4)) + more


def _plans(shown: tuple[WorkloadDiff, ...]) -> str:
    lines = []
    for w in shown:
        for side, p in (("base", w.base_plan), ("head", w.head_plan)):
            if p is not None:
                kernels = f"; {INK.name(p.basis)}" if p.basis else ""
                lines.append(f"- {INK.name(w.name)} {side}: {INK.name(p.name, 120)} on {INK.name(p.rental, 120)}"
                             f"{' ⚠️ stale price' if p.stale else ''}{kernels}: {words.shares(p.evidence_shares)}")
    return "\n".join(lines)


def _profiles(r: Report) -> str:
    return "\n".join(f"- profile {INK.name(p.name)}: {words.VERDICTS[p.verdict]}, {INK.name(p.reason, 300)}"
                     f"{f'; time x {p.ratio:.3f} over {p.cases} cases' if p.ratio else ''}"
                     for p in r.profiles)


def _repeat(r: Report) -> str:
    base, head = (words.commit(s.rev, INK) for s in (r.base, r.head))
    facts = f"base {base} · head {head}{' with uncommitted changes' if r.head.dirty else ''} · " \
            f"costplan {INK.name(r.tool.version)} for both · seed {r.seed}"
    if r.base.rev and r.head.rev and not r.head.dirty:
        facts += f"\n\nRepeat: {INK.name(f'costplan diff {r.base.rev[:7]} {r.head.rev[:7]}')}"
    return facts



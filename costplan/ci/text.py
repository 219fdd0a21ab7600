"""A report on a terminal or in a job's log: verdict first on each line, so that no name begins one."""

from __future__ import annotations

from costplan.ci import terms, words
from costplan.ci.types import GuardrailResult, Outcome, Report, Status
from costplan.ci.words import Ink
from costplan.report.escape import word
from costplan.report.style import Style

MOST_ROWS = 20
_TITLES = words.COLUMNS[1:-1]


def report_text(r: Report, style: Style) -> str:
    """Headline, notes, changed workloads with causes, broken guardrails."""
    ink = Ink(word, style.bold)
    lines = [style.bold(words.headline(r, ink))]
    if r.verdict is Outcome.UNCHANGED:
        return lines[0] + "\n"
    lines += [f"  note: {word(n.message, 1000)}" for n in r.notes[:MOST_ROWS]]
    for w in r.changed[:MOST_ROWS]:
        cells = words.row(r, w, ink)
        lines += ["", f"{cells[-1]}: {cells[0]}" + (f" ({word(w.reason, 300)})" if w.reason else "")]
        lines += [f"  {t:<12} {c}" for t, c in zip(_TITLES, cells[1:-1], strict=True) if c != "–"]
        if w.causes:
            lines.append(f"  why ({terms.label(w.cause_metric or '')}):")
            lines += [f"    {line}" for line in words.why(w, ink)]
        if w.fix is not None:
            lines.append(f"  cheapest fix found: {words.fix(w.fix, ink)}")
    left, same = len(r.changed) - MOST_ROWS, len(r.workloads) - len(r.changed)
    lines += [f"\n{left} more in report.json"] if left > 0 else []
    lines += ["", f"{same} more without any change"] if same else []
    told = [g for g in terms.by_weight(r.guardrails) if g.status is not Status.PASS and not terms.nothing_before(r, g)]
    lines += ["", *(_guardrail(g, ink) for g in told[:MOST_ROWS])] if told else []
    lines += [f"profile {word(p.name)}: {words.VERDICTS[p.verdict]}, {word(p.reason, 300)}" for p in r.profiles]
    base, head = (words.commit(s.rev, ink) for s in (r.base, r.head))
    lines.append(f"base {base}, head {head}{' with uncommitted changes' if r.head.dirty else ''}")
    return "\n".join(lines) + "\n"


def _guardrail(g: GuardrailResult, ink: Ink) -> str:
    wanted, found = terms.limit(g)
    reason = f": {word(g.reason, 300)}" if g.reason else ""
    return f"{words.STATES[g.status]}: {terms.label(g.metric)} of {ink.name(g.workload)} {found}, {wanted}{reason}"

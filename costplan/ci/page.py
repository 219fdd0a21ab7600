"""A report as one HTML file: every changed workload, every guardrail. No script, no network."""

from __future__ import annotations

from collections.abc import Sequence

from costplan.ci import words
from costplan.ci.types import Outcome, Report, WorkloadDiff
from costplan.ci.words import COLUMNS, Ink
from costplan.report.escape import markup

INK = Ink(lambda text, most=120: f"<code>{markup(text, most)}</code>", lambda text: f"<strong>{text}</strong>")
_CSP = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--soft:#59636e;--paper:#fff;--line:#d1d9e0;--tint:#f6f8fa}
@media (prefers-color-scheme:dark){:root{--ink:#f0f6fc;--soft:#9198a1;--paper:#0d1117;--line:#3d444d;--tint:#151b23}}
body{margin:0 auto;max-width:72rem;padding:1rem;font:1rem/1.5 system-ui,sans-serif}
body{color:var(--ink);background:var(--paper)}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{border:1px solid var(--line);padding:.35rem .6rem;text-align:left}
th,td{vertical-align:top;min-width:4.5rem}th{background:var(--tint)}
code{font:.9em ui-monospace,monospace;background:var(--tint);padding:.1em .3em;border-radius:4px;overflow-wrap:anywhere}
.note{border-left:4px solid var(--line);padding-left:.8rem}footer,small{color:var(--soft)}
@media print{body{max-width:none}.wide{overflow:visible}}
"""


def page(r: Report) -> str:
    """The whole page."""
    title = words.headline(r, Ink(markup, str))
    blocks = [f"<h1>costplan: {words.headline(r, INK)}</h1>", *(f'<p class="note">{markup(n.message, 1000)}</p>'
                                                              for n in r.notes)]
    if r.verdict is not Outcome.UNCHANGED:
        blocks += [_table("Workloads", COLUMNS, [words.row(r, w, INK) for w in r.changed]),
                   *(_why(w) for w in r.changed), _guardrails(r), _plans(r), _profiles(r)]
    base, head = (words.commit(s.rev, INK) for s in (r.base, r.head))
    dirty = " with uncommitted changes" if r.head.dirty else ""
    blocks.append(f"<footer>base {base}, head {head}{dirty}, costplan {markup(r.tool.version)} for both, "
                  f"seed {r.seed}, {len(r.workloads)} workloads, "
                  f"{len(r.workloads) - len(r.changed)} without any change</footer>")
    body = "\n".join(b for b in blocks if b)
    return (f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_CSP}">\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>costplan: {title}</title>\n'
            f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n")


def _table(title: str, titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{t}</th>' for t in titles)
    body = "\n".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return (f'<h2>{title}</h2>\n<div class="wide" tabindex="0" role="region" aria-label="{title}"><table>'
            f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>")


def _why(w: WorkloadDiff) -> str:
    if not (w.causes or w.fix or w.reason):
        return ""
    items = [f"<li>{line}</li>" for line in words.why(w, INK)]
    why = f"<p>Why ({words.label(w.cause_metric or '')}):</p><ul>{''.join(items)}</ul>" if items else ""
    reason = f"<p>{markup(w.reason, 1000)}</p>" if w.reason else ""
    fixed = f"<p><strong>Cheapest fix found:</strong> {words.fix(w.fix, INK)}</p>" if w.fix else ""
    return f"<h2>{INK.name(w.name)}</h2>{reason}{why}{fixed}"


def _guardrails(r: Report) -> str:
    rows = [(INK.name(g.workload), words.label(g.metric), *words.limit(g), str(g.level), words.STATES[g.status],
             markup(g.reason, 500) if g.reason else "") for g in r.guardrails]
    return _table("Guardrails", ("workload", "guardrail", "expected", "found", "level", "status", "reason"), rows)


def _plans(r: Report) -> str:
    rows = [(INK.name(w.name), side, markup(p.name, 120), markup(p.rental, 120), "yes" if p.stale else "no",
             words.shares(p.evidence_shares)) for w in r.changed
            for side, p in (("base", w.base_plan), ("head", w.head_plan)) if p is not None]
    return _table("Plans and evidence", ("workload", "side", "plan", "rented", "stale price", "evidence"), rows)


def _profiles(r: Report) -> str:
    rows = [(INK.name(p.name), words.VERDICTS[p.verdict], markup(p.reason, 500),
             f"x {p.ratio:.3f}" if p.ratio else "–", str(p.cases)) for p in r.profiles]
    return _table("Profiles", ("profile", "verdict", "reason", "time", "cases"), rows)

"""`costplan audit` for people and as JSON: the verdict on a claim and the arithmetic behind it, line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from costplan.report.columns import Column, facts, heading, table
from costplan.report.numbers import seconds, si, significant, usd
from costplan.report.style import Style, plain
from costplan.validate.audit import Audit
from costplan.validate.audit_finding import Amount, Finding, Line, Verdict

_MANY, _TIMES = 5, 2
_WHOLE = 1e9


def _power(unit: str) -> Callable[[float], str]:
    def write(x: float) -> str:
        number = si(x)
        return f"{number}{'' if number[-1].isalpha() else ' '}{unit}"
    return write


def _share(x: float) -> str:
    return f"{significant(x * 100)}%" if x < _TIMES else f"{significant(x)} times"


_WRITTEN: dict[str, Callable[[float], str]] = {
    "s": seconds, "share": _share, "share of": lambda x: f"{_share(x)}{' of' if x < _TIMES else ''}",
    "usd": usd, "usd/h": lambda x: f"{usd(x)}/h", "usd/Mtok": lambda x: f"{usd(x)} per 1M",
    "bytes": _power("B"), "bytes/s": _power("B/s"), "FLOP": _power("FLOP"), "FLOP/s": _power("FLOP/s"),
    "bytes each": lambda x: f"{x:,.0f} bytes" if x == int(x) else f"{significant(x, 4)} bytes",
    "parameters": lambda x: f"{si(x)} parameters", "active parameters": lambda x: f"{si(x)} active parameters",
}


def audit_text(audits: Sequence[Audit], style: Style, refused: Sequence[str] = ()) -> str:
    """Each claim with its findings; of many, only those that are not plausible, after a summary."""
    blocks: list[list[str]] = []
    shown = list(audits)
    if len(audits) > _MANY:
        blocks.append(_summary(audits, style))
        shown = [a for a in audits if a.flagged]
    blocks += [_claim(a, style) for a in shown]
    if refused:
        blocks.append([*heading(f"{len(refused)} rows could not be read as claims", style),
                       *facts([("", r) for r in refused[:_MANY]], style)])
    return "\n\n".join("\n".join(b) for b in blocks) + "\n"


def _summary(audits: Sequence[Audit], style: Style) -> list[str]:
    count = Counter(a.verdict for a in audits)
    rows = [[str(v), f"{count[v]:,}", f"{count[v] / len(audits) * 100:.1f}%"] for v in Verdict if count[v]]
    return table([Column(f"{len(audits):,} claims"), Column("n", right=True), Column("share", right=True)], rows, style)


def _claim(a: Audit, style: Style) -> list[str]:
    out = heading(f"{a.claim.name}: {a.verdict}", style)
    for f in a.findings:
        out += facts([(str(f.verdict), f"{f.check}: {said(f)}")], style, indent="  ")
        shown = () if a.flagged and f.verdict is Verdict.PLAUSIBLE else f.lines
        for line in shown:
            out += facts([("", arithmetic(line))], style, indent="      ")
    if a.missing:
        out += facts([("to tell more", "; ".join(a.missing))], style, indent="  ")
    return out


def said(f: Finding) -> str:
    """The sentence of a finding with its numbers."""
    return f.says.format(*(amount(x) for x in f.amounts)) if f.amounts else f.says


def arithmetic(line: Line) -> str:
    """``name = formula = result`` with numbers and units; an identity is written once."""
    formula = line.formula.format(*(amount(x) for x in line.amounts))
    result = amount(line.result)
    return f"{line.name} = {formula}" if formula == result or "listed" in line.name or "catalogue" in formula else (
        f"{line.name} = {formula} = {result}")


def amount(a: Amount) -> str:
    """A number as a reader would write it."""
    written = _WRITTEN.get(a.unit)
    if written is not None:
        return written(a.value)
    number = f"{a.value:,.0f}" if a.value == int(a.value) and a.value < _WHOLE else significant(a.value)
    return f"{number} {a.unit.removesuffix('s') if a.value == 1 and a.unit == 'GPUs' else a.unit}".rstrip()


def audit_json(audits: Sequence[Audit], refused: Sequence[str], version: str) -> dict[str, Any]:
    """The stable JSON form: seconds, bytes, USD; fractions instead of percent."""
    return {
        "schema": "costplan.audit/1", "tool": {"name": "costplan", "version": version},
        "claims": [{"name": plain(a.claim.name), "verdict": str(a.verdict), "missing": list(a.missing),
                    "findings": [_finding(f) for f in a.findings]} for a in audits],
        "refused": [plain(r) for r in refused],
    }


def _finding(f: Finding) -> dict[str, Any]:
    return {"check": f.check, "verdict": str(f.verdict), "says": plain(said(f)),
            "arithmetic": [{"name": x.name, "text": arithmetic(x), "value": x.result.value, "unit": x.result.unit}
                           for x in f.lines]}

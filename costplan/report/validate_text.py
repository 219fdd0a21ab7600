"""`costplan validate`: error per metric, by group, and why rows were refused."""

from __future__ import annotations

from collections.abc import Sequence

from costplan.report.columns import Column, facts, table
from costplan.report.numbers import percent
from costplan.report.style import Style, plain
from costplan.validate.errors_report import METRICS, ErrorReport, Summary

_LABELS = {"tpot": "TPOT", "ttft": "TTFT", "output_tok_s": "output tok/s", "usd_per_mtok_out": "$/1M output tokens"}
_SHORT = {"tpot": "TPOT", "ttft": "TTFT", "output_tok_s": "tok/s", "usd_per_mtok_out": "$/1M"}
_MOST_IDS = 5


def validate_text(r: ErrorReport, labels: Sequence[str], style: Style) -> str:
    """Error table, one table per label, and the refusals by reason."""
    predicted = len({s.id for s in r.scored})
    head = f"{r.rows:,} rows: {predicted:,} scored, {len(r.refused):,} refused"
    blocks = [[style.bold(head)], _metrics(r, style)]
    blocks += [_group(r, label, style) for label in labels]
    if r.refused:
        blocks.append(_refusals(r, style))
    return "\n\n".join("\n".join(b) for b in blocks) + "\n"


def _metrics(r: ErrorReport, style: Style) -> list[str]:
    columns = (Column("metric"), Column("n", right=True), Column("median", right=True), Column("mean", right=True),
               Column("p90", right=True), Column("bias", right=True), Column("in 50%", right=True),
               Column("in 90%", right=True))
    rows = [[_LABELS[m], *_cells(s)] for m in METRICS if (s := r.metric(m)) is not None]
    return [*table(columns, rows, style), "", *facts([
        ("error", "median, mean and p90 of |predicted - measured| / measured; bias: median of the signed error "
                  "(negative: predicted too low); in 50%, in 90%: measured values inside these intervals")], style)]


def _cells(s: Summary) -> list[str]:
    return [f"{s.n:,}", _one(s.median_ape), _one(s.mape), _one(s.p90_ape), f"{s.bias * 100:+.1f}%",
            percent(s.coverage_50), percent(s.coverage_90)]


def _one(x: float) -> str:
    return f"{x * 100:.1f}%"


def _group(r: ErrorReport, label: str, style: Style) -> list[str]:
    columns = [Column(f"median error by {label}")]
    for m in METRICS[:-1]:
        columns += [Column("n", right=True), Column(_SHORT[m], right=True), Column("bias", right=True, expendable=1)]
    rows = []
    for value, found in r.groups(label).items():
        row = [value or "(not stated)"]
        for m in METRICS[:-1]:
            s = found.get(m)
            row += ["", "", ""] if s is None else [f"{s.n:,}", _one(s.median_ape), f"{s.bias * 100:+.0f}%"]
        rows.append(row)
    return table(columns, rows, style)


def _refusals(r: ErrorReport, style: Style) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for item in r.refused:
        by_reason.setdefault(plain(item.reason), []).append(item.id)
    rows = []
    for reason, ids in sorted(by_reason.items(), key=lambda kv: (-len(kv[1]), kv[0])):
        more = f" and {len(ids) - _MOST_IDS} more" if len(ids) > _MOST_IDS else ""
        rows.append([str(len(ids)), reason, ", ".join(ids[:_MOST_IDS]) + more])
    return table((Column("refused", right=True), Column("reason"), Column("rows")), rows, style)


def scored_rows(r: ErrorReport) -> list[dict[str, object]]:
    """One flat record per row and metric, refusals last, for ``-o rows.csv``."""
    labels = sorted({k for s in r.scored for k in s.labels})
    out: list[dict[str, object]] = []
    for s in r.scored:
        low50, high50 = s.predicted.i50
        low90, high90 = s.predicted.i90
        out.append({"id": s.id, "metric": s.metric, "measured": s.measured, "predicted": s.predicted.value,
                    "error": s.error, "i50_low": low50, "i50_high": high50, "i90_low": low90, "i90_high": high90,
                    "evidence": s.predicted.evidence.value, **{k: s.labels.get(k, "") for k in labels}, "refused": ""})
    names = list(out[0]) if out else ["id", "metric", "refused"]
    for x in r.refused:
        out.append({**dict.fromkeys(names, ""), "id": x.id, "refused": x.reason})
    return out

"""`costplan validate --live`: steps of a real model beside their predictions, and which kernels are missing."""

from __future__ import annotations

from collections.abc import Sequence

from costplan.profile.steps import StepTrace
from costplan.report.columns import Column, facts, heading, table
from costplan.report.numbers import percent, seconds, significant
from costplan.report.style import Style
from costplan.validate.live import PARTS, LiveReport, LiveRow

_SEEN = (("gemm + head", ("gemm", "head"), ("gemm",)), ("attention", ("attention",), ("attention",)),
         ("elementwise", ("elementwise",), ("elementwise", "copy", "other")), ("dispatch", ("dispatch",), ("gaps",)))
"""(row, parts of the prediction, groups of the profiler)."""


def live_text(r: LiveReport, style: Style) -> str:
    """Verdict, table of steps, and what the profiler saw where the prediction is furthest off."""
    blocks = [heading(_headline(r), style), facts(_setting(r), style), _steps(r, style)]
    for prefill in (False, True):
        worst = max((x for x in r.rows if x.case.prefill is prefill), key=lambda x: abs(x.error), default=None)
        if worst is not None and (seen := r.trace_of(worst.case)) is not None:
            blocks.append(_where(worst, seen, style))
    blocks.append(facts(_words(r), style))
    return "\n\n".join("\n".join(b) for b in blocks) + "\n"


def _headline(r: LiveReport) -> str:
    parts = [f"{name} {_error(e)}" for name, e in (("decode", r.median_error(False)), ("prefill", r.median_error(True)))
             if e is not None]
    return f"median error {_error(r.median_error() or 0.0)} over {len(r.rows)} steps ({', '.join(parts)})"


def _error(x: float) -> str:
    return f"{x * 100:.1f}%"


def _setting(r: LiveReport) -> list[tuple[str, str]]:
    m, how = r.run.model, r.run.how
    cache = f"pages of {how.page_size} tokens" if how.page_size else "contiguous cache"
    depth = f"{m.num_layers} of {m.whole_layers} layers" if m.num_layers < m.whole_layers else f"{m.num_layers} layers"
    machine = ", ".join(f"{v}" if k == "name" else f"{k} {v}" for k, v in r.run.machine.items())
    return [("model", f"{m.name}, {depth}, {m.dtype}, random weights"),
            ("run", f"{how.attention} attention, {cache}, {how.mode}"), ("machine", machine), ("profile", r.profile)]


def _steps(r: LiveReport, style: Style) -> list[str]:
    whole = r.run.model.num_layers < r.run.model.whole_layers
    columns = [Column("step"), Column("batch", right=True), Column("context", right=True),
               Column("measured ms", right=True), Column("±", right=True, expendable=1),
               Column("predicted ms", right=True), Column("error", right=True)]
    columns += [Column(p, right=True, expendable=2) for p in PARTS]
    if whole:
        columns += [Column("whole model ms", right=True, expendable=3), Column("predicted", right=True, expendable=3)]
    rows = [[*_step_cells(x), *(percent(x.parts_s[p] / x.predicted_s) for p in PARTS),
             *([_ms(x.whole_measured_s), _ms(x.whole_predicted_s)] if whole else [])] for x in r.rows]
    return table(columns, rows, style)


def _step_cells(x: LiveRow) -> list[str]:
    c = x.case
    return ["prefill" if c.prefill else "decode", str(c.batch), f"{c.context:,}", _ms(x.measured_s), percent(x.spread),
            _ms(x.predicted_s), f"{x.error * 100:+.1f}%"]


def _ms(x: float) -> str:
    return significant(x * 1e3)


def _where(row: LiveRow, seen: StepTrace, style: Style) -> list[str]:
    """Prediction and profiler side by side for the step that is furthest off."""
    c = row.case
    columns = (Column(f"furthest off: {'prefill' if c.prefill else 'decode'} {c.batch} x {c.context:,}"),
               Column("predicted ms", right=True), Column("profiler ms", right=True), Column("calls", right=True),
               Column("difference ms", right=True))
    rows = []
    for name, parts, groups in _SEEN:
        predicted, found = sum(row.parts_s[p] for p in parts), sum(seen.groups_s[g] for g in groups)
        calls = sum(seen.calls[g] for g in groups)
        rows.append([name, _ms(predicted), _ms(found), f"{calls:,}" if calls else "",
                     f"{(predicted - found) * 1e3:+.2f}"])
    longest = ", ".join(f"{name} {seconds(s)} ({n:,})" for name, s, n in seen.longest)
    return [*table(columns, rows, style), *facts([("longest others", longest)], style)]


def _words(r: LiveReport) -> list[tuple[str, str]]:
    out = [("measured", "median of two passes in random order, one step after another as in a running engine; ± is "
                        "half of p90 - p10, or the distance of the passes where that is larger")]
    noisy: Sequence[LiveRow] = [x for x in r.rows if x.spread > 0.1]
    if noisy:
        out.append(("noise", f"{len(noisy)} of {len(r.rows)} steps scatter by more than 10 %: the machine is not "
                             "quiet, and neither side can be trusted further than that"))
    if r.run.how.mode != "eager":
        out.append(("profiler", f"sees the operators one by one, not as --mode {r.run.how.mode} runs them"))
    if r.run.dispatch_s:
        most = max(x.launched for x in r.rows)
        out.append(("dispatch", f"{most:,} operators beside the measured kernels x {seconds(r.run.dispatch_s)}, the "
                                "cost of an operator of this code where tensors are tiny; --mode compile avoids it"))
    if r.run.model.num_layers < r.run.model.whole_layers:
        out.append(("whole model", f"extrapolated: time per layer of {r.run.model.num_layers} layers, plus a step "
                                   f"without layers, to {r.run.model.whole_layers} layers; it was not run"))
    return out + [("note", n) for n in r.notes]

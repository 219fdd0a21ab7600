"""What a measuring run is going to do, and what it has done, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from costplan.campaign.campaign import Summary
from costplan.campaign.estimate import Estimate
from costplan.profile.manifest import Manifest
from costplan.report.columns import Column, facts, heading, table
from costplan.report.numbers import percent, si
from costplan.report.style import Style

_SHOWN_CASES = 8
_SHOWN_SKIPS = 6


@dataclass(frozen=True, slots=True)
class DryRun:
    """The question, the systems behind it, and what measuring would take. ``price_usd_per_h`` None: not known."""

    model: str
    workload: str
    device: str
    systems: Sequence[str]
    estimate: Estimate
    backends: Sequence[str]
    left_out: Sequence[tuple[str, float]]
    budget_s: float
    price_usd_per_h: float | None
    cases: Sequence[str]


def clock(s: float) -> str:
    """Minutes and seconds."""
    return f"{int(s) // 60}:{int(s) % 60:02d}"


def dry_run_text(d: DryRun, style: Style) -> str:
    """Cases and time by family, money, and the most valuable cases."""
    e = d.estimate
    rows = [[family, str(n), clock(s)] for family, n, s in e.by_family]
    rows.append(["first grid and held-out shapes", str(e.cases), clock(e.seconds)])
    lines = [*heading(f"{d.model} for {d.workload} on {d.device}: not measured, this is a dry run", style), "",
             *table((Column("kernel family"), Column("cases", right=True), Column("time", right=True)), rows, style),
             ""]
    cost = "no price is listed for this device (give --price)" if d.price_usd_per_h is None else (
        f"${d.price_usd_per_h * max(e.seconds, d.budget_s) / 3600:.2f} for the whole budget at "
        f"${d.price_usd_per_h:.2f} per hour")
    lines += facts([
        ("time", f"estimated, two passes and all backends included; the budget is {clock(d.budget_s)}, what is left of "
                 "it goes where the plan's error is largest"),
        ("cost", cost), ("backends", ", ".join(d.backends)), ("systems", "; ".join(d.systems)),
        *((("not here", "; ".join(f"{why} ({percent(share)} of step time)" for why, share in d.left_out)),)
          if d.left_out else ()),
        ("first", "; ".join(d.cases[:_SHOWN_CASES]) + (f"; {len(d.cases) - _SHOWN_CASES} more"
                                                      if len(d.cases) > _SHOWN_CASES else ""))], style)
    return "\n".join(lines) + "\n"


def done_text(m: Manifest, summary: Summary, folder: Path, style: Style) -> str:
    """Rows by family and kernel, how good they are, and what to do with them."""
    rows = [[f, str(t.rows), ", ".join(t.vocab["kernel"])] for f, t in m.tables.items()]
    lines = [*heading(f"{m.name}: {sum(t.rows for t in m.tables.values())} rows on {m.device}", style), "",
             *table((Column("kernel family"), Column("rows", right=True), Column("kernels")), rows, style), ""]
    lines += facts([("ended", str(m.origin["ended"])), *_quality(m, summary), *_skipped(m),
                    ("profile", str(folder)),
                    ("next", f"costplan profile show {folder}"),
                    ("", f"costplan plan WORKLOAD --profile {folder} --gpu {m.gpu}")], style)
    return "\n".join(lines) + "\n"


def _quality(m: Manifest, summary: Summary) -> list[tuple[str, str]]:
    held, drift = summary.held_out, m.origin["sentinel"]["drift"]
    settled: dict[str, int] = m.origin["settled"]
    limits: dict[str, Any] = m.origin["ceilings"]
    out = [("plan error", f"{percent(summary.plan_error)} (standard error of the step time of what the plan visits)")]
    if held.median is not None and held.p90 is not None:
        out.append(("held out", f"{held.cases} shapes that no fit saw: median error {percent(held.median)}, 90 % below "
                                f"{percent(held.p90)}"))
    out.append(("settled", ", ".join(f"{n} {why}" for why, n in settled.items())))
    if drift is not None:
        out.append(("drift", f"the sentinel moved by {percent(drift)} between its extremes" + (
            ": this machine was not quiet" if drift > 0.1 else "")))
    if disturbed := int(m.origin.get("disturbed", 0)):
        out.append(("disturbed", f"{disturbed} rows were only measured beside a slow sentinel"))
    rates = ", ".join(f"{name} {si(v)}FLOP/s" for name, v in limits["flops_per_s"].items())
    speeds = f"copy {si(limits['copy_bytes_per_s'])}B/s, read {si(limits['read_bytes_per_s'])}B/s"
    out.append(("limits", f"{speeds}, {rates}"))
    return out


def _skipped(m: Manifest) -> list[tuple[str, str]]:
    counted: Counter[str] = Counter()
    for t in m.tables.values():
        counted.update(t.dropped)
    if not counted:
        return []
    told = [f"{n} x {why}" for why, n in counted.most_common(_SHOWN_SKIPS)]
    return [("failed", "; ".join(told))]

"""`costplan history show --json` and `report --json`: seconds, tokens, USD, fractions, UTC times."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from costplan.history.alert import RULE
from costplan.history.entry import Entry
from costplan.history.summary import ServiceHistory

SCHEMA = "costplan.history/1"


def entries_json(found: Sequence[Entry]) -> dict[str, Any]:
    return {"schema": SCHEMA, "entries": [_entry(e) for e in found]}


def report_json(found: Sequence[ServiceHistory]) -> dict[str, Any]:
    """By service; ``alert`` is that of the newest point."""
    return {"schema": SCHEMA, "rule": RULE, "services": [_service(s) for s in found]}


def _service(s: ServiceHistory) -> dict[str, Any]:
    trend = None if s.trend is None else {**dataclasses.asdict(s.trend), "direction": s.trend.direction}
    return {
        "service": s.service, "latest": _entry(s.latest), "points": len(s.watched),
        "alert": None if s.alert is None else dataclasses.asdict(s.alert),
        "alerts": [{**dataclasses.asdict(a), "at": _entry(s.watched[a.index])["at"]} for a in s.alerts],
        "weeks": [{**dataclasses.asdict(w), "monday": w.monday.isoformat()} for w in s.weeks], "trend": trend,
        "off_plan": s.off_plan, "median_actual_over_plan": s.median_ratio,
        "compared": [{"at": _entry(c.actual)["at"], "ratio": c.ratio, "inside90": c.inside90,
                      "plan_at": _entry(c.plan)["at"]} for c in s.compared]}


def _entry(e: Entry) -> dict[str, Any]:
    return {**dataclasses.asdict(e), "kind": e.kind.value, "at": e.at.strftime("%Y-%m-%dT%H:%M:%SZ")}

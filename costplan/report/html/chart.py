"""A plot as values: a Vega-Lite specification, what it says in words, and its numbers as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from costplan.report.columns import Column
from costplan.report.html.palette import LINE, MUTED, TEXT

Spec = dict[str, Any]
WIDTH = 340
"""Of every plot, in its own units: text of 12 is then 11 pixels high on the narrowest phone."""
LABEL = 12
USD = "$ per 1M output tokens"
MONEY: Spec = {"format": "$,~f"}
ROWS: Spec = {**MONEY, "grid": False}
"""Axis under rows with names above them: no grid behind the names."""


@dataclass(frozen=True, slots=True)
class Chart:
    """``key`` is unique within a page. ``says`` is what a reader who cannot see the plot should know first;
    ``columns`` and ``rows`` hold the numbers drawn."""

    key: str
    title: str
    says: str
    spec: Mapping[str, Any]
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]


def whole(*layers: Spec, height: int, data: Sequence[Mapping[str, Any]] = ()) -> Spec:
    """A specification of several layers over the same data."""
    return {"width": WIDTH, "height": height, "autosize": {"type": "fit", "contains": "padding"}, "background": None,
            "padding": 2, "config": CONFIG, "data": {"values": list(data)}, "layer": list(layers)}


def layer(mark: str, encoding: Spec, data: Sequence[Mapping[str, Any]] | None = None, **look: Any) -> Spec:
    """One kind of mark."""
    own = {} if data is None else {"data": {"values": list(data)}}
    return {**own, "mark": {"type": mark, **look}, "encoding": encoding}


def number(field: str, title: str | None = None, *, axis: Spec | None = None, **scale: Any) -> Spec:
    """A quantitative channel; ``scale`` takes ``type``, ``domain``, ``zero`` and so on."""
    return {"field": field, "type": "quantitative", "title": title, "scale": scale,
            "axis": {"tickCount": 5, **(axis or {})}}


def wide_or_linear(low: float, high: float, *, ratio: float = 12.0) -> tuple[Spec, Spec]:
    """Scale and axis of positive numbers from ``low`` to ``high``: logarithmic where they span more than ``ratio``."""
    if low <= 0 or high <= ratio * low:
        return {"zero": True}, {}
    ticks = [m * 10.0**k for k in range(math.floor(math.log10(low)), math.ceil(math.log10(high))) for m in (1, 2, 5)]
    return {"type": "log", "nice": False, "domain": [low * 0.8, high * 1.5]}, {"values": ticks}


def by_colour(field: str, colours: Mapping[str, object], *, legend: bool = True) -> Spec:
    """A colour (or shape, or dashes) for each of the names, in their order."""
    return {"field": field, "type": "nominal", "title": None,
            "scale": {"domain": list(colours), "range": list(colours.values())},
            **({} if legend else {"legend": None})}


def lines(field: str, names: Sequence[str]) -> Spec:
    """Rows from top to bottom, without an axis: their names are written above them (`names_above`)."""
    return {"field": field, "type": "nominal", "sort": list(names), "axis": None, "scale": {"paddingInner": 0.1}}


def names_above(y: Spec, text: str) -> Spec:
    """The name of each row over its marks, over the whole width: a phone has no room beside them."""
    return layer("text", {"y": y, "x": {"value": 0}, "text": {"field": text}}, align="left", baseline="middle", dy=-9,
                 color=TEXT.light, fontSize=LABEL, limit=WIDTH - 8)


ROW = 40
"""Height of a row with its name above."""
BELOW = 8
"""How far the marks of such a row lie below its middle."""

CONFIG: Spec = {
    "font": "Liberation Sans, Arial, sans-serif",
    "view": {"stroke": None},
    "axis": {"labelColor": MUTED.light, "titleColor": TEXT.light, "gridColor": LINE.light, "domainColor": MUTED.light,
             "tickColor": MUTED.light, "labelFontSize": LABEL, "titleFontSize": LABEL, "titleFontWeight": "normal",
             "labelOverlap": True, "labelBound": True, "labelFlush": 12, "titlePadding": 6},
    "legend": {"labelColor": TEXT.light, "labelFontSize": LABEL, "orient": "bottom", "direction": "horizontal",
               "columns": 2, "labelLimit": 150, "offset": 6, "symbolSize": 90},
    "text": {"color": TEXT.light, "fontSize": LABEL},
}

"""A specification becomes static SVG with real text, a title and a description; the same one gives the same bytes."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

from costplan.core.errors import InputError
from costplan.report.html.chart import Chart
from costplan.report.style import plain

VEGA_LITE = "6.4"
_SVG = "{http://www.w3.org/2000/svg}"
_LONG = re.compile(r"-?\d+\.\d{3,}")
_SPOKEN = ("role", "aria-label", "aria-roledescription", "aria-hidden", "class", "pointer-events")
HINT = "pip install 'costplan[html]'"


def svg(chart: Chart) -> str:
    """``chart`` drawn. Raises InputError where the extra is not installed."""
    try:
        import vl_convert
    except ImportError as e:
        raise InputError("HTML reports need vl-convert-python", hint=HINT) from e
    spec = {k: _clean(v) for k, v in chart.spec.items()}
    root = ElementTree.fromstring(vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE))  # our own drawing
    _pruned(root)
    for node in root.iter():
        node.tag = node.tag.removeprefix(_SVG)
        for name in _SPOKEN:
            node.attrib.pop(name, None)
        for name, value in list(node.attrib.items()):
            node.set(name, _own(name, value, chart.key))
    box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update({"class": "plot", "viewBox": box, "role": "img",
                        "aria-labelledby": f"{chart.key}-title {chart.key}-desc"})
    for name, text in (("desc", chart.says), ("title", chart.title)):
        node = ElementTree.Element(name, {"id": f"{chart.key}-{name}"})
        node.text = plain(text)
        root.insert(0, node)
    return ElementTree.tostring(root, encoding="unicode")


def _clean(x: Any) -> Any:
    """Without characters that no drawing may hold: names come from files that strangers wrote."""
    if isinstance(x, str):
        return plain(x)
    if isinstance(x, dict):
        return {k: _clean(v) for k, v in x.items()}
    return [_clean(v) for v in x] if isinstance(x, list | tuple) else x


def _pruned(node: ElementTree.Element) -> None:
    """Take away what is never seen: hidden paths, frames without a line, empty groups."""
    for child in list(node):
        _pruned(child)
        frame = child.tag == f"{_SVG}path" and not child.get("stroke") and child.get("fill") in (None, "none", "")
        unseen = child.get("display") == "none" or (frame and child.get("class") in ("background", "foreground"))
        if unseen or (child.tag == f"{_SVG}g" and not len(child)):
            node.remove(child)


def _own(name: str, value: str, key: str) -> str:
    """Two decimals are finer than any screen; names of clips must not meet those of another plot."""
    if name == "id":
        return f"{key}-{value}"
    if value.startswith("url(#"):
        return f"url(#{key}-{value[5:]}"
    if name == "font-family":
        return value
    return _LONG.sub(lambda m: f"{float(m[0]):.2f}", value)

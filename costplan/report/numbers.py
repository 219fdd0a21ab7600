"""Numbers for people: three significant digits, the right unit, money. The only place that knows ms, GiB and %."""

from __future__ import annotations

import math

from costplan.core.evidence import Estimate
from costplan.core.units import GIB


def significant(x: float, digits: int = 3) -> str:
    """``x`` with so many significant digits (whole numbers below 100,000 in full), thousands separated, no exponent
    between 1e-4 and 1e12."""
    if math.isinf(x) or math.isnan(x):
        return str(x)
    if x == 0:
        return "0"
    if not 1e-4 <= abs(x) < 1e12:
        return f"{x:.{digits - 1}e}"
    decimals = digits - 1 - math.floor(math.log10(abs(x)))
    if abs(x) >= 1e5:
        return f"{round(x, decimals):,.0f}"
    return f"{x:,.{max(0, decimals)}f}"


def seconds(x: float) -> str:
    """A duration: us below 0.1 ms, ms below one second."""
    if abs(x) < 1e-4 and x != 0:
        return f"{significant(x * 1e6)} us"
    return f"{significant(x * 1e3)} ms" if abs(x) < 1 else f"{significant(x)} s"


def si(x: float) -> str:
    """Three digits and a decimal prefix: 1.23 G."""
    if x < 1e3:
        return significant(x)
    power = min(int(math.log10(x) // 3), 6)
    scaled = float(f"{x / 1000**power:.3g}")
    if scaled >= 1000 and power < 6:
        scaled, power = scaled / 1000, power + 1
    return f"{significant(scaled)} {' kMGTPE'[power]}"


def gib(x: float) -> str:
    return f"{x / GIB:,.2f} GiB"


def usd(x: float) -> str:
    """Dollars: cents from one dollar on, three digits below."""
    return f"${x:,.2f}" if 1 <= x < 1000 else f"${significant(x)}"


def usd_short(x: float) -> str:
    """Dollars in three digits: $0.412, $31.2k, $1.10M."""
    for size, mark in ((1e6, "M"), (1e3, "k")):
        if abs(x) >= size * 0.9995:
            return f"${significant(x / size)}{mark}"
    return f"${significant(x)}"


def change(x: float) -> str:
    """A relative change with its sign: +12.4%; none below a hundredth of a percent."""
    if abs(x) < 5e-5:
        return "0.00%"
    return f"{x * 100:+,.0f}%" if abs(x) >= 1 else f"{x * 100:+.1f}%" if abs(x) >= 0.001 else f"{x * 100:+.2f}%"


def percent(x: float) -> str:
    return f"{x * 100:.0f}%"


def spread(e: Estimate, unit: str) -> str:
    """The 90 % interval of an estimate in ``unit`` (s, tok/s, usd)."""
    low, high = e.i90
    if unit == "s":
        k, name = (1e3, "ms") if e.value < 1 else (1.0, "s")
        return f"{significant(low * k)} .. {significant(high * k)} {name}"
    if unit == "usd":
        return f"{usd(low)} .. {usd(high)}"
    return f"{significant(low)} .. {significant(high)}{' ' + unit if unit else ''}"

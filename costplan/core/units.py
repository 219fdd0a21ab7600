"""Binary and decimal sizes. Inside costplan every quantity has one unit: seconds, bytes, tokens, FLOP/s."""

from __future__ import annotations

MIB = 1024**2
GIB = 1024**3
GB = 1_000_000_000
HOURS_PER_MONTH = 730.0

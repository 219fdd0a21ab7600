"""Result files of ``vllm bench serve --save-result`` and SGLang's ``bench_serving``: flat JSON, ms, one run or more."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from costplan.core.errors import InputError
from costplan.history.observed import ACCEPTED, Observed


def observed(run: Any, where: str) -> Observed:
    """One run. Raises InputError where it lacks what every such file has."""
    if not isinstance(run, dict):
        raise InputError("not a benchmark result", where=where, hint=ACCEPTED)
    duration, tokens = _number(run, "duration", where), _number(run, "total_output_tokens", where)
    if duration is None or tokens is None or duration <= 0:
        raise InputError("not a benchmark result: it has no duration and total_output_tokens", where=where,
                         hint=ACCEPTED)
    done = _number(run, "completed", where)

    def seconds(name: str) -> float | None:
        found = _number(run, name, where)
        return None if found is None else found / 1000

    return Observed(
        "benchmark", _date(run.get("date")), tokens / duration, None if done is None else done / duration,
        seconds("median_ttft_ms"), seconds("p99_ttft_ms"), seconds("median_tpot_ms"), seconds("p99_tpot_ms"))


def _number(run: dict[str, Any], name: str, where: str) -> float | None:
    value = run.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{name}: not a number: {value!r:.40}", where=where)
    try:
        return float(value)
    except OverflowError:
        raise InputError(f"{name}: too large", where=where) from None


def _date(text: Any) -> datetime | None:
    """vLLM writes 20261121-120000, in the local time of a machine that it does not name: taken as UTC."""
    found = re.fullmatch(r"(\d{8})-(\d{6})", text) if isinstance(text, str) else None
    try:
        return datetime.strptime(found[0], "%Y%m%d-%H%M%S").replace(tzinfo=UTC) if found else None
    except ValueError:
        return None

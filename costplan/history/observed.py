"""A window of a real service, as its metrics or a benchmark saw it: read from a file, whichever kind it is."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from costplan.core.errors import InputError

LARGEST_BYTES = 64 * 2**20
ACCEPTED = ("expected /metrics of vLLM, the JSON of a Prometheus range query, or a result file of vllm bench serve or "
            "SGLang's bench_serving")


@dataclass(frozen=True, slots=True)
class Observed:
    """``at`` is the end of the window, None where the file does not say. Percentiles are over requests."""

    source: str
    at: datetime | None
    output_tok_s: float
    requests_per_s: float | None
    ttft_p50_s: float | None = None
    ttft_p99_s: float | None = None
    tpot_p50_s: float | None = None
    tpot_p99_s: float | None = None

    def checked(self, where: str) -> Observed:
        """Itself. Raises InputError where nothing was served or a number is none."""
        if not 0 < self.output_tok_s < math.inf:
            raise InputError("no output tokens in this window: no cost per token", where=where)
        for name in ("requests_per_s", "ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise InputError(f"{name}: {value} is not possible", where=where)
        return self


def json_values(data: bytes, where: str) -> list[Any]:
    """The JSON of a file: one value, or one per line. Raises InputError."""
    text = decoded(data, where)
    try:
        return [json.loads(text)]
    except ValueError:
        pass
    values = []
    for i, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                values.append(json.loads(line))
            except ValueError as e:
                raise InputError(f"not JSON: {e}", where=f"{where}:{i}", hint=ACCEPTED) from None
    return values


def decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise InputError(f"not UTF-8 at byte {e.start}", where=where, hint=ACCEPTED) from None

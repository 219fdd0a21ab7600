"""Any benchmark result file -> runs: the format is told from the content, never from the name."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from costplan.core.errors import InputError
from costplan.validate.bench_fields import documents, read_result, text_of
from costplan.validate.bench_reports import aiperf, aiperf_requests, guidellm, llama_bench, perf_csv, trtllm
from costplan.validate.bench_run import BenchRun
from costplan.validate.bench_serving import latency, serving, throughput

KNOWN = ("vLLM bench serve, latency and throughput; SGLang bench_serving; GuideLLM; AIPerf json, jsonl and csv; "
         "genai-perf csv; trtllm-bench report; llama-bench json, jsonl and csv; InferenceX")


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A result file, its digest, and its runs."""

    path: str
    sha256: str
    runs: tuple[BenchRun, ...]


def read_runs(path: Path, given: Mapping[str, float | None] | None = None) -> ResultFile:
    """Runs of a file. ``given`` holds isl, osl and batch for formats that leave them out. Raises InputError."""
    raw = read_result(path)
    text = text_of(raw, str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    is_json = text.lstrip()[:1] in ("{", "[")
    runs = _json(documents(text, str(path)), given or {}) if is_json else _csv(text, str(path))
    return ResultFile(str(path), digest, tuple(runs))


def _json(found: list[tuple[str, Any]], given: Mapping[str, float | None]) -> list[BenchRun]:
    first = found[0][1]
    if len(found) == 1 and isinstance(first, list):
        place = found[0][0]
        found = [(f"{place} item {i + 1}", x) for i, x in enumerate(first)]
        if not found:
            raise InputError("an empty list", where=place)
        first = found[0][1]
    if isinstance(first, Mapping) and {"metrics", "metadata"} <= set(first) and "benchmarks" not in first:
        return [aiperf_requests(found)]
    out: list[BenchRun] = []
    for where, value in found:
        if not isinstance(value, Mapping):
            raise InputError("must hold keys and values", where=where, hint=f"known: {KNOWN}")
        out += _one(value, where, given)
    return out


def _one(value: Mapping[str, Any], where: str, given: Mapping[str, float | None]) -> list[BenchRun]:
    keys = set(value)
    if "benchmarks" in keys:
        return guidellm(value, where)
    if "avg_latency" in keys:
        return [latency(value, where, given)]
    if {"elapsed_time", "num_requests"} <= keys:
        return [throughput(value, where, given)]
    told = (
        (trtllm, {"performance", "request_info"} <= keys),
        (aiperf, isinstance(value.get("request_throughput"), Mapping)),
        (llama_bench, {"avg_ts", "n_prompt"} <= keys),
        (serving, "output_throughput" in keys and keys & {"completed", "num_prompts", "total_output_tokens"}))
    for read, fits in told:
        if fits:
            return [read(value, where)]
    raise InputError("not a benchmark result that is known", where=where, hint=f"known: {KNOWN}")


def _llama_row(names: list[str], row: list[str]) -> dict[str, str]:
    """Names and values: what was measured from the right, for llama.cpp's own sample lacks a field in the middle."""
    measured = len(names) - names.index("n_prompt")
    front = dict(zip(names[:-measured], row[:-measured], strict=False))
    return front | dict(zip(reversed(names[-measured:]), reversed(row), strict=False))


def _csv(text: str, where: str) -> list[BenchRun]:
    head = text.lstrip().split("\n", 1)[0]
    if not head.strip():
        raise InputError("is empty", where=where)
    if head.startswith(("Metric,", '"Metric"')):
        return [perf_csv(text, where)]
    try:
        rows = list(csv.reader(text.splitlines(), strict=True))
        if {"avg_ts", "n_prompt"} <= set(rows[0]):
            out = [llama_bench(_llama_row(rows[0], row), f"{where}:{n + 2}") for n, row in enumerate(rows[1:]) if row]
            if out:
                return out
    except csv.Error as e:
        raise InputError(f"not a CSV: {e}", where=where) from e
    raise InputError("not a benchmark result that is known", where=where, hint=f"known: {KNOWN}")

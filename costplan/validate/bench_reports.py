"""Reports of load generators and engines' own benchmarks: GuideLLM, AIPerf, genai-perf, trtllm-bench, llama-bench."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from costplan.core.errors import InputError
from costplan.perf.steady import LoadKind
from costplan.validate.bench_fields import Fields
from costplan.validate.bench_run import BenchRun

_SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def guidellm(data: Mapping[str, Any], where: str) -> list[BenchRun]:
    """GuideLLM v1 and v2: one run per benchmark; latency in s, the others in ms; ITL is what we call TPOT."""
    runs = data.get("benchmarks")
    if not isinstance(runs, list):
        raise InputError("benchmarks: must be a list", where=where)
    top = Fields(data, where).at("config").at("spec").at("backend").text("model")
    return [_guidellm(Fields(b, f"{where} benchmark {i + 1}"), top) for i, b in enumerate(runs)
            if isinstance(b, Mapping)]


def _guidellm(b: Fields, model: str | None) -> BenchRun:
    metrics = b.at("metrics")

    def mean(name: str, scale: float = 1.0) -> float | None:
        return metrics.at(name).at("successful").number("mean", scale=scale)

    def strategy() -> Fields:
        for holder in (b.at("config"), b.at("args"), b):
            found = holder.at("strategy")
            if found.data:
                return found
        return Fields({}, b.where)

    s = strategy()
    kind = s.text("type_") or ""
    load: tuple[LoadKind | None, float | None] = (None, None)
    if kind in ("constant", "poisson", "async"):
        load = LoadKind.RATE, s.number("rate")
    elif kind == "synchronous":
        load = LoadKind.CONCURRENCY, 1.0
    elif kind in ("concurrent", "throughput"):
        load = LoadKind.CONCURRENCY, s.number("streams", "max_concurrency") or mean("request_concurrency")
    return BenchRun(
        "GuideLLM", b.where, load[0] if load[1] else None, load[1], mean("prompt_token_count"),
        mean("output_token_count"), metrics.at("request_totals").count("successful"),
        mean("time_to_first_token_ms", 1e-3), mean("inter_token_latency_ms", 1e-3), mean("request_latency"),
        mean("output_tokens_per_second"), model=model or b.at("config").at("backend").text("model"))


def aiperf(data: Mapping[str, Any], where: str) -> BenchRun:
    """AIPerf's summary: units stand beside the values."""
    f = Fields(data, where)
    config = f.at("input_config")
    generator = config.at("loadgen")
    clients, rate = generator.number("concurrency"), generator.number("request_rate")
    kind = LoadKind.RATE if rate else LoadKind.CONCURRENCY if clients else None
    models = config.at("endpoint").data.get("model_names")
    model = models[0] if isinstance(models, list) and models and isinstance(models[0], str) else None

    def mean(name: str) -> float | None:
        one = f.at(name)
        return one.number("avg", scale=_scale(one.text("unit"), one.where))

    return BenchRun(
        "AIPerf", where, kind, rate or clients, mean("input_sequence_length"), mean("output_sequence_length"),
        f.at("request_count").count("avg"), mean("time_to_first_token"), mean("inter_token_latency"),
        mean("request_latency"), mean("output_token_throughput"), model=model)


def _scale(unit: str | None, where: str) -> float:
    """Factor to seconds for units of time; 1 for counts and rates."""
    unit = (unit or "").strip().lower()
    if unit in _SECONDS:
        return _SECONDS[unit]
    if "/" in unit or unit in ("", "tokens", "requests", "count", "per sec"):
        return 1.0
    raise InputError(f"unknown unit {unit[:20]!r}", where=where, hint=f"known: {', '.join(_SECONDS)}, tokens/sec")


def aiperf_requests(records: Sequence[tuple[str, Any]]) -> BenchRun:
    """AIPerf's or genai-perf's per-request JSONL: means over requests; how many were in flight follows from times."""
    kept: dict[str, list[float]] = {}
    starts, ends = [], []
    for where, record in records:
        if not isinstance(record, Mapping):
            raise InputError("must hold keys and values", where=where)
        f = Fields(record, where)
        for name in ("time_to_first_token", "inter_token_latency", "request_latency", "input_sequence_length",
                     "output_sequence_length"):
            one = f.at("metrics").at(name)
            value = one.number("value", scale=_scale(one.text("unit"), where))
            if value is not None:
                kept.setdefault(name, []).append(value)
        start, end = (f.at("metadata").number(n, scale=1e-9) for n in ("request_start_ns", "request_end_ns"))
        if start is not None and end is not None and end > start:
            starts.append(start)
            ends.append(end)
    where = records[0][0]
    if not starts:
        raise InputError("no request has a start and an end", where=where)
    span = max(ends) - min(starts)
    mean = {k: sum(v) / len(v) for k, v in kept.items()}
    flight = sum(e - s for s, e in zip(starts, ends, strict=True)) / span
    tokens = sum(kept.get("output_sequence_length", []))
    return BenchRun(
        "AIPerf requests", where, LoadKind.CONCURRENCY, float(max(1, round(flight))),
        mean.get("input_sequence_length"), mean.get("output_sequence_length"), len(starts),
        mean.get("time_to_first_token"), mean.get("inter_token_latency"), mean.get("request_latency"),
        tokens / span if tokens else None)


_METRIC = re.compile(r"(.*?)\s*\(([^)]*)\)\s*\Z")
_NAMES = {"time to first token": "ttft", "inter token latency": "tpot", "request latency": "e2e",
          "output sequence length": "osl", "input sequence length": "isl", "output token throughput": "rate",
          "request count": "requests"}


def perf_csv(text: str, where: str) -> BenchRun:
    """AIPerf's and genai-perf's CSV: two tables of metrics, with units in their names. The load is not in it."""
    found: dict[str, float] = {}
    try:
        for row in csv.reader(text.splitlines(), strict=True):
            if len(row) < 2 or row[0].strip() == "Metric":
                continue
            named = _METRIC.match(row[0].strip())
            key = _NAMES.get((named[1] if named else row[0]).strip().lower())
            if key is not None:
                value = Fields({row[0]: row[1].replace(",", "")}, where).number(row[0])
                if value is not None:
                    found[key] = value * _scale(named[2] if named else "", where)
    except csv.Error as e:
        raise InputError(f"not a CSV: {e}", where=where) from e
    if not found:
        raise InputError("no metric that is known", where=where, hint="expected rows like 'Time To First Token (ms)'")
    count = found.get("requests")
    return BenchRun("genai-perf CSV", where, None, None, found.get("isl"), found.get("osl"),
                    None if count is None else max(1, round(count)), found.get("ttft"), found.get("tpot"),
                    found.get("e2e"), found.get("rate"))


def trtllm(data: Mapping[str, Any], where: str) -> BenchRun:
    """`trtllm-bench --report_json`: describes itself best; without a stated rate all requests come at once."""
    f = Fields(data, where)
    engine, world, asked, speed, stream = (f.at(n) for n in (
        "engine", "world_info", "request_info", "performance", "streaming_metrics"))
    requests, flight = asked.count("num_requests"), asked.number("avg_num_concurrent_requests")
    at_once = requests is not None and requests > 1
    return BenchRun(
        "trtllm-bench", where, LoadKind.ALL_AT_ONCE if at_once else LoadKind.BATCH1,
        float(requests) if at_once and requests else flight or 1.0, asked.number("avg_input_length"),
        asked.number("avg_output_length"), requests, stream.number("avg_ttft_ms", scale=1e-3),
        stream.number("avg_tpot_ms", scale=1e-3), speed.number("avg_request_latency_ms", scale=1e-3),
        speed.number("system_output_throughput_tok_s"), engine="trtllm", engine_version=engine.text("version"),
        model=engine.text("model"), gpu=f.at("machine").text("name"), tp=world.count("tp_size"),
        pp=world.count("pp_size"), ep=world.count("ep_size"), weights=_lower(engine.text("quantization")),
        kv=_lower(engine.text("kv_cache_dtype")), max_num_seqs=world.count("max_batch_size"),
        max_num_batched_tokens=world.count("max_num_tokens"))


def _lower(name: str | None) -> str | None:
    return name.lower() if name and name.lower() not in ("none", "auto", "no_quant") else None


def llama_bench(data: Mapping[str, Any], where: str) -> BenchRun:
    """llama-bench: one sequence; ``pp`` rows time a prompt, ``tg`` rows generation after ``n_depth`` tokens."""
    f = Fields(data, where)
    rate, prompt, made = f.number("avg_ts"), f.number("n_prompt"), f.number("n_gen")
    if rate is None:
        raise InputError("avg_ts: must be positive", where=where)
    run = BenchRun("llama-bench", where, LoadKind.BATCH1, 1.0, engine="llama.cpp", model=f.text("model_type"),
                   gpu=f.text("gpu_info"),
                   skipped="llama.cpp is none of the engines that costplan predicts (vllm, sglang, trtllm)")
    if prompt and not made:
        return replace(run, isl=prompt, osl=1.0, ttft_s=prompt / rate)
    return replace(run, isl=max(1.0, f.number("n_depth") or 1.0), osl=made, tpot_s=1 / rate, output_tok_s=rate)

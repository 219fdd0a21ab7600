"""Result files of serving benchmarks: vLLM `bench serve|latency|throughput`, SGLang `bench_serving`, InferenceX."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from costplan.core.errors import InputError
from costplan.perf.steady import LoadKind
from costplan.validate.bench_fields import Fields
from costplan.validate.bench_run import BenchRun


def serving(data: Mapping[str, Any], where: str) -> BenchRun:
    """One object of `vllm bench serve --save-result`, SGLang's `bench_serving --output-file`, or InferenceX."""
    f = Fields(data, where)
    seconds = "median_ttft" in data or "mean_ttft" in data  # InferenceX writes seconds without a suffix
    sglang = "random_input_len" in data or data.get("backend") in ("sglang", "sglang-native", "sglang-oai")
    requests = f.count("completed", "num_prompts")
    kind, value = _load(f, requests)
    isl, osl = _mean(f, "total_input_tokens", requests), _mean(f, "total_output_tokens", requests)
    ttft = _latency(f, "ttft", seconds)
    e2e = _latency(f, "e2el", seconds) or _latency(f, "e2e_latency", seconds)
    tpot = _latency(f, "tpot", seconds)
    if tpot is None and kind is not LoadKind.ALL_AT_ONCE and e2e and ttft and osl and osl > 1 and e2e > ttft:
        tpot = (e2e - ttft) / (osl - 1)  # of a burst, mean latency and median TTFT would not go together
    if tpot is None:
        tpot = f.number("mean_itl_ms", scale=1e-3)  # not the median: it hides the steps that prompts hold up
    tool = "InferenceX" if seconds else "sglang bench_serving" if sglang else "vllm bench serve"
    server = f.at("server_info") if isinstance(data.get("server_info"), Mapping) else Fields({}, where)
    return BenchRun(
        tool, where, kind, value, isl, osl, requests, ttft, tpot, e2e, f.number("output_throughput"),
        spread=_spread(data), engine="sglang" if sglang else _engine(f), model=f.text("model_id"),
        tp=f.count("tp_size", "tensor_parallel_size") or server.count("tp_size"), pp=server.count("pp_size"),
        skipped=_speculative(f))


def _speculative(f: Fields) -> str | None:
    accepted = f.number("accept_length")
    if f.number("spec_decode_acceptance_rate") or (accepted is not None and accepted > 1):
        return "it ran with speculative decoding, which predictions leave out"
    return None


def _engine(f: Fields) -> str | None:
    backend = f.text("backend", "endpoint_type") or ""
    return {"vllm": "vllm", "tensorrt-llm": "trtllm", "sglang": "sglang"}.get(backend)


def _load(f: Fields, requests: int | None) -> tuple[LoadKind | None, float | None]:
    """A finite rate is an open loop; without one, a limit on concurrency is a closed loop, else all come at once."""
    raw = f.data.get("request_rate")
    rate = None
    if isinstance(raw, str) and raw.strip().lower() in ("inf", "infinity", "trace"):
        if raw.strip().lower() == "trace":
            return None, None
    elif not (isinstance(raw, float) and math.isinf(raw)):
        rate = f.number("request_rate")
    clients = f.number("max_concurrency")
    if rate is not None:
        return LoadKind.RATE, rate
    if clients is not None and (requests is None or clients < requests):
        return LoadKind.CONCURRENCY, clients
    return (LoadKind.ALL_AT_ONCE, float(requests)) if requests is not None else (None, None)


def _mean(f: Fields, name: str, requests: int | None) -> float | None:
    total = f.number(name)
    return None if total is None or not requests else max(1.0, total / requests)


def _latency(f: Fields, name: str, seconds: bool) -> float | None:
    """Mean, else median, in seconds."""
    if seconds:
        return f.number(f"mean_{name}", f"median_{name}")
    return f.number(f"mean_{name}_ms", f"median_{name}_ms", scale=1e-3)


def _spread(data: Mapping[str, Any]) -> float | None:
    """Half width of uniformly drawn prompts; of listed prompts the uniform range with their deviation."""
    ratio = data.get("random_range_ratio")
    if isinstance(ratio, int | float) and not isinstance(ratio, bool) and 0 <= ratio <= 1:
        return (1 - float(ratio)) / (1 + float(ratio)) if data.get("random_input_len") else None
    lens = data.get("input_lens")
    if not isinstance(lens, list) or len(lens) < 2 or not all(
            isinstance(x, int) and not isinstance(x, bool) and 0 < x < 10**9 for x in lens):
        return None
    mean = sum(lens) / len(lens)
    sd = math.sqrt(sum((x - mean) ** 2 for x in lens) / len(lens))
    return min(1.0, math.sqrt(3) * sd / mean)


def latency(data: Mapping[str, Any], where: str, given: Mapping[str, float | None]) -> BenchRun:
    """`vllm bench latency`: seconds per static batch; batch and lengths are not in the file."""
    f = Fields(data, where)
    e2e = f.number("avg_latency")
    if e2e is None:
        raise InputError("avg_latency: must be positive", where=where)
    batch, osl = given.get("batch"), given.get("osl")
    rate = batch * osl / e2e if batch and osl else None
    return BenchRun("vllm bench latency", where, LoadKind.STATIC_BATCH, batch, given.get("isl"), osl,
                    None if batch is None else round(batch), e2e_s=e2e, output_tok_s=rate, engine="vllm",
                    model=f.text("model_id"), spread=0.0)


def throughput(data: Mapping[str, Any], where: str, given: Mapping[str, float | None]) -> BenchRun:
    """`vllm bench throughput`: all requests at once; the file counts tokens in and out together."""
    f = Fields(data, where)
    requests, elapsed, total = f.count("num_requests"), f.number("elapsed_time"), f.number("total_num_tokens")
    if requests is None or elapsed is None:
        raise InputError("num_requests and elapsed_time: must be positive", where=where)
    each = None if total is None else total / requests
    isl, osl = given.get("isl"), given.get("osl")
    if each is not None and isl is not None and osl is None:
        osl = each - isl
    elif each is not None and osl is not None and isl is None:
        isl = each - osl
    if (isl is not None and isl < 1) or (osl is not None and osl < 1):
        raise InputError(f"{each or 0:.0f} tokens per request leave none for the other length", where=where,
                         hint="are --isl and --osl right?")
    return BenchRun("vllm bench throughput", where, LoadKind.ALL_AT_ONCE, float(requests), isl, osl, requests,
                    output_tok_s=None if osl is None else requests * osl / elapsed, engine="vllm",
                    model=f.text("model_id"))

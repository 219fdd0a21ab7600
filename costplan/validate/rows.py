"""Read published end-to-end measurements: the columns of the reference tables, one deployment and load a row."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from costplan.catalog.gpus import gpu
from costplan.catalog.models import model
from costplan.core.errors import InputError
from costplan.perf.layout import Layout
from costplan.perf.overhead import version_on
from costplan.perf.predict import Deployment
from costplan.perf.steady import Load, LoadKind
from costplan.validate.harness import harness_of

REQUIRED = ("id", "model", "gpu", "engine", "isl", "osl", "load_kind")
MAX_BYTES = 256 << 20
PROMPTS_OF_A_RATE = 1000
"""Requests of an open loop where a row does not say: the default of `vllm bench serve`."""
PROMPTS_PER_SLOT = 10.0
"""Requests per client of a closed loop where a row does not say: the practice of the public harnesses. All clients
start at once, so the first tenth of the requests queues for prefill."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One row: what ran, under which load, and what was measured (seconds, tokens/s; None: not scored)."""

    id: str
    line: int
    text: Mapping[str, str]
    ttft_s: float | None
    tpot_s: float | None
    output_tok_s: float | None


def read_rows(path: Path) -> list[Measured]:
    """All rows of ``path``. Raises InputError with file, line and column."""
    return list(_rows(path))


def _rows(path: Path) -> Iterator[Measured]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"larger than {MAX_BYTES >> 20} MiB", where=str(path), hint="split the file")
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        raise InputError(f"cannot read: {e.strerror}", where=str(path)) from e
    except UnicodeDecodeError as e:
        raise InputError("not UTF-8 text", where=str(path), hint="save the file as UTF-8 CSV") from e
    reader = csv.DictReader(text.splitlines())
    names = reader.fieldnames or []
    missing = [c for c in REQUIRED if c not in names]
    if missing:
        raise InputError(f"missing column {', '.join(missing)}", where=f"{path}:1",
                         hint="the columns are those of docs/accuracy.md, section 'The table'")
    twice = sorted({c for c in names if names.count(c) > 1})
    if twice:
        raise InputError(f"duplicate column {', '.join(twice)}", where=f"{path}:1")
    empty = True
    for row in reader:
        empty = False
        where = f"{path}:{reader.line_num}"
        if None in row or any(v is None for v in row.values()):
            raise InputError(f"expected {len(names)} fields", where=where, hint="quote fields that contain commas")
        yield _measured(row, reader.line_num, where)
    if empty:
        raise InputError("no rows", where=str(path))


def _measured(row: Mapping[str, str], line: int, where: str) -> Measured:
    def scored(flag: str) -> bool:
        return row.get(flag, "1").strip() not in ("0", "")

    ttft = _first(row, ("ttft_mean_ms", "ttft_p50_ms"), where) if scored("score_ttft") else None
    tpot = _first(row, ("tpot_mean_ms", "tpot_p50_ms", "itl_mean_ms"), where) if scored("score_tpot") else None
    rate = _first(row, ("output_tok_s",), where) if scored("score_tput") else None
    return Measured(row["id"], line, dict(row), ttft / 1e3 if ttft else None, tpot / 1e3 if tpot else None, rate)


def _first(row: Mapping[str, str], names: tuple[str, ...], where: str) -> float | None:
    for name in names:
        value = number(row, name, where)
        if value is not None:
            return value
    return None


def number(row: Mapping[str, str], name: str, where: str) -> float | None:
    """A positive number; None where the field is empty or absent."""
    raw = (row.get(name) or "").strip()
    if not raw:
        return None
    try:
        value = float(raw)
    except ValueError:
        raise InputError(f"{name}: not a number: {raw!r}", where=where) from None
    if not math.isfinite(value) or value <= 0:
        raise InputError(f"{name}: must be positive and finite, got {raw!r}", where=where)
    return value


def _count(row: Mapping[str, str], name: str, where: str) -> int | None:
    value = number(row, name, where)
    return None if value is None else round(value)


def deployment(row: Measured, path: str) -> Deployment:
    """The deployment of a row. Raises CostplanError where model or GPU are unknown or the layout is impossible."""
    t, where = row.text, f"{path}:{row.line}"
    args = engine_args(t.get("engine_args", ""))
    tp, pp = _count(t, "tp", where) or 1, _count(t, "pp", where) or 1
    dp, ep = _count(t, "dp", where) or 1, _count(t, "ep", where)
    attention_dp = dp > 1 and ("attention_dp" in args or "enable_dp_attention" in args)
    inner = dp if attention_dp else 1
    if attention_dp and (ep is None or ep == 1):
        ep = tp * dp
    ep = ep or 1
    if (tp * inner) % ep:
        ep = math.gcd(ep, tp * inner)
    spec = model(t["model"], where=where)
    weights = t.get("weight_dtype") or None
    notes = t.get("notes", "").lower()
    known = harness_of(t)
    clients = number(t, "load_value", where) if t["load_kind"] == LoadKind.CONCURRENCY else None
    tokens = known.max_num_batched_tokens(number(t, "isl", where) or 1.0, number(t, "osl", where) or 1.0)
    version = t.get("engine_version") or version_on(t["engine"], t.get("source_date", ""))
    return Deployment(
        spec, gpu(t["gpu"], where=where), Layout(tp, pp, inner, ep), 1 if attention_dp else dp, t["engine"],
        version, weights, _kv_dtype(t), bool(re.search(r"w8a16|w4a16|gptq|awq", notes)),
        _fraction(args) or known.memory_fraction, _int(args, "max_model_len", "context_length", "max_seq_len"),
        _int(args, "max_num_seqs", "max_running_requests", "max_batch_size") or known.max_num_seqs(clients),
        _int(args, "max_num_batched_tokens", "chunked_prefill_size", "max_num_tokens") or tokens,
        recv_interval=known.recv_interval(clients))


def _kv_dtype(t: Mapping[str, str]) -> str | None:
    stated = t.get("kv_dtype", "")
    if stated in ("", "auto", "unknown") and (known := harness_of(t).kv_dtype):
        return known
    if stated in ("", "auto", "unknown"):
        # TensorRT-LLM's FP8 checkpoints carry an FP8 KV cache; other engines default to 16 bits
        if t["engine"] in ("trtllm", "nim") and t.get("weight_dtype") in ("fp8", "nvfp4"):
            return "fp8"
        return None
    return stated


def engine_args(text: str) -> dict[str, str]:
    """``a=1 b c=2.`` as a mapping; a bare word maps to "1"."""
    out: dict[str, str] = {}
    for part in text.split():
        key, eq, value = part.partition("=")
        out[key.replace("-", "_")] = value.rstrip(".,") if eq else "1"
    return out


def _fraction(args: Mapping[str, str]) -> float | None:
    for name in ("gpu_memory_utilization", "mem_fraction_static", "free_gpu_memory_fraction"):
        try:
            return float(args[name])
        except (KeyError, ValueError):
            continue
    return None


def _int(args: Mapping[str, str], *names: str) -> int | None:
    for name in names:
        if (raw := args.get(name, "")).isdigit() and int(raw) > 0:
            return int(raw)
    return None


def load(row: Measured, path: str) -> Load:
    """The load of a row, on the whole deployment."""
    t, where = row.text, f"{path}:{row.line}"
    try:
        kind = LoadKind(t["load_kind"])
    except ValueError:
        raise InputError(f"load_kind: unknown {t['load_kind']!r}", where=where,
                         hint=f"one of {', '.join(LoadKind)}") from None
    isl, osl = number(t, "isl", where), number(t, "osl", where)
    if isl is None or osl is None:
        raise InputError("isl and osl must be given", where=where)
    value, prompts = number(t, "load_value", where), number(t, "num_prompts", where)
    if kind is LoadKind.BATCH1:
        value = 1.0
    if kind is LoadKind.ALL_AT_ONCE:
        value = prompts or value or 1000.0
    if value is None:
        raise InputError(f"load_value must be given for {kind}", where=where)
    known = harness_of(t)
    if prompts is None and kind is LoadKind.CONCURRENCY:
        prompts = (known.prompts_per_slot or PROMPTS_PER_SLOT) * value
    elif prompts is None and kind is LoadKind.RATE:
        prompts = PROMPTS_OF_A_RATE
    fixed = t.get("length_kind", "fixed") == "fixed"
    return Load(kind, value, isl, osl, None if prompts is None else max(1, round(prompts)),
                0.0 if fixed else known.spread, 0.0 if fixed else known.log_sd)

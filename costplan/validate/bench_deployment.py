"""What a benchmark ran on and under which load: what its file says, completed by flags."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from costplan.catalog.gpus import gpu as find_gpu
from costplan.catalog.model_spec import ModelSpec
from costplan.catalog.models import model as find_model
from costplan.core.dtypes import dtype
from costplan.core.errors import InputError, UnknownNameError
from costplan.perf.assemble import ENGINES
from costplan.perf.layout import Layout
from costplan.perf.predict import Deployment
from costplan.perf.steady import Load, LoadKind
from costplan.validate.bench_run import BenchRun

SPREAD = 0.2
MOST_REQUESTS = 100_000
_STORED = {"fp8": "fp8", "fp8-dynamic": "fp8", "fp8-kv": "fp8", "nvfp4": "nvfp4", "fp4": "nvfp4", "mxfp4": "mxfp4",
           "awq": "int4", "gptq": "int4", "int4": "int4", "w4a16": "int4", "int8": "int8", "w8a8": "int8"}
"""Endings of checkpoint names, and the weight format that they mean."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the flags say about the runs; None is left to the file."""

    gpu: str | None = None
    model: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    tp: int | None = None
    pp: int | None = None
    dp: int | None = None
    ep: int | None = None
    replicas: int = 1
    weights: str | None = None
    kv: str | None = None
    memory_fraction: float | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    concurrency: float | None = None
    rate: float | None = None
    isl: float | None = None
    osl: float | None = None
    batch: float | None = None
    spread: float | None = None


def _asked(run: BenchRun, needed: Sequence[tuple[str, str, Any]]) -> None:
    """Raises InputError that names all that neither file nor flag says: (what, flag, value)."""
    missing = [(what, flag) for what, flag, value in needed if value is None]
    if missing:
        raise InputError(f"{run.tool} does not say {', '.join(what for what, _ in missing)}", where=run.where,
                         hint=f"give {' '.join(flag for _, flag in missing)}")


def _either(run: BenchRun, flag: str, given: Any, said: Any) -> Any:
    """What the flag says, else the file; they must not disagree."""
    if given is not None and said is not None and given != said:
        raise InputError(f"says {said}, but {flag} says {given}", where=run.where, hint=f"leave {flag} away")
    return said if given is None else given


def deployment(run: BenchRun, g: Given) -> Deployment:
    """What ran, from the file and the flags. Raises InputError that names the missing flags."""
    engine, tp = g.engine or run.engine, _either(run, "--tp", g.tp, run.tp)
    _asked(run, (("which engine ran", "--engine vllm|sglang|trtllm", engine),
                 ("which model ran", "--model NAME", g.model or run.model),
                 ("on which GPU it ran", "--gpu NAME", g.gpu or run.gpu),
                 ("over how many GPUs a model was split", "--tp N", tp)))
    if engine not in ENGINES:
        raise UnknownNameError("engine", str(engine), ENGINES, where="--engine" if g.engine else run.where)
    spec, stored = _checkpoint(run, g)
    gpu = find_gpu(g.gpu or run.gpu or "", where="--gpu" if g.gpu else run.where)
    pp, ep = _either(run, "--pp", g.pp, run.pp) or 1, _either(run, "--ep", g.ep, run.ep) or 1
    weights, kv = g.weights or run.weights or stored, g.kv or run.kv
    return Deployment(
        spec, gpu, Layout(tp, pp, g.dp or 1, ep), g.replicas, engine, g.engine_version or run.engine_version,
        dtype(weights, kind="weight dtype", where="--weights").name if weights else None,
        dtype(kv, kind="KV dtype", where="--kv").name if kv else None, memory_fraction=g.memory_fraction,
        max_model_len=g.max_model_len, max_num_seqs=g.max_num_seqs or run.max_num_seqs,
        max_num_batched_tokens=g.max_num_batched_tokens or run.max_num_batched_tokens)


def _checkpoint(run: BenchRun, g: Given) -> tuple[ModelSpec, str | None]:
    """The model, and the weight format that the name of its checkpoint tells (``Llama-3.1-70B-Instruct-FP8``)."""
    name = run.model or ""
    ending = next((e for e in sorted(_STORED, key=len, reverse=True) if name.lower().endswith(f"-{e}")), None)
    stored = None if ending is None else _STORED[ending]
    asked, where = g.model or name, "--model" if g.model else run.where
    try:
        return find_model(asked, where=where), stored
    except UnknownNameError as e:
        if g.model is None and ending is not None:
            with suppress(UnknownNameError):
                return find_model(name[:-len(ending) - 1]), stored
        raise InputError(e.message, where=e.where, hint=f"give --model; {e.hint}") from None


def load(run: BenchRun, g: Given) -> Load:
    """The load of a run, from the file and the flags. Raises InputError that names the missing flags."""
    kind, value = run.load_kind, run.load_value
    if g.concurrency is not None:
        kind, value = LoadKind.CONCURRENCY, g.concurrency
    elif g.rate is not None:
        kind, value = LoadKind.RATE, g.rate
    arrived = (("how many sequences were in a batch", "--batch N") if kind is LoadKind.STATIC_BATCH else
               ("how requests arrived", "--concurrency N (or --rate X)"))
    isl, osl = g.isl or run.isl, g.osl or run.osl
    _asked(run, ((*arrived, value if kind else None), ("how long the prompts were", "--isl N", isl),
                 ("how long the answers were", "--osl N", osl)))
    assert kind is not None and value is not None and isl is not None and osl is not None
    if isl + osl > 100_000_000 or value > 1_000_000:
        raise InputError("the load is too large", where=run.where, hint="are these tokens and requests?")
    spread = g.spread if g.spread is not None else run.spread
    fixed = kind in (LoadKind.STATIC_BATCH, LoadKind.BATCH1)
    requests = None if run.requests is None else min(run.requests, MOST_REQUESTS)
    return Load(kind, value, isl, osl, requests, 0.0 if fixed else SPREAD if spread is None else spread)

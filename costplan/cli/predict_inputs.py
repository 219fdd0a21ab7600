"""From flags to the values that `costplan predict` works on."""

from __future__ import annotations

import math
from datetime import date

from costplan.catalog.gpus import gpu as find_gpu
from costplan.catalog.gpus import gpu_name_note
from costplan.catalog.model_spec import ModelSpec
from costplan.catalog.models import model as find_model
from costplan.core.dtypes import dtype
from costplan.core.errors import InputError, UnknownNameError
from costplan.perf.assemble import ENGINES
from costplan.perf.layout import Layout
from costplan.perf.predict import Deployment, Prediction
from costplan.perf.steady import Load, LoadKind
from costplan.plan.cost import Cost, cost, listed_price
from costplan.profile.manifest import Manifest
from costplan.profile.store import Profile


def deployment(*, model: str, gpu: str, layout: tuple[int, int, int, int], replicas: int, weights: str | None,
               kv: str | None, engine: str, engine_version: str | None, memory_fraction: float | None,
               max_model_len: int | None, max_num_seqs: int | None, max_num_batched_tokens: int | None) -> Deployment:
    """The deployment that the flags describe. Raises InputError with the flag's name."""
    if engine not in ENGINES:
        raise UnknownNameError("engine", engine, ENGINES, where="--engine")
    return Deployment(
        find_model(model, where="--model"), find_gpu(gpu, where="--gpu"), Layout(*layout), replicas, engine,
        engine_version, dtype(weights, kind="weight dtype", where="--weights").name if weights else None,
        dtype(kv, kind="KV dtype", where="--kv").name if kv else None, memory_fraction=memory_fraction,
        max_model_len=max_model_len, max_num_seqs=max_num_seqs, max_num_batched_tokens=max_num_batched_tokens)


def load(concurrency: float | None, rate: float | None, isl: int, osl: int) -> Load:
    """Exactly one of the two kinds of load."""
    if (concurrency is None) == (rate is None):
        raise InputError("give either --concurrency or --rate", hint="--concurrency 32, or --rate 4.5")
    kind = LoadKind.CONCURRENCY if concurrency is not None else LoadKind.RATE
    value = float(concurrency if concurrency is not None else rate or 0.0)
    if not math.isfinite(value):
        raise InputError(f"must be a finite number, got {value}", where=f"--{kind}")
    return Load(kind, value, float(isl), float(osl))


def cost_of(found: Prediction, dep: Deployment, osl: int, price_usd_per_gpu_h: float | None) -> Cost | None:
    """$/1M tokens at the stated price, or at the cheapest listed on-demand one; None where none is listed."""
    if price_usd_per_gpu_h is not None:
        return cost(found.output_tok_s, osl, price_usd_per_gpu_h * dep.num_gpus,
                    f"stated: ${price_usd_per_gpu_h:g} per GPU and hour")
    together = min(dep.layout.tp, dep.gpu.gpus_per_node)
    listed = listed_price(dep.gpu.name, dep.num_gpus, date.today(), together=together)
    if listed is None:
        return None
    return cost(found.output_tok_s, osl, listed.usd_per_h, listed.label, stale=listed.stale)


def manifest_of(found: Prediction, own: Profile | None) -> Manifest | None:
    """Provenance of the profile that answered first: the user's own, or the shipped one; None where none did."""
    if own is not None:
        return own.manifest
    return Profile.load(found.profiles[0]).manifest if found.profiles else None


def assumed(gpu_name: str, spec: ModelSpec) -> tuple[str, ...]:
    """What reading the question took for granted: a GPU name that fits several, guessed parts of a config."""
    note = gpu_name_note(gpu_name)
    guesses = [f"{spec.name}: {n}" for n in spec.notes if n.startswith("estimated")]
    return (*((note,) if note else ()), *guesses)

"""From flags to the values that `costplan predict` works on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from costplan.catalog.gpus import gpu as find_gpu
from costplan.catalog.gpus import gpu_name_note
from costplan.catalog.model_spec import Attention, MlaAttention
from costplan.catalog.models import model as find_model
from costplan.core.dtypes import dtype
from costplan.core.errors import InputError, UnknownNameError
from costplan.perf.assemble import ENGINES
from costplan.perf.calibration import Calibration, nearest_words, setting_of
from costplan.perf.layout import Layout
from costplan.perf.overhead import version_key
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
    if engine_version is not None and not version_key(engine_version):
        raise InputError(f"not a version: {engine_version!r}", where="--engine-version", hint="for example 0.19.1")
    dep = Deployment(
        find_model(model, where="--model"), find_gpu(gpu, where="--gpu"), Layout(*layout), replicas, engine,
        engine_version, dtype(weights, kind="weight dtype", where="--weights").name if weights else None,
        kv_dtype(kv) if kv else None, memory_fraction=memory_fraction,
        max_model_len=max_model_len, max_num_seqs=max_num_seqs, max_num_batched_tokens=max_num_batched_tokens)
    check_heads(dep)
    return dep


def kv_dtype(name: str) -> str:
    """A format that some engine can keep its KV cache in."""
    found = dtype(name, kind="KV dtype", where="--kv")
    if found.bits > 16:
        raise InputError(f"no engine keeps its KV cache in {found.name}", where="--kv", hint="bf16, fp16 or fp8")
    return found.name


def check_heads(dep: Deployment) -> None:
    """Engines refuse to split query heads unevenly over tensor-parallel ranks."""
    tp = dep.layout.tp
    heads = {m.num_heads for g in dep.spec.layers for m in g.layer.mixers if isinstance(m, Attention | MlaAttention)}
    uneven = sorted(h for h in heads if h % tp)
    if uneven:
        fits = [n for n in range(1, 129) if all(h % n == 0 for h in heads)]
        raise InputError(f"{uneven[0]} attention heads of {dep.spec.name} cannot be split over tp {tp}", where="--tp",
                         hint=f"choose one of {', '.join(map(str, fits))}")


def check_length(dep: Deployment, asked: Load) -> None:
    """A request must fit into the context that the engine is told to admit."""
    tokens = round(asked.isl + asked.osl)
    if dep.max_model_len is not None and tokens > dep.max_model_len:
        raise InputError(f"isl + osl = {tokens:,} tokens exceed --max-model-len {dep.max_model_len:,}",
                         where="--max-model-len", hint="raise it, or ask for shorter requests")


def load(concurrency: float | None, rate: float | None, isl: int, osl: int, spread: float = 0.0) -> Load:
    """Exactly one of the two kinds of load."""
    if (concurrency is None) == (rate is None):
        raise InputError("give either --concurrency or --rate", hint="--concurrency 32, or --rate 4.5")
    kind = LoadKind.CONCURRENCY if concurrency is not None else LoadKind.RATE
    value = float(concurrency if concurrency is not None else rate or 0.0)
    if not math.isfinite(value):
        raise InputError(f"must be a finite number, got {value}", where=f"--{kind}")
    return Load(kind, value, float(isl), float(osl), spread=spread)


def cost_of(found: Prediction, dep: Deployment, osl: int, price_usd_per_gpu_h: float | None) -> Cost | None:
    """$/1M tokens at the stated price, or at the cheapest listed on-demand one; None where none is listed."""
    if price_usd_per_gpu_h is not None:
        return cost(found.output_tok_s, osl, price_usd_per_gpu_h * dep.num_gpus,
                    f"stated: ${price_usd_per_gpu_h:g} per GPU and hour")
    together = min(dep.layout.tp * dep.layout.dp, dep.gpu.gpus_per_node)
    listed = listed_price(dep.gpu.name, dep.num_gpus, date.today(), together=together)
    if listed is None:
        return None
    return cost(found.output_tok_s, osl, listed.usd_per_h, listed.label, stale=listed.stale)


def manifest_of(found: Prediction, own: Profile | None) -> Manifest | None:
    """Provenance of the profile that answered first: the user's own, or the shipped one; None where none did."""
    if own is not None:
        return own.manifest
    return Profile.load(found.profiles[0]).manifest if found.profiles else None


def assumed(gpu_name: str, dep: Deployment, asked: Load | None = None) -> tuple[str, ...]:
    """What reading the question took for granted: a GPU name that fits several, guessed parts of a config, a link
    that reaches further than it does, a context beyond the model's, a load that no users cause."""
    spec, gpu, tp = dep.spec, dep.gpu, dep.layout.tp
    said = [note] if (note := gpu_name_note(gpu_name)) else []
    said += [f"{spec.name}: {n}" for n in spec.notes if n.startswith("estimated")]
    reach = max(gpu.link_gpus or 0, gpu.gpus_per_node)
    if tp > reach:
        said.append(f"tp {tp} goes beyond the {reach} GPUs that {gpu.name} links: collectives are priced as if it "
                    "did not")
    if asked is not None and spec.max_position is not None and asked.isl + asked.osl > spec.max_position:
        said.append(f"isl + osl = {asked.isl + asked.osl:,.0f} tokens exceed the {spec.max_position:,} that "
                    f"{spec.name} was made for")
    if asked is not None and asked.kind is LoadKind.CONCURRENCY and asked.value > 1 and asked.spread == 0:
        said.append("requests of equal length stay in step in a closed loop and arrive together: TTFT is worse than "
                    "with real lengths (leave --spread at its default)")
    return tuple(said)


def tuned_by(paths: Sequence[Path] | None) -> Calibration:
    """The user's calibration files as one; an empty one without any."""
    if not paths:
        return Calibration("", ())
    from costplan.perf.calibration_file import read_calibrations

    return read_calibrations(paths)


def calibration_notes(tuned: Calibration, dep: Deployment, asked: Load | None) -> tuple[str, ...]:
    """What a reader must know: files of another version, and runs too far away to say much."""
    if not tuned.observed:
        return ()
    place = setting_of(dep, asked)
    far = () if any(o.setting.deployment == place.deployment and o.setting.model == place.model
                    and o.setting.gpu == place.gpu for o in tuned.observed) else (
        f"the calibration {tuned.name} was made elsewhere and says little here: "
        f"{nearest_words(tuned.observed, place)}",)
    return (*tuned.warnings, *far)

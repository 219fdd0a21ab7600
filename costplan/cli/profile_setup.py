"""From the flags of `costplan profile` to a measuring run: budget, device, campaign, and where the results go."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic_core import PydanticCustomError

from costplan import __version__
from costplan.campaign.campaign import Campaign, campaign_for
from costplan.campaign.device import Device, measured_device
from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.gpus import gpu_key, shipped_gpus
from costplan.cli.plan_inputs import digests, find_workload
from costplan.core.errors import InputError, UnknownNameError
from costplan.kernels.backend import Backend
from costplan.kernels.session import Settings
from costplan.perf.weights import weight_bytes_per_rank
from costplan.plan.question import Question, question
from costplan.profile.families import FAMILIES
from costplan.profile.store import search_path
from costplan.workload.fields import parse_duration

SLOW_TO_COMPILE = {"torch-cpu-flex": 1800.0}
"""Backends that compile every case: left out below this budget (seconds) unless asked for."""
_MEASURED = "measured by costplan profile on this device"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the flags say."""

    workloads: tuple[str, ...]
    models: tuple[str, ...]  # empty: those of the workloads
    device: str
    budget_s: float
    tp: tuple[int, ...] | None
    engine: str
    only: tuple[str, ...] | None
    backends: tuple[str, ...] | None
    target: float
    seed: int

    @property
    def label(self) -> str:
        """The workloads in words."""
        return ", ".join(self.workloads)

    def head(self, device: Mapping[str, Any], asked: Sequence[Asked]) -> dict[str, Any]:
        """What must be the same for a run to go on. The budget may change: more time measures more."""
        return {"costplan": __version__, "device": device["key"], "device_name": device["name"],
                "versions": dict(device["versions"]), "workloads": list(self.workloads),
                "workloads_sha256": [a.sha256 for a in asked], "models": [a.question.spec.name for a in asked],
                "tp": list(self.tp) if self.tp else None, "engine": self.engine, "target": self.target,
                "only": list(self.only) if self.only else None, "seed": self.seed,
                "backends": list(self.backends) if self.backends else None}


def budget_s(text: str) -> float:
    """Seconds of ``10m``, ``90s`` or ``1h``. Raises InputError."""
    try:
        return parse_duration(text[:-1] + "min" if text.endswith("m") and not text.endswith("mm") else text)
    except PydanticCustomError as e:
        raise InputError(str(e.message()), where="--budget", hint="for example 10m, 90s or 1h") from e


def families(named: Sequence[str] | None) -> tuple[str, ...] | None:
    """Kernel families of ``--only``; ``attention`` and ``attn`` mean all of it. Raises UnknownNameError."""
    if not named:
        return None
    out: list[str] = []
    for word in (w.strip() for item in named for w in item.split(",") if w.strip()):
        if word in ("attention", "attn"):
            out += [f for f in FAMILIES if f.startswith(("attn", "mla"))]
        elif word in FAMILIES:
            out.append(word)
        else:
            raise UnknownNameError("kernel family", word, (*FAMILIES, "attention"), where="--only")
    return tuple(dict.fromkeys(out))


def settings(wish: Wish) -> Settings:
    """How the session runs."""
    chosen = wish.backends
    if chosen is None and (slow := {n for n, least_s in SLOW_TO_COMPILE.items() if wish.budget_s < least_s}):
        from costplan.kernels.registry import names

        chosen = tuple(n for n in names() if n not in slow)
    return Settings(wish.device, wish.budget_s, seed=wish.seed, only_backends=chosen)


def device_of(found: Mapping[str, Any], ceilings: Mapping[str, Any]) -> Device:
    """The device with what the catalogue says of it, or with its measured limits where it is in no catalogue."""
    key = gpu_key(str(found["name"])) if found["kind"] == "cuda" else None
    count = int(found.get("count", 1))
    if key is not None and key in shipped_gpus():  # another profile's description of it is no catalogue
        return Device("cuda", shipped_gpus()[key], count)
    bandwidth = max(float(ceilings["copy_bytes_per_s"]), float(ceilings["read_bytes_per_s"]))
    made = measured_device(found["kind"], str(found["key"]), peak_flops=ceilings["flops_per_s"],
                           bandwidth_bytes_per_s=bandwidth, mem_bytes=int(found["memory_bytes"]),
                           cache_bytes=int(found["cache_bytes"]), count=count)
    return replace(made, gpu=_described(made.gpu, found))


def _described(spec: GpuSpec, found: Mapping[str, Any]) -> GpuSpec:
    cuda = found["kind"] == "cuda"
    told = {f"peak_flops.{name}": _MEASURED for name in spec.peak_flops}
    told |= {"mem_bandwidth_bytes_per_s": _MEASURED, "mem_bytes": "as the system reports it",
             "mem_marketed_bytes": "taken as what the system reports", "l2_bytes": "as the system reports it",
             "num_sms": "as the system reports it", "gpus_per_node": "devices that were present"}
    cores = int(found["cores"])
    return replace(spec, title=f"{found['name']}, {cores} {'SMs' if cuda else 'cores'}",
                   vendor="NVIDIA" if cuda else "CPU", arch=f"sm{found['capability'].replace('.', '')}" if cuda
                   else "cpu", compute_capability=str(found["capability"]), num_sms=cores,
                   sources=MappingProxyType(told))


@dataclass(frozen=True, slots=True)
class Asked:
    """A planning question whose kernels are wanted, and the digest of its workload."""

    question: Question
    sha256: str


def asked(wish: Wish) -> list[Asked]:
    """Every workload with its own model, or with each of the models named."""
    out = []
    for name in wish.workloads:
        w = find_workload(name)
        for model in wish.models or (None,):
            out.append(Asked(question(w, wish.seed, model),
                             digests(w, wish.seed, model, (), ())["workload_sha256"]))
    return out


def campaign(questions: Sequence[Question], device: Device, wish: Wish, usable: Sequence[Backend],
             pass_share: float) -> Campaign:
    """What to measure. Raises InputError where nothing of it can be."""
    made = campaign_for(questions, device, budget_s=wish.budget_s, target=wish.target, engine=wish.engine,
                        tps=wish.tp or _tps(questions, device), only=wish.only, seed=wish.seed)
    takers = [sum(b.supports(w.case) is None for b in usable if w.case.family in b.families) for w in made.design]
    if not any(takers):
        raise InputError("no usable kernel backend runs any shape of this workload",
                         hint="`costplan doctor` lists what each backend can do")
    return replace(made, backends=max(1.0, sum(takers) / len(takers)), first_pass_share=pass_share)


def _tps(questions: Sequence[Question], device: Device) -> tuple[int, ...] | None:
    """A CPU runs models unsharded wherever they fit; otherwise the choice is left to the workload."""
    fit = all(weight_bytes_per_rank(q.spec).total < device.memory_bytes for q in questions)
    return (1,) if device.kind == "cpu" and fit else None


def out_folder(out: Path | None, key: str) -> Path:
    """Where the profile goes: the user's choice, or the user's folder of profiles, where plans look for them."""
    return out if out is not None else search_path({**os.environ, "COSTPLAN_PROFILES": ""})[0] / f"{key}-costplan"


def partial_of(out: Path) -> Path:
    """Folder of a run that is not finished."""
    return out.with_name(out.name + ".partial")


def check_out(out: Path, resume: bool) -> None:
    """Refuse to overwrite or mix runs, before anything is measured."""
    begun = partial_of(out).exists()
    if out.exists():
        raise InputError(f"{out} exists already", where="--out",
                         hint="delete it, or name another folder; `costplan profile diff` compares two")
    if begun and not resume:
        raise InputError(f"{partial_of(out)} holds an interrupted run", where="--out",
                         hint="go on with --resume, or delete that folder to start over")
    if resume and not begun:
        raise InputError(f"there is nothing to resume: no {partial_of(out)}", where="--resume",
                         hint="give the --out of the interrupted run, or leave --resume away")

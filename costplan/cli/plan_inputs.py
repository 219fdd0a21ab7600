"""From the words of `costplan plan` and its sisters to a workload: names of shipped ones, limits from flags."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256
from pathlib import Path

from costplan.catalog.gpus import gpu as find_gpu
from costplan.catalog.price import Price, Purchase
from costplan.core.errors import InputError, UnknownNameError
from costplan.core.shipped import shipped_dir
from costplan.perf.assemble import ENGINES
from costplan.perf.calibration import Calibration
from costplan.perf.devices import DEVICE_SPEC, open_profile
from costplan.profile.store import Profile
from costplan.workload.load import load_workload
from costplan.workload.workload import Workload


@dataclass(frozen=True, slots=True)
class Overrides:
    """Flags that replace what the workload says; None leaves it."""

    gpus: list[str] | None = None
    engines: list[str] | None = None
    weights: list[str] | None = None
    kv: list[str] | None = None
    providers: list[str] | None = None
    regions: list[str] | None = None
    purchase: list[str] | None = None
    max_gpus: int | None = None
    budget_usd_per_month: float | None = None
    headroom: float | None = None
    spare_replicas: int | None = None


def find_workload(named: str) -> Workload:
    """The workload of a file, or a shipped one by its name. Raises InputError, UnknownNameError."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", named) and not Path(named).is_file():
        folder = shipped_dir("configs")
        known = sorted(p.stem for p in folder.glob("*.yaml"))
        if named not in known:
            raise UnknownNameError("workload", named, known)
        return load_workload(folder / f"{named}.yaml")
    return load_workload(named)


def overridden(w: Workload, o: Overrides) -> Workload:
    """``w`` with the choices and limits of flags."""
    c, k = w.candidates, w.constraints
    if o.budget_usd_per_month is not None and not math.isfinite(o.budget_usd_per_month):
        raise InputError(f"must be a finite number, got {o.budget_usd_per_month}", where="--budget")
    _check("engine", _names(o.engines, None), ENGINES)
    _check("purchase", _names(o.purchase, None), [p.value for p in Purchase])
    return replace(
        w,
        candidates=replace(
            c, gpus=_names(o.gpus, c.gpus), engines=_names(o.engines, c.engines), weights=_names(o.weights, c.weights),
            kv_cache_dtype=_names(o.kv, c.kv_cache_dtype)),
        constraints=replace(
            k, providers=_names(o.providers, k.providers), regions=_names(o.regions, k.regions),
            purchase=_names(o.purchase, k.purchase), max_gpus=k.max_gpus if o.max_gpus is None else o.max_gpus,
            budget_usd_per_month=(k.budget_usd_per_month if o.budget_usd_per_month is None
                                  else o.budget_usd_per_month),
            headroom=k.headroom if o.headroom is None else o.headroom,
            spare_replicas=k.spare_replicas if o.spare_replicas is None else o.spare_replicas))


def _names(given: list[str] | None, else_: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Repeated flags and comma lists alike, without repetition; ``else_`` where the flag is not there."""
    if not given:
        return else_
    names = tuple(dict.fromkeys(n.strip() for item in given for n in item.split(",") if n.strip()))
    if not names:
        raise InputError(f"no name in {given[0]!r}")
    return names


def _check(flag: str, given: tuple[str, ...] | None, known: Iterable[str]) -> None:
    names = list(known)
    for name in given or ():
        if name not in names:
            raise UnknownNameError(flag, name, names, where=f"--{flag}")


def profiles_named(given: list[str] | None) -> tuple[Profile, ...]:
    """Profiles by name or folder; the devices that they bring are known from then on."""
    return tuple(open_profile(name) for name in given or ())


def price_table(path: Path | None) -> tuple[Price, ...]:
    """The user's own prices, or the shipped ones. Says how many rows were left out. Raises InputError."""
    if path is None:
        from costplan.catalog.prices import prices

        return prices()
    from costplan.catalog.price_import import read_prices
    from costplan.cli.output import warn

    found = read_prices(path)
    if found.skipped:
        reasons = sorted(found.skipped, key=lambda why: -found.skipped[why])
        warn([f"{path}: {sum(found.skipped.values()):,} rows left out, most of them: {', '.join(reasons[:3])}"])
    return found.prices


def with_devices_of(w: Workload, profiles: Iterable[Profile]) -> Workload:
    """``w`` with the devices that the user's profiles bring along among its candidates."""
    if w.candidates.gpus is None:
        return w
    brought = [p.gpu for p in profiles if p.manifest.origin.get(DEVICE_SPEC)]
    return replace(w, candidates=replace(w.candidates, gpus=tuple(dict.fromkeys((*w.candidates.gpus, *brought)))))


def with_stated(table: tuple[Price, ...], given: list[str] | None, today: date) -> tuple[Price, ...]:
    """``table`` with the prices of ``--price NAME=USD`` (per GPU and hour) instead of those listed for that device.

    Any number of devices up to a node can be had. Raises InputError, UnknownNameError.
    """
    for text in given or ():
        name, equals, amount = text.partition("=")
        usd = _usd(amount)
        if not equals or usd is None:
            raise InputError(f"expected NAME=USD, got {text!r}"[:120], where="--price", hint="--price h100_sxm=2.49")
        gpu = find_gpu(name.strip(), where="--price")
        counts = [n for n in (1, 2, 4, 8) if n < gpu.gpus_per_node] + [gpu.gpus_per_node]
        own = tuple(Price("yours", "all", f"{n}x {gpu.name}", gpu.name, n, Purchase.ON_DEMAND, usd * n, today,
                          "stated with --price") for n in counts)
        table = (*(p for p in table if p.gpu != gpu.name), *own)
    return table


def _usd(text: str) -> float | None:
    """A price above 0 and below 1,000,000 USD; None for anything else."""
    try:
        value = float("" if "_" in text else text)
    except ValueError:
        return None
    return value if 0 < value < 1e6 else None


def digests(w: Workload, seed: int, model: str | None, profiles: tuple[Profile, ...],
            prices: tuple[Price, ...], tuned: Calibration | None = None) -> dict[str, str]:
    """SHA-256 of what a plan is computed from: the workload with its flags, requests and own runs, prices, profiles."""
    said = (w.name, w.model, w.lengths, w.prefix, w.slo, w.candidates, w.constraints, w.tenants, w.diurnal,
            w.hosted_api, seed, model)
    asked = sha256(repr(said).encode())
    if tuned is not None and tuned.observed:
        asked.update(repr(tuned.observed).encode())
    times = getattr(w.arrivals, "arrival_s", None)
    asked.update(repr(w.arrivals).encode() if times is None else times.tobytes())
    if w.trace is not None:
        for column in (w.trace.isl, w.trace.osl, w.trace.hash_ids):
            asked.update(b"" if column is None else column.tobytes())
    listed = sha256("\n".join(map(repr, prices)).encode())
    measured = sha256(repr([p.manifest for p in profiles]).encode())
    return {"workload_sha256": asked.hexdigest(), "prices_sha256": listed.hexdigest(),
            "own_profiles_sha256": measured.hexdigest()}

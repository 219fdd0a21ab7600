"""Whether a replaced profile is slower, judged by runs and not by samples; another machine is not judged at all.

A cell is slower where every run of the head lies above every run of the base and the medians are at least 3 % apart.
On identical code with five runs a side this alarms for 0.2 % of cells; a test on pooled samples alarms for a third.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from costplan.ci.types import ProfileChange, Verdict
from costplan.core.errors import ProfileError
from costplan.profile.families import FAMILIES
from costplan.profile.store import Profile
from costplan.profile.table import Table

LEAST_RUNS = 5
LEAST_CHANGE = 0.03
LEAST_SHARE = 0.05
"""Cells that must separate before a profile as a whole is called slower or faster: far more than chance makes."""
_MACHINE = ("driver", "cuda", "torch", "nccl", "kernels", "engine")


def profile_change(name: str, base: Path, head: Path) -> ProfileChange:
    """The verdict on a profile that is in both states, in folders ``base`` and ``head``."""
    try:
        old, new = Profile.load(base), Profile.load(head)
        return _compared(name, old, new)
    except ProfileError as e:
        return ProfileChange(name, Verdict.NOT_JUDGED, f"unreadable: {e.message}")


def _compared(name: str, old: Profile, new: Profile) -> ProfileChange:
    found = [c for family in FAMILIES for c in _cells(old.table(family), new.table(family))]
    if not found:
        return ProfileChange(name, Verdict.NOT_JUDGED, "no kernel was measured in both")
    ratio, separated, runs = (np.concatenate(part) for part in zip(*found, strict=True))
    counted = runs >= LEAST_RUNS
    slower = int(np.sum(separated & counted & (ratio >= 1 + LEAST_CHANGE)))
    faster = int(np.sum(separated & counted & (ratio <= 1 / (1 + LEAST_CHANGE))))
    median = float(np.median(ratio))
    facts = {"cells": len(ratio), "slower": slower, "faster": faster}
    if other := _other_machine(old, new):
        verdict, reason = Verdict.NOT_JUDGED, f"different machine: {other}"
    elif not counted.any():
        verdict, reason = Verdict.NOT_JUDGED, f"no kernel has {LEAST_RUNS} runs on both sides"
    else:
        verdict, reason = _verdict(slower, faster, int(counted.sum()), median)
    return ProfileChange(name, verdict, reason, **facts, median_ratio=median)


def _verdict(slower: int, faster: int, cells: int, median: float) -> tuple[Verdict, str]:
    least = LEAST_SHARE * cells
    if slower > least and slower >= 2 * faster:
        return Verdict.WORSE, f"{slower} of {cells} kernels are slower in every run"
    if faster > least and faster >= 2 * slower:
        return Verdict.BETTER, f"{faster} of {cells} kernels are faster in every run"
    if max(slower, faster) > least:
        return Verdict.UNCLEAR, f"{slower} kernels are slower and {faster} faster"
    if abs(median - 1) >= LEAST_CHANGE:
        return Verdict.UNCLEAR, "the medians moved, but the runs overlap"
    return Verdict.SAME, f"no more than chance: {slower} slower, {faster} faster of {cells}"


def _other_machine(old: Profile, new: Profile) -> str:
    """What differs of GPU, driver and software, in words; empty for the same machine."""
    a, b = old.manifest, new.manifest
    pairs = [("gpu", a.gpu, b.gpu), ("device", a.device, b.device), ("engine", a.engine, b.engine)]
    pairs += [(k, a.versions.get(k), b.versions.get(k)) for k in _MACHINE]
    return ", ".join(f"{k} {x or 'unknown'} -> {y or 'unknown'}" for k, x, y in pairs if x != y)


def _cells(old: Table | None, new: Table | None) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_],
                                                                   NDArray[np.int64]]]:
    """Of the cells in both tables: head time over base time, whether all runs separate, and the fewer runs."""
    if old is None or new is None:
        return
    _, i, j = np.intersect1d(_keys(old), _keys(new), return_indices=True)
    if not len(i):
        return
    a, b = (t.columns["latency_s"][rows].astype(np.float64) for t, rows in ((old, i), (new, j)))
    da, db = (_column(t, "spread")[rows] for t, rows in ((old, i), (new, j)))
    ra, rb = (_column(t, "runs")[rows] for t, rows in ((old, i), (new, j)))
    apart = (b * (1 - db) > a * (1 + da)) | (a * (1 - da) > b * (1 + db))
    yield b / a, apart, np.minimum(ra, rb).astype(np.int64)


def _column(t: Table, name: str) -> NDArray[np.float64]:
    found = t.columns.get(name)
    return np.zeros(len(t)) if found is None else np.nan_to_num(found.astype(np.float64))


def _keys(t: Table) -> NDArray[np.str_]:
    """One text per row that names its case; the first of equal ones counts."""
    family = FAMILIES[t.family]
    parts = [t.columns[n].astype(np.int64).astype(str) for n in family.ints]
    parts += [np.asarray(t.text(n), dtype=str) for n in family.texts]
    key = parts[0]
    for p in parts[1:]:
        key = np.char.add(np.char.add(key, "|"), p)
    return key

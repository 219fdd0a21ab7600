"""What a profile covers: per family, which formats and kernels were measured, and over which sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from costplan.profile.families import FAMILIES
from costplan.profile.store import Profile
from costplan.profile.table import Table


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that share all text columns (``texts``); ``hull`` is the measured (least, largest) of each size."""

    family: str
    texts: Mapping[str, str]
    rows: int
    hull: Mapping[str, tuple[int, int]]


def coverage(profile: Profile) -> list[Group]:
    """Every group of every table, in file order of families. Reads all tables."""
    out: list[Group] = []
    for family in profile.families:
        table = profile.table(family)
        if table is not None:
            out += table_coverage(table)
    return out


def table_coverage(table: Table) -> list[Group]:
    """The groups of one table, by text columns."""
    names = FAMILIES[table.family].texts
    if not len(table):
        return []
    keys, group = np.unique(np.stack([table.codes[n] for n in names], axis=1), axis=0, return_inverse=True)
    group = group.reshape(-1)
    out = []
    for i, key in enumerate(keys):
        rows = group == i
        hull = {n: (int(v[rows].min()), int(v[rows].max()))
                for n, v in table.columns.items() if n in FAMILIES[table.family].ints}
        texts = {n: table.vocab[n][int(c)] for n, c in zip(names, key, strict=True)}
        out.append(Group(table.family, texts, int(rows.sum()), hull))
    return out

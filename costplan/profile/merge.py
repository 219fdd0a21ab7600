"""Put tables of one family together: concatenate, sort, fold duplicates, fill gaps from other versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costplan.profile.families import FAMILIES
from costplan.profile.table import Table

# What a sweep varies within one curve, outermost first. Everything else names the curve.
SWEEPS: dict[str, tuple[str, ...]] = {
    "gemm": ("m",), "elementwise": ("m",), "mla_bmm": ("tokens",), "moe": ("tokens",),
    "collective": ("message_bytes",), "linear_attention": ("batch", "seq_len"),
    **dict.fromkeys(("attn_prefill", "mla_prefill", "mla_module_prefill", "dsa_module_prefill"),
                    ("batch", "kv_len", "q_len")),
    "attn_ragged": ("batch", "kv_tokens"),
    **dict.fromkeys(("attn_decode", "mla_decode", "mla_module_decode", "dsa_module_decode"), ("batch", "kv_len")),
}


def columns_of(table: Table) -> dict[str, NDArray[np.generic]]:
    """Integer columns and text codes by name, without the measured ones."""
    ints = FAMILIES[table.family].ints
    return {**{k: table.columns[k] for k in ints}, **table.codes}


def group_ids(table: Table, names: Sequence[str]) -> NDArray[np.int64]:
    """``[rows]``: equal where all named columns are equal; numbered from 0 without gaps, in sorted order."""
    ids = np.zeros(len(table), dtype=np.int64)
    columns = columns_of(table)
    for name in names:
        _, codes = np.unique(columns[name], return_inverse=True)
        _, ids = np.unique(ids * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)
    return ids.astype(np.int64)


def curve_columns(family: str, *, kernel: bool) -> tuple[str, ...]:
    """The columns that name one curve, text first."""
    f = FAMILIES[family]
    names = (*(t for t in f.texts if t != "kernel" or kernel), *f.ints)
    return tuple(n for n in names if n not in SWEEPS[family])


def concat(tables: Sequence[Table]) -> Table:
    """All rows of several tables of one family; vocabularies are merged and sorted."""
    first = tables[0]
    vocab, codes = {}, {}
    for name in FAMILIES[first.family].texts:
        used = [{t.vocab[name][i] for i in np.unique(t.codes[name])} for t in tables]
        words = tuple(sorted(set().union(*used)))
        index = {w: i for i, w in enumerate(words)}
        vocab[name] = words
        codes[name] = np.concatenate([
            np.array([index.get(w, 0) for w in t.vocab[name]] or [0], dtype=np.int64)[t.codes[name]] for t in tables])
    names = dict.fromkeys(name for t in tables for name in t.columns)
    columns = {name: np.concatenate([_column(t, name) for t in tables]) for name in names}
    return Table(first.family, columns, codes, vocab)


def _column(table: Table, name: str) -> NDArray[np.generic]:
    """A column; where a table has no ``runs`` each case was measured once, and its ``spread`` is unknown (0)."""
    if name in table.columns:
        return table.columns[name]
    return np.full(len(table), 1 if name == "runs" else 0, dtype=np.int64 if name == "runs" else np.float64)


def sort(table: Table) -> Table:
    """Rows ordered by curve, then along the sweep: neighbours in a file are neighbours in a measurement."""
    names = (*curve_columns(table.family, kernel=True), *SWEEPS[table.family])
    columns = columns_of(table)
    return table.take(np.lexsort([columns[n] for n in reversed(names)]))


@dataclass(frozen=True, slots=True)
class Folded:
    """A table without duplicate keys; ``rows`` duplicates were folded, ``worst_spread`` apart at most."""

    table: Table
    rows: int
    worst_spread: float


def fold_duplicates(table: Table) -> Folded:
    """One row per key: the median of its latencies. ``runs`` counts them and ``spread`` is half their range
    over the median; both columns are absent where no key occurs twice."""
    ids = group_ids(table, tuple(columns_of(table)))
    count = np.bincount(ids)
    if count.size == 0 or count.max() == 1:
        return Folded(table, 0, 0.0)
    latency = np.asarray(table.columns["latency_s"], dtype=np.float64)
    order = np.lexsort((latency, ids))
    start = np.concatenate([[0], np.cumsum(count)[:-1]])
    ranked = latency[order]
    median = 0.5 * (ranked[start + (count - 1) // 2] + ranked[start + count // 2])
    spread = 0.5 * (ranked[start + count - 1] - ranked[start]) / median
    kept = table.take(order[start])
    columns = {**kept.columns, "latency_s": median, "runs": count.astype(np.int64), "spread": np.round(spread, 4)}
    return Folded(Table(table.family, columns, kept.codes, kept.vocab), len(table) - len(count), float(spread.max()))


def fill(base: Table, other: Table) -> NDArray[np.bool_]:
    """``[rows of other]``: rows of the curves (whatever the kernel) that ``base`` does not have at all.

    Whole curves, never single points: neighbouring points of one sweep then come from one version.
    """
    both = concat([base, other])
    ids = group_ids(both, curve_columns(base.family, kernel=False))
    have = np.zeros(int(ids.max(initial=0)) + 1, dtype=bool)
    have[ids[:len(base)]] = True
    return ~have[ids[len(base):]]

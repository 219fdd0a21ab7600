"""Residual scales for `costplan.perf.residual`, from predictions of held-out rows: conformal, by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from costplan.core.evidence import Z50, Z90
from costplan.perf.residual import Residual

MIN_ROWS = 40
"""Rows below which a class borrows the residual of a wider one."""
CLASSES: tuple[tuple[str, ...], ...] = ((), ("seen",), ("load",), ("seen", "load"), ("seen", "load", "evidence"))


@dataclass(frozen=True, slots=True)
class HeldOut:
    """One metric of one row, predicted without it: ln(predicted / measured) and the kernels' own log_sd."""

    id: str
    metric: str
    error: float
    kernel_sd: float
    load: str
    evidence: str
    seen: bool
    group: str


def fitted(rows: Sequence[HeldOut]) -> Residual:
    """Scale whose 50 % interval holds half of ``rows``, and the tail whose 90 % interval holds nine of ten."""
    errors = np.array([abs(r.error) for r in rows])
    kernels = np.array([r.kernel_sd for r in rows])
    level = min(1.0, 0.9 * (len(rows) + 1) / len(rows))
    low, high = 1e-3, 5.0
    for _ in range(60):
        middle = (low * high) ** 0.5
        inside = float(np.mean(errors <= Z50 * np.hypot(kernels, middle)))
        low, high = (low, middle) if inside >= 0.5 else (middle, high)
    return Residual(high, float(np.quantile(errors / np.hypot(kernels, high), level)) / Z90)


def residual_rows(rows: Sequence[HeldOut]) -> list[dict[str, object]]:
    """Entries for the data file: each class of enough rows, from wide to narrow."""
    out: list[dict[str, object]] = []
    for metric in ("tpot", "ttft", "output_tok_s"):
        for names in CLASSES:
            classes: dict[tuple[object, ...], list[HeldOut]] = {}
            for r in rows:
                if r.metric == metric:
                    classes.setdefault(tuple(getattr(r, n) for n in names), []).append(r)
            for values, members in sorted(classes.items(), key=repr):
                if len(members) >= MIN_ROWS or not names:
                    found = fitted(members)
                    out.append({"metric": metric, **dict(zip(names, values, strict=True)),
                                "log_sd": round(found.log_sd, 3), "tail": round(found.tail, 2), "rows": len(members)})
    return out


def lookup(entries: Sequence[Mapping[str, object]], r: HeldOut) -> Residual:
    """The narrowest entry that holds ``r``."""
    keys = ("load", "seen", "evidence")
    known = [e for e in entries if e["metric"] == r.metric and all(e.get(k, getattr(r, k)) == getattr(r, k)
                                                                   for k in keys)]
    best = max(known, key=lambda e: sum(k in e for k in keys))
    return Residual(float(str(best["log_sd"])), float(str(best["tail"])))


def coverage(rows: Sequence[HeldOut], folds: int = 5) -> dict[str, tuple[int, float, float]]:
    """By metric: rows, and the shares inside the 50 % and 90 % intervals, each fold judged with scales from the
    others (whole groups stay together)."""
    names = sorted({r.group for r in rows})
    fold = {g: i % folds for i, g in enumerate(names)}
    hits: dict[str, list[tuple[bool, bool]]] = {}
    for f in range(folds):
        entries = residual_rows([r for r in rows if fold[r.group] != f])
        for r in rows:
            if fold[r.group] == f:
                found = lookup(entries, r)
                sd = float(np.hypot(r.kernel_sd, found.log_sd))
                hits.setdefault(r.metric, []).append((abs(r.error) <= Z50 * sd,
                                                      abs(r.error) <= Z90 * found.tail * sd))
    return {m: (len(h), float(np.mean([a for a, _ in h])), float(np.mean([b for _, b in h]))) for m, h in hits.items()}

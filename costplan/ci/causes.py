"""Why a number moved: inputs swapped from base to head one at a time, what is left named; and the cheapest way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from costplan.ci.inputs import PlanInputs
from costplan.ci.metrics import COST, change, numbers
from costplan.ci.types import Cause, Fix, InputKind
from costplan.plan.types import Plan

MOST_UNITS = 8
"""More changed inputs than this are swapped by kind, so that a rewrite does not plan for an hour."""
_KEEPABLE = (InputKind.WORKLOAD, InputKind.MODEL, InputKind.HARDWARE, InputKind.ENGINE)
UNSET = "not set"
_TELLING = ("mean", "quantiles", "p50", "fixed")

Best = Callable[[PlanInputs], Plan | None]
"""The recommended plan of inputs; None where they make none."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Parts that are swapped together, and how they read on both sides."""

    kind: InputKind
    field: str
    keys: tuple[str, ...]
    base: str
    head: str


def units(base: PlanInputs, head: PlanInputs) -> list[Unit]:
    """What changed between two sets of inputs."""
    keys = base.changed(head)
    if len(keys) <= MOST_UNITS:
        return [_unit(base, head, k) for k in keys]
    kinds: dict[InputKind, list[str]] = {}
    for k in keys:
        kinds.setdefault((base.parts.get(k) or head.parts[k]).kind, []).append(k)
    return [_unit(base, head, ks[0]) if len(ks) == 1 else Unit(kind, f"{len(ks)} inputs", tuple(ks), "", "")
            for kind, ks in kinds.items()]


def _unit(base: PlanInputs, head: PlanInputs, key: str) -> Unit:
    old, new = base.parts.get(key), head.parts.get(key)
    part = old or new
    assert part is not None
    leaf = ""
    if old and new and (old.said == new.said or part.kind in (InputKind.PROFILE, InputKind.PRICES)):
        a, b = (f"{_said(p.said)} ({p.digest[:7]})" for p in (old, new))
    elif part.kind in (InputKind.PROFILE, InputKind.PRICES):
        a, b = (p.said if p else "none" for p in (old, new))
    else:
        leaf, a, b = _difference(old.said if old else None, new.said if new else None)
    field = f"{part.field}.{leaf}" if leaf else part.field
    return Unit(part.kind, field.removeprefix("candidates.").removeprefix("constraints."), (key,), _said(a), _said(b))


def _difference(a: Any, b: Any) -> tuple[str, Any, Any]:
    """The leaf that tells best how two values differ, by its path; the values themselves where no leaf does."""
    found = list(_leaves(a, b, ()))
    if not found:
        return "", a, b
    path, old, new = min(found, key=lambda x: (x[1] is None or x[2] is None,
                                               [_TELLING.index(p) if p in _TELLING else len(_TELLING) for p in x[0]],
                                               x[0]))
    if (old is None or new is None) and path and path[-1] in _TELLING:  # said in another way: mean 900 -> fixed 980
        return ".".join(path[:-1]), _in_short(a, path[:-1]), _in_short(b, path[:-1])
    return ".".join(path), old, new


def _in_short(value: Any, path: tuple[str, ...]) -> Any:
    """What lies at ``path``, by the one key that tells most of it."""
    for step in path:
        value = value[step]
    key = next((k for k in _TELLING if isinstance(value, dict) and k in value), None)
    return value if key is None else {key: value[key]}


def _leaves(a: Any, b: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    if isinstance(a, dict) and isinstance(b, dict):
        for k in {**a, **b}:
            yield from _leaves(a.get(k), b.get(k), (*path, str(k)))
    elif a != b:
        yield path, a, b


def _said(value: Any) -> str:
    if value is None:
        return UNSET
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_said(v)}" for k, v in value.items())[:120]
    if isinstance(value, list):
        return ", ".join(_said(v) for v in value)[:120]
    return str(value)[:120]


def causes(base: PlanInputs, head: PlanInputs, metric: str, before: Plan, after: Plan, best: Best) -> tuple[Cause, ...]:
    """Each changed input alone, largest first, then what only happens together."""
    found = units(base, head)
    start, end = numbers(before)[metric].value, numbers(after)[metric].value
    total = change(start, end)
    if total is None or not found:
        return ()
    out = [_alone(u, base, head, metric, start, before, best) for u in found]
    out.sort(key=lambda c: -abs(c.change_frac) if c.change_frac is not None else 0.0)
    if len(found) > 1:
        rest = total - sum(c.change_frac or 0.0 for c in out)
        if abs(rest) > 5e-5:
            out.append(Cause(InputKind.TOGETHER, "", "", "", rest))
    return tuple(out)


def _alone(u: Unit, base: PlanInputs, head: PlanInputs, metric: str, start: float, before: Plan, best: Best) -> Cause:
    plan = best(base.having(head, list(u.keys)))
    if plan is None:
        return Cause(u.kind, u.field, u.base, u.head, None, "makes no plan alone")
    old, new = (u.base, u.head) if u.kind is not InputKind.PRICES else (_price(before), _price(plan))
    return Cause(u.kind, u.field, old, new, change(start, numbers(plan)[metric].value))


def _price(p: Plan) -> str:
    price = p.money.rental.price
    return f"{price.provider} {price.gpu} ${price.price_usd_per_gpu_h:.4g}/GPU h"


def cheapest_fix(base: PlanInputs, head: PlanInputs, before: Plan, best: Best,
                 passes: Callable[[Plan], bool]) -> Fix | None:
    """The single input that, left as it was, costs least among those that pass; else the one that helps most.

    Prices and profiles are facts: they cannot be kept.
    """
    start = numbers(before)[COST].value
    found: list[Fix] = []
    for u in units(base, head):
        if u.kind not in _KEEPABLE or (plan := best(head.having(base, list(u.keys)))) is None:
            continue
        cost = numbers(plan)[COST].value
        found.append(Fix(u.kind, u.field, u.base, cost, change(start, cost), passes(plan)))
    return min(found, key=lambda f: (not f.passes, f.cost_usd_per_mtok_out, f.field), default=None)


def by_version(old: Mapping[str, str], new: Mapping[str, str], versions: tuple[str, str], total: float | None,
               ) -> tuple[Cause, ...]:
    """Causes between two plan files, of which only digests are known: all of the change where one thing differs."""
    names = {"workload_sha256": InputKind.WORKLOAD, "prices_sha256": InputKind.PRICES,
             "own_profiles_sha256": InputKind.PROFILE}
    found = [(kind, key.removesuffix("_sha256"), str(old.get(key, ""))[:7], str(new.get(key, ""))[:7])
             for key, kind in names.items() if old.get(key) != new.get(key)]
    if versions[0] != versions[1]:
        found.append((InputKind.COSTPLAN, "version", *versions))
    if len(found) == 1:
        return (Cause(*found[0], total),)
    return tuple(Cause(*f, None, "plan files hold no inputs to swap: compare git revisions") for f in found)

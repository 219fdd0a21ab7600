"""Which finished plans are worth showing, which are not dominated, and why popular alternatives lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from costplan.plan.fleet import Draft
from costplan.plan.space import Space
from costplan.plan.types import Binding, Latencies, Loser, Plan
from costplan.workload.workload import Metric, Workload

POPULAR = ("h100_sxm", "h200_sxm", "a100_80gb_sxm", "b200_sxm", "l40s", "mi300x")
_WORDS = {
    Binding.TTFT: "the limit on TTFT", Binding.TPOT: "the limit on TPOT", Binding.ITL: "the limit on ITL",
    Binding.E2E: "the limit on end-to-end latency", Binding.THROUGHPUT: "throughput",
    Binding.KV: "KV cache memory", Binding.CONCURRENCY: "the requests in flight", Binding.NONE: "nothing",
}


def shortlist(drafts: Sequence[Draft], most: int) -> list[Draft]:
    """The best of each GPU, engine, precision and draft length, then the next best: at most ``most``, best first."""
    chosen: dict[int, Draft] = {id(d): d for d in drafts[:1]}
    groups: tuple[Callable[[Draft], object], ...] = (
        lambda d: d.candidate.system.gpu, lambda d: d.below_checkpoint, lambda d: d.candidate.system.engine,
        lambda d: (d.below_checkpoint, d.candidate.system.gpu), lambda d: d.candidate.system.weight_dtype,
        lambda d: d.candidate.system.drafting)
    for key in groups:
        seen: set[object] = set()
        for d in drafts:
            if key(d) not in seen:
                seen.add(key(d))
                chosen.setdefault(id(d), d)
    for d in drafts:
        chosen.setdefault(id(d), d)
    return sorted(list(chosen.values())[:most], key=lambda d: d.score)


def order(plan: Plan) -> tuple[float, bool, float, str]:
    """Sort key of plans: cost at the user's load, own precision first, then room to grow."""
    return (round(plan.money.usd_per_mtok_out.value, 9), plan.below_checkpoint,
            -plan.capacity_requests_per_s.value * (plan.replicas - plan.spare_replicas), plan.name)


def pareto(plans: Sequence[Plan]) -> tuple[str, ...]:
    """Names of plans that no other beats in cost, TTFT, TPOT (medians) and precision at once, in their order."""
    points = {p.name: (p.money.usd_per_mtok_out.value, _median(p.latency(Metric.TTFT)),
                       _median(p.latency(Metric.TPOT)), float(p.below_checkpoint)) for p in plans}
    return tuple(n for n, a in points.items() if not any(
        all(x <= y for x, y in zip(b, a, strict=True)) and b != a for b in points.values()))


def _median(latencies: Latencies | None) -> float:
    found = latencies.at(0.5) if latencies is not None else None
    return found.value if found is not None else 0.0


def losers(plans: Sequence[Plan], space: Space, workload: Workload,
           drafts: Sequence[Draft] = ()) -> tuple[Loser, ...]:
    """For each popular GPU that is not the answer: its best plan and what it costs more, or why it has none."""
    if not plans:
        return ()
    named = workload.candidates.gpus or ()
    known = {s.gpu for s in space.by_system}
    asked = dict.fromkeys((*(g for g in POPULAR if g in known or not named), *sorted(known)))
    found = (_loser(gpu, plans, space, drafts, gpu in known) for gpu in asked if gpu != plans[0].config.gpu)
    return tuple(x for x in found if x is not None)


def _loser(gpu: str, plans: Sequence[Plan], space: Space, drafts: Sequence[Draft], known: bool) -> Loser | None:
    best = plans[0]
    own = next((p for p in plans if p.config.gpu == gpu), None)
    if own is not None:
        extra = own.money.usd_per_mtok_out.value - best.money.usd_per_mtok_out.value
        return Loser(gpu, _why(own, best), own, extra)
    draft = next((d for d in drafts if d.candidate.config.gpu == gpu), None)
    if draft is not None:
        extra = draft.usd_per_mtok_out - best.money.usd_per_mtok_out.value
        return Loser(gpu, f"{draft.replicas} x {draft.candidate.system.label} is dearer", None, extra)
    if known:
        return Loser(gpu, "no configuration that was tried holds the limits within the constraints", None, None)
    reason = next((e.reason for e in space.excluded if gpu in e.example), None)
    return None if reason is None else Loser(gpu, reason, None, None)


def _why(own: Plan, best: Plan) -> str:
    """What the alternative needs and what stops it."""
    per = own.money.rental.usd_per_h / max(1e-9, best.money.rental.usd_per_h)
    return (f"{own.num_gpus} GPU{'s' if own.num_gpus > 1 else ''} instead of {best.num_gpus} for {per:.2f} times the "
            f"rent: a replica of {own.config.num_gpus} serves {own.capacity_requests_per_s.value:.3g} requests/s, "
            f"bound by {_WORDS[own.binding]}")

"""Which finished plans are worth showing, which are not dominated, and why popular alternatives lost."""

from __future__ import annotations

from collections.abc import Sequence

from costplan.plan.fleet import Draft
from costplan.plan.space import Space
from costplan.plan.types import Binding, Loser, Plan
from costplan.workload.workload import Metric, Workload

POPULAR = ("h100_sxm", "h200_sxm", "a100_80gb_sxm", "b200_sxm", "l40s", "mi300x")
_WORDS = {
    Binding.TTFT: "the limit on TTFT", Binding.TPOT: "the limit on TPOT", Binding.ITL: "the limit on ITL",
    Binding.E2E: "the limit on end-to-end latency", Binding.THROUGHPUT: "throughput",
    Binding.KV: "KV cache memory", Binding.CONCURRENCY: "the requests in flight", Binding.NONE: "nothing",
}


def shortlist(drafts: Sequence[Draft], most: int) -> list[Draft]:
    """The best overall, of each GPU, engine and precision, then the next best: at most ``most``, best first."""
    chosen: dict[int, Draft] = {}
    groups = (lambda d: d.candidate.system.gpu, lambda d: (d.below_checkpoint, d.candidate.system.gpu),
              lambda d: d.candidate.system.engine, lambda d: d.candidate.system.weight_dtype)
    for key in groups:
        seen = set()
        for d in drafts:
            if key(d) not in seen:
                seen.add(key(d))
                chosen.setdefault(id(d), d)
    for d in drafts:
        if len(chosen) >= most:
            break
        chosen.setdefault(id(d), d)
    return sorted(sorted(chosen.values(), key=lambda d: d.score)[:most], key=lambda d: d.score)


def order(plan: Plan) -> tuple[float, bool, float, str]:
    """Sort key of plans: cost at the user's load, own precision first, then room to grow."""
    return (round(plan.money.usd_per_mtok_out.value, 9), plan.below_checkpoint,
            -plan.capacity_requests_per_s.value * (plan.replicas - plan.spare_replicas), plan.name)


def pareto(plans: Sequence[Plan]) -> tuple[str, ...]:
    """Names of plans that no other equals or beats in cost, TTFT and TPOT (medians), best cost first."""
    def point(p: Plan) -> tuple[float, float, float]:
        ttft, tpot = p.latency(Metric.TTFT), p.latency(Metric.TPOT)
        return (p.money.usd_per_mtok_out.value, _median(ttft), _median(tpot))

    points = {p.name: point(p) for p in plans}
    return tuple(n for n, a in points.items() if not any(
        all(x <= y for x, y in zip(b, a, strict=True)) and b != a for b in points.values()))


def _median(latencies: object) -> float:
    from costplan.plan.types import Latencies

    found = latencies.at(0.5) if isinstance(latencies, Latencies) else None
    return found.value if found is not None else 0.0


def losers(plans: Sequence[Plan], space: Space, workload: Workload) -> tuple[Loser, ...]:
    """For each popular GPU that is not the answer: its best plan and what it costs more, or why it has none."""
    if not plans:
        return ()
    best = plans[0]
    named = workload.candidates.gpus or ()
    known = {p.config.gpu for p in plans} | {s.gpu for s in space.by_system}
    found = []
    for gpu in dict.fromkeys((*(g for g in POPULAR if g in known or not named), *sorted(known))):
        if gpu == best.config.gpu:
            continue
        own = next((p for p in plans if p.config.gpu == gpu), None)
        if own is not None:
            extra = own.money.usd_per_mtok_out.value - best.money.usd_per_mtok_out.value
            found.append(Loser(gpu, _why(own, best), own, extra))
        elif gpu in known:
            found.append(Loser(gpu, "no configuration that was tried holds the limits within the constraints",
                               None, None))
        else:
            reason = next((e.reason for e in space.excluded if gpu in e.example), None)
            if reason is not None:
                found.append(Loser(gpu, reason, None, None))
    return tuple(found)


def _why(own: Plan, best: Plan) -> str:
    a, b = own.money.rental, best.money.rental
    served = own.capacity_requests_per_s.value
    per = a.usd_per_h / max(1e-9, b.usd_per_h)
    return (f"{own.num_gpus} GPUs instead of {best.num_gpus}, {per:.2f} times the rent: one replica of "
            f"{own.config.num_gpus} serves {served:.3g} requests/s before {_WORDS[own.binding]} binds")

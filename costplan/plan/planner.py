"""`plan`: a workload in, a ranked `PlanSet` out. Everything else in this room is a step of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date

from costplan.catalog.gpus import gpu_key
from costplan.catalog.price import Price
from costplan.catalog.prices import prices as shipped_prices
from costplan.core.errors import InputError
from costplan.perf.calibration import Observed
from costplan.perf.devices import add_device_of
from costplan.plan.bench import Bench
from costplan.plan.demand import demand
from costplan.plan.evaluate import Simulated
from costplan.plan.finish import Finisher
from costplan.plan.fleet import Draft, Market
from costplan.plan.offers import offers
from costplan.plan.page_size import page_choices
from costplan.plan.question import Question, question
from costplan.plan.rank import losers, order, pareto, shortlist
from costplan.plan.relax import Relaxer
from costplan.plan.robustness import Shocks
from costplan.plan.search import Found, Progress, Search
from costplan.plan.sensitivity import Knobs
from costplan.plan.space import Space, space
from costplan.plan.types import Plan, PlanSet, SearchStats, Sensitivity
from costplan.profile.store import Profile
from costplan.workload.workload import Workload

QUICK_SYSTEMS = 12


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """How hard to search. ``exhaustive``: only provable bounds skip candidates; else a closed form picks systems.

    ``sample_requests`` are simulated per candidate, ``verify_requests`` for the recommended plan, a quarter of them
    for the others that are shown.
    """

    exhaustive: bool = False
    systems: int = QUICK_SYSTEMS
    sample_requests: int = 2500
    verify_requests: int = 20_000
    shown: int = 10
    robustness: bool = True
    sensitivity: bool = True

    def __post_init__(self) -> None:
        for name in ("systems", "sample_requests", "verify_requests", "shown"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}", where=name)


def plan(workload: Workload, *, today: date, seed: int = 0, model: str | None = None,
         prices: Iterable[Price] | None = None, profiles: Sequence[Profile] = (),
         options: PlanOptions | None = None, progress: Progress | None = None,
         observed: Sequence[Observed] = ()) -> PlanSet:
    """The cheapest ways to serve ``workload`` within its limits, ranked by $ per 1M output tokens.

    ``prices`` replaces the shipped table, ``profiles`` go before the shipped ones of their GPUs, ``model`` before
    the workload's own; ``observed`` are the user's own runs, which correct step times near them. An infeasible workload
    gives an empty set with the nearest relaxations. Raises InputError for a workload that names unknown things.
    """
    opts = options or PlanOptions()
    for p in profiles:
        add_device_of(p)
    table = shipped_prices() if prices is None else tuple(prices)
    asked = question(workload, seed, model)
    market = Market(offers(workload.constraints, table), workload.constraints, today, table)
    candidates = space(asked.spec, workload.candidates, workload.constraints, market.prices,
                       max_tokens=asked.shape.max_tokens, model=model or workload.model or asked.spec.name,
                       measured=frozenset(p.gpu for p in profiles), draftings=asked.draftings)
    bench = Bench(asked, {gpu_key(p.gpu) or p.gpu: p for p in profiles}, observed=tuple(observed))
    evaluator = Simulated(asked, bench, opts.sample_requests)
    need = demand(asked, opts.sample_requests)
    searcher = Search(asked, candidates, bench, evaluator, market, need,
                      None if opts.exhaustive else opts.systems, progress)
    found = searcher.run()
    verifier = Simulated(asked, bench, max(opts.verify_requests, opts.sample_requests))
    plans = _finished(Finisher(asked, market, evaluator, verifier), found, opts)
    knobs: tuple[Sensitivity, ...] = ()
    if plans:
        best = _draft_of(plans[0], found)
        plans = [_deepened(plans[0], best, asked, market, evaluator, opts), *plans[1:]]
        if opts.sensitivity:
            knobs = Knobs(asked, market, evaluator, best, tuple(_per_gpu(found.ranked)),
                          plans[0].money.usd_per_mtok_out.value).all()
    relaxed = Relaxer(asked, market, evaluator, candidates, need).all() if not plans else ()
    return PlanSet(
        workload, asked.spec.name, today, seed, tuple(plans), pareto(plans),
        losers(plans, candidates, workload, found.ranked), knobs, relaxed,
        _stats(candidates, found, evaluator, verifier, opts), asked.shape.mean_isl, asked.shape.mean_osl,
        _notes(asked, plans), next((p for p in plans if not p.below_checkpoint), None))


def _finished(finisher: Finisher, found: Found, opts: PlanOptions) -> list[Plan]:
    """The shortlist as plans in their final order: verification may have added replicas.

    All are verified on a part of the requests; whichever leads, then on all of them, until the leader has been.
    """
    part = replace(finisher, verifier=Simulated(finisher.question, finisher.search.bench,
                                                max(opts.sample_requests, opts.verify_requests // 4)))
    drafts = shortlist(found.ranked, opts.shown)
    done = {d: p for d in drafts if (p := part.plan(d, 0)) is not None}
    verified: set[Draft] = set()
    while done and (lead := min(done, key=lambda d: order(done[d]))) not in verified:
        verified.add(lead)
        full = finisher.plan(lead, 0)
        if full is None:
            del done[lead]
        else:
            done[lead] = full
    return [replace(p, rank=i + 1) for i, p in enumerate(sorted(done.values(), key=order))]


def _draft_of(best: Plan, found: Found) -> Draft:
    """The draft that a plan was made from, as the search left it."""
    return next(d for d in found.drafts.values() if d.candidate.config == best.config)


def _deepened(best: Plan, draft: Draft, asked: Question, market: Market, evaluator: Simulated,
              opts: PlanOptions) -> Plan:
    """The recommended plan with its page sizes and shocks."""
    fleet = replace(draft, active=best.replicas - best.spare_replicas, rental=best.money.rental)
    shocks = tuple(Shocks(asked, market, evaluator, fleet).cases()) if opts.robustness else ()
    own = evaluator.bench.profiles.get(best.config.gpu)
    return replace(best, pages=page_choices(asked, draft.candidate, profile=own), robustness=shocks)


def _per_gpu(drafts: Sequence[Draft]) -> list[Draft]:
    seen: dict[str, Draft] = {}
    for d in drafts:
        seen.setdefault(d.candidate.config.gpu, d)
    return list(seen.values())


def _stats(candidates: Space, found: Found, evaluator: Simulated, verifier: Simulated,
           opts: PlanOptions) -> SearchStats:
    return SearchStats(len(candidates), (*candidates.excluded, *found.notes.excluded()), found.pruned,
                       found.ranked_out, found.simulated, evaluator.runs + verifier.runs, evaluator.n, verifier.n,
                       opts.exhaustive)


def _notes(asked: Question, plans: Sequence[Plan]) -> tuple[str, ...]:
    """What a reader must know about the answer."""
    notes = list(asked.spec.notes)
    longest = asked.spec.max_position
    if longest is not None and asked.shape.max_tokens > longest:
        notes.append(f"the longest requests ({asked.shape.max_tokens} tokens) exceed the model's {longest}")
    if plans and plans[0].below_checkpoint:
        notes.append("the recommended plan stores weights or KV in fewer bits than the checkpoint: check quality")
    if asked.workload.speculative is not None and not asked.draftings:
        notes.append("no drafts were tried: the tokens of a cycle come together, and a limit on ITL judges single gaps")
    if plans and plans[0].config.speculative is not None:
        notes.append("the plan counts on speculative decoding at the acceptance that you state, which its intervals "
                     "leave out; costplan explain shows its steps without drafts")
    if plans and plans[0].money.rental.stale:
        notes.append("the price is stale or undated: ask the provider for today's")
    return tuple(notes)

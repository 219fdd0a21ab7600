"""The answer of a plan as values: everything that a renderer, a diff or an exporter needs, nothing rendered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from costplan.catalog.price import Price, Purchase
from costplan.core.evidence import Estimate, Evidence
from costplan.core.units import HOURS_PER_MONTH
from costplan.plan.config import EngineConfig
from costplan.workload.workload import Metric, SloTarget, Workload


class Binding(StrEnum):
    """What stops a replica from taking more load."""

    TTFT = "ttft"
    TPOT = "tpot"
    ITL = "itl"
    E2E = "e2e"
    THROUGHPUT = "throughput"  # the engine cannot serve more requests per second
    CONCURRENCY = "concurrency"  # a closed loop asks for no more
    KV = "kv_cache"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Range:
    """A central interval in the unit of the number it belongs to. ``high`` None: no fleet of this kind would do."""

    low: float
    high: float | None


@dataclass(frozen=True, slots=True)
class SloMargin:
    """One limit against the prediction at the load of the plan. ``p_met``: chance that it holds."""

    target: SloTarget
    predicted: Estimate
    p_met: float

    @property
    def margin(self) -> float:
        """Part of the limit that is left; negative where the limit is broken."""
        return 1.0 - self.predicted.value / self.target.limit_s


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds of one metric over requests (``itl``: over gaps) at the load of the plan."""

    metric: Metric
    mean: Estimate
    percentiles: tuple[tuple[float, Estimate], ...]  # (fraction, seconds), lowest first

    def at(self, fraction: float) -> Estimate | None:
        """Seconds at one of the given percentiles; None for another."""
        return dict(self.percentiles).get(fraction)


@dataclass(frozen=True, slots=True)
class Rental:
    """What is bought: ``instances`` whole ones of ``price``. ``idle_gpus`` are paid for and not used."""

    price: Price
    instances: int
    usd_per_h: float
    idle_gpus: int
    stale: bool
    label: str

    @property
    def num_gpus(self) -> int:
        return self.price.gpu_count * self.instances

    @property
    def usd_per_month(self) -> float:
        """At 730 h."""
        return self.usd_per_h * HOURS_PER_MONTH


@dataclass(frozen=True, slots=True)
class TokenCosts:
    """USD per 1M tokens of each kind; times their tokens they add up to the whole bill.

    Split by GPU time: prefill steps pay for input, decode steps for output, attention to reused blocks for
    cached input. None where the workload has no such tokens.
    """

    input_usd_per_mtok: float
    cached_input_usd_per_mtok: float | None
    output_usd_per_mtok: float
    prefill_share: float
    cached_share: float
    decode_share: float


@dataclass(frozen=True, slots=True)
class PurchaseOption:
    """The same fleet, bought another way: ``usd_per_mtok_out`` at the user's load."""

    purchase: Purchase
    rental: Rental
    usd_per_mtok_out: float


@dataclass(frozen=True, slots=True)
class DiurnalCost:
    """A day of 24 hours. ``static`` keeps the peak fleet; ``autoscaled`` follows the load hour by hour."""

    replicas_by_hour: tuple[int, ...]
    static_usd_per_day: float
    autoscaled_usd_per_day: float

    @property
    def saving(self) -> float:
        """Part of the static bill that autoscaling saves."""
        return 1.0 - self.autoscaled_usd_per_day / self.static_usd_per_day


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Against a hosted API. ``requests_per_s`` is the mean load above which this fleet is cheaper;
    ``utilisation`` that load over what the fleet can serve; ``reachable`` that it is at most 1."""

    api: str
    api_usd_per_request: float
    api_usd_per_month: float
    api_usd_per_mtok_out: float
    requests_per_s: float
    utilisation: float
    reachable: bool
    saves_usd_per_month: float  # negative: the API is cheaper


@dataclass(frozen=True, slots=True)
class Money:
    """Cost of one plan. ``usd_per_mtok_out = 1e6 * usd_per_h / (output_tok_s * 3600)``.

    ``i90_usd_per_mtok_out`` counts whole replicas and instances at the ends of the capacity interval.
    """

    rental: Rental
    usd_per_mtok_out: Estimate
    i50_usd_per_mtok_out: Range
    i90_usd_per_mtok_out: Range
    usd_per_mtok_out_saturated: Estimate
    usd_per_mtok_total: Estimate  # input and output tokens together
    usd_per_request: Estimate
    tokens: TokenCosts
    purchases: tuple[PurchaseOption, ...]
    diurnal: DiurnalCost | None
    break_even: BreakEven | None

    @property
    def usd_per_month(self) -> float:
        """The fleet as bought, at 730 h."""
        return self.rental.usd_per_month


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one GPU by part, and what the KV cache holds for one replica."""

    total_bytes: int
    weights_bytes: int
    activation_bytes: int
    graph_bytes: int
    runtime_bytes: int
    reserved_bytes: int
    kv_bytes: int
    num_blocks: int
    kv_tokens: Estimate
    mean_requests: float  # requests of this workload that fit at once, on average
    peak_occupancy: float | None  # of the blocks, at the load of the plan


@dataclass(frozen=True, slots=True)
class PageChoice:
    """One KV page size. ``kernel_efficiency`` is relative to the engine's default; None: not measured."""

    block_size: int
    allowed: bool
    reason: str
    kernel_efficiency: float | None
    kernel_evidence: str
    fragmentation_tokens: float  # per request: E[ceil(len / bs) * bs - len]
    fragmentation_share: float
    lost_sharing_tokens: float | None  # per request: shared prefix that no whole block covers
    concurrent_requests: float


@dataclass(frozen=True, slots=True)
class RobustnessCase:
    """What one shock does to the fleet as planned, and the fleet that would withstand it.

    ``breaks`` names the first limit that fails (None: it holds). ``replicas_needed`` None: no number of
    replicas would help.
    """

    name: str
    title: str
    holds: bool
    breaks: Binding | None
    detail: str
    metric_value: float | None
    metric_limit: float | None
    replicas_needed: int | None
    usd_per_h_needed: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to serve the workload.

    ``replicas`` counts the spare ones. ``capacity_requests_per_s`` is of one replica (closed loop: what it
    serves at its share of the requests in flight). ``utilisation`` is the part of capacity in use at the
    mean load, ``peak_utilisation`` in the busiest hour; ``busy`` the part of time that a replica computes.
    ``below_checkpoint`` says that weights or KV are stored in fewer bits than the checkpoint: check quality.
    """

    rank: int
    config: EngineConfig
    replicas: int
    spare_replicas: int
    requests_per_s: float
    peak_requests_per_s: float
    capacity_requests_per_s: Estimate
    output_tok_s: Estimate
    utilisation: float
    peak_utilisation: float
    busy: float
    latencies: tuple[Latencies, ...]
    slo: tuple[SloMargin, ...]
    p_meets_slo: float
    goodput: float  # part of requests that keep every limit
    prefix_hit_rate: float
    preemptions_per_request: float
    money: Money
    memory: Memory
    binding: Binding
    step_bound: str  # compute | bandwidth | latency | network: what a decode step waits for
    evidence: Evidence
    evidence_shares: Mapping[Evidence, float]
    basis: str
    below_checkpoint: bool
    pages: tuple[PageChoice, ...] = ()
    robustness: tuple[RobustnessCase, ...] = ()
    decided_by: str = "simulation"  # or "closed form"

    @property
    def num_gpus(self) -> int:
        """GPUs in use; `Money.rental` may hold more."""
        return self.config.num_gpus * self.replicas

    def latency(self, metric: Metric) -> Latencies | None:
        """One metric's figures."""
        return next((x for x in self.latencies if x.metric is metric), None)

    @property
    def name(self) -> str:
        """Short and unique within a plan set, as in ``h100_sxm-tp4-fp8-kvfp8-vllm``."""
        c, lay = self.config, self.config.layout
        sizes = "".join(f"{k}{v}" for k, v in (("tp", lay.tp), ("pp", lay.pp), ("dp", lay.dp), ("ep", lay.ep))
                        if v > 1 or k == "tp")
        return (f"{c.gpu}-{sizes}-{c.weight_dtype}-kv{c.kv_dtype}-{c.engine}-b{c.block_size}"
                f"-s{c.max_num_seqs}-t{c.max_num_batched_tokens}"
                + (f"-{c.speculative.draft.rsplit('/', 1)[-1]}{c.speculative.tokens}" if c.speculative else ""))


@dataclass(frozen=True, slots=True)
class Excluded:
    """Candidates left out before any evaluation: how many and why, with one example."""

    reason: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class Loser:
    """Why a popular alternative is not the answer. ``plan`` is its best form; None where it cannot serve."""

    alternative: str
    reason: str
    plan: Plan | None
    extra_usd_per_mtok_out: float | None


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """One thing changed, all else searched no further: what it does to $/1M output tokens.

    ``usd_per_mtok_out`` (at the user's load) counts whole instances and may not move at all;
    ``delta_saturated_usd_per_mtok_out`` (fleet at full load) always tells. None: not possible, ``detail`` says why.
    """

    knob: str
    change: str
    usd_per_mtok_out: float | None
    delta_usd_per_mtok_out: float | None
    delta_saturated_usd_per_mtok_out: float | None
    replicas: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class Relaxation:
    """The smallest loosening of one constraint that makes the workload feasible."""

    what: str
    asked: str
    needed: str
    plan: Plan | None


@dataclass(frozen=True, slots=True)
class SearchStats:
    """What the search did. ``candidates`` were generated; the others say how each was settled."""

    candidates: int
    excluded: tuple[Excluded, ...]
    pruned_by_bound: int
    ranked_out: int
    simulated: int
    simulations: int
    sample_requests: int
    verified_requests: int
    exhaustive: bool


@dataclass(frozen=True, slots=True)
class PlanSet:
    """The answer: ``plans`` ranked by $/1M output tokens, the first is recommended. Empty: infeasible.

    ``pareto`` names plans that no other beats in cost, TTFT, TPOT and kept precision at once. ``same_precision``
    is the best plan that keeps the checkpoint's own weight and KV formats.
    """

    workload: Workload
    model: str
    today: date
    seed: int
    plans: tuple[Plan, ...]
    pareto: tuple[str, ...]
    losers: tuple[Loser, ...]
    sensitivities: tuple[Sensitivity, ...]
    relaxations: tuple[Relaxation, ...]
    stats: SearchStats
    mean_isl: float
    mean_osl: float
    notes: tuple[str, ...] = field(default=())
    same_precision: Plan | None = None

    @property
    def feasible(self) -> bool:
        return bool(self.plans)

    @property
    def best(self) -> Plan | None:
        """The recommended plan."""
        return self.plans[0] if self.plans else None

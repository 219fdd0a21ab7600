"""What is asked of the service, as values: the workload behind a plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from costplan.workload.arrivals import Arrivals
from costplan.workload.lengths import JointLengths
from costplan.workload.prefix import PrefixModel
from costplan.workload.trace import Trace


class Metric(StrEnum):
    """Latency of a request as vLLM names it."""

    TTFT = "ttft"
    TPOT = "tpot"
    ITL = "itl"
    E2E = "e2e"


@dataclass(frozen=True, slots=True)
class SloTarget:
    """``metric`` must be at most ``limit_s`` at ``percentile`` (a fraction: 0.99)."""

    metric: Metric
    percentile: float
    limit_s: float


@dataclass(frozen=True, slots=True)
class Slo:
    """All latency limits; none means that only throughput counts."""

    targets: tuple[SloTarget, ...] = ()

    def of(self, metric: Metric) -> tuple[SloTarget, ...]:
        """Limits on one metric, lowest percentile first."""
        return tuple(t for t in self.targets if t.metric is metric)

    def limit_s(self, metric: Metric) -> float | None:
        """The limit that a single request must keep to count as good: that of the highest percentile."""
        own = self.of(metric)
        return own[-1].limit_s if own else None


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a plan may choose from; None leaves the choice free."""

    gpus: tuple[str, ...] | None = None
    engines: tuple[str, ...] | None = None
    tp: tuple[int, ...] | None = None
    pp: tuple[int, ...] | None = None
    weights: tuple[str, ...] | None = None
    kv_cache_dtype: tuple[str, ...] | None = None
    block_size: tuple[int, ...] | None = None
    max_num_seqs: tuple[int, ...] | None = None
    max_num_batched_tokens: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Constraints:
    """Limits that a plan must keep; None is no limit. ``headroom`` is the part of capacity kept free."""

    max_gpus: int | None = None
    max_gpus_per_replica: int | None = None
    providers: tuple[str, ...] | None = None
    regions: tuple[str, ...] | None = None
    purchase: tuple[str, ...] | None = None
    budget_usd_per_month: float | None = None
    headroom: float = 0.0
    spare_replicas: int = 0


@dataclass(frozen=True, slots=True)
class Speculative:
    """Speculative decoding that a plan may use: who drafts, how often its guesses are kept, and how many to try.

    ``draft`` is mtp, eagle, ngram or a model; ``checkpoint`` is what engines load it from.
    """

    draft: str
    acceptance: float
    acceptance_spread: float = 0.1
    draft_tokens: tuple[int, ...] = (4,)
    checkpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    """One user of the service: ``share`` of all requests, lower ``priority`` first."""

    name: str
    share: float
    priority: int = 0
    max_tokens_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class HostedApi:
    """Price of a hosted API in USD per 1M tokens, to compare with."""

    name: str
    input_usd_per_mtok: float
    output_usd_per_mtok: float
    cached_input_usd_per_mtok: float | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """Arrivals, lengths, shared prefixes, limits and choices.

    Lengths come from ``lengths`` or, where that is None, from the requests of ``trace`` in their order.
    ``model_path`` is set where ``model`` is a path; ``calibrations`` are files of own runs.
    ``diurnal`` holds 24 weights of mean 1.
    """

    name: str
    model: str | None
    arrivals: Arrivals
    lengths: JointLengths | None
    trace: Trace | None = None
    prefix: PrefixModel | None = None
    slo: Slo = Slo()
    candidates: Candidates = Candidates()
    constraints: Constraints = Constraints()
    tenants: tuple[Tenant, ...] = ()
    diurnal: tuple[float, ...] | None = None
    hosted_api: HostedApi | None = None
    description: str = ""
    model_path: Path | None = None
    calibrations: tuple[Path, ...] = ()
    speculative: Speculative | None = None
    path: Path | None = field(default=None, compare=False)

    @property
    def mean_isl(self) -> float:
        """Mean prompt length in tokens."""
        return self.lengths.isl.mean if self.lengths else float(self._trace().isl.mean())

    @property
    def mean_osl(self) -> float:
        """Mean answer length in tokens."""
        return self.lengths.osl.mean if self.lengths else float(self._trace().osl.mean())

    @property
    def requests_per_s(self) -> float | None:
        """Mean offered rate; None for a closed loop."""
        return self.arrivals.requests_per_s

    @property
    def peak_requests_per_s(self) -> float | None:
        """Rate in the busiest hour of the day; the mean rate without a diurnal profile."""
        rate = self.requests_per_s
        return rate if rate is None or self.diurnal is None else rate * max(self.diurnal)

    def _trace(self) -> Trace:
        assert self.trace is not None
        return self.trace

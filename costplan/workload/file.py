"""`workload.yaml` as people write it: strict, every key known, every duration with its unit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from costplan.core import dtypes
from costplan.core.errors import UnknownNameError
from costplan.workload.fields import (
    Count,
    Door,
    Percentiles,
    Positive,
    Share,
    Text,
    exactly_one,
    one_of_schema,
    problem,
)
from costplan.workload.lengths_file import LengthsFile, PrefixFile, ReplayFile

_LOADS = ("rate", "concurrency", "trace")


def _dtype(name: str) -> str:
    if name == "auto":
        return name
    try:
        return dtypes.dtype(name).name
    except UnknownNameError as e:
        raise problem(e.message, e.hint or "") from e


def _distinct(items: list[Any]) -> list[Any]:
    if len({str(i) for i in items}) != len(items):
        raise problem("names something twice")
    return items


Dtype = Annotated[str, AfterValidator(_dtype)]
Names = Annotated[list[Text], Field(min_length=1, max_length=200), AfterValidator(_distinct)]
Counts = Annotated[list[Count], Field(min_length=1, max_length=100), AfterValidator(_distinct)]


Drafts = Annotated[list[Annotated[int, Field(ge=1, le=16)]], Field(
    min_length=1, max_length=16, description="guesses per cycle to choose from"), AfterValidator(_distinct)]


class RateFile(Door):
    """Open-loop arrivals: so many requests per second, Poisson unless burstiness or cv is given."""

    requests_per_s: Annotated[float, Field(gt=0, le=1e6, description="mean over the day")]
    burstiness: Annotated[float, Field(gt=0, le=1e6, description=(
        "shape of gamma-distributed gaps, as in vLLM: 1 is Poisson, smaller is burstier"))] | None = None
    cv: Annotated[float, Field(gt=0, le=1e3, description="CV of the gaps: burstiness = 1/cv^2")] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> RateFile:
        if self.burstiness is not None and self.cv is not None:
            raise problem("give burstiness or cv, not both", "burstiness = 1/cv^2")
        return self

    @property
    def shape(self) -> float:
        """Shape of the gamma distribution of the gaps."""
        if self.burstiness is not None:
            return self.burstiness
        return 1.0 if self.cv is None else 1 / self.cv**2


class ConcurrencyFile(Door):
    """Closed loop: ``n`` requests in flight at all times."""

    n: Count


class LoadFile(Door):
    """When requests come: at a rate, in a closed loop, or as in a trace."""

    model_config = ConfigDict(json_schema_extra=one_of_schema(_LOADS))

    rate: RateFile | None = None
    concurrency: ConcurrencyFile | None = None
    trace: ReplayFile | None = None

    @model_validator(mode="after")
    def _consistent(self) -> LoadFile:
        exactly_one(self, _LOADS)
        return self


class SloFile(Door):
    """Latency limits, each at a percentile over requests (itl: over all gaps), like ``ttft: {p95: 800ms}``."""

    ttft: Annotated[Percentiles, Field(description="time to first token")] | None = None
    tpot: Annotated[Percentiles, Field(description="(e2e - ttft) / (osl - 1) of each request")] | None = None
    itl: Annotated[Percentiles, Field(description="each gap between two tokens")] | None = None
    e2e: Annotated[Percentiles, Field(description="whole request")] | None = None


class CandidatesFile(Door):
    """What the planner may choose from; a list that is absent leaves the choice free."""

    gpus: Annotated[Names, Field(description="names of costplan catalog gpus")] | None = None
    engines: Annotated[list[Literal["vllm", "sglang", "trtllm"]], Field(min_length=1)] | None = None
    tp: Counts | None = None
    pp: Counts | None = None
    weights: Annotated[list[Dtype], Field(min_length=1)] | None = None
    kv_cache_dtype: Annotated[list[Dtype], Field(min_length=1)] | None = None
    block_size: Counts | None = None
    max_num_seqs: Counts | None = None
    max_num_batched_tokens: Counts | None = None


class ConstraintsFile(Door):
    """Limits that a plan must keep."""

    max_gpus: Count | None = None
    max_gpus_per_replica: Count | None = None
    providers: Names | None = None
    regions: Names | None = None
    purchase: Annotated[list[Literal["on_demand", "spot", "1y", "3y"]], Field(min_length=1)] | None = None
    budget_usd_per_month: Positive | None = None
    headroom: Annotated[float, Field(ge=0, lt=1, description="part of capacity kept free")] = 0.0
    spare_replicas: Annotated[int, Field(ge=0, le=1000, description="N+1 is 1")] = 0


class TenantFile(Door):
    """One of several users of the service."""

    name: Text
    share: Annotated[Share, Field(description="of all requests")]
    priority: Annotated[int, Field(ge=-1000, le=1000, description="lower is served first, as in vLLM")] = 0
    max_tokens_per_s: Positive | None = None


class HostedApiFile(Door):
    """Price of an API to compare with, in USD per 1M tokens."""

    name: Text
    input_usd_per_mtok: Annotated[float, Field(ge=0, le=1e6)]
    output_usd_per_mtok: Annotated[float, Field(ge=0, le=1e6)]
    cached_input_usd_per_mtok: Annotated[float, Field(ge=0, le=1e6)] | None = None


class SpeculativeFile(Door):
    """Speculative decoding that a plan may use where it pays."""

    draft: Annotated[Text, Field(description="mtp, eagle, ngram, or a model of the same vocabulary")]
    acceptance: Annotated[float, Field(ge=0, le=1, description="share of its guesses that are kept")]
    acceptance_spread: Annotated[float, Field(ge=0, le=1, description=(
        "standard deviation of the acceptance between requests"))] = 0.1
    draft_tokens: Drafts = Field(default=[4])
    checkpoint: Annotated[Text, Field(description="repository or folder of the draft, for engine flags")] | None = None


class WorkloadFile(Door):
    """A costplan workload: who asks for how much, how fast it must be, and what may be rented."""

    model_config = ConfigDict(title="costplan workload")

    name: Text
    description: Annotated[str, Field(max_length=2000)] | None = None
    model: Annotated[Text, Field(description="name in costplan catalog models, or path of a config.json")] | None = None
    load: LoadFile
    lengths: LengthsFile | None = None
    prefix: PrefixFile | None = None
    slo: SloFile = SloFile()
    candidates: CandidatesFile = CandidatesFile()
    constraints: ConstraintsFile = ConstraintsFile()
    tenants: Annotated[list[TenantFile], Field(min_length=1, max_length=1000)] | None = None
    diurnal: Annotated[list[Annotated[float, Field(ge=0, le=1e9)]], Field(
        min_length=24, max_length=24, description="relative load of each hour of the day")] | None = None
    hosted_api: HostedApiFile | None = None
    speculative: SpeculativeFile | None = None
    calibration: Annotated[Text, Field(description="file of costplan calibrate, relative to this one")] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> WorkloadFile:
        if self.lengths is None and self.load.trace is None:
            raise problem("lengths are missing", "only a load from a trace brings its own")
        if self.diurnal is not None and not any(self.diurnal):
            raise problem("diurnal is 0 in every hour")
        if self.tenants is not None:
            total = sum(t.share for t in self.tenants)
            if abs(total - 1) > 1e-6:
                raise problem(f"the shares of the tenants sum to {total:g}, not 1")
            _distinct([t.name for t in self.tenants])
        return self

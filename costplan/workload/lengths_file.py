"""How lengths, traces and shared prefixes are written in a workload file."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from costplan.core.errors import CostplanError
from costplan.workload.fields import (
    Count,
    Door,
    Duration,
    Positive,
    QuantileKey,
    Share,
    Text,
    Tokens,
    exactly_one,
    one_of_schema,
    parse_percentile,
    problem,
)
from costplan.workload.lengths import QuantileTable

_SHAPES = ("fixed", "lognormal", "quantiles")


class LogNormalFile(Door):
    """Log-normal length: its median ``p50`` with either ``mean`` or ``sigma``; clipped to min..max."""

    model_config = ConfigDict(json_schema_extra=one_of_schema(("mean", "sigma")))

    p50: Annotated[float, Field(ge=1, le=1e7, description="median in tokens, before clipping")]
    mean: Annotated[float, Field(ge=1, le=1e7, description="mean in tokens, before clipping")] | None = None
    sigma: Annotated[float, Field(ge=0, le=5, description="standard deviation of ln(tokens)")] | None = None
    min: Tokens = 1
    max: Tokens

    @model_validator(mode="after")
    def _consistent(self) -> LogNormalFile:
        exactly_one(self, ("mean", "sigma"))
        if self.mean is not None and self.mean < self.p50:
            raise problem("the mean of a log-normal is not below its median p50", "exchange mean and p50?")
        if self.max < self.min:
            raise problem(f"max {self.max} is below min {self.min}")
        return self

    @property
    def log_sd(self) -> float:
        """sigma; from mean = p50 * exp(sigma^2 / 2) where the mean is given."""
        return self.sigma if self.sigma is not None else math.sqrt(2 * math.log((self.mean or self.p50) / self.p50))


QuantileMap = Annotated[dict[QuantileKey, Tokens], Field(min_length=2, json_schema_extra={
    "propertyNames": {"pattern": r"^(min|max|p[0-9]{1,2}(\.[0-9]{1,4})?)$"}, "required": ["max"]})]


class LengthFile(Door):
    """Length of a prompt or an answer in tokens: fixed, log-normal, or a table of quantiles."""

    model_config = ConfigDict(json_schema_extra=one_of_schema(_SHAPES))

    fixed: Annotated[Tokens, Field(description="the same length for all")] | None = None
    lognormal: LogNormalFile | None = None
    quantiles: Annotated[QuantileMap, Field(
        description="tokens at min, p1 .. p99.9, max; straight between them unless mean is given")] | None = None
    mean: Annotated[float, Field(ge=1, le=1e7, description="mean of the quantile table, kept exactly")] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> LengthFile:
        exactly_one(self, _SHAPES)
        if self.mean is not None and self.quantiles is None:
            raise problem("mean belongs to quantiles", "a log-normal has its own mean inside lognormal")
        if self.quantiles is not None:
            try:
                quantile_table(self.quantiles, self.mean)
            except CostplanError as e:
                raise problem(e.message, e.hint or "") from e
        return self


def quantile_table(quantiles: dict[str, int], mean: float | None) -> QuantileTable:
    """Table from the keys ``min``, ``p1`` ... ``max`` of a file."""
    ends = {"min": 0.0, "max": 1.0}
    knots = sorted((ends[k] if k in ends else parse_percentile(k), v) for k, v in quantiles.items())
    return QuantileTable.through([p for p, _ in knots], [float(v) for _, v in knots], mean)


class ColumnsFile(Door):
    """Names of the columns (CSV, parquet) or keys (jsonl) of a trace."""

    timestamp: Text | None = None
    isl: Text | None = None
    osl: Text | None = None
    hash_ids: Text | None = None


class TraceFile(Door):
    """A file of real requests. Its format is seen from its content; a time unit never is guessed."""

    path: Annotated[Text, Field(description="relative to this file; .gz is unpacked")]
    format: Literal["auto", "azure", "mooncake", "bailian", "burstgpt", "csv", "jsonl", "parquet"] = "auto"
    time_unit: Literal["s", "ms", "us", "ns", "iso"] | None = None
    columns: ColumnsFile = ColumnsFile()
    block_tokens: Annotated[Tokens, Field(description="tokens per prefix hash")] | None = None
    sort: bool = False
    drop_failed: Annotated[bool, Field(description="drop (and count) requests with 0 output tokens")] = False


class ReplayFile(TraceFile):
    """A trace whose arrivals are replayed."""

    speedup: Annotated[Positive, Field(description="2 replays in half the time")] = 1.0


class LengthsFile(Door):
    """Joint length of prompt (isl) and answer (osl): two distributions, or those of a trace."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["isl", "osl"]}, {"required": ["trace"]}]})

    isl: LengthFile | None = None
    osl: LengthFile | None = None
    rank_correlation: Annotated[float, Field(ge=-1, le=1, description="Spearman's rho of isl and osl")] | None = None
    trace: TraceFile | None = None

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, data: Any) -> Any:
        if isinstance(data, dict):
            given = {k for k in ("isl", "osl", "rank_correlation") if data.get(k) is not None}
            if data.get("trace") is not None and given:
                raise problem(f"trace gives both lengths; remove {' and '.join(sorted(given))}")
            if data.get("trace") is None and not {"isl", "osl"} <= given and not (
                    set(data) - {"isl", "osl", "rank_correlation", "trace"}):
                raise problem("give isl and osl, or trace")
        return data


class GroupsFile(Door):
    """Prefixes shared by groups of requests, after the system prompt: tenants, few-shot sets, documents."""

    count: Count
    tokens: Tokens
    zipf: Annotated[float, Field(ge=0, le=10, description="popularity ~ 1/rank^zipf; 0: all alike")] = 1.0


class MultiTurnFile(Door):
    """Requests that continue an earlier one: their prompt begins with its prompt and answer."""

    share: Annotated[Share, Field(description="part of all requests that continue another one")]
    gap: Annotated[Duration, Field(description="median time between the two requests")]


class HitRateFile(Door):
    """Measured: part of all input tokens found in an LRU cache of so many tokens."""

    cache_tokens: Annotated[int, Field(ge=1)] | None = Field(description="null: a cache without limit")
    hit_rate: Share


class PrefixFile(Door):
    """What prompts have in common, for prefix caching."""

    block_tokens: Annotated[Tokens, Field(description="tokens per prefix hash when requests are drawn")] = 16
    system_prompt_tokens: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    groups: GroupsFile | None = None
    multi_turn: MultiTurnFile | None = None
    measured: Annotated[list[HitRateFile] | None, Field(description="hit rate by cache size, as measured")] = None

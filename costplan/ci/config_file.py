"""`costplan.yaml` as people write it: workloads, prices, profiles, and the guardrails that a change must keep."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from costplan.ci.metrics import KINDS, kind
from costplan.core.errors import UnknownNameError

RULES = ("max_increase", "max_decrease", "max", "min")
_PERCENT = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*%\Z")


def problem(message: str, hint: str = "") -> PydanticCustomError:
    """A finding at the door, with what to try."""
    return PydanticCustomError("ci", "{said}", {"said": message, "hint": hint})


def _percent(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise problem(f"{value:g} has no unit", f"write {value:g}%")
    found = _PERCENT.match(value) if isinstance(value, str) else None
    if found is None:
        raise problem(f"must be a percentage, got {value!r}"[:120], "write for example 5%")
    return float(found[1]) / 100


def _metric(name: str) -> str:
    try:
        kind(name)
    except UnknownNameError as e:
        raise problem(e.message, e.hint or "") from e
    return name


def _day(value: Any) -> date:
    try:
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value, flags=re.ASCII):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise problem(f"must be a date, got {value!r}"[:120], "write YYYY-MM-DD, e.g. 2027-01-31")


def _printable(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise problem("must be plain printable text")
    return text


Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Percent = Annotated[float, BeforeValidator(_percent), WithJsonSchema({
    "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*%$", "description": "a percentage, like 5%"})]
MetricName = Annotated[str, AfterValidator(_metric), WithJsonSchema({
    "type": "string", "anyOf": [{"enum": [*KINDS]}, {"pattern": r"^(ttft|tpot|itl|e2e)_p[0-9.]+_s$"}]})]
Day = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]
Amount = Annotated[float, Field(ge=0, le=1e12)]


class Door(BaseModel):
    """Base of everything read from costplan.yaml: no unknown keys, no conversions, no NaN."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class WorkloadEntry(Door):
    """One workload file, with what differs from the rest."""

    file: Annotated[Text, Field(description="workload.yaml, relative to costplan.yaml")]
    name: Annotated[Text, Field(description="instead of the name in the file")] | None = None
    prices: Annotated[Text, Field(description="CSV of prices for this workload")] | None = None


class GuardrailEntry(Door):
    """A limit on one metric: on its change, or on its value."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [r]} for r in RULES]})

    metric: MetricName
    max_increase: Percent | None = None
    max_decrease: Percent | None = None
    max: Amount | None = None
    min: Amount | None = None
    level: Literal["error", "warn"] = "error"
    workloads: Annotated[list[Text], Field(min_length=1, max_length=1000)] | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> GuardrailEntry:
        given = [r for r in RULES if getattr(self, r) is not None]
        if len(given) != 1:
            raise problem("give exactly one of max_increase, max_decrease, max or min"
                          + (f", not {' and '.join(given)}" if given else ""))
        return self


class AcceptEntry(Door):
    """A reviewed exception, with an end."""

    metric: MetricName
    workload: Text | None = None
    until: Day
    reason: Annotated[Text, Field(description="who agreed, and why")]


class CiEntry(Door):
    """When to speak, and what must hold."""

    post_when: Literal["always", "changed", "failed"] = "changed"
    min_change: Annotated[Percent, Field(description="a smaller change counts as none")] = 0.005
    guardrails: Annotated[list[GuardrailEntry], Field(max_length=200)] = []
    accept: Annotated[list[AcceptEntry], Field(max_length=200)] = []


class ConfigFile(Door):
    """What costplan watches in this repository."""

    model_config = ConfigDict(title="costplan.yaml")

    workloads: Annotated[list[Text | WorkloadEntry], Field(min_length=1, max_length=1000)]
    prices: Annotated[Text, Field(description="CSV of your prices; absent: the shipped ones")] | None = None
    profiles: Annotated[list[Text], Field(max_length=100, description="folders of measured profiles; at most one "
                                                                       "per GPU")] = []
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0
    ci: CiEntry = CiEntry()


def config_schema() -> dict[str, Any]:
    """JSON Schema of costplan.yaml for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **ConfigFile.model_json_schema()}

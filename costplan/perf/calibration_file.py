"""`calibration.yaml`: the runs that correct predictions, small enough to review, with where they come from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from costplan import __version__
from costplan.core.yaml_door import YamlDocument, check, read_yaml
from costplan.perf.calibration import METRICS, Calibration, Observed
from costplan.perf.kinship import Setting
from costplan.perf.steady import LoadKind

SCHEMA = "costplan.calibration/1"
MAX_RUNS = 2000

Word = Annotated[str, Field(min_length=1, max_length=300)]
Size = Annotated[float, Field(gt=0, le=1e12)]


class _Door(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class SystemFile(_Door):
    """What ran. ``deployment`` names engine version, formats and layout."""

    engine: Word
    gpu: Word
    model: Word
    deployment: Word


class SourceFile(_Door):
    """A result file of the user's."""

    file: Word
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    tool: Word
    runs: Annotated[int, Field(ge=0)]


class PairFile(_Door):
    """One metric of one run, in seconds or tokens/s; ``log_sd`` is the scale of error that the prediction stated."""

    measured: Size
    predicted: Size
    log_sd: Annotated[float, Field(gt=0, le=10)]


class RunFile(_Door):
    """One run: its load, and what was measured and predicted."""

    source: Word
    load: LoadKind | Annotated[str, Field(pattern="^(concurrency|rate|all_at_once|static_batch|batch1)$")]
    value: Size
    isl: Size
    osl: Size
    tpot: PairFile | None = None
    ttft: PairFile | None = None
    output_tok_s: PairFile | None = None


class ErrorFile(_Door):
    """Median absolute error of one metric, as fractions: as predicted, and with each run corrected by the others."""

    runs: Annotated[int, Field(ge=1)]
    before: Annotated[float, Field(ge=0)]
    after: Annotated[float, Field(ge=0)] | None


class CalibrationFile(_Door):
    """The whole file."""

    schema_: Literal["costplan.calibration/1"] = Field(alias="schema")
    costplan_version: Word
    date: Word
    system: SystemFile
    sources: Annotated[list[SourceFile], Field(min_length=1, max_length=MAX_RUNS)]
    runs: Annotated[list[RunFile], Field(min_length=1, max_length=MAX_RUNS)]
    errors: dict[Word, ErrorFile] = {}


def read_calibration(path: Path) -> Calibration:
    """The calibration in a file. Raises InputError with file, line and key."""
    doc = read_yaml(path)
    return _calibration(doc, check(doc, CalibrationFile))


def _calibration(doc: YamlDocument, f: CalibrationFile) -> Calibration:
    s = f.system
    observed = []
    for run in f.runs:
        pairs = {m: pair for m in METRICS if (pair := getattr(run, m)) is not None}
        place = (str(run.load), math.log(run.value), math.log(run.isl), math.log(run.osl))
        observed.append(Observed(
            Setting(s.engine, s.gpu, s.model, s.deployment, place),
            {m: math.log(p.measured / p.predicted) for m, p in pairs.items()}, {m: p.log_sd for m, p in pairs.items()}))
    said = () if f.costplan_version == __version__ else (
        f"{doc.name} was made with costplan {f.costplan_version}, this is {__version__}: run costplan calibrate again",)
    return Calibration(doc.name, tuple(observed), said)


def read_calibrations(paths: Sequence[Path]) -> Calibration:
    """Several files as one."""
    found = [read_calibration(p) for p in paths]
    return Calibration(", ".join(c.name for c in found), tuple(o for c in found for o in c.observed),
                       tuple(w for c in found for w in c.warnings))


def written(values: dict[str, Any]) -> str:
    """The text of a file: what it is for, then its values, checked as they will be when read."""
    import yaml

    CalibrationFile.model_validate(values)
    head = ("# Written by `costplan calibrate`: how far predictions were off on own runs. Review it, keep it beside\n"
            "# the workload, and use it with --calibration or `calibration:` in workload.yaml.\n")
    return head + str(yaml.safe_dump(values, sort_keys=False, allow_unicode=False, width=110))

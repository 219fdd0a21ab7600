"""`workload.yaml` -> Workload: the file is checked, its traces are read, names stay for the catalogue to check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from costplan.core.errors import InputError
from costplan.core.yaml_door import YamlDocument, check, read_yaml
from costplan.workload.arrivals import Arrivals, ClosedLoop, GammaArrivals, TraceArrivals
from costplan.workload.fields import parse_percentile
from costplan.workload.file import LoadFile, SloFile, WorkloadFile
from costplan.workload.lengths import Fixed, JointLengths, LengthDistribution, LogNormal
from costplan.workload.lengths_file import LengthFile, LengthsFile, PrefixFile, TraceFile, quantile_table
from costplan.workload.prefix import Groups, HitRate, MultiTurn, PrefixModel
from costplan.workload.read_trace import read_trace
from costplan.workload.trace import Trace
from costplan.workload.trace_rows import ReadOptions
from costplan.workload.workload import (
    Candidates,
    Constraints,
    HostedApi,
    Metric,
    Slo,
    SloTarget,
    Speculative,
    Tenant,
    Workload,
)


def load_workload(path: Path | str) -> Workload:
    """Workload of a YAML file and of the traces it names (relative to it).

    Raises InputError with file, line and key for every problem found.
    """
    path = Path(path)
    return workload_of(read_yaml(path), path.parent, path)


def workload_of(doc: YamlDocument, folder: Path, path: Path | None = None) -> Workload:
    """Workload of a parsed document; ``folder`` is what its paths are relative to."""
    file = check(doc, WorkloadFile)
    replayed = _trace(doc, file.load.trace, ("load", "trace"), folder)
    sampled = _trace(doc, file.lengths.trace if file.lengths else None, ("lengths", "trace"), folder)
    lengths = _lengths(file.lengths)
    prefix = _prefix(file.prefix)
    if prefix and lengths and prefix.shared_tokens >= lengths.isl.max_tokens:
        raise InputError(f"prefix: {prefix.shared_tokens} shared tokens do not fit in prompts of at most "
                         f"{lengths.isl.max_tokens}", where=doc.where(("prefix",)),
                         hint="isl counts the whole prompt, shared prefix included")
    return Workload(
        name=file.name, model=file.model, arrivals=_arrivals(doc, file.load, replayed), lengths=lengths,
        trace=None if lengths else (sampled or replayed), prefix=prefix, slo=_slo(file.slo),
        candidates=Candidates(**_tuples(file.candidates)), constraints=Constraints(**_tuples(file.constraints)),
        tenants=tuple(Tenant(**dict(t)) for t in file.tenants or ()), diurnal=_diurnal(file.diurnal),
        hosted_api=HostedApi(**dict(file.hosted_api)) if file.hosted_api else None,
        description=file.description or "", model_path=_model_path(file.model, folder),
        calibrations=_calibrations(doc, file.calibration, folder),
        speculative=Speculative(**_tuples(file.speculative)) if file.speculative else None, path=path)


def _calibrations(doc: YamlDocument, named: str | None, folder: Path) -> tuple[Path, ...]:
    if named is None:
        return ()
    path = folder / named
    if not path.is_file():
        raise InputError(f"calibration: no such file {path}", where=doc.where(("calibration",)),
                         hint="a path is relative to the workload file; costplan calibrate writes one")
    return (path,)


def options_of(t: TraceFile) -> ReadOptions:
    """How the file says that its trace is to be read."""
    columns = {k: v for k, v in dict(t.columns).items() if v is not None}
    return ReadOptions(t.format, t.time_unit, columns, t.block_tokens, t.sort, t.drop_failed)


def _trace(doc: YamlDocument, t: TraceFile | None, key: tuple[str, ...], folder: Path) -> Trace | None:
    if t is None:
        return None
    path = folder / t.path
    if not path.exists():
        raise InputError(f"{'.'.join(key)}.path: no such file {path}", where=doc.where((*key, "path")),
                         hint="a path is relative to the workload file")
    return read_trace(path, options_of(t))


def _arrivals(doc: YamlDocument, load: LoadFile, trace: Trace | None) -> Arrivals:
    if load.rate is not None:
        return GammaArrivals(float(load.rate.requests_per_s), load.rate.shape)
    if load.concurrency is not None:
        return ClosedLoop(load.concurrency.n)
    assert load.trace is not None and trace is not None
    if trace.arrival_s is None:
        raise InputError("load.trace: this trace has no times to replay", where=doc.where(("load", "trace")),
                         hint="give load.rate, and the trace under lengths.trace")
    return TraceArrivals(trace.arrival_s, float(load.trace.speedup))


def _lengths(file: LengthsFile | None) -> JointLengths | None:
    if file is None or file.isl is None or file.osl is None:
        return None
    return JointLengths(_length(file.isl), _length(file.osl), float(file.rank_correlation or 0.0))


def _length(file: LengthFile) -> LengthDistribution:
    if file.fixed is not None:
        return Fixed(file.fixed)
    if file.lognormal is not None:
        f = file.lognormal
        return LogNormal(float(f.p50), f.log_sd, f.min, f.max)
    assert file.quantiles is not None
    return quantile_table(file.quantiles, file.mean)


def _prefix(file: PrefixFile | None) -> PrefixModel | None:
    if file is None:
        return None
    return PrefixModel(
        file.block_tokens, file.system_prompt_tokens, Groups(**dict(file.groups)) if file.groups else None,
        MultiTurn(float(file.multi_turn.share), file.multi_turn.gap) if file.multi_turn else None,
        tuple(HitRate(m.cache_tokens, float(m.hit_rate)) for m in file.measured or ()))


def _slo(file: SloFile) -> Slo:
    limits = {m: {parse_percentile(p): s for p, s in (getattr(file, m.value) or {}).items()} for m in Metric}
    return Slo(tuple(SloTarget(m, p, s) for m, own in limits.items() for p, s in sorted(own.items())))


def _diurnal(weights: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if weights is None else tuple(24 * w / sum(weights) for w in weights)


def _tuples(model: Any) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in dict(model).items()}


def _model_path(model: str | None, folder: Path) -> Path | None:
    """Path of a model given as a file; a plain name, or owner/name, is one of the catalogue."""
    if model is None or not (model.startswith((".", "/", "~")) or model.endswith(".json")):
        return None
    return folder / Path(model).expanduser()

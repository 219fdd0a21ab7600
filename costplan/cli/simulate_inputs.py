"""From the flags of `costplan simulate` to a workload, and through the simulator to a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic_core import PydanticCustomError

from costplan.cli.plan_inputs import find_workload
from costplan.cli.speculative_inputs import room
from costplan.core.errors import InputError, UnknownNameError
from costplan.perf.assemble import kernel_engine, latency_model
from costplan.perf.calibrated_model import calibrated_model
from costplan.perf.calibration import Observed
from costplan.perf.predict import Deployment, budget_of
from costplan.plan.question import part_of
from costplan.profile.store import Profile
from costplan.report.simulate_text import Run
from costplan.simulate.drafts import Drafts
from costplan.simulate.metrics import summarise
from costplan.simulate.policy import limits_of, policy
from costplan.simulate.requests import from_workload
from costplan.simulate.run import quotas_of
from costplan.simulate.run import simulate as simulated
from costplan.workload.arrivals import Arrivals, ClosedLoop, GammaArrivals, TraceArrivals
from costplan.workload.fields import parse_duration, parse_percentile
from costplan.workload.lengths import Fixed, JointLengths, LengthDistribution
from costplan.workload.lengths_file import quantile_table
from costplan.workload.read_trace import read_trace
from costplan.workload.requests import sample_requests
from costplan.workload.trace_rows import ReadOptions
from costplan.workload.workload import Metric, Slo, SloTarget, Workload

DRAWN = 5000
SPREAD_HINT = "--slo ttft:p99=800ms"


def workload_of(load: str | None, isl: int | None, osl: int | None, concurrency: int | None,
                rate: float | None, spread: float, read: ReadOptions) -> Workload:
    """A file, a shipped workload or a trace; or lengths around a mean at a rate or in a closed loop."""
    loop = _loop(concurrency, rate)
    if load is not None:
        if isl is not None or osl is not None:
            raise InputError("lengths come from the workload", hint="leave out --isl and --osl, or the workload")
        found = _trace(Path(load), loop, read) if _is_trace(load) else find_workload(load)
        return found if loop is None else replace(found, arrivals=loop)
    if isl is None or osl is None or loop is None:
        raise InputError("no load", hint="name a workload or a trace, or give --isl, --osl and --rate or --concurrency")
    lengths = JointLengths(_around(isl, spread), _around(osl, spread), 0.0)
    return Workload(f"{isl:,} tokens in, {osl:,} out", None, loop, lengths)


def _around(mean: int, spread: float) -> LengthDistribution:
    """Uniform over ``mean * (1 +- spread)``; equal lengths would march in step, as real ones do not."""
    low, high = max(1, round(mean * (1 - spread))), round(mean * (1 + spread))
    return Fixed(mean) if low == high else quantile_table({"min": low, "max": high}, float(mean))


def _loop(concurrency: int | None, rate: float | None) -> Arrivals | None:
    if concurrency is not None and rate is not None:
        raise InputError("give either --concurrency or --rate, not both")
    if concurrency is not None:
        return ClosedLoop(concurrency)
    return None if rate is None else GammaArrivals(rate, 1.0)


def _is_trace(load: str) -> bool:
    return load.lower().removesuffix(".gz").endswith((".csv", ".jsonl", ".parquet", ".json"))


def _trace(path: Path, loop: Arrivals | None, read: ReadOptions) -> Workload:
    trace = read_trace(path, read)
    if loop is None and trace.arrival_s is None:
        raise InputError("this trace has no times to replay", where=str(path), hint="give --rate or --concurrency")
    arrivals = loop if loop is not None or trace.arrival_s is None else TraceArrivals(trace.arrival_s)
    assert arrivals is not None
    return Workload(path.name, None, arrivals, None, trace=trace)


def limited(w: Workload, given: list[str] | None) -> Workload:
    """``w`` with the limits of ``--slo`` instead of its own."""
    if not given:
        return w
    targets = {(t.metric, t.percentile): t for t in map(_target, given)}
    order = list(Metric)
    return replace(w, slo=Slo(tuple(sorted(targets.values(), key=lambda t: (order.index(t.metric), t.percentile)))))


def _target(text: str) -> SloTarget:
    metric, colon, rest = text.partition(":")
    key, equals, limit = rest.partition("=")
    if not colon or not equals:
        raise InputError(f"expected METRIC:PERCENTILE=LIMIT, got {text!r}"[:120], where="--slo", hint=SPREAD_HINT)
    if metric not in list(Metric):
        raise UnknownNameError("metric", metric, [m.value for m in Metric], where="--slo")
    try:
        fraction, seconds = parse_percentile(key), parse_duration(limit)
    except PydanticCustomError as e:
        raise InputError(e.message(), where="--slo", hint=SPREAD_HINT) from None
    if not 0 < fraction < 1:
        raise InputError(f"{key} is not between p0 and p100", where="--slo", hint=SPREAD_HINT)
    return SloTarget(Metric(metric), fraction, seconds)


def count_of(w: Workload, requests: int | None, lanes: int) -> int:
    """Requests of one engine: as asked, its part of the trace, or enough for steady percentiles."""
    if requests is not None:
        return requests
    return DRAWN if w.trace is None else max(1, len(w.trace) // lanes)


def run(w: Workload, dep: Deployment, n: int, seed: int, own: Profile | None, chunked: bool, caching: bool,
        observed: Sequence[Observed] = (), drafts: Drafts | None = None) -> Run:
    """One engine of ``dep`` under its part of the load. Raises DoesNotFitError, InputError."""
    lanes = dep.replicas * dep.layout.dp
    budget = room(budget_of(dep), drafts)
    model = latency_model(dep.spec, dep.gpu, dep.layout, engine=dep.engine, engine_version=dep.engine_version,
                          weight_dtype=dep.weight_dtype, kv_dtype=dep.stored_kv_dtype, profile=own,
                          block_size=dep.block_size)
    model = calibrated_model(model, dep, observed)
    rules = policy(kernel_engine(dep.engine))
    rules = replace(rules, chunked_prefill=chunked, prefix_caching=caching,
                    mixed_steps=model.overhead.mixed)
    drawn = sample_requests(part_of(w, lanes, seed), n, seed)
    requests = from_workload(drawn, [t.priority for t in w.tenants])
    limits = limits_of(budget, max(1, round(w.mean_isl + w.mean_osl)), max_model_len=dep.max_model_len)
    shared = [t if t.max_tokens_per_s is None else replace(t, max_tokens_per_s=t.max_tokens_per_s / lanes)
              for t in w.tenants]
    parts = model if drafts is None else drafts.parts(model, w.mean_isl, w.mean_osl)
    played = requests if drafts is None else drafts.requests(requests, seed)
    result = simulated(played, parts, limits, rules, slo=w.slo, quotas=quotas_of(shared))
    return Run(w.name, dep, lanes, n, seed, summarise(result, warmup=0.05 if w.trace is None else 0.0), limits,
               result.refusals, model.basis, drafts)

"""Two profiles of the same kernels: same, better, worse, or unclear, per case, per family and overall."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from costplan.profile.comparable import incomparable, throttled
from costplan.profile.effect import (
    Effect,
    Runs,
    case_effect,
    false_discoveries,
    group_effect,
    one_run_effect,
    pooled_variance,
)
from costplan.profile.sample_check import table_latencies
from costplan.profile.samples import Key, Sampled, Samples, latency_s, read_samples
from costplan.profile.store import Profile

MARGIN = 0.02
"""Differences up to this share of the time are called the same."""
LEVEL = 0.05
"""Share of wrong claims that is accepted."""


class Verdict(StrEnum):
    """``better`` and ``worse``: faster and slower by more than the margin."""

    SAME = "same"
    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "unclear"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True, slots=True)
class Finding:
    """One judged thing. ``ratio`` is the time of B over that of A (geometric mean over ``cases``), ``interval`` its
    90 % interval; None where it is not judged or not known."""

    name: str
    family: str
    verdict: Verdict
    cases: int
    ratio: float | None
    interval: tuple[float, float] | None
    runs: tuple[int, int]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """B against A. ``basis``: what the verdicts rest on (runs | one run | tables | nothing)."""

    a: str
    b: str
    overall: Finding
    families: tuple[Finding, ...]
    cases: tuple[Finding, ...]
    only_a: int
    only_b: int
    margin: float
    basis: str

    @property
    def worse(self) -> bool:
        """Something is slower: everything together, or a family."""
        return any(f.verdict is Verdict.WORSE for f in (self.overall, *self.families))

    @property
    def judged(self) -> bool:
        """The whole has a verdict other than unclear."""
        return self.overall.verdict not in (Verdict.UNCLEAR, Verdict.NOT_JUDGED)


@dataclass(frozen=True, slots=True)
class _Pair:
    """One case and kernel, measured on both sides: ln(seconds) by run, and the noise seen within runs."""

    key: Key
    a: Runs
    b: Runs
    noise: float
    throttled: str

    @property
    def repeated(self) -> bool:
        return min(len(self.a), len(self.b)) >= 2


def compare_profiles(a: Profile, b: Profile, margin: float = MARGIN) -> Comparison:
    """B against A: from raw samples where both have them, else from tables, which give no verdict."""
    reasons = incomparable(a.manifest, b.manifest)
    if reasons:
        nothing = Finding("all", "", Verdict.NOT_JUDGED, 0, None, None, (0, 0), "; ".join(reasons))
        return Comparison(a.name, b.name, nothing, (), (), 0, 0, margin, "nothing")
    raw_a, raw_b = read_samples(a), read_samples(b)
    if raw_a is None or raw_b is None:
        return _compare_tables(a, b, margin)
    return compare_samples(raw_a, raw_b, margin, names=(a.name, b.name))


def compare_samples(a: Samples, b: Samples, margin: float = MARGIN, names: tuple[str, str] = ("A", "B")) -> Comparison:
    """B against A, run by run."""
    ours, theirs = a.by_key(), b.by_key()
    drift = max(sentinel_drift(a), sentinel_drift(b))
    pairs = [_pair(k, ours[k], theirs[k], drift) for k in ours if k in theirs]
    judged = [p for p in pairs if not p.throttled]
    cut = math.log1p(margin)
    groups = {f: [p for p in judged if p.key.case.family == f] for f in dict.fromkeys(p.key.case.family for p in pairs)}
    found = [(f, _group(list(g))) for f, g in groups.items() if g]
    families = _verdicts([_Claim(f, f, e, g) for f, e in found if (g := groups[f])], cut)
    families += [_throttled(f, f, [p for p in pairs if p.key.case.family == f]) for f, g in groups.items() if not g]
    everything = _verdicts([_Claim("all", "", _group(judged), judged)], cut)[0] if judged else _nothing(pairs)
    cases = _verdicts([_Claim(_name(p.key), p.key.case.family, e, [p])
                       for g in groups.values() for p, e in _cases(g)], cut)
    cases += [_throttled(_name(p.key), p.key.case.family, [p]) for p in pairs if p.throttled]
    basis = "nothing" if not judged else "runs" if _mostly_repeated(judged) else "one run"
    return Comparison(*names, everything, tuple(families), tuple(cases), len(ours.keys() - theirs.keys()),
                      len(theirs.keys() - ours.keys()), margin, basis)


def sentinel_drift(samples: Samples) -> float:
    """Largest ln(slowest / fastest) of the sentinel within a run; 0 where there is no sentinel."""
    seen: dict[tuple[str, Key], list[float]] = {}
    for s in samples.sampled:
        if s.sentinel:
            seen.setdefault((s.run, s.key), []).append(s.median_s)
    return max((math.log(max(x) / min(x)) for x in seen.values()), default=0.0)


def _pair(key: Key, a: Sequence[Sampled], b: Sequence[Sampled], drift: float) -> _Pair:
    sides, noise, slow = [], drift, ""
    for passes in (a, b):
        runs: dict[str, list[Sampled]] = {}
        for s in passes:
            runs.setdefault(s.run, []).append(s)
            slow = slow or throttled(s.telemetry)
        noise = max([noise, *(_apart(r) for r in runs.values())])
        sides.append({run: math.log(latency_s(r)) for run, r in runs.items()})
    return _Pair(key, sides[0], sides[1], noise, slow)


def _apart(passes: Sequence[Sampled]) -> float:
    """Ln of the slowest pass over the fastest."""
    return math.log(max(s.median_s for s in passes) / min(s.median_s for s in passes))


def _log_ratio(p: _Pair) -> float:
    return statistics.fmean(p.b.values()) - statistics.fmean(p.a.values())


def _mostly_repeated(pairs: Sequence[_Pair]) -> bool:
    return 2 * sum(p.repeated for p in pairs) > len(pairs)


def _group(pairs: Sequence[_Pair]) -> Effect:
    """Mean effect over cases: by runs where most cases have them, else by what single runs allow."""
    if _mostly_repeated(pairs):
        return group_effect([(p.a, p.b) for p in pairs if p.repeated])
    return one_run_effect(statistics.fmean(map(_log_ratio, pairs)), statistics.median(p.noise for p in pairs))


def _cases(pairs: Sequence[_Pair]) -> list[tuple[_Pair, Effect]]:
    """Effect of every case of one family."""
    repeated = [p for p in pairs if p.repeated]
    out = [(p, one_run_effect(_log_ratio(p), p.noise)) for p in pairs if not p.repeated]
    if repeated:
        pooled = pooled_variance([p.a for p in repeated]), pooled_variance([p.b for p in repeated])
        out += [(p, case_effect(p.a, p.b, pooled)) for p in repeated]
    return out


@dataclass(frozen=True, slots=True)
class _Claim:
    name: str
    family: str
    effect: Effect
    pairs: Sequence[_Pair]


def _verdicts(claims: Sequence[_Claim], margin: float) -> list[Finding]:
    """Verdicts over claims of one kind, with the false discovery rate held over all of them."""
    def stand(p: Callable[[Effect], float]) -> list[bool]:
        return false_discoveries([p(c.effect) for c in claims], LEVEL)

    slower = stand(lambda e: e.p_slower(margin))
    faster = stand(lambda e: e.p_faster(margin))
    same = stand(lambda e: e.p_same(margin))
    out = []
    for i, c in enumerate(claims):
        verdict = (Verdict.WORSE if slower[i] else Verdict.BETTER if faster[i] else
                   Verdict.SAME if same[i] else Verdict.UNCLEAR)
        runs = (len({r for p in c.pairs for r in p.a}), len({r for p in c.pairs for r in p.b}))
        reason = "one run on a side" if not _mostly_repeated(c.pairs) else ""
        out.append(Finding(c.name, c.family, verdict, len(c.pairs), math.exp(c.effect.log_ratio), c.effect.interval(),
                           runs, reason))
    return out


def _throttled(name: str, family: str, pairs: Sequence[_Pair]) -> Finding:
    return Finding(name, family, Verdict.NOT_JUDGED, len(pairs), None, None, (0, 0),
                   f"throttled while measuring: {pairs[0].throttled}")


def _nothing(pairs: Sequence[_Pair]) -> Finding:
    reason = "throttled while measuring" if pairs else "no case and kernel was measured in both"
    return Finding("all", "", Verdict.NOT_JUDGED, len(pairs), None, None, (0, 0), reason)


def _name(key: Key) -> str:
    return f"{key.case.key} [{key.kernel}{'' if key.regime in ('', 'steady') else ', ' + key.regime}]"


def _compare_tables(a: Profile, b: Profile, margin: float) -> Comparison:
    """One figure per case and side: differences can be listed, but not judged."""
    ours, theirs = (_latencies(p) for p in (a, b))
    both = [k for k in ours if k in theirs]
    reason = "one figure per case, no runs"
    ratios = {k: theirs[k] / ours[k] for k in both}

    def finding(name: str, family: str, keys: Sequence[Key]) -> Finding:
        mean = math.exp(statistics.fmean(math.log(ratios[k]) for k in keys))
        return Finding(name, family, Verdict.UNCLEAR, len(keys), mean, None, (1, 1), reason)

    if not both:
        return Comparison(a.name, b.name, _nothing(()), (), (), len(ours), len(theirs), margin, "nothing")
    groups: dict[str, list[Key]] = {}
    for k in both:
        groups.setdefault(k.case.family, []).append(k)
    families = tuple(finding(f, f, keys) for f, keys in groups.items())
    cases = tuple(finding(_name(k), k.case.family, [k]) for k in both)
    return Comparison(a.name, b.name, finding("all", "", both), families, cases, len(ours) - len(both),
                      len(theirs) - len(both), margin, "tables")


def _latencies(profile: Profile) -> dict[Key, float]:
    out: dict[Key, float] = {}
    for family in profile.families:
        table = profile.table(family)
        if table is not None:
            out |= table_latencies(table)
    return out

"""What the raw samples of a profile amount to: settled or not, skipped and why, spread, drift."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from costplan.profile.compare import sentinel_drift
from costplan.profile.samples import Sampled, Samples


@dataclass(frozen=True, slots=True)
class RawSummary:
    """Counts of passes, those that other work ``disturbed`` among them; ``stops`` and ``skipped`` count by reason.
    ``worst_pass_spread`` is the largest relative difference between passes over one case in one run (None: no case has
    two), with the case; ``sentinel_drift`` the largest within a run (None: no sentinel)."""

    runs: int
    cases: int
    passes: int
    disturbed: int
    stops: Mapping[str, int]
    skipped: Mapping[str, int]
    median_pass_spread: float | None
    worst_pass_spread: float | None
    worst_case: str
    sentinel_drift: float | None


def summarise(samples: Samples) -> RawSummary:
    """Statistics over all runs."""
    spreads = _spreads(samples)
    worst = max(spreads, key=spreads.__getitem__, default=None)
    drift = sentinel_drift(samples) if any(s.sentinel for s in samples.sampled) else None
    own = [s for s in samples.sampled if not s.sentinel]
    return RawSummary(
        len(samples.runs), len(samples.by_key()), len(own), sum(s.disturbed for s in own),
        dict(Counter(s.stop for s in own).most_common()),
        dict(Counter(s.reason for s in dict.fromkeys(samples.skipped)).most_common()),
        statistics.median(spreads.values()) if spreads else None, spreads[worst] if worst else None, worst or "", drift)


def _spreads(samples: Samples) -> dict[str, float]:
    """Slowest pass over the fastest, less one, of every case with several passes in one run."""
    out: dict[str, float] = {}
    for key, passes in samples.by_key().items():
        runs: dict[str, list[Sampled]] = {}
        for s in passes:
            runs.setdefault(s.run, []).append(s)
        several = [[s.median_s for s in r] for r in runs.values() if len(r) > 1]
        if several:
            out[f"{key.case.key} [{key.kernel}]"] = max(max(x) / min(x) - 1 for x in several)
    return out

"""Whether the tables of a profile say what its raw samples say."""

from __future__ import annotations

import math
import statistics

from costplan.core.errors import ProfileError
from costplan.profile.case import Case
from costplan.profile.codec import LOG_STEP
from costplan.profile.families import FAMILIES
from costplan.profile.samples import REMEASURE, Key, Samples, latency_s
from costplan.profile.store import Profile
from costplan.profile.table import Table

TABLE_REGIME = "steady"
"""The regime that tables hold, unless the protocol of the manifest names another (``table_regime``)."""
_SAMPLE_STEP_S = 1e-9


def check_samples(profile: Profile, samples: Samples) -> int:
    """Table rows that equal their samples. Raises ProfileError at the first that does not, or that has none."""
    for s in samples.sampled:
        found = statistics.median(s.samples_s)
        if _apart(s.median_s, found):
            raise ProfileError(f"the median of {s.case.key} ({s.kernel}, pass {s.pass_}) is stated as {s.median_s:.4g} "
                               f"s, its samples give {found:.4g} s", where=str(profile.folder), hint=REMEASURE)
    regime = str(profile.manifest.protocol.get("table_regime", TABLE_REGIME))
    wanted = {k: latency_s(passes) for k, passes in samples.by_key().items() if k.regime == regime}
    rows = 0
    for family in profile.families:
        table = profile.table(family)
        if table is not None:
            rows += _check_table(profile, table, wanted, regime)
    return rows


def _check_table(profile: Profile, table: Table, wanted: dict[Key, float], regime: str) -> int:
    for key, latency in table_latencies(table, regime).items():
        if key not in wanted:
            raise ProfileError(f"{key.case.key} ({key.kernel}) is in the table, but no {regime} sample of it",
                               where=str(profile.folder), hint=REMEASURE)
        if _apart(latency, wanted[key]):
            raise ProfileError(f"{key.case.key} ({key.kernel}): the table says {latency:.4g} s, the samples "
                               f"{wanted[key]:.4g} s", where=str(profile.folder), hint=REMEASURE)
    return len(table)


def table_latencies(table: Table, regime: str = "") -> dict[Key, float]:
    """Every row of a table as what was measured -> seconds."""
    f = FAMILIES[table.family]
    ints = [table.columns[n].tolist() for n in f.ints]
    texts = {n: table.text(n) for n in f.texts}
    seconds = table.columns["latency_s"].tolist()
    out: dict[Key, float] = {}
    for i in range(len(table)):
        case = Case(table.family, tuple(int(c[i]) for c in ints),
                    tuple(texts[n][i] for n in f.texts if n != "kernel"))
        out[Key(case, texts["kernel"][i], regime)] = float(seconds[i])
    return out


def _apart(a: float, b: float) -> bool:
    """Further than a table rounds (half a step, kept twice) and a sample does."""
    return abs(math.log(a / b)) > LOG_STEP and abs(a - b) > _SAMPLE_STEP_S

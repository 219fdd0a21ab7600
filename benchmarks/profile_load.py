"""How long a profile takes to load: manifest, then every table, each in a new process. Goal: under 0.3 s in all.

Usage: python benchmarks/profile_load.py [profile ...]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

_CHILD = """
import json, sys, time
t0 = time.perf_counter()
from costplan.profile.store import Profile
t1 = time.perf_counter()
p = Profile.load(sys.argv[1])
t2 = time.perf_counter()
rows = sum(len(p.table(f)) for f in p.families)
t3 = time.perf_counter()
heavy = sorted({"pandas", "pydantic", "pyarrow", "yaml"} & set(sys.modules))
print(json.dumps({"import": t1 - t0, "manifest": t2 - t1, "tables": t3 - t2, "rows": rows, "heavy": heavy}))
"""
_RUNS = 5


def main() -> None:
    """Print the median of five runs per profile, in ms."""
    from costplan.profile.store import list_profiles

    names = sys.argv[1:] or [p.name for p in list_profiles()]
    print(f"{'profile':28} {'rows':>8} {'import':>8} {'manifest':>9} {'tables':>8} {'sum':>8}   ms, median of {_RUNS}")
    for name in names:
        runs = [json.loads(subprocess.run([sys.executable, "-c", _CHILD, name], check=True, capture_output=True,
                                          text=True).stdout) for _ in range(_RUNS)]
        ms = {k: 1e3 * statistics.median(r[k] for r in runs) for k in ("import", "manifest", "tables")}
        print(f"{name:28} {runs[0]['rows']:8} {ms['import']:8.1f} {ms['manifest']:9.1f} {ms['tables']:8.1f} "
              f"{sum(ms.values()):8.1f}   {' '.join(runs[0]['heavy'])}")


if __name__ == "__main__":
    main()

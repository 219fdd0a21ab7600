"""From the journal of a run to a profile: tables, manifest, and the raw samples beside them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from costplan.core.errors import InputError
from costplan.kernels.passes import Pass, best_ceilings, kept_passes
from costplan.kernels.timer.stats import quantile
from costplan.profile.case import Case
from costplan.profile.families import FAMILIES
from costplan.profile.manifest import Manifest, TableEntry
from costplan.profile.merge import sort
from costplan.profile.store import Profile, write_profile
from costplan.profile.table import Table

RAW_FILE = "samples.jsonl.gz"
ENGINE = "costplan"
PROTOCOL = {
    "latency": "median over the passes (where there are any, over those that nothing disturbed) of the median over "
               "samples; steady regime: calls back to back on rotating inputs (from a CUDA graph on a GPU) whose total "
               "exceeds 3x the last-level cache",
    "spread": "half of p90 - p10 over the median, or half of the range over passes, whichever is larger",
    "check": "each row's output was compared with an fp64 reference on fresh random inputs, outputs poisoned with NaN",
    "stop": "95 % interval of the median below 1 % (CPU: 2 %), else recorded as not settled",
    "order": "random within a pass; a sentinel GEMM every 30 cases; ceilings first; what was measured beside a slow "
             "sentinel is measured again",
    "raw": f"all samples of both regimes, with telemetry, in {RAW_FILE}",
}
Entry = Mapping[str, Any]


def finish(folder: Path, entries: Sequence[Entry], *, gpu: str, device: Mapping[str, Any],
           device_spec: Mapping[str, Any], workload: Mapping[str, Any], days: tuple[str, str], why: str) -> Profile:
    """Write the profile of a run. Raises InputError where nothing was measured."""
    measured = [e for e in entries if "regimes" in e and not e.get("sentinel")]
    if not measured:
        reasons = Counter(str(e["skipped"]) for e in entries if "skipped" in e)
        raise InputError("nothing could be measured", hint="; ".join(r for r, _ in reasons.most_common(3)) or None)
    kept = kept_passes(entries)
    tables = [_table(family, {k: p for k, p in kept.items() if k[0].family == family})
              for family in sorted({case.family for case, _ in kept})]
    raw = raw_bytes(entries)
    entry = {t.family: TableEntry(t.family, "", 0, "", {}, _skips(entries, t.family), ({"file": RAW_FILE},))
             for t in tables}
    origin = {
        "tool": "costplan profile", "machine": dict(device), "device_spec": dict(device_spec),
        "ceilings": best_ceilings(entries), "workload": dict(workload),
        "runs": sorted({str(e["run"]) for e in entries}), "ended": why,
        "backends": {e["backend"]: e["availability"] for e in entries if "availability" in e},
        "sentinel": sentinel(entries), "settled": settled(measured),
        "disturbed": sum(p.disturbed for found in kept.values() for p in found[:1]), "not_run": _not_run(entries),
        "raw": {"file": RAW_FILE, "sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}}
    manifest = Manifest(
        name=folder.name, gpu=gpu, engine=ENGINE, device=str(device["name"]),
        versions={k: str(v) for k, v in device["versions"].items()}, protocol=PROTOCOL, collected=days, origin=origin,
        licence="none stated", tables=entry)
    return write_profile(folder, manifest, tables, {RAW_FILE: raw})


def raw_bytes(entries: Sequence[Entry]) -> bytes:
    """The journal, compressed; the same entries give the same bytes."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9, mtime=0) as z:
        for e in entries:
            z.write(json.dumps(e, separators=(",", ":"), allow_nan=False).encode() + b"\n")
    return out.getvalue()


def _table(family: str, kept: Mapping[tuple[Case, str], Sequence[Pass]]) -> Table:
    """One row per case and kernel."""
    rows = [(case, kernel, *row_figures([p.steady for p in found])) for (case, kernel), found in kept.items()]
    f = FAMILIES[family]
    columns: dict[str, Any] = {n: np.array([c.size(n) for c, *_ in rows], dtype=np.int64) for n in f.ints}
    columns |= {"latency_s": np.array([r[2] for r in rows]), "spread": np.round(np.array([r[3] for r in rows]), 4),
                "runs": np.array([r[4] for r in rows], dtype=np.int64)}
    codes, vocab = {}, {}
    for n in f.texts:
        words = [r[1] if n == "kernel" else r[0].text(n) for r in rows]
        known, index = np.unique(np.array(words, dtype=object).astype(str), return_inverse=True)
        codes[n], vocab[n] = index.astype(np.int64), tuple(str(w) for w in known)
    return sort(Table(family, columns, codes, vocab))


def row_figures(steady: Sequence[Entry]) -> tuple[float, float, int]:
    """Latency in seconds, relative spread and number of passes of one row."""
    medians = sorted(float(s["median_s"]) for s in steady)
    middle = quantile(medians, 0.5)
    within = []
    for s in steady:
        x = sorted(s["samples_ns"])
        within.append((quantile(x, 0.9) - quantile(x, 0.1)) / (2.0 * max(quantile(x, 0.5), 1.0)))
    between = (medians[-1] - medians[0]) / (2.0 * middle)
    return middle, max(between, quantile(sorted(within), 0.5)), len(medians)


def _skips(entries: Sequence[Entry], family: str) -> dict[str, int]:
    """How many pairs of case and kernel were tried in vain, by backend and reason."""
    found = Counter(f"{e['backend']}: {e['skipped']}" for e in entries
                    if "skipped" in e and e["pass"] > 0 and e["case"]["family"] == family)
    return dict(sorted(found.items()))


def _not_run(entries: Sequence[Entry]) -> dict[str, dict[str, int]]:
    """How many cases each backend does not run, or need not, by reason."""
    out: dict[str, Counter[str]] = {}
    for e in entries:
        if "skipped" in e and e["pass"] == 0:
            out.setdefault(str(e["backend"]), Counter())[str(e["skipped"])] += 1
    return {b: dict(sorted(c.items())) for b, c in sorted(out.items())}


def sentinel(entries: Sequence[Entry]) -> dict[str, Any]:
    """How much the machine changed: the sentinel's medians in order, and their range over the median."""
    medians = [float(e["regimes"][0]["median_s"]) for e in entries if e.get("sentinel")]
    if not medians:
        return {"medians_s": [], "drift": None}
    return {"medians_s": medians, "drift": round((max(medians) - min(medians)) / quantile(sorted(medians), 0.5), 4)}


def settled(measured: Sequence[Entry]) -> dict[str, int]:
    """Sampling ends by reason, steady regime."""
    return dict(sorted(Counter(str(e["regimes"][0]["stop"]) for e in measured).items()))

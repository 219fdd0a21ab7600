"""Make a profile from AIConfigurator's or AISimulate's tables: pick versions, refuse the impossible, write.

Choice of version, per table and engine: the newest one that has at least half as many believable rows as the
largest is the base. Curves (one sweep over tokens, lengths or message sizes) that it lacks come whole from the
other versions, newest first, so that the points of one curve always stem from one version. Builds named by a
commit (``dev-...``) are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from costplan.core.errors import InputError, UnknownNameError
from costplan.profile import merge, sanity
from costplan.profile.ai_schema import SCHEMAS, read_table
from costplan.profile.ai_source import RawTable, Source, version_key
from costplan.profile.manifest import Manifest, TableEntry
from costplan.profile.sanity import Peaks
from costplan.profile.store import Profile, write_profile
from costplan.profile.table import Table

ENGINES = ("vllm", "sglang", "trtllm")
LICENCE = "Apache-2.0"
ATTRIBUTION = ("Copyright (c) 2025-2026 NVIDIA CORPORATION & AFFILIATES. "
               "Measured by the AIConfigurator / AISimulate project.")
# our catalogue's GPU name -> the package's system name, where they differ
SYSTEMS = {"a100_80gb_sxm": "a100_sxm", "rtx_pro_6000": "rtx_pro_6000_server"}
PROTOCOL = {
    "latency": "one figure per case, as the source's collector reports it; runs and spread only where a case occurs "
               "more than once",
    "cuda_graph": "not recorded per table; GEMM and attention groups whose small cases take 40 us or more, as host "
                  "launches do and graph replay does not, are refused (dropped.launch_bound); collectives say graph or "
                  "eager in their kernel name",
    "cache": "sources.faster_than_hbm counts kept rows that beat HBM bandwidth: the working set stayed in L2",
    "rounding": "latencies are stored in steps of 0.1 % (error 0.05 % at most)",
}


@dataclass(frozen=True, slots=True)
class _Part:
    """Believable rows of one parquet file, and its provenance."""

    raw: RawTable
    table: Table
    dropped: Mapping[str, int]
    facts: Mapping[str, Any]
    device: str | None


def import_profile(source: Source, *, gpu: str, engine: str, peaks: Peaks, folder: Path,
                   distributions: Sequence[str] | None = None) -> Profile:
    """Write the profile of ``gpu`` and ``engine`` to the new ``folder``. Raises InputError where there is none.

    ``distributions`` limits the MoE routing distributions that are kept (None: all).
    """
    system = SYSTEMS.get(gpu, gpu)
    if engine not in ENGINES:
        raise UnknownNameError("engine", engine, ENGINES)
    if system not in source.systems():
        raise UnknownNameError("system", system, source.systems())
    wanted = [t for t in source.tables if t.system == system and t.stem in SCHEMAS and _fits(t, engine)]
    parts = [_read(t, peaks, distributions) for t in wanted]
    if not any(p.raw.engine == engine for p in parts):
        known = sorted({t.engine for t in source.tables if t.system == system})
        raise InputError(f"the source has no {engine} tables for {system}", hint=f"engines there: {', '.join(known)}")
    tables, entries = [], {}
    for family in sorted({SCHEMAS[p.raw.stem].family for p in parts}):
        table, entry = _family(family, [p for p in parts if p.table.family == family])
        if len(table):
            tables.append(table)
            entries[family] = entry
    return write_profile(folder, _manifest(source, gpu, engine, parts, entries), tables)


def _fits(raw: RawTable, engine: str) -> bool:
    return raw.engine in (engine, "nccl") and not raw.version.startswith("dev-")


def _read(raw: RawTable, peaks: Peaks, distributions: Sequence[str] | None) -> _Part:
    table, left_out, told = read_table(raw.stem, raw.read(), raw.path)
    read_rows = len(table) + sum(left_out.values())
    if distributions is not None and table.family == "moe":
        keep = np.isin(table.codes["distribution"], [
            i for i, d in enumerate(table.vocab["distribution"]) if d in distributions])
        left_out |= {"other_distribution": int((~keep).sum())} if not keep.all() else {}
        table = table.take(keep)
    table, refused = sanity.check(table, peaks)
    in_cache = sanity.faster_than_memory(table, peaks)
    meta = raw.meta()
    entry = (meta.get("tables") or {}).get(raw.stem) or {}
    runs = [c for c in entry.get("collections") or [] if isinstance(c, dict)]
    facts = {"file": raw.path, "engine": raw.engine, "version": raw.version, "rows_read": read_rows,
             "provenance": str(meta.get("provenance", "unknown")), "status": str(entry.get("status", "unknown")),
             "faster_than_hbm": in_cache,
             "collected": sorted({str(c["collected_at"]) for c in runs if c.get("collected_at")}),
             "collectors": sorted({str(c["collector_ref"]) for c in runs if c.get("collector_ref")})}
    return _Part(raw, table, {**left_out, **refused}, facts, told["device"])


def _family(family: str, parts: Sequence[_Part]) -> tuple[Table, TableEntry]:
    """All series of one family merged, with duplicates folded and every row accounted for."""
    dropped: Counter[str] = Counter()
    chosen: list[Table] = []
    sources: list[dict[str, Any]] = []
    groups: list[dict[str, Any]] = []
    for stem in sorted({p.raw.stem for p in parts}):
        for part, table, role in _choose([p for p in parts if p.raw.stem == stem]):
            folded = merge.fold_duplicates(table)
            dropped.update(part.dropped)
            dropped.update({"duplicate_key": folded.rows, "older_version": len(part.table) - len(table)})
            sources.append({**part.facts, "role": role, "rows_kept": len(folded.table),
                            "refused": dict(sorted(part.dropped.items())),
                            "worst_duplicate_spread": round(folded.worst_spread, 4)})
            groups += _groups(part.raw, folded.table)
            if len(folded.table):
                chosen.append(folded.table)
    table = merge.sort(merge.concat(chosen)) if chosen else parts[0].table
    entry = TableEntry(family, "", 0, "", {}, {k: v for k, v in sorted(dropped.items()) if v}, tuple(sources),
                       tuple(groups))
    return table, entry


def _choose(parts: Sequence[_Part]) -> list[tuple[_Part, Table, str]]:
    """Each part with the rows that are used of it, base first. NCCL's own releases go before an engine's copy."""
    ordered = sorted(parts, key=lambda p: (p.raw.engine == "nccl", version_key(p.raw.version)), reverse=True)
    eligible = [p for p in ordered if p.raw.engine == ordered[0].raw.engine]
    most = max(len(p.table) for p in eligible)
    base = next(p for p in eligible if 2 * len(p.table) >= most)
    out, have = [(base, base.table, "base")], base.table
    for part in ordered:
        if part is base:
            continue
        new = part.table
        if len(new) and len(have):
            new = new.take(merge.fill(have, new))
        out.append((part, new, "fill"))
        have = merge.concat([have, new]) if len(new) else have
    return out


def _groups(raw: RawTable, table: Table) -> list[dict[str, Any]]:
    """Rows per version, dtype and kernel."""
    names = [n for n in ("op", "kind", "dtype", "kernel") if n in table.codes]
    counts = Counter(zip(*(table.text(n) for n in names), strict=True))
    return [{"engine": raw.engine, "version": raw.version, **dict(zip(names, key, strict=True)), "rows": n}
            for key, n in sorted(counts.items())]


def _manifest(source: Source, gpu: str, engine: str, parts: Sequence[_Part],
              entries: Mapping[str, TableEntry]) -> Manifest:
    used = [s for e in entries.values() for s in e.sources if s["rows_kept"]]
    days = sorted({d for s in used for d in s["collected"]})
    devices = sorted({p.device for p in parts if p.device})
    versions: dict[str, str | None] = {
        f"{engine}:{family}": _newest([s for s in e.sources if s["role"] == "base" and s["engine"] == engine])
        for family, e in sorted(entries.items())}
    versions["nccl"] = _newest([s for s in used if s["engine"] == "nccl" and s["role"] == "base"])
    return Manifest(
        name=f"{gpu}-{engine}", gpu=gpu, engine=engine, device=devices[0] if devices else None,
        versions={**versions, "driver": None, "cuda": None}, protocol=PROTOCOL,
        collected=(days[0], days[-1]) if days else (),
        origin={"package": source.package, "package_version": source.version, "system": SYSTEMS.get(gpu, gpu),
                "importer": "costplan profile import aiconfigurator",
                "collectors": sorted({c for s in used for c in s["collectors"]}), "attribution": ATTRIBUTION},
        licence=LICENCE, tables=entries,
        notes=("driver and CUDA versions are not recorded by the source",
               "dropped.older_version: rows whose curve a newer version measured too"))


def _newest(sources: Sequence[Mapping[str, Any]]) -> str | None:
    return max((str(s["version"]) for s in sources), key=version_key, default=None)

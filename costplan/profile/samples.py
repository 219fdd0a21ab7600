"""Raw samples of a profile that we measured: ``samples.jsonl.gz``, one line per case, kernel, pass and run, with the
samples of each regime; other lines (ceilings, what each backend is) are for the profiler."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import statistics
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from costplan.core.errors import CostplanError, ProfileError
from costplan.profile.case import Case
from costplan.profile.disturbance import calm, disturbed
from costplan.profile.store import Profile

REMEASURE = "measure it again with `costplan profile`, or restore the folder from where it was copied"
SENTINEL_REGIME = "steady"
_MAX_FILE_BYTES = 256 << 20
_MAX_LINE_BYTES = 8 << 20
_MAX_LINES = 2_000_000
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


@dataclass(frozen=True, slots=True)
class Sampled:
    """One pass over one case: ``samples_s`` per call, their median, and why sampling stopped (``settled`` or ``not
    settled: ...``). ``sentinel`` marks the case that is measured again and again to see drift; ``disturbed`` that it
    was slow beside this pass."""

    case: Case
    backend: str
    kernel: str
    regime: str
    run: str
    pass_: int
    samples_s: tuple[float, ...]
    median_s: float
    stop: str
    telemetry: Mapping[str, Any]
    sentinel: bool
    disturbed: bool = False

    @property
    def key(self) -> Key:
        return Key(self.case, self.kernel, self.regime)

    @property
    def settled(self) -> bool:
        return self.stop == "settled"


class Key(NamedTuple):
    """What is compared: a case, the kernel that ran it, and the regime."""

    case: Case
    kernel: str
    regime: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A case that a backend did not measure, with its reason."""

    case: Case
    backend: str
    reason: str


@dataclass(frozen=True, slots=True)
class Samples:
    """All raw samples of a profile, in file order."""

    sampled: tuple[Sampled, ...]
    skipped: tuple[Skipped, ...]

    @property
    def runs(self) -> tuple[str, ...]:
        """Runs in order of appearance."""
        return tuple(dict.fromkeys(s.run for s in self.sampled))

    def by_key(self) -> dict[Key, list[Sampled]]:
        """Passes by what they measured, without the sentinel's repetitions, and without disturbed passes over what was
        measured calmly too."""
        out: dict[Key, list[Sampled]] = {}
        for s in self.sampled:
            if not s.sentinel:
                out.setdefault(s.key, []).append(s)
        return {key: calm(passes, lambda p: p.disturbed) for key, passes in out.items()}


def latency_s(passes: Iterable[Sampled]) -> float:
    """What a table row says of these passes: the median of their medians."""
    return statistics.median(s.median_s for s in passes)


def read_samples(profile: Profile) -> Samples | None:
    """The raw samples of ``profile``, their checksum verified; None where it has none (it was imported)."""
    raw = profile.manifest.origin.get("raw")
    if raw is None:
        return None
    name, sha = (raw.get("file"), raw.get("sha256")) if isinstance(raw, Mapping) else (None, None)
    if not isinstance(name, str) or not _FILE.match(name) or not isinstance(sha, str):
        raise ProfileError("origin.raw must give a plain file name and its SHA-256", hint=REMEASURE,
                           where=str(profile.folder / "manifest.json"))
    path = profile.folder / name
    data = _read(path)
    if hashlib.sha256(data).hexdigest() != sha:
        raise ProfileError("the raw samples are damaged (their checksum does not match the manifest)", where=str(path),
                           hint=REMEASURE)
    sampled: list[Sampled] = []
    skipped: list[Skipped] = []
    for number, content in _lines(data, path):
        try:
            if "skipped" in content:
                skipped.append(Skipped(_case(content), str(content["backend"]), str(content["skipped"])))
            elif "case" in content:
                sampled += _sampled(content)
        except (CostplanError, KeyError, TypeError, ValueError) as e:
            why = f"{e.args[0]!r} is missing" if isinstance(e, KeyError) else str(e)
            raise ProfileError(f"not a line of raw samples: {why}", where=f"{path}:{number}", hint=REMEASURE) from e
    slow = disturbed([s.median_s if s.sentinel and s.regime == SENTINEL_REGIME else None for s in sampled])
    return Samples(tuple(replace(s, disturbed=d) for s, d in zip(sampled, slow, strict=True)), tuple(skipped))


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ProfileError("the raw samples are larger than 256 MiB", where=str(path), hint=REMEASURE)
        return path.read_bytes()
    except OSError as e:
        raise ProfileError(f"cannot read the raw samples: {e.strerror}", where=str(path), hint=REMEASURE) from e


def _lines(data: bytes, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and JSON objects; bounded, so that a small file cannot fill the memory."""
    number = 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as f:
            while line := f.readline(_MAX_LINE_BYTES):
                number += 1
                if number > _MAX_LINES or len(line) == _MAX_LINE_BYTES:
                    raise ProfileError("too many or too long lines", where=f"{path}:{number}", hint=REMEASURE)
                content = json.loads(line)
                if not isinstance(content, dict):
                    raise ProfileError("no JSON object", where=f"{path}:{number}", hint=REMEASURE)
                yield number, content
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as e:
        raise ProfileError(f"cannot read the raw samples: {e}", where=f"{path}:{number}", hint=REMEASURE) from e


def _sampled(c: Mapping[str, Any]) -> list[Sampled]:
    """One pass in each of its regimes."""
    case, telemetry = _case(c), _mapping(c, "telemetry")
    out = []
    for r in c["regimes"]:
        ns, median_s = r["samples_ns"], float(r["median_s"])
        if not isinstance(ns, list) or not ns or not all(type(x) is int and x > 0 for x in ns):
            raise ValueError("samples_ns must be positive whole numbers")
        if not 0 < median_s < 1e4:
            raise ValueError(f"median_s must be positive seconds, not {median_s}")
        out.append(Sampled(case, str(c["backend"]), str(c["kernel"]), str(r["regime"]), str(c["run"]), int(c["pass"]),
                           tuple(x * 1e-9 for x in ns), median_s, str(r["stop"]), telemetry, bool(c.get("sentinel"))))
    return out


def _case(c: Mapping[str, Any]) -> Case:
    if not isinstance(c["case"], Mapping):
        raise ValueError("case must be an object")
    return Case.from_json(c["case"])


def _mapping(c: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = c.get(name) or {}
    if not isinstance(found, Mapping):
        raise ValueError(f"{name} must be an object")
    return found

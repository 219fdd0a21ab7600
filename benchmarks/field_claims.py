"""What the field says about attention kernels, measured here: one table of claims with the numbers found.

    python benchmarks/field_claims.py --device cuda [--out claims.json] [--minutes 4]

Claims: FA3 is 1.5-2.0x as fast as FA2 in prefill and reaches about 75 % of the peak (Shah et al. 2024,
arXiv:2407.08608); FP8 KV gains 1.1-1.4x in decode, not 2x; the page size hardly matters in decode; split-KV is up to
8x as fast at long contexts and small batches (Flash-Decoding, 2023). Every backend that supports a case runs it,
checked and timed as in `costplan profile` (steady regime); the fastest of each library speaks for it. ``--device cpu``
asks what a CPU can answer: pages and splits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from costplan.catalog.gpus import gpu as find_gpu
from costplan.catalog.gpus import gpu_key
from costplan.core.atomic import write_text
from costplan.kernels.backend import Backend
from costplan.kernels.pool import Pool
from costplan.kernels.registry import backends
from costplan.profile.case import Case

HEADS: dict[str, int | str] = {"num_heads": 32, "num_kv_heads": 8, "head_dim": 128, "dtype": "bf16", "kv_dtype": "bf16"}
PAGES = (1, 16, 32, 64, 128, 256)
SPLITS = (1, 2, 4, 8, 16)
CASE_S = 60.0
COMPILED = ("torch-cpu-flex",)
"""Compiled for every case, up to a minute each."""


@dataclass(frozen=True, slots=True)
class Row:
    """One kernel on one case, in seconds."""

    backend: str
    case: Case
    seconds: float
    settled: bool


class Measured:
    """Measures cases on demand until the time is up; each once."""

    def __init__(self, device: str, until: float, limits: dict[str, float]) -> None:
        self.pool = Pool(device)
        self.until = until
        self.limits = limits
        self.rows: list[Row] = []
        self.skipped: dict[str, str] = {}
        self.usable = [b for b in backends(device) if b.name not in COMPILED and self._runs(b)]

    def _runs(self, b: Backend) -> bool:
        told = self.pool.ask(b.domain, {"op": "probe", "backend": b.name}, CASE_S).get("availability")
        if told is None or told["reason"]:
            self.skipped[b.name] = told["reason"] if told else "no answer"
            return False
        return True

    def of(self, library: str) -> list[Backend]:
        """The usable backends of a library, by how their names begin."""
        return [b for b in self.usable if b.name.startswith(library)]

    def fastest(self, case: Case, by: Sequence[Backend]) -> float | None:
        """Seconds of the fastest kernel of ``by`` on ``case``; None where none ran."""
        for b in by:
            known = any(r.backend == b.name and r.case == case for r in self.rows)
            if known or b.supports(case) or time.monotonic() > self.until:
                continue
            reply = self.pool.ask(b.domain, {"op": "measure", "backend": b.name, "case": case.as_json(), "seed": 1,
                                             "regimes": ["steady"], "limits": self.limits}, CASE_S)
            if "regimes" in reply:
                regime = reply["regimes"][0]
                self.rows.append(Row(b.name, case, regime["median_s"], regime["stop"] == "settled"))
            else:
                self.skipped[f"{b.name} {case.key}"] = str(reply.get("failed"))
        names = {b.name for b in by}
        return min((r.seconds for r in self.rows if r.case == case and r.backend in names), default=None)


@dataclass(frozen=True, slots=True)
class Claim:
    """What is said, and the ratios that were found."""

    said: str
    found: tuple[tuple[str, float], ...]

    def line(self) -> str:
        """A row of the table."""
        if not self.found:
            return f"| {self.said} | 0 | not measured here | |"
        values = [v for _, v in self.found]
        top = max(self.found, key=lambda x: x[1])
        return (f"| {self.said} | {len(values)} | {min(values):.2f} .. {statistics.median(values):.2f} .. "
                f"{max(values):.2f} | {top[0]} |")


def decode(batch: int, kv_len: int, **more: int | str) -> Case:
    return Case.of("attn_decode", batch=batch, kv_len=kv_len, **{**HEADS, **more})


def prefill(length: int) -> Case:
    return Case.of("attn_prefill", batch=max(1, 8192 // length), q_len=length, kv_len=length, **HEADS)


def ratios(pairs: Iterable[tuple[str, float | None, float | None]]) -> tuple[tuple[str, float], ...]:
    """Slower over faster where both are known."""
    return tuple((what, a / b) for what, a, b in pairs if a is not None and b is not None)


def claims(m: Measured, scale: int, peak_flops: float | None) -> list[Claim]:
    """All claims; ``scale`` divides lengths and batches for slow devices."""
    lengths = [n // scale for n in (1024, 4096, 16384)]
    shapes = [(b, kv // scale) for b in (1, 16, 128 // scale) for kv in (1024, 8192)]
    fa3 = [(f"{n} tokens", m.fastest(prefill(n), m.of("fa2")), m.fastest(prefill(n), m.of("fa3"))) for n in lengths]
    flops = {n: 4 * max(1, 8192 // n) * n * n / 2 * 32 * 128 for n in lengths}  # causal: half of the square
    used = [(f"{n} tokens", flops[n] / peak_flops if peak_flops else None, m.fastest(prefill(n), m.of("fa3")))
            for n in lengths]
    fp8 = [(f"batch {b}, {kv} tokens", m.fastest(decode(b, kv, page_size=16), m.usable),
            m.fastest(decode(b, kv, page_size=16, dtype="fp8", kv_dtype="fp8"), m.usable)) for b, kv in shapes]
    by_page, split = [], []
    for b in m.usable:
        for batch, kv in shapes:
            here = f"{b.name}, batch {batch}, {kv} tokens"
            times = {p: m.fastest(decode(batch, kv, page_size=p), [b]) for p in PAGES}
            by_page += [(f"{here}, page {p} over 64", t, times[64]) for p, t in times.items() if p not in (1, 64)]
    for b in m.usable:
        for batch, kv in ((1, 8192 // scale), (1, 65536 // scale), (8, 8192 // scale), (64, 8192 // scale)):
            for page in (0, 16):
                times = {n: m.fastest(decode(batch, kv, page_size=page, num_splits=n), [b]) for n in SPLITS}
                best = min((t for n, t in times.items() if n > 1 and t is not None), default=None)
                split.append((f"{b.name}, batch {batch}, {kv} tokens", times[1], best))
    return [Claim("FA3 over FA2 in prefill: 1.5-2.0x", ratios(fa3)),
            Claim("FA3 in prefill: about 0.75 of the peak", ratios(used)),
            Claim("FP8 over BF16 in decode: 1.1-1.4x", ratios(fp8)),
            Claim("page size hardly matters in decode (time over that of pages of 64): 1x", ratios(by_page)),
            Claim("best number of splits over one, in decode: up to 8x", ratios(split))]


def main() -> int:
    """Exit code 2 where no kernel runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--minutes", type=float, default=4.0)
    given = parser.parse_args()
    limits = {} if given.device == "cuda" else {"max_time_s": 1.0}
    m = Measured(given.device, time.monotonic() + 60 * given.minutes, limits)
    with m.pool:
        if not m.usable:
            sys.stderr.write("no kernel backend is usable here: costplan doctor says why\n")
            return 2
        told = m.pool.ask(m.usable[0].domain, {"op": "describe"}, CASE_S)["device"]
        key = gpu_key(told["name"]) if given.device == "cuda" else None
        found = claims(m, 1 if given.device == "cuda" else 8, find_gpu(key).peak("bf16") if key else None)
    unsettled = sum(not r.settled for r in m.rows)
    lines = [f"{told['name']}: {len(m.rows)} measurements, {unsettled} of them not settled", "",
             "| claim | ratios | least .. median .. most | most at |", "|---|--:|---|---|", *(c.line() for c in found)]
    sys.stdout.write("\n".join([*lines, ""]))
    if given.out:
        write_text(given.out, json.dumps({
            "device": told, "claims": {c.said: dict(c.found) for c in found}, "skipped": m.skipped,
            "rows": [{"backend": r.backend, **r.case.as_json(), "seconds": r.seconds, "settled": r.settled}
                     for r in m.rows]}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

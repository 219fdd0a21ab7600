"""Every row of a profile beside what other profiles of the same GPU say about its shape.

    python benchmarks/measured_vs_imported.py profiles/h200_sxm-costplan [h200_sxm-vllm ...]

Without further names: the imported profiles of that GPU. Each row of ours (median, steady) is divided by the time
that the planner reads off the other profile at that point; points outside its measured range are counted, not
compared. Prints Markdown (docs/measured-vs-imported.md): the ratio ours / theirs by family, format and kernel of ours,
then where both disagree most.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from costplan.catalog.gpus import gpu as find_gpu
from costplan.core.errors import CostplanError
from costplan.core.evidence import Evidence
from costplan.perf.attention_kernel import AttentionShape, reads_context
from costplan.perf.book import KernelBook
from costplan.perf.devices import open_profile
from costplan.perf.formats import matmul_format
from costplan.perf.timed import TimedKernel
from costplan.profile.store import Profile, list_profiles

RESULTS = ("latency_s", "spread", "runs")
INSIDE = (Evidence.MEASURED, Evidence.INTERPOLATED)
Group = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Pair:
    """One row of ours and the other profile's time at the same point, in seconds."""

    group: Group
    what: str
    ours_s: float
    theirs_s: float

    @property
    def ratio(self) -> float:
        return self.ours_s / self.theirs_s


def kernel_of(book: KernelBook, family: str, row: dict[str, int | str]) -> tuple[TimedKernel, tuple[float, ...]] | None:
    """The other profile's kernel for a row of ours, and the point to ask at; None where there is no such question."""
    n = {k: v for k, v in row.items() if isinstance(v, int)}
    if family == "gemm":
        fmt = matmul_format(book.target, str(row["dtype"]))
        return (book.gemm(n["n"], n["k"], fmt, "gemm"), (n["m"],)) if fmt.tables[0] == row["dtype"] else None
    if family not in ("attn_prefill", "attn_decode"):
        return None
    shape = AttentionShape(n["num_heads"], n["num_kv_heads"], n["head_dim"], str(row["kv_dtype"]), n["window"])
    if family == "attn_decode":
        return (book.attn_decode(shape), (n["batch"], n["kv_len"])) if not n.get("num_splits") else None
    timed = book.attn_prefill(shape)
    if reads_context(timed):
        return timed, (n["batch"], n["q_len"], n["kv_len"])
    return (timed, (n["batch"], n["q_len"])) if n["kv_len"] == n["q_len"] else None


def pairs(ours: Profile, theirs: Profile) -> Iterator[Pair | None]:
    """Comparable rows; None for each that has no counterpart within the other's measured range."""
    device = find_gpu(ours.manifest.gpu)
    book = KernelBook([theirs], device, device)
    for family in ours.families:
        table = ours.table(family)
        if table is None:
            continue
        for i in range(len(table)):
            row: dict[str, int | str] = {c: int(v[i]) for c, v in table.columns.items() if c not in RESULTS}
            row |= {c: table.vocab[c][table.codes[c][i]] for c in table.codes}
            found = kernel_of(book, family, row)
            try:
                timing = found[0].time(found[1]) if found else None
            except CostplanError:
                timing = None
            if timing is None or timing.evidence not in INSIDE:
                yield None
                continue
            what = " ".join(f"{k}={v}" for k, v in row.items() if v not in (0, "") and k != "kernel")
            formats = str(row["dtype"]) + (f", KV {row['kv_dtype']}" if "kv_dtype" in row else "")
            seconds = float(table.columns["latency_s"][i])
            yield Pair((family, formats, str(row["kernel"])), what, seconds, timing.seconds)


def table_of(found: Sequence[Pair]) -> list[str]:
    """Ratio of the times by group, as Markdown."""
    groups: dict[Group, list[float]] = defaultdict(list)
    for p in found:
        groups[p.group].append(p.ratio)
    lines = ["| family | format | our kernel | points | ours / theirs, median | p10 .. p90 | within 10 % |",
             "|---|---|---|--:|--:|--:|--:|"]
    for group, ratios in sorted(groups.items()):
        low, mid, high = np.quantile(ratios, (0.1, 0.5, 0.9))
        near = np.mean(np.abs(np.array(ratios) - 1) <= 0.1)
        lines.append(f"| {' | '.join(group)} | {len(ratios)} | {mid:.2f} | {low:.2f} .. {high:.2f} | {near:.0%} |")
    return lines


def worst_of(found: Sequence[Pair], n: int = 10) -> list[str]:
    """The ``n`` largest disagreements, as Markdown."""
    lines = ["| case | our kernel | ours | theirs | ratio |", "|---|---|--:|--:|--:|"]
    for p in sorted(found, key=lambda p: -abs(np.log(p.ratio)))[:n]:
        times = f"{p.ours_s * 1e6:.1f} us | {p.theirs_s * 1e6:.1f} us"
        lines.append(f"| {p.what} | {p.group[2]} | {times} | {p.ratio:.2f} |")
    return lines


def main() -> int:
    """Exit code 2 where there is nothing to compare with."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile")
    parser.add_argument("other", nargs="*")
    given = parser.parse_args()
    ours = open_profile(given.profile)
    others = [open_profile(o) for o in given.other] or [
        Profile.load(p.folder) for p in list_profiles()
        if p.manifest is not None and p.manifest.gpu == ours.manifest.gpu and p.manifest.engine != "costplan"]
    if not others:
        sys.stderr.write(f"no imported profile of {ours.manifest.gpu}: nothing to compare with\n")
        return 2
    for theirs in others:
        found = list(pairs(ours, theirs))
        inside = [p for p in found if p is not None]
        sys.stdout.write(f"## {ours.name} against {theirs.name}\n\n{len(inside)} of {len(found)} rows lie within "
                         "what the other measured.\n\n")
        if inside:
            sys.stdout.write("\n".join([*table_of(inside), "", *worst_of(inside), "", ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Speculative decoding by batch size: what it gains, where it costs, and from which acceptance on it pays."""

from __future__ import annotations

from typing import Any

from costplan.perf.speculative import Row, Speculation
from costplan.report.columns import Column, facts, table
from costplan.report.numbers import gib, percent, seconds, significant
from costplan.report.style import Style


def speculative_text(s: Speculation, style: Style) -> list[str]:
    """Table by batch and what to do at the asked load."""
    columns = [Column("sequences", right=True), Column("plain step", right=True), Column("draft", right=True),
               Column("check", right=True), Column("speed-up", right=True), Column("at p95", right=True),
               Column("break-even", right=True), Column("best drafts", right=True), Column("at p95", right=True)]
    rows = [_row(r) for r in s.rows]
    here = s.here
    verdict = (f"{'pays' if here.pays else 'does not pay'}: x{here.p95_speedup:.2f} at p95 with "
               f"{here.cycle.seqs:,} sequences")
    best = f"; best {here.best_tokens} drafts, x{here.best_p95_speedup:.2f}" if here.best_tokens else "; best without"
    return [*facts([("speculative", f"{s.draft_tokens} drafts by {s.drafter}; {percent(s.acceptance)} +- "
                                    f"{percent(s.spread)} kept: {significant(s.tokens_per_cycle)} tokens a cycle"),
                    ("this load", verdict + best)], style), "", *table(columns, rows, style), "", *facts([
                        ("speed-up", "tokens/s of a sequence over those without drafts; at p95: wall clock of the "
                                     "slowest 1 in 20 answers, which decides; break-even: least share of drafts kept "
                                     "that is no loss; TTFT is not counted, and the metrics above are without drafts"),
                        ("memory", f"drafts take {gib(s.draft_weight_bytes)} of weights on each GPU, and their KV, "
                                   "from the KV cache above")], style)]


def _row(r: Row) -> list[str]:
    c = r.cycle
    even = "never" if c.break_even is None else percent(c.break_even)
    best = [str(r.best_tokens), f"x{r.best_p95_speedup:.2f}"] if r.best_tokens else ["off", "x1.00"]
    return [f"{c.seqs:,}", seconds(c.plain_s), seconds(c.draft_s) if c.draft_s else "-", seconds(c.verify_s),
            f"x{r.speedup:.2f}", f"x{r.p95_speedup:.2f}", even, *best]


def speculative_json(s: Speculation) -> dict[str, Any]:
    """The same for programs, in seconds and fractions."""
    return {"drafter": s.drafter, "draft_weight_bytes": s.draft_weight_bytes, "acceptance": s.acceptance,
            "acceptance_spread": s.spread, "draft_tokens": s.draft_tokens, "tokens_per_cycle": s.tokens_per_cycle,
            "here": _row_json(s.here), "batches": [_row_json(r) for r in s.rows]}


def _row_json(r: Row) -> dict[str, Any]:
    c = r.cycle
    return {"decode_seqs": c.seqs, "plain_step_s": c.plain_s, "draft_s": c.draft_s, "verify_s": c.verify_s,
            "speedup": r.speedup, "p95_speedup": r.p95_speedup, "break_even_acceptance": c.break_even,
            "best_draft_tokens": r.best_tokens, "best_p95_speedup": r.best_p95_speedup}

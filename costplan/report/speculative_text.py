"""Speculative decoding by batch size: what it gains, where it costs, and from which acceptance on it pays."""

from __future__ import annotations

from typing import Any

from costplan.perf.drafting import Drafting
from costplan.perf.predict import Prediction
from costplan.perf.speculative import Row, Speculation
from costplan.report.columns import Column, facts, table
from costplan.report.numbers import gib, percent, seconds, significant
from costplan.report.style import Style


def drafts_words(d: Drafting, drafter: str) -> str:
    """As in ``4 drafts by X; 70% +- 10% of them kept``."""
    many = f"up to {d.tokens} drafts" if d.adaptive else f"{d.tokens} draft{'s' if d.tokens > 1 else ''}"
    return f"{many} by {drafter}; {percent(d.acceptance)} +- {percent(d.spread)} kept"


def speculative_text(s: Speculation, without: Prediction, style: Style) -> list[str]:
    """Table by batch and what to do at the asked load; ``without`` is the prediction without drafts."""
    columns = [Column("sequences", right=True), Column("plain step", right=True), Column("draft", right=True),
               Column("check", right=True), Column("speed-up", right=True), Column("at p95", right=True),
               Column("break-even", right=True), Column("best drafts", right=True), Column("at p95", right=True)]
    rows = [_row(r) for r in s.rows]
    here = s.here
    verdict = (f"{'pays' if here.pays else 'does not pay'}: x{here.p95_speedup:.2f} at p95 with "
               f"{here.cycle.seqs:,} sequences")
    best = f"; best {here.best_tokens} drafts, x{here.best_p95_speedup:.2f}" if here.best_tokens else "; best without"
    plain = (f"TTFT {seconds(without.ttft_s.value)}, TPOT {seconds(without.tpot_s.value)}, "
             f"{significant(without.output_tok_s.value)} output tok/s")
    return [*facts([("speculative", f"{drafts_words(s.drafting, s.drafter)}: {significant(s.tokens_per_cycle)} tokens "
                                    "a cycle"), ("without", plain), ("this load", verdict + best)], style), "",
            *table(columns, rows, style), "", *facts([
                ("speed-up", "tokens/s of a sequence over those without drafts; at p95: wall clock of the slowest 1 in "
                             "20 answers, which decides; break-even: least share of drafts kept that is no loss"),
                ("memory", f"drafts take {gib(s.draft_weight_bytes)} of weights on each GPU, and their KV, from the "
                           "KV cache")], style)]


def _row(r: Row) -> list[str]:
    c = r.cycle
    even = "never" if c.break_even is None else percent(c.break_even)
    best = [str(r.best_tokens), f"x{r.best_p95_speedup:.2f}"] if r.best_tokens else ["off", "x1.00"]
    return [f"{c.seqs:,}", seconds(c.plain_s), seconds(c.draft_s) if c.draft_s else "-", seconds(c.verify_s),
            f"x{r.speedup:.2f}", f"x{r.p95_speedup:.2f}", even, *best]


def speculative_json(s: Speculation, without: Prediction) -> dict[str, Any]:
    """The same for programs, in seconds and fractions."""
    d = s.drafting
    return {"drafter": s.drafter, "draft_weight_bytes": s.draft_weight_bytes, "acceptance": d.acceptance,
            "acceptance_spread": d.spread, "draft_tokens": d.tokens, "adaptive": d.adaptive,
            "tokens_per_cycle": s.tokens_per_cycle, "here": _row_json(s.here),
            "batches": [_row_json(r) for r in s.rows], "without": {
                "ttft_s": without.ttft_s.value, "tpot_s": without.tpot_s.value,
                "output_tok_s": without.output_tok_s.value}}


def _row_json(r: Row) -> dict[str, Any]:
    c = r.cycle
    return {"decode_seqs": c.seqs, "plain_step_s": c.plain_s, "draft_s": c.draft_s, "verify_s": c.verify_s,
            "speedup": r.speedup, "p95_speedup": r.p95_speedup, "break_even_acceptance": c.break_even,
            "best_draft_tokens": r.best_tokens, "best_p95_speedup": r.best_p95_speedup}

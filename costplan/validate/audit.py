"""A claim in, a verdict out: every check that the claim says enough for, and what is missing for others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from costplan.validate.audit_claim import Claim
from costplan.validate.audit_consistency import consistency
from costplan.validate.audit_finding import Finding, Verdict, worst
from costplan.validate.audit_money import money
from costplan.validate.audit_physics import physics
from costplan.validate.audit_specs import specs

WRONG = frozenset({Verdict.IMPOSSIBLE, Verdict.INCONSISTENT})


@dataclass(frozen=True, slots=True)
class Audit:
    """All findings on one claim, worst first, and what would have allowed more checks."""

    claim: Claim
    findings: tuple[Finding, ...]
    missing: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        return worst(f.verdict for f in self.findings)

    @property
    def wrong(self) -> bool:
        return self.verdict in WRONG

    @property
    def flagged(self) -> bool:
        """Worse than plausible."""
        return self.verdict in WRONG or self.verdict is Verdict.IMPLAUSIBLE


def audit(claim: Claim) -> Audit:
    """Judge one claim."""
    found = [*physics(claim), *consistency(claim), *money(claim), *specs(claim)]
    order = list(Verdict)
    return Audit(claim, tuple(sorted(found, key=lambda f: order.index(f.verdict))), tuple(_missing(claim)))


def _missing(c: Claim) -> Iterable[str]:
    """What the claim leaves out that its other numbers call for."""
    performance = c.output_tok_s is not None or c.tpot_s is not None or c.ttft_s is not None
    if performance and c.spec is None and c.params is None:
        yield "the model, to know what must be read and computed"
    if performance and c.gpu is None:
        yield "the GPU, to know how fast that can go"
    if c.output_tok_s is not None and c.batch is None and c.concurrency is None:
        yield "batch or concurrency, to bound the decode rate"
    if c.output_tok_s is not None and (c.isl is None or c.osl is None):
        yield "isl and osl, to count the arithmetic of a request"
    if c.usd_per_mtok is not None and c.output_tok_s is None and c.total_tok_s is None:
        yield "tokens/s, to check the cost of 1M tokens"

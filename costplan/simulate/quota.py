"""Token quotas of tenants: a request pays for prompt and answer when it is first admitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from costplan.core.errors import InputError
from costplan.simulate.clock import TICKS_PER_S


@dataclass(frozen=True, slots=True)
class Quota:
    """Token bucket of one tenant: refills at ``tokens_per_s`` up to ``burst_tokens``; a request takes isl + osl."""

    tokens_per_s: int
    burst_tokens: int

    def __post_init__(self) -> None:
        if not 1 <= self.tokens_per_s <= 10**9:
            raise InputError(f"tokens_per_s must lie in 1 ... 1e9, got {self.tokens_per_s}", where="quota")
        if not 1 <= self.burst_tokens <= 4 * 10**7:
            raise InputError(f"burst_tokens must lie in 1 ... 4e7, got {self.burst_tokens}", where="quota")


class TokenBuckets:
    """Levels of all buckets in token-ticks, which are whole numbers at any rate. Rate 0: no quota."""

    def __init__(self, rates: Sequence[int], bursts: Sequence[int]) -> None:
        self.rates = rates
        self.full = [burst * TICKS_PER_S for burst in bursts]
        self.level = list(self.full)
        self.time = [0] * len(self.full)

    def affordable_at(self, tenant: int, tokens: int) -> int:
        """First tick at which ``tenant`` can pay ``tokens``."""
        rate = self.rates[tenant]
        if not rate:
            return 0
        missing = tokens * TICKS_PER_S - self.level[tenant]
        return self.time[tenant] + max(0, -(-missing // rate))

    def pay(self, tenant: int, tokens: int, now: int) -> None:
        """Take ``tokens`` at tick ``now``."""
        rate = self.rates[tenant]
        if rate:
            level = min(self.full[tenant], self.level[tenant] + rate * (now - self.time[tenant]))
            self.level[tenant], self.time[tenant] = level - tokens * TICKS_PER_S, now

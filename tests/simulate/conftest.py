"""Step times that a person can check by hand."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from costplan.simulate.step_table import StepTable, TableRange, step_table


@dataclass(frozen=True)
class AffineParts:
    """1 ms + 2 us per token + 1 us per sequence; attention reads 33 ns per cached token."""

    prefill_floor_s: float = 0.0
    request_s: float = 0.0
    prompt_token_s: float = 0.0
    fixed_s: float = 1e-3

    def tokens_s(self, tokens: int) -> float:
        return self.fixed_s + 2e-6 * tokens

    def seqs_s(self, seqs: int) -> float:
        return 1e-6 * seqs

    def decode_s(self, seqs: int, kv_tokens: int) -> float:
        return 3.3e-8 * kv_tokens

    def prefill_s(self, seqs: int, tokens: int, context_tokens: int) -> float:
        q, context = tokens / seqs, context_tokens / seqs
        return seqs * q * (context + q / 2) * 1e-10

    def host_s(self, seqs: int) -> float:
        return 1e-4


RANGE = TableRange(max_seqs=64, max_tokens=512, max_kv=2048, capacity_tokens=64_000)


@pytest.fixture(scope="session")
def parts() -> AffineParts:
    return AffineParts()


@pytest.fixture(scope="session")
def table() -> StepTable:
    return step_table(AffineParts(), RANGE)


@pytest.fixture(scope="session")
def late_table() -> StepTable:
    """With a floor for prompt steps and 5 ms before the engine sees a request."""
    return step_table(AffineParts(prefill_floor_s=4e-3, request_s=5e-3), RANGE)

"""One engine step as the latency model sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchState:
    """Work of one step on one replica, in sequences and tokens.

    ``decode_kv_tokens`` sums the cached tokens of all decoding sequences. ``prefill_tokens`` are new prompt
    tokens in this step over ``prefill_seqs`` sequences; ``prefill_context_tokens`` sums the tokens of those
    sequences that lie in the cache already (earlier chunks, prefix hits).
    """

    decode_seqs: int = 0
    decode_kv_tokens: int = 0
    prefill_tokens: int = 0
    prefill_context_tokens: int = 0
    prefill_seqs: int = 0

    @property
    def tokens(self) -> int:
        """Tokens that pass through the dense layers."""
        return self.decode_seqs + self.prefill_tokens

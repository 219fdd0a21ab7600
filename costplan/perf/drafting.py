"""Speculative decoding as a user asks for it: who drafts, how many tokens, and how often they are kept."""

from __future__ import annotations

from dataclasses import dataclass

from costplan.core.errors import InputError

HEADS = ("mtp", "eagle")
WITHOUT_A_MODEL = "ngram"
MAX_DRAFT_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Drafting:
    """``draft`` is mtp, eagle, ngram or the name of a model.

    A guess is kept with chance ``acceptance``, which differs between requests by standard deviation ``spread``.
    ``tokens`` are guessed per cycle, with ``adaptive`` at most so many. ``checkpoint`` is what an engine loads the
    draft from.
    """

    draft: str
    acceptance: float
    tokens: int = 4
    spread: float = 0.1
    adaptive: bool = False
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        for name in ("acceptance", "spread"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"must lie between 0 and 1, got {getattr(self, name)}", where=name)
        if not 1 <= self.tokens <= MAX_DRAFT_TOKENS:
            raise InputError(f"draft tokens must lie between 1 and {MAX_DRAFT_TOKENS}, got {self.tokens}",
                             where="draft_tokens")

    @property
    def label(self) -> str:
        """As in ``eagle x4``."""
        return f"{self.draft} x{'<=' if self.adaptive else ''}{self.tokens}"

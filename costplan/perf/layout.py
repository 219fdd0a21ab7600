"""How one engine instance is spread over GPUs."""

from __future__ import annotations

from dataclasses import dataclass

from costplan.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Layout:
    """``tp`` shards attention and MLP, ``pp`` the layers; ``dp`` repeats attention with its own sequences
    (attention data parallelism) while experts are shared by all ``tp * dp`` ranks: ``ep`` ways by expert,
    the rest by width. Independent replicas are not part of a layout.
    """

    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1

    def __post_init__(self) -> None:
        for name in ("tp", "pp", "dp", "ep"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if (self.tp * self.dp) % self.ep:
            raise InputError(f"ep={self.ep} does not divide tp x dp = {self.tp * self.dp}",
                             hint="choose an ep that divides the ranks of one pipeline stage")

    @property
    def num_gpus(self) -> int:
        return self.tp * self.pp * self.dp

    @property
    def moe_tp(self) -> int:
        """Ranks that share the width of one expert."""
        return self.tp * self.dp // self.ep

"""What a plan's numbers were made of, as values: the parts that a plan itself does not carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from costplan.core.evidence import Estimate


@dataclass(frozen=True, slots=True)
class KvLayers:
    """``count`` equal layers: bytes of one token in one layer on one GPU; ``how`` spells the product out."""

    count: int
    bytes_per_token: float
    window: int | None
    state_bytes: float
    how: str


@dataclass(frozen=True, slots=True)
class Step:
    """One mean engine step: its batch, its time, its parts in seconds, and what it waits for (fractions)."""

    decode_seqs: int
    decode_kv_tokens: int
    prefill_tokens: int
    time_s: Estimate
    parts_s: Mapping[str, float]
    waits_for_share: Mapping[str, float]
    bound: str


@dataclass(frozen=True, slots=True)
class Derivation:
    """Of one plan. ``kv_bytes_per_token`` is of one GPU; ``profiles`` answered for its kernels, best first."""

    kv_layers: tuple[KvLayers, ...]
    kv_bytes_per_token: float
    decode: Step
    prefill: Step
    measured_on: str
    profiles: tuple[str, ...]

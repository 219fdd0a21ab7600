"""The block pool that an engine carves its KV memory into, hybrid models included.

Models of one layer kind have one group: a block holds ``block_size`` tokens of all layers. Where kinds are
mixed (sliding and full, linear and full), vLLM's hybrid allocator gives every kind groups of equally many
layers and pages of equal bytes; a block belongs to one group (vLLM v1 ``kv_cache_utils``, read 2026-11-21).
"""

from __future__ import annotations

from dataclasses import dataclass

from costplan.catalog.model_spec import Attention, ModelSpec
from costplan.core.errors import InputError
from costplan.perf.kv import LayerCache, blocks_held, layer_caches, stage_share

BLOCK_ALIGNMENT = 16
STATE_BLOCKS = 2
"""Blocks of a linear group per sequence: the running state and one at the last block boundary (``align``)."""


@dataclass(frozen=True, slots=True)
class PoolGroup:
    """Layers of one kind that share block numbers: ``block_size`` tokens per block, or a state."""

    block_size: int
    window: int | None = None
    chunked: bool = False
    is_state: bool = False


@dataclass(frozen=True, slots=True)
class KvPool:
    """Blocks of ``block_bytes`` on each rank; ``groups`` says what one sequence takes of them."""

    block_bytes: float
    groups: tuple[PoolGroup, ...]

    @property
    def block_size(self) -> int:
        """Tokens per block of the finest group that counts tokens."""
        return min((g.block_size for g in self.groups if not g.is_state), default=1)

    def num_blocks(self, kv_bytes: float) -> int:
        """Whole blocks that fit into ``kv_bytes`` of one rank."""
        return int(kv_bytes // self.block_bytes)

    def blocks_per_sequence(self, tokens: int, slack_tokens: int = 0) -> int:
        """Blocks that one sequence of ``tokens`` holds, over all groups."""
        if tokens <= 0:
            return 0
        return sum(STATE_BLOCKS if g.is_state else
                   blocks_held(tokens, g.block_size, g.window, g.chunked, slack_tokens) for g in self.groups)

    def tokens(self, num_blocks: int) -> int:
        """Tokens as engines log them: blocks shared out evenly over the groups."""
        return num_blocks // len(self.groups) * self.block_size

    def concurrency(self, num_blocks: int, tokens: int, slack_tokens: int = 0) -> float:
        """How many sequences of ``tokens`` fit at once (vLLM's "maximum concurrency")."""
        return num_blocks / max(1, self.blocks_per_sequence(tokens, slack_tokens))


def kv_pool(spec: ModelSpec, kv_dtype: str | None = None, block_size: int = 16, tp: int = 1, pp: int = 1,
            dcp: int = 1) -> KvPool:
    """Pool layout of ``spec``. ``dcp`` ranks share a sequence (decode context parallelism)."""
    if block_size < 1:
        raise InputError(f"block_size must be at least 1, got {block_size}", where="block_size")
    caches = layer_caches(spec, kv_dtype, tp)
    if not caches:
        raise InputError(f"{spec.name} has no layer with a cache")
    share = stage_share(spec, pp)
    kinds = {(c.window, c.chunked, c.is_state) for c in caches}
    if len(kinds) == 1 and not caches[0].is_state:
        c = caches[0]
        bytes_per_token = sum(c.count * c.bytes_per_token for c in caches)
        group = PoolGroup(block_size * dcp, c.window, c.chunked)
        return KvPool(bytes_per_token * block_size * share, (group,))
    if _is_compressed(spec):
        return _by_marginal_bytes(caches, block_size, share)
    return _hybrid(caches, block_size, share)


def _is_compressed(spec: ModelSpec) -> bool:
    return any(isinstance(m, Attention) and m.compress_ratio > 1 for g in spec.layers for m in g.layer.mixers)


def _by_marginal_bytes(caches: list[LayerCache], block_size: int, share: float) -> KvPool:
    """One group at the marginal bytes of a long sequence (compressed caches are packed, not grouped)."""
    bytes_per_token = sum(c.count * c.bytes_per_token for c in caches if c.window is None and not c.is_state)
    return KvPool(bytes_per_token * block_size * share, (PoolGroup(block_size),))


def _hybrid(caches: list[LayerCache], block_size: int, share: float) -> KvPool:
    """vLLM's hybrid layout: pages of one size, groups of one layer count."""
    attn = [c for c in caches if not c.is_state]
    states = [c for c in caches if c.is_state]
    page = max((c.bytes_per_token * block_size for c in attn), default=0.0)
    widest = max((c.bytes_per_token for c in attn), default=0.0)
    state = max((c.state_bytes for c in states), default=0.0)
    if state > page:
        aligned = BLOCK_ALIGNMENT * widest
        page = -(-state // aligned) * aligned if attn else state
    counts = [c.count for c in caches]
    size = max(counts) if max(counts) < 1.5 * min(counts) else min(counts)
    groups: list[PoolGroup] = []
    for c in caches:
        tokens = 1 if c.is_state else int(page // c.bytes_per_token)
        if not c.is_state:
            tokens -= tokens % min(tokens, block_size)
        groups += [PoolGroup(tokens, c.window, c.chunked, c.is_state)] * -(-c.count // size)
    return KvPool(page * size * share, tuple(groups))

"""KV caches of a live model: contiguous, or in pages that are gathered before attention. Nothing is ever copied on
growth, unlike in transformers' own cache."""

from __future__ import annotations

from typing import Any

from costplan.profile.steps import LiveModel


class FlatCache:
    """``[layers][batch, tokens, num_kv_heads, head_dim]``; a step writes behind the first ``length`` tokens."""

    def __init__(self, model: LiveModel, batch: int, tokens: int, length: int, like: Any) -> None:
        shape = (batch, tokens, model.num_kv_heads, model.head_dim)
        self.length = length
        self.k = [_filled(shape, like) for _ in range(model.num_layers)]
        self.v = [_filled(shape, like) for _ in range(model.num_layers)]

    def update(self, key: Any, value: Any, layer_idx: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Write new keys and values ``[batch, num_kv_heads, q_len, head_dim]``; all of them as views."""
        end = self.length + key.shape[2]
        k, v = self.k[layer_idx], self.v[layer_idx]
        k[:, self.length:end] = key.transpose(1, 2)
        v[:, self.length:end] = value.transpose(1, 2)
        return k[:, :end].transpose(1, 2), v[:, :end].transpose(1, 2)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens in the cache before the step."""
        return self.length


class PagedCache:
    """Pages in random order, ``[layers][num_pages, page_size, num_kv_heads, head_dim]``; gathered for each step."""

    def __init__(self, model: LiveModel, batch: int, tokens: int, length: int, page_size: int, like: Any) -> None:
        import torch

        self.length, self.batch, self.page_size = length, batch, page_size
        pages = -(-tokens // page_size)
        shape = (batch * pages, page_size, model.num_kv_heads, model.head_dim)
        self.k = [_filled(shape, like) for _ in range(model.num_layers)]
        self.v = [_filled(shape, like) for _ in range(model.num_layers)]
        order = torch.randperm(batch * pages, generator=torch.Generator().manual_seed(1)).to(like.device)
        self.table = order.view(batch, pages)
        position = torch.arange(length, tokens, device=like.device)
        self.slots = (self.table[:, position // page_size] * page_size + position % page_size).flatten()

    def update(self, key: Any, value: Any, layer_idx: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Write new keys and values, then gather each sequence's pages into contiguous memory."""
        out = []
        for pool, new in ((self.k[layer_idx], key), (self.v[layer_idx], value)):
            flat = pool.view(-1, *pool.shape[2:])
            flat.index_copy_(0, self.slots, new.transpose(1, 2).reshape(-1, *pool.shape[2:]))
            used = pool.index_select(0, self.table.flatten()).view(self.batch, -1, *pool.shape[2:])
            out.append(used[:, :self.length + new.shape[2]].transpose(1, 2))
        return out[0], out[1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens in the cache before the step."""
        return self.length


def _filled(shape: tuple[int, ...], like: Any) -> Any:
    """Random numbers; a constant cache would make softmax uniform and memory compressible."""
    import torch

    block = torch.randn(1 << 16, device=like.device, generator=torch.Generator(like.device).manual_seed(2))
    out = torch.empty(shape, dtype=like.dtype, device=like.device)
    flat = out.view(-1)
    for start in range(0, flat.numel(), block.numel()):
        part = flat[start:start + block.numel()]
        part.copy_(block[:part.numel()])
    return out

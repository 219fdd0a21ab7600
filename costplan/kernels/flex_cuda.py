"""torch's flex_attention, compiled to Triton: dense causal prefill, decode, and a paged cache by its block mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from costplan.kernels.attention_call import batched, flat, prepare_attention
from costplan.kernels.attention_inputs import AttnSet, AttnShape
from costplan.kernels.attention_limits import ATTENTION, SAME_16, AttnLimits, refusal
from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.compiling import compiled
from costplan.kernels.inputs import Inputs
from costplan.kernels.library import Library, probe
from costplan.profile.case import Case

LIMITS = AttnLimits(SAME_16, page_step=16, max_page=256, power_of_two_pages=True, splits="auto", ragged=False,
                    head_dims=(64, 128, 256))
Q_BLOCK = KV_BLOCK = 128


class FlexCuda:
    name, device, domain, families = "flex", "cuda", "torch-cuda", ATTENTION

    def probe(self) -> Availability:
        return probe(Library("torch", "torch.nn.attention.flex_attention", "pip install torch triton",
                             limits=LIMITS.words()), _triton)

    def supports(self, case: Case) -> str | None:
        return refusal(case, LIMITS)

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        kernel = "flex_attention_paged" if case.size("page_size") else "flex_attention"
        return prepare_attention(case, inputs, bind, kernel, {"compiled": "torch.compile"}, as_tokens=flat)


def _triton(_: Any) -> str | None:
    from costplan.kernels.library import version_of

    return None if version_of("triton") else "triton is not installed"


def bind(given: AttnSet) -> Callable[[], Any]:
    """A compiled call; compiling happens at the first one. Logical positions decide what is seen."""
    from torch.nn.attention.flex_attention import flex_attention

    s = given.shape
    mask = _paged_mask(given) if s.page_size else _dense_mask(given)
    q = given.q.view(s.batch, -1, s.num_heads, s.head_dim).transpose(1, 2)
    k, v = _paged_store(given) if s.page_size else batched(given)[1:]
    options = {"block_mask": mask, "enable_gqa": s.num_heads != s.num_kv_heads}
    if s.page_size:
        options["kernel_options"] = {"BLOCK_N": min(64, s.page_size)}
    run = compiled(flex_attention, q.device.type)
    return lambda: run(q, k, v, **options)


def _seen(shape: AttnShape) -> Callable[[Any, Any], Any]:
    """Whether query row ``q`` sees logical position ``kv``: causal from the lower right corner, within the window."""
    offset, window = shape.kv_lens[0] - shape.q_lens[0], shape.window

    def seen(q: Any, kv: Any) -> Any:
        inside = kv <= q + offset
        return inside & (kv > q + offset - window) if window else inside

    return seen


def _dense_mask(given: AttnSet) -> Any:
    """None where every query sees everything."""
    from torch.nn.attention.flex_attention import create_block_mask

    s = given.shape
    if s.decode and not s.window:
        return None
    seen = _seen(s)
    return create_block_mask(lambda b, h, q, kv: seen(q, kv), None, None, s.q_lens[0], s.kv_lens[0],
                             device=str(given.q.device))


def _paged_store(given: AttnSet) -> tuple[Any, Any]:
    """All pages as one long sequence ``[1, num_kv_heads, slots, head_dim]``, views of the store."""
    def store(pages: Any) -> Any:
        return pages.flatten(0, 1)[None].transpose(1, 2)

    return store(given.k_pages), store(given.v_pages)


def _paged_mask(given: AttnSet) -> Any:
    """Each sequence visits its own pages; within them a slot's logical position decides."""
    import torch
    from torch.nn.attention.flex_attention import BlockMask

    s, table = given.shape, given.block_table
    pages, size = -(-s.kv_lens[0] // s.page_size), s.page_size
    device, stored = table.device, given.k_pages.shape[0]
    logical = torch.full((s.batch, stored), -1, dtype=torch.int32, device=device)
    order = torch.arange(pages, dtype=torch.int32, device=device).expand(s.batch, pages)
    logical.scatter_(1, table[:, :pages].long(), order)
    q_blocks = -(-s.q_lens[0] // Q_BLOCK)
    counts = torch.full((s.batch, 1, q_blocks), pages, dtype=torch.int32, device=device)
    indices = torch.zeros(s.batch, 1, q_blocks, stored, dtype=torch.int32, device=device)
    indices[..., :pages] = table[:, None, None, :pages]
    seen, kv_len = _seen(s), s.kv_lens[0]

    def visible(b: Any, h: Any, q: Any, slot: Any) -> Any:
        page = logical[b, slot // size]
        position = page * size + slot % size
        return (page >= 0) & (position < kv_len) & seen(q, position)

    return BlockMask.from_kv_blocks(counts, indices, BLOCK_SIZE=(Q_BLOCK, size), mask_mod=visible,
                                    seq_lengths=(s.q_lens[0], stored * size), compute_q_blocks=False)

"""Paged decode by a compiled flex_attention kernel that reads the cache through its block table."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from costplan.kernels.attention_inputs import AttnSet, make_sets, reference_error, shape_of
from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.cpu_attention import format_problem
from costplan.kernels.cpu_base import torch_here
from costplan.kernels.inputs import Inputs
from costplan.profile.case import Case


class CpuFlex:
    """``torch.nn.attention.experimental._paged_attention.PagedAttention`` under ``torch.compile`` (5-20 s a case)."""

    name = "torch-cpu-flex"
    device = "cpu"
    domain = "torch-cpu-flex"
    families = frozenset({"attn_decode"})

    def probe(self) -> Availability:
        found = torch_here()
        if found.ok and not (shutil.which("g++") or shutil.which("clang++")):
            return Availability(found.version, "torch.compile needs a C++ compiler", "install g++")
        return found

    def supports(self, case: Case) -> str | None:
        if case.family not in self.families:
            return "measures decode only"
        if case.size("page_size") < 16:
            return "needs pages of 16 tokens or more"
        if case.size("num_splits") > 1 or case.size("window"):
            return "no splits, no windows"
        return format_problem(case.text("dtype"), case.text("kv_dtype"))

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        shape = shape_of(case)
        sets = make_sets(shape, inputs)
        tolerance = 1e-2 if shape.dtype != "fp32" else 1e-5
        return Prepared([_paged(s) for s in sets], reference_error(sets[0], inputs), tolerance, "torch-flex-paged")


def _paged(s: AttnSet) -> Callable[[], Any]:
    """Physical pages in one long sequence; the block mask maps each logical page to its place."""
    import torch
    from torch.nn.attention.experimental._paged_attention import PagedAttention
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    shape, size = s.shape, s.shape.page_size
    pages = s.k_pages.shape[0]
    k, v = (x.view(1, pages * size, shape.num_kv_heads, shape.head_dim).transpose(1, 2).contiguous()
            for x in (s.k_pages, s.v_pages))
    q = s.q.view(shape.batch, 1, shape.num_heads, shape.head_dim).transpose(1, 2)
    held = s.block_table.shape[1] * size

    def visible(_b: Any, _h: Any, _q: Any, key: Any) -> Any:
        return key < shape.kv_lens[0]

    logical = create_block_mask(visible, shape.batch, None, 1, held, device="cpu", BLOCK_SIZE=(1, size))
    table = PagedAttention(pages, size, shape.batch, device="cpu")
    table.page_table[:, : s.block_table.shape[1]] = s.block_table
    for i in range(shape.batch):
        used = s.block_table[i].long()
        table.physical_to_logical[i, used] = torch.arange(len(used))
    table.capacity[:] = held
    mask = table.convert_logical_block_mask(logical)
    kernel = torch.compile(flex_attention, dynamic=False)
    score = table.get_score_mod(None)
    return lambda: kernel(q, k, v, block_mask=mask, score_mod=score,
                          enable_gqa=shape.num_heads != shape.num_kv_heads).transpose(1, 2).flatten(0, 1)

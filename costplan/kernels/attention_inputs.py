"""Inputs of attention kernels from a case: ragged queries, a contiguous or paged KV cache, and the reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from costplan.kernels.inputs import Inputs, relative_error, torch_dtype
from costplan.profile.case import Case
from costplan.profile.lengths import pairs_of

ELEMENT_BYTES = {"bf16": 2, "fp16": 2, "fp32": 4, "fp8": 1, "int8": 1}
_LIMITS = {"fp8": 448.0, "int8": 127.0}
_CHECK_ROWS, _CHECK_HEADS, _CHECK_SEQS = 48, 4, 3


@dataclass(frozen=True, slots=True)
class AttnShape:
    """An attention case spelled out. ``q_lens[i]`` new tokens of sequence ``i`` see ``kv_lens[i]`` tokens, their own
    included, causally. ``page_size`` 0 is contiguous, ``num_splits`` 0 automatic, ``window`` 0 everything."""

    q_lens: tuple[int, ...]
    kv_lens: tuple[int, ...]
    num_heads: int
    num_kv_heads: int
    head_dim: int
    window: int
    page_size: int
    num_splits: int
    dtype: str
    kv_dtype: str

    @property
    def batch(self) -> int:
        return len(self.q_lens)

    @property
    def tokens(self) -> int:
        return sum(self.q_lens)

    @property
    def decode(self) -> bool:
        """Every sequence has one new token."""
        return max(self.q_lens) == 1

    @property
    def uniform(self) -> bool:
        return len(set(self.q_lens)) == 1 and len(set(self.kv_lens)) == 1

    @property
    def kv_bytes(self) -> int:
        """Bytes of keys and values that are read."""
        return 2 * sum(self.kv_lens) * self.num_kv_heads * self.head_dim * ELEMENT_BYTES[self.kv_dtype]

    @property
    def set_bytes(self) -> int:
        """Bytes of one input set."""
        return self.kv_bytes + 2 * self.tokens * self.num_heads * self.head_dim * ELEMENT_BYTES.get(self.dtype, 2)


def shape_of(case: Case) -> AttnShape:
    """The shape of an ``attn_prefill``, ``attn_decode`` or ``attn_ragged`` case."""
    pairs = pairs_of(case)
    splits = 0 if case.family == "attn_prefill" else case.size("num_splits")
    return AttnShape(tuple(q for q, _ in pairs), tuple(kv for _, kv in pairs), case.size("num_heads"),
                     case.size("num_kv_heads"), case.size("head_dim"), case.size("window"), case.size("page_size"),
                     splits, case.text("dtype"), case.text("kv_dtype"))


@dataclass(frozen=True, slots=True)
class AttnSet:
    """One input set.

    ``q`` is ``[tokens, num_heads, head_dim]``, ``k`` and ``v`` are ``[sum(kv_lens), num_kv_heads, head_dim]``, or
    None once they lie in pages; ``k_pages`` and ``v_pages`` are ``[num_pages, page_size, num_kv_heads, head_dim]``
    (None where the cache is contiguous) in random order, ``block_table`` int32 ``[batch, max_pages]``. ``cu_q`` and
    ``cu_kv`` are int32 ``[batch + 1]`` running sums, ``kv_lens`` int32 ``[batch]``. For 8-bit formats ``*_scale``
    are fp32 ``[batch, num_kv_heads]`` and a stored number times its scale is the value; else None.
    """

    shape: AttnShape
    q: Any
    k: Any
    v: Any
    k_pages: Any
    v_pages: Any
    block_table: Any
    cu_q: Any
    cu_kv: Any
    kv_lens: Any
    q_scale: Any = None
    k_scale: Any = None
    v_scale: Any = None


def make_sets(shape: AttnShape, inputs: Inputs, count: int | None = None) -> list[AttnSet]:
    """``count`` input sets (default: enough to defeat the cache)."""
    return [_make(shape, inputs) for _ in range(count or inputs.sets(shape.set_bytes))]


def _make(shape: AttnShape, inputs: Inputs) -> AttnSet:
    import torch

    def ints(values: Sequence[int]) -> Any:
        return torch.tensor(list(values), dtype=torch.int32, device=inputs.device)

    def running(values: Sequence[int]) -> list[int]:
        out = [0]
        for v in values:
            out.append(out[-1] + v)
        return out

    total = sum(shape.kv_lens)
    q_scale = k_scale = v_scale = None
    q = inputs.randn(shape.tokens, shape.num_heads, shape.head_dim, dtype=_drawn_as(shape.dtype))
    k, v = (inputs.randn(total, shape.num_kv_heads, shape.head_dim, dtype=_drawn_as(shape.kv_dtype)) for _ in range(2))
    if shape.dtype in _LIMITS:
        q, q_scale = _quantise(q, shape.dtype, shape.num_kv_heads, shape.q_lens)
    if shape.kv_dtype in _LIMITS:
        k, k_scale = _quantise(k, shape.kv_dtype, shape.num_kv_heads, shape.kv_lens)
        v, v_scale = _quantise(v, shape.kv_dtype, shape.num_kv_heads, shape.kv_lens)
    k_pages = v_pages = table = None
    if shape.page_size:
        k_pages, v_pages, table = _paged(shape, k, v, inputs)
        k = v = None
    return AttnSet(shape, q, k, v, k_pages, v_pages, table, ints(running(shape.q_lens)), ints(running(shape.kv_lens)),
                   ints(shape.kv_lens), q_scale, k_scale, v_scale)


def _drawn_as(dtype: str) -> str:
    """8-bit numbers are drawn in fp32 and quantised."""
    return "fp32" if dtype in _LIMITS else dtype


def _quantise(x: Any, dtype: str, num_kv_heads: int, lens: Sequence[int]) -> tuple[Any, Any]:
    """8-bit numbers and fp32 scales ``[batch, num_kv_heads]``; a query head shares the scale of its KV head."""
    import torch

    scales = torch.empty(len(lens), num_kv_heads, device=x.device, dtype=torch.float32)
    out = torch.empty(x.shape, device=x.device, dtype=torch_dtype(dtype))
    start = 0
    for i, n in enumerate(lens):
        part = x[start:start + n].view(n, num_kv_heads, -1)
        scales[i] = part.abs().amax((0, 2)).clamp_min(1e-6) / _LIMITS[dtype]
        scaled = part / scales[i][None, :, None]
        scaled = scaled.round() if dtype == "int8" else scaled
        out[start:start + n] = scaled.view(n, x.shape[1], -1).to(out.dtype)
        start += n
    return out, scales


def _paged(shape: AttnShape, k: Any, v: Any, inputs: Inputs) -> tuple[Any, Any, Any]:
    """Keys and values in pages of random order, as an engine's block allocator leaves them."""
    import torch

    size = shape.page_size
    counts = [-(-n // size) for n in shape.kv_lens]
    order = inputs.randperm(sum(counts)).to(torch.int32)
    table = torch.zeros(shape.batch, max(counts), dtype=torch.int32, device=inputs.device)
    pages = []
    for x in (k, v):
        store = torch.zeros(sum(counts) * size, *x.shape[1:], device=x.device, dtype=x.dtype)
        slots = _slots(shape, counts, order, size)
        store.view(torch.uint8)[slots] = x.view(torch.uint8)
        pages.append(store.view(sum(counts), size, *x.shape[1:]))
    start = 0
    for i, n in enumerate(counts):
        table[i, :n] = order[start:start + n]
        start += n
    return pages[0], pages[1], table


def _slots(shape: AttnShape, counts: Sequence[int], order: Any, size: int) -> Any:
    """Slot of every cached token: its page's place times the page size plus its offset in the page."""
    import torch

    out, start = [], 0
    for n, pages in zip(shape.kv_lens, counts, strict=True):
        position = torch.arange(n, device=order.device)
        out.append(order[start:start + pages].long()[position // size] * size + position % size)
        start += pages
    return torch.cat(out)


def reference_error(given: AttnSet, inputs: Inputs) -> Callable[[Any], float]:
    """A check of an output ``[tokens, num_heads, head_dim]``: the relative error on a sample of sequences, heads and
    query rows (the first and the last always among them) against softmax attention in fp64 on the CPU."""
    shape = given.shape
    seqs = _sample(shape.batch, _CHECK_SEQS)
    heads = _sample(shape.num_heads, _CHECK_HEADS)

    def error(out: Any) -> float:
        import torch

        got, want = [], []
        starts = given.cu_q.tolist()
        for i in seqs:
            rows = _sample(shape.q_lens[i], _CHECK_ROWS)
            got.append(out[[starts[i] + r for r in rows]][:, heads].to("cpu", torch.float64))
            want.append(_rows(given, i, rows, heads))
        return relative_error(torch.cat(got), torch.cat(want))

    return error


def _sample(n: int, most: int) -> list[int]:
    """At most ``most`` of ``n`` indices, evenly spread, with the first and the last."""
    if n <= most:
        return list(range(n))
    return sorted({round(i * (n - 1) / (most - 1)) for i in range(most)})


def _rows(given: AttnSet, seq: int, rows: Sequence[int], heads: Sequence[int]) -> Any:
    """Softmax attention of some query rows and heads of one sequence, fp64 ``[rows, heads, head_dim]``."""
    import torch

    shape, group = given.shape, given.shape.num_heads // given.shape.num_kv_heads
    q_len, kv_len = shape.q_lens[seq], shape.kv_lens[seq]
    kv_heads = [h // group for h in heads]
    start = int(given.cu_q[seq])
    q = given.q[start + torch.tensor(list(rows), device=given.q.device)][:, list(heads)].to("cpu", torch.float64)
    k, v = (_cached(given, seq, which)[:, kv_heads].to("cpu", torch.float64) for which in ("k", "v"))
    if given.q_scale is not None:
        q = q * given.q_scale[seq, kv_heads].to("cpu", torch.float64)[None, :, None]
    if given.k_scale is not None:
        k = k * given.k_scale[seq, kv_heads].to("cpu", torch.float64)[None, :, None]
        v = v * given.v_scale[seq, kv_heads].to("cpu", torch.float64)[None, :, None]
    scores = torch.einsum("rhd,nhd->hrn", q, k) / math.sqrt(shape.head_dim)
    position = torch.tensor([kv_len - q_len + r for r in rows])[:, None]
    keys = torch.arange(kv_len)[None, :]
    hidden = keys > position
    if shape.window:
        hidden |= keys <= position - shape.window
    scores.masked_fill_(hidden[None], -math.inf)
    return torch.einsum("hrn,nhd->rhd", scores.softmax(-1), v)


def _cached(given: AttnSet, seq: int, which: str) -> Any:
    """Keys or values of one sequence ``[kv_len, num_kv_heads, head_dim]``, from pages or contiguous memory."""
    n = given.shape.kv_lens[seq]
    flat = getattr(given, which)
    if flat is not None:
        start = int(given.cu_kv[seq])
        return flat[start:start + n]
    pages = getattr(given, f"{which}_pages")
    used = given.block_table[seq, : -(-n // given.shape.page_size)].long()
    return pages[used].flatten(0, 1)[:n]

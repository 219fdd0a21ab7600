"""What an attention kernel can do, as a table; a case is held against it without the library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from costplan.core.errors import CostplanError
from costplan.kernels.attention_inputs import AttnShape, shape_of
from costplan.profile.case import Case

ATTENTION = frozenset({"attn_prefill", "attn_decode", "attn_ragged"})
SAME_16 = (("bf16", "bf16"), ("fp16", "fp16"))
FP8 = (("fp8", "fp8"),)


@dataclass(frozen=True, slots=True)
class AttnLimits:
    """Limits of one kernel. ``dtypes`` are pairs of query and KV format; ``head_dims`` is a set, or None for every
    multiple of ``head_step`` up to ``max_head_dim``. ``page_step``: pages of a multiple of it, 0 no paging.
    ``contiguous``: a cache without pages. ``decode`` and ``prefill``: which lengths of queries. ``splits``: ``any``,
    ``auto`` (0 only), ``one_or_auto``, ``given`` (needs a number). ``ragged``: different lengths in one call."""

    dtypes: tuple[tuple[str, str], ...]
    max_head_dim: int = 256
    head_step: int = 8
    head_dims: tuple[int, ...] | None = None
    contiguous: bool = True
    page_step: int = 1
    max_page: int = 1 << 20
    power_of_two_pages: bool = False
    decode: bool = True
    prefill: bool = True
    splits: str = "any"
    max_splits: int = 128
    window: bool = True
    ragged: bool = True
    min_q_len: int = 1

    def words(self) -> Mapping[str, str]:
        """The limits as facts for a reader: formats, head sizes, pages, splits."""
        heads = ", ".join(map(str, self.head_dims)) if self.head_dims else (
            f"multiples of {self.head_step} up to {self.max_head_dim}")
        return {"formats": ", ".join(q if q == kv else f"{q} with {kv} KV" for q, kv in self.dtypes),
                "head_dims": heads, "pages": self._page_words(), "splits": _SPLIT_WORDS[self.splits],
                "window": "yes" if self.window else "no", "ragged": "yes" if self.ragged else "no"}

    def _page_words(self) -> str:
        kinds = []
        if self.contiguous:
            kinds.append("contiguous")
        if self.page_step:
            kind = "any" if self.page_step == 1 else f"multiples of {self.page_step}"
            kind = f"powers of two from {self.page_step}" if self.power_of_two_pages else kind
            kinds.append("64 only" if self.page_step == self.max_page == 64 else kind)
        return ", ".join(kinds)


_SPLIT_WORDS = {"any": "any number, or automatic", "auto": "automatic only", "one_or_auto": "1 or automatic",
                "given": "any number, no automatic choice", "none": "never splits"}


def refusal(case: Case, limits: AttnLimits) -> str | None:
    """None where a kernel of these limits runs ``case``, else the reason in a few words."""
    if case.family not in ATTENTION:
        return f"runs attention, not {case.family}"
    try:
        shape = shape_of(case)
    except CostplanError as e:
        return f"not a case: {e}"
    return (_malformed(shape) or _formats(shape, limits) or _lengths(shape, limits) or _pages(shape, limits)
            or _splits(shape, limits))


def _malformed(s: AttnShape) -> str | None:
    if not s.q_lens or min(s.q_lens) < 1 or min(s.num_heads, s.num_kv_heads, s.head_dim) < 1:
        return "not a case: a size is zero"
    if any(q > kv for q, kv in zip(s.q_lens, s.kv_lens, strict=True)):
        return "not a case: more new tokens than tokens"
    if s.num_heads % s.num_kv_heads:
        return f"{s.num_heads} heads do not divide among {s.num_kv_heads} KV heads"
    return None


def _formats(s: AttnShape, limits: AttnLimits) -> str | None:
    if (s.dtype, s.kv_dtype) not in limits.dtypes:
        same = f" with {s.kv_dtype} KV" if s.dtype != s.kv_dtype else ""
        return f"no kernel for {s.dtype}{same}"
    if limits.head_dims is not None and s.head_dim not in limits.head_dims:
        return f"head_dim {s.head_dim}: built for {', '.join(map(str, limits.head_dims))}"
    if s.head_dim > limits.max_head_dim:
        return f"head_dim {s.head_dim} is over {limits.max_head_dim}"
    if s.head_dim % limits.head_step:
        return f"head_dim {s.head_dim} is no multiple of {limits.head_step}"
    return None


def _lengths(s: AttnShape, limits: AttnLimits) -> str | None:
    if s.decode and not limits.decode:
        return "runs prefill only"
    if not s.decode and not limits.prefill:
        return "runs decode only"
    if min(s.q_lens) < limits.min_q_len:
        return f"needs {limits.min_q_len} new tokens per sequence"
    if not s.uniform and not limits.ragged:
        return "takes equal lengths only"
    if s.window and not limits.window:
        return "no sliding window"
    return None


def _pages(s: AttnShape, limits: AttnLimits) -> str | None:
    if not s.page_size:
        return None if limits.contiguous else "needs a paged cache"
    if not limits.page_step:
        return "no paged cache"
    if s.page_size % limits.page_step or s.page_size > limits.max_page:
        return f"page size {s.page_size}: takes {limits._page_words()}"
    if limits.power_of_two_pages and s.page_size & (s.page_size - 1):
        return f"page size {s.page_size} is no power of two"
    return None


def _splits(s: AttnShape, limits: AttnLimits) -> str | None:
    n = s.num_splits
    if n > limits.max_splits:
        return f"at most {limits.max_splits} splits"
    if limits.splits == "auto" and n:
        return "chooses its splits itself"
    if limits.splits == "one_or_auto" and n > 1:
        return "takes 1 split or automatic"
    if limits.splits == "none" and n > 1:
        return "does not split the KV cache"
    if limits.splits == "given" and not n and s.decode:
        return "needs a number of splits"
    return None

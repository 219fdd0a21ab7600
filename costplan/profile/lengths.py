"""The lengths of a ragged batch as one word: ``512:4096,1:812x3`` is a chunk of 512 new tokens that see 4,096, and
three decoding sequences that see 812 tokens each (their new token included)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from costplan.core.errors import InputError
from costplan.profile.case import Case

_ITEM = re.compile(r"([1-9]\d{0,8}):([1-9]\d{0,8})(?:x([1-9]\d{0,5}))?\Z")


def spell(pairs: Sequence[tuple[int, int]]) -> str:
    """``(q_len, kv_len)`` of each sequence as a word; equal neighbours are folded."""
    out = []
    for (q, kv), same in groupby(pairs):
        count = len(list(same))
        out.append(f"{q}:{kv}" + (f"x{count}" if count > 1 else ""))
    return ",".join(out)


def read(word: str) -> tuple[tuple[int, int], ...]:
    """The pairs that `spell` wrote. Raises InputError on anything else."""
    pairs: list[tuple[int, int]] = []
    for item in word.split(","):
        found = _ITEM.match(item)
        if not found or int(found[1]) > int(found[2]):
            raise InputError(f"{item[:40]!r} is not a length pair", hint="write q_len:kv_len with q_len <= kv_len")
        pairs += [(int(found[1]), int(found[2]))] * int(found[3] or 1)
    return tuple(pairs)


def ragged_case(pairs: Sequence[tuple[int, int]], **values: int | str) -> Case:
    """The ``attn_ragged`` case of these lengths; ``values`` give heads, formats, page size."""
    return Case.of("attn_ragged", batch=len(pairs), q_tokens=sum(q for q, _ in pairs),
                   kv_tokens=sum(kv for _, kv in pairs), max_kv_len=max(kv for _, kv in pairs),
                   lengths=spell(pairs), **values)


def pairs_of(case: Case) -> tuple[tuple[int, int], ...]:
    """``(q_len, kv_len)`` of every sequence of an attention case, whatever its family."""
    if case.family == "attn_ragged":
        return read(case.text("lengths"))
    kv_len = case.size("kv_len")
    q_len = case.size("q_len") if case.family.endswith("prefill") else 1
    return ((q_len, kv_len),) * case.size("batch")

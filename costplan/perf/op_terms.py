"""Which engine term scales which kernel, and of which numbers of a step its time depends."""

from __future__ import annotations

from costplan.perf.batch import BatchState
from costplan.perf.ops import Op

KERNEL_TERMS = ("gemm", "experts", "attention_decode", "attention_prefill", "collective", "elementwise", "linear",
                "head")

_DECODE = BatchState(decode_seqs=3, decode_kv_tokens=600)
_LONGER = BatchState(decode_seqs=3, decode_kv_tokens=6000)
_PREFILL = BatchState(prefill_tokens=64, prefill_seqs=2)
_SPLIT = BatchState(prefill_tokens=64, prefill_seqs=4)


def depends_on(op: Op) -> str:
    """What the size of ``op`` depends on: decode, prefill, both, seqs or tokens."""
    decode, prefill = op.at(_DECODE), op.at(_PREFILL)
    if prefill is None:
        return "decode"
    if decode is None:
        return "prefill"
    if op.at(_LONGER) != decode:
        return "both"
    return "seqs" if op.at(_SPLIT) != prefill else "tokens"


def term_of(op: Op) -> str:
    """The term of ``data/engines.json`` that scales ``op``."""
    if op.part == "attention":
        kind = depends_on(op)
        return f"attention_{kind}" if kind in ("decode", "prefill") else "elementwise"
    return op.part

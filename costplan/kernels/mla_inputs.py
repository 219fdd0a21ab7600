"""Inputs of latent attention (MLA) in DeepSeek's sizes: absorbed queries over latent pages, or expanded heads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from costplan.kernels.backend import Prepared
from costplan.kernels.inputs import Inputs, relative_error
from costplan.kernels.quantised import sample
from costplan.profile.case import Case

LATENT, ROPE = 512, 64
QK_DIM, V_DIM = 192, 128
SCALE = QK_DIM ** -0.5
PAGE = 64
TOLERANCE = 1e-2
MLA_DECODE, MLA_PREFILL = frozenset({"mla_decode"}), frozenset({"mla_prefill"})


@dataclass(frozen=True, slots=True)
class MlaSet:
    """``q`` is ``[batch, heads, 576]`` (latent part first), ``pages`` ``[num_pages, 64, 576]`` in random order,
    ``table`` int32 ``[batch, pages]``, ``lens`` int32 ``[batch]``, ``cu_q`` int32 ``[batch + 1]``."""

    q: Any
    pages: Any
    table: Any
    lens: Any
    cu_q: Any
    kv_len: int


def mla_refusal(case: Case, families: frozenset[str], dtypes: tuple[str, ...] = ("bf16",)) -> str | None:
    """None where a 16-bit latent kernel of ``families`` runs ``case``, else the reason."""
    if case.family not in families:
        return f"runs {' and '.join(sorted(families))}, not {case.family}"
    if case.text("dtype") not in dtypes or case.text("kv_dtype") != case.text("dtype"):
        return f"no kernel for {case.text('dtype')} with {case.text('kv_dtype')} KV"
    if min(case.size("batch"), case.size("kv_len"), case.size("num_heads")) < 1:
        return "not a case: a size is zero"
    if case.family == "mla_prefill" and not 1 <= case.size("q_len") <= case.size("kv_len"):
        return "not a case: more new tokens than tokens"
    return None


def prepare_mla_decode(case: Case, inputs: Inputs, bind: Callable[[MlaSet], Callable[[], Any]], kernel: str,
                       as_heads: Callable[[Any], Any] | None = None) -> Prepared:
    """``bind(set)`` returns the call on one set. Its output is ``[batch, heads, 512]``, or becomes so by
    ``as_heads``, which is not timed."""
    batch, kv_len, heads = (case.size(n) for n in ("batch", "kv_len", "num_heads"))
    size = 2 * (batch * kv_len * (LATENT + ROPE) + batch * heads * (2 * LATENT + ROPE))
    sets = [_decode_set(batch, kv_len, heads, case.text("dtype"), inputs) for _ in range(inputs.sets(size))]
    check = _decode_error(sets[0])
    return Prepared([bind(s) for s in sets], (lambda out: check(as_heads(out))) if as_heads else check, TOLERANCE,
                    kernel, {"page_size": PAGE, "sets": len(sets), "latent": LATENT, "rope": ROPE})


def _decode_set(batch: int, kv_len: int, heads: int, dtype: str, inputs: Inputs) -> MlaSet:
    import torch

    each = -(-kv_len // PAGE)
    table = inputs.randperm(batch * each).to(torch.int32).view(batch, each)
    return MlaSet(inputs.randn(batch, heads, LATENT + ROPE, dtype=dtype),
                  inputs.randn(batch * each, PAGE, LATENT + ROPE, dtype=dtype, scale=0.5), table,
                  torch.full((batch,), kv_len, dtype=torch.int32, device=inputs.device),
                  torch.arange(batch + 1, dtype=torch.int32, device=inputs.device), kv_len)


def _decode_error(given: MlaSet) -> Callable[[Any], float]:
    seqs, heads = sample(given.q.shape[0], 3), sample(given.q.shape[1], 8)

    def error(out: Any) -> float:
        import torch

        got, want = [], []
        for b in seqs:
            cache = given.pages[given.table[b].long()].flatten(0, 1)[:given.kv_len].to("cpu", torch.float64)
            q = given.q[b, heads].to("cpu", torch.float64)
            want.append((q @ cache.T * SCALE).softmax(-1) @ cache[:, :LATENT])
            got.append(out[b, heads].to("cpu", torch.float64))
        return relative_error(torch.stack(got), torch.stack(want))

    return error

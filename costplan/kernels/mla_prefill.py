"""Latent attention in prefill: keys and values expanded to heads of 192 and 128."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from costplan.kernels.backend import Prepared
from costplan.kernels.inputs import Inputs, relative_error
from costplan.kernels.mla_inputs import QK_DIM, SCALE, TOLERANCE, V_DIM
from costplan.kernels.quantised import sample
from costplan.profile.case import Case


@dataclass(frozen=True, slots=True)
class PrefillSet:
    """``q`` ``[batch * q_len, heads, 192]``, ``k`` ``[batch * kv_len, heads, 192]``, ``v`` ``[.., heads, 128]``."""

    q: Any
    k: Any
    v: Any
    cu_q: Any
    cu_kv: Any
    q_len: int
    kv_len: int


def prepare_mla_prefill(case: Case, inputs: Inputs, bind: Callable[[PrefillSet], Callable[[], Any]],
                        kernel: str) -> Prepared:
    """``bind(set)`` returns the call on one set, which gives ``[batch * q_len, heads, 128]``."""
    batch, q_len, kv_len, heads = (case.size(n) for n in ("batch", "q_len", "kv_len", "num_heads"))
    size = 2 * batch * heads * (q_len + kv_len) * (QK_DIM + V_DIM)
    sets = [_make(batch, q_len, kv_len, heads, case.text("dtype"), inputs) for _ in range(inputs.sets(size))]
    return Prepared([bind(s) for s in sets], _error(sets[0]), TOLERANCE, kernel, {"sets": len(sets)})


def _make(batch: int, q_len: int, kv_len: int, heads: int, dtype: str, inputs: Inputs) -> PrefillSet:
    import torch

    steps = torch.arange(batch + 1, dtype=torch.int32, device=inputs.device)
    return PrefillSet(inputs.randn(batch * q_len, heads, QK_DIM, dtype=dtype),
                      inputs.randn(batch * kv_len, heads, QK_DIM, dtype=dtype),
                      inputs.randn(batch * kv_len, heads, V_DIM, dtype=dtype), steps * q_len, steps * kv_len, q_len,
                      kv_len)


def _error(given: PrefillSet) -> Callable[[Any], float]:
    """On a sample of rows and heads of the first and the last sequence."""
    rows, heads = sample(given.q_len, 48), sample(given.q.shape[1], 4)
    last = len(given.cu_q) - 2

    def error(out: Any) -> float:
        import torch

        got, want = [], []
        for b in sorted({0, last}):
            at = [b * given.q_len + r for r in rows]
            span = slice(b * given.kv_len, (b + 1) * given.kv_len)
            q, k, v = (x.to("cpu", torch.float64).transpose(0, 1) for x in (
                given.q[at][:, heads], given.k[span][:, heads], given.v[span][:, heads]))
            position = torch.tensor([given.kv_len - given.q_len + r for r in rows])
            seen = torch.arange(given.kv_len)[None] <= position[:, None]
            scores = (q @ k.transpose(1, 2) * SCALE).masked_fill(~seen[None], float("-inf"))
            want.append((scores.softmax(-1) @ v).transpose(0, 1))
            got.append(out[at][:, heads].to("cpu", torch.float64))
        return relative_error(torch.cat(got), torch.cat(want))

    return error

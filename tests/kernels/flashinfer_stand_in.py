"""FlashInfer's wrappers as stand-ins: they plan, remember, and answer in fp64."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kernels.recorded import Calls, attend, paged, put, signature


def install(monkeypatch: pytest.MonkeyPatch, calls: Calls) -> None:
    """Put the package ``flashinfer`` in place."""
    names = ("BatchDecodeWithPagedKVCacheWrapper", "BatchPrefillWithPagedKVCacheWrapper")
    put(monkeypatch, "flashinfer", **{n: _wrapper(n, "flashinfer", calls) for n in names})
    name = "BatchMLAPagedAttentionWrapper"
    put(monkeypatch, "flashinfer.mla", **{name: _wrapper(name, "flashinfer.mla", calls)})


def _wrapper(name: str, module: str, calls: Calls) -> type:
    def method(what: str, answer: Any) -> Any:
        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            bound = calls.bound(f"{name}.{what}", signature(f"{module}:{name}.{what}"), lambda a: answer(self, a))
            return bound(*args, **kwargs)

        return run

    answers = {"__init__": _made, "plan": _planned, "run": _ran}
    return type(name, (), {what: method(what, answer) for what, answer in answers.items()})


def _made(self: Any, a: dict[str, Any]) -> None:
    self.made = a
    if a.get("use_cuda_graph"):
        assert all(a[n] is not None for n in a if n.startswith("paged_kv") and n.endswith("buffer"))


def _planned(self: Any, a: dict[str, Any]) -> None:
    import torch

    assert all(x.dtype == torch.int32 for n, x in a.items() if n.endswith(("indptr", "indices", "len_arr")))
    self.plan_args = a


def _ran(self: Any, a: dict[str, Any]) -> Any:
    import torch

    plan = self.plan_args
    if "q_nope" in a:
        return _latent(plan, a)
    keys, values = a["paged_kv_cache"]
    assert keys.dtype == plan["kv_data_type"] and a["q"].dtype == plan["q_data_type"]
    starts = plan.get("qo_indptr", torch.arange(a["q"].shape[0] + 1))
    indptr = plan.get("indptr", plan.get("paged_kv_indptr"))
    indices = plan.get("indices", plan.get("paged_kv_indices"))
    last = plan.get("last_page_len", plan.get("paged_kv_last_page_len"))
    for i in range(len(indptr) - 1):
        table = indices[int(indptr[i]):int(indptr[i + 1])]
        length = (len(table) - 1) * plan["page_size"] + int(last[i])
        mine = slice(int(starts[i]), int(starts[i + 1]))
        k, v = (paged(x, table, length) for x in (keys, values))
        scale = a["q"].shape[-1] ** -0.5
        a["out"][mine] = attend(a["q"][mine], k, v, scale, (plan["window_left"], -1)).to(a["out"].dtype)
    return a["out"]


def _latent(plan: dict[str, Any], a: dict[str, Any]) -> Any:
    import torch

    for i, length in enumerate(plan["kv_len_arr"]):
        table = plan["kv_indices"][int(plan["kv_indptr"][i]):int(plan["kv_indptr"][i + 1])]
        latent, rope = (paged(a[n], table, int(length)) for n in ("ckv_cache", "kpe_cache"))
        q, k = torch.cat([a["q_nope"][i:i + 1], a["q_pe"][i:i + 1]], -1), torch.cat([latent, rope], -1)
        a["out"][i:i + 1] = attend(q, k[:, None], latent[:, None], plan["sm_scale"]).to(a["out"].dtype)
    return a["out"]

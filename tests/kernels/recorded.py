"""Stand-ins for kernel libraries that accept exactly what the real ones do: signatures recorded from their packages
(benchmarks/record_signatures.py), answers computed in fp64."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

RECORD = json.loads((Path(__file__).parent / "data" / "signatures.json").read_text(encoding="utf-8"))


def signature(name: str) -> inspect.Signature:
    """The recorded signature of ``module:function``; defaults are values where they are literals."""
    kinds = inspect.Parameter
    return inspect.Signature([
        kinds(p["name"], getattr(kinds, p["kind"]), default=_literal(p["default"]) if "default" in p else kinds.empty)
        for p in RECORD["functions"][name]["parameters"]])


def documented(name: str) -> inspect.Signature:
    """The signature in a recorded pybind11 docstring."""
    node = ast.parse(f"def {RECORD['documented'][name].rstrip(':')}: ...").body[0]
    assert isinstance(node, ast.FunctionDef)
    missing = len(node.args.args) - len(node.args.defaults)
    empty = inspect.Parameter.empty
    return inspect.Signature([
        inspect.Parameter(a.arg, inspect.Parameter.POSITIONAL_OR_KEYWORD,
                          default=empty if i < missing else _literal(ast.unparse(node.args.defaults[i - missing])))
        for i, a in enumerate(node.args.args)])


def _literal(source: str) -> Any:
    try:
        return ast.literal_eval(source)
    except ValueError:
        return f"<{source}>"


class Calls:
    """What was called, with which arguments by name."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def bound(self, name: str, sig: inspect.Signature, answer: Callable[[dict[str, Any]], Any]) -> Callable[..., Any]:
        """A function that binds its arguments to ``sig``, notes them and returns ``answer(arguments)``."""
        def call(*args: Any, **kwargs: Any) -> Any:
            given = sig.bind(*args, **kwargs)
            given.apply_defaults()
            self.seen.append((name, dict(given.arguments)))
            return answer(dict(given.arguments))

        return call

    def named(self, name: str) -> list[dict[str, Any]]:
        return [args for n, args in self.seen if n == name]


def put(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> ModuleType:
    """A module of this name with these members; its parents too."""
    parts = name.split(".")
    for i in range(1, len(parts) + 1):
        path = ".".join(parts[:i])
        if path not in sys.modules or not getattr(sys.modules[path], "stand_in", False):
            module = ModuleType(path)
            module.stand_in = True  # type: ignore[attr-defined]
            module.__path__ = []
            monkeypatch.setitem(sys.modules, path, module)
            if i > 1:
                setattr(sys.modules[".".join(parts[:i - 1])], parts[i - 1], module)
    for key, value in members.items():
        setattr(sys.modules[name], key, value)
    return sys.modules[name]


def attend(q: Any, k: Any, v: Any, scale: float, window: tuple[int, int] = (-1, -1), causal: bool = True) -> Any:
    """Attention of one sequence, ``[q_len, heads, dim]`` on ``[kv_len, kv_heads, dim]``, aligned at the lower right,
    as FlashAttention documents its windows."""
    import torch

    group = q.shape[1] // k.shape[1]
    qs, ks, vs = (x.double().transpose(0, 1) for x in (q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)))
    at = torch.arange(q.shape[0])[:, None] + k.shape[0] - q.shape[0]
    keys = torch.arange(k.shape[0])[None]
    seen = torch.ones(q.shape[0], k.shape[0], dtype=torch.bool)
    right = 0 if causal else window[1]
    if right >= 0:
        seen &= keys <= at + right
    if window[0] >= 0:
        seen &= keys >= at - window[0]
    scores = (qs @ ks.transpose(1, 2) * scale).masked_fill(~seen, float("-inf"))
    return (scores.softmax(-1) @ vs).transpose(0, 1)


def paged(pages: Any, table: Any, length: int) -> Any:
    """The first ``length`` rows of the pages in ``table``."""
    return pages[table.long()].flatten(0, 1)[:length]


def flash(a: dict[str, Any]) -> Any:
    """Any of FlashAttention's Python calls, from its arguments by name; checks what the kernels check."""
    import torch

    q = a["q"]
    k, v = (a[n] if n in a and a[n] is not None else a[f"{n}_cache"] for n in ("k", "v"))
    table = a.get("block_table") if a.get("block_table") is not None else a.get("page_table")
    used = next((a[n] for n in ("seqused_k", "cache_seqlens") if a.get(n) is not None), None)
    latent = next((a[n] for n in ("q_v", "qv") if a.get(n) is not None), None)
    starts, kv_starts = a.get("cu_seqlens_q"), a.get("cu_seqlens_k")
    assert table is None or (table.dtype == torch.int32 and table.stride(-1) == 1)
    assert all(x is None or x.dtype == torch.int32 for x in (starts, kv_starts, used))
    assert not (kv_starts is not None and used is not None), "one of cu_seqlens_k and seqused_k"
    if table is not None and used is None and "seqused_k" not in a:  # FA2 takes the lengths of pages from their sums
        used = kv_starts.diff()
    assert q.stride(-1) == k.stride(-1) == v.stride(-1) == 1
    batched = q.dim() == 4
    rows = q.flatten(0, 1) if batched else q
    batch = q.shape[0] if batched else len(starts) - 1
    scale = a.get("softmax_scale") or (rows.shape[-1] + (0 if latent is None else latent.shape[-1])) ** -0.5
    window = tuple(-1 if w is None else w for w in (a["window_size"] or (-1, -1)))
    out = []
    for i in range(batch):
        mine = slice(i * q.shape[1], (i + 1) * q.shape[1]) if batched else slice(int(starts[i]), int(starts[i + 1]))
        if table is not None:
            ki, vi = (paged(x, table[i], int(used[i])) for x in (k, v))
        elif kv_starts is not None:
            span = slice(int(kv_starts[i]), int(kv_starts[i + 1]))
            ki, vi = k[span], v[span]
        else:
            ki, vi = k[i, :int(used[i])], v[i, :int(used[i])]
        qi = rows[mine].double() * _spread(a.get("q_descale"), i, rows.shape[1])
        ki = ki.double() * _spread(a.get("k_descale"), i, ki.shape[1])
        vi = vi.double() * _spread(a.get("v_descale"), i, vi.shape[1])
        if latent is not None:
            qi, ki = torch.cat([qi, latent[mine].double()], -1), torch.cat([ki, vi], -1)
        out.append(attend(qi, ki, vi, scale, window, a["causal"]))
    kind = torch.bfloat16 if q.dtype == torch.float8_e4m3fn else q.dtype
    made = torch.cat(out).to(kind)
    return made.view(*q.shape[:-1], -1) if batched else made


def _spread(scale: Any, i: int, heads: int) -> Any:
    """Scale of each head of sequence ``i``; scales come as ``[batch, kv_heads]``."""
    return 1.0 if scale is None else scale[i].double().repeat_interleave(heads // scale.shape[1])[None, :, None]

"""Weights, activations and the exact check of one layer of routed experts on one rank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from costplan.kernels.inputs import Inputs, relative_error
from costplan.kernels.moe_routing import Routing, known, route
from costplan.kernels.quantised import Quantised, plain, sample
from costplan.profile.case import Case

MOE = frozenset({"moe"})
_TOKENS = 6


@dataclass(frozen=True, slots=True)
class MoeSet:
    """``x`` BF16 ``[tokens, hidden]``; per local expert ``up`` ``[2 * inter, hidden]`` (gate first) and ``down``
    ``[hidden, inter]``. ``gather`` are the token rows in order of experts, -1 where a row is padding; ``offsets`` int32
    running ends per expert; ``slot`` int64 and ``weight`` BF16 ``[tokens, top_k]`` say where a token's outputs lie
    (weight 0 where another rank has them)."""

    x: Any
    up: Sequence[Quantised]
    down: Sequence[Quantised]
    gather: Any
    offsets: Any
    slot: Any
    weight: Any
    routing: Routing


def moe_refusal(case: Case, dtypes: tuple[str, ...], step: int) -> str | None:
    """None where a grouped kernel runs ``case``; ``step`` divides hidden and sharded inter sizes."""
    if case.family != "moe":
        return f"runs routed experts, not {case.family}"
    if case.text("dtype") not in dtypes:
        return f"no kernel for {case.text('dtype')}"
    if not known(case.text("distribution")):
        return f"unknown routing {case.text('distribution')}"
    return _sizes(case, step)


def _sizes(case: Case, step: int) -> str | None:
    v = {n: case.size(n) for n in ("tokens", "hidden_size", "inter_size", "top_k", "num_experts", "tp", "ep")}
    if min(v.values()) < 1:
        return "not a case: a size is zero"
    if v["top_k"] > v["num_experts"] or v["num_experts"] % v["ep"] or v["inter_size"] % v["tp"]:
        return "not a case: experts or widths do not divide"
    odd = v["hidden_size"] % step or (v["inter_size"] // v["tp"]) % step
    return f"hidden and sharded inter sizes must be multiples of {step}" if odd else None


def make_sets(case: Case, inputs: Inputs, quantise: Callable[[Any], Quantised], weight_bytes: float,
              align: int = 1) -> list[MoeSet]:
    """Input sets; groups of rows are padded to multiples of ``align``."""
    hidden, inter = case.size("hidden_size"), case.size("inter_size") // case.size("tp")
    routing = route(case.size("tokens"), case.size("top_k"), case.size("num_experts"), case.size("ep"),
                    case.text("distribution"), inputs.seed)
    touched = sum(1 for rows in routing.rows if rows)
    count = inputs.sets(3 * touched * hidden * inter * weight_bytes + 4 * case.size("tokens") * hidden)
    experts = len(routing.rows)
    return [MoeSet(inputs.randn(case.size("tokens"), hidden),
                   [quantise(inputs.randn(2 * inter, hidden, scale=hidden ** -0.5)) for _ in range(experts)],
                   [quantise(inputs.randn(hidden, inter, scale=inter ** -0.5)) for _ in range(experts)],
                   *_places(routing, case.size("tokens"), case.size("top_k"), inputs.device, align), routing)
            for _ in range(count)]


def bf16(x: Any) -> Quantised:
    """Weights as they are."""
    return plain(x)


def _places(routing: Routing, tokens: int, top_k: int, device: str, align: int) -> tuple[Any, Any, Any, Any]:
    import torch

    gather: list[int] = []
    ends: list[int] = []
    slots: list[list[int]] = [[] for _ in range(tokens)]
    for rows in routing.rows:
        for token in rows:
            slots[token].append(len(gather))
            gather.append(token)
        gather += [-1] * (-len(gather) % align)
        ends.append(len(gather))
    slot = torch.tensor([s + [0] * (top_k - len(s)) for s in slots], dtype=torch.int64, device=device)
    weight = torch.tensor([[1.0 / top_k] * len(s) + [0.0] * (top_k - len(s)) for s in slots], dtype=torch.bfloat16,
                          device=device)
    return (torch.tensor(gather, dtype=torch.int64, device=device),
            torch.tensor(ends, dtype=torch.int32, device=device), slot, weight)


def moe_error(given: MoeSet) -> Callable[[Any], float]:
    """Relative error of ``out[tokens, hidden]`` on tokens that this rank's experts saw, against fp64 on the CPU."""
    seen = sorted({t for rows in given.routing.rows for t in rows})
    tokens = [seen[i] for i in sample(len(seen), _TOKENS)]

    def error(out: Any) -> float:
        import torch

        x = given.x[tokens].to("cpu", torch.float64)
        want = torch.zeros_like(x)
        weight = float(given.weight.max())
        for expert, rows in enumerate(given.routing.rows):
            mine = [i for i, t in enumerate(tokens) if t in rows]
            if mine:
                up, down = given.up[expert], given.down[expert]
                h = x[mine] @ up.value(range(up.stored.shape[0])).T
                gate, value = h.chunk(2, -1)
                want[mine] += weight * (torch.nn.functional.silu(gate) * value) @ down.value(range(x.shape[1])).T
        return relative_error(out[tokens], want)

    return error

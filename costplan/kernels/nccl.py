"""Collectives over the GPUs of this machine: NCCL, one process per GPU, rank 0 in the worker itself."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from costplan.kernels.backend import Availability, Prepared, Unsupported
from costplan.kernels.inputs import Inputs, relative_error, torch_dtype
from costplan.kernels.library import Library, probe
from costplan.profile.case import Case

OPS = ("all_reduce", "all_gather", "reduce_scatter", "alltoall")
TOLERANCE = 1e-2
START_S = 120.0
_STOP = -1
_NAMES = {"all_gather": ("all_gather_single", "all_gather_into_tensor"),
          "reduce_scatter": ("reduce_scatter_single", "reduce_scatter_tensor"), "alltoall": ("all_to_all_single",)}
"""torch's functions, the name of torch 2.13 before that of earlier ones."""


class Nccl:
    """``message_bytes`` follow nccl-tests: what one rank holds for ``all_reduce``, ``reduce_scatter`` and
    ``alltoall``, what it receives in all for ``all_gather``."""

    name, device, domain, families = "nccl", "cuda", "nccl", frozenset({"collective"})

    def probe(self) -> Availability:
        return probe(Library("torch", "torch.distributed", "pip install torch (with CUDA)"), _gpus)

    def supports(self, case: Case) -> str | None:
        if case.family != "collective":
            return f"runs collectives, not {case.family}"
        if case.text("op") not in OPS:
            return f"no collective {case.text('op')}"
        if case.text("dtype") not in ("bf16", "fp16", "fp32"):
            return f"no reduction of {case.text('dtype')}"
        if case.size("num_gpus") < 2:
            return "needs 2 GPUs or more"
        size = case.size("num_gpus") * 4
        return None if case.size("message_bytes") and case.size("message_bytes") % size == 0 else (
            f"message_bytes must be a multiple of {size}")

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        import torch

        ranks = case.size("num_gpus")
        if inputs.device == "cuda" and torch.cuda.device_count() < ranks:
            raise Unsupported(f"needs {ranks} GPUs, {torch.cuda.device_count()} here")
        plan = Plan(case.text("op"), ranks, case.size("message_bytes"), case.text("dtype"), inputs.device, inputs.seed)
        group = Group(plan)
        return Prepared([group.call], partial(_error, plan), TOLERANCE, "NCCL" if inputs.device == "cuda" else "gloo",
                        {"launch": "eager, one process per GPU"}, graphable=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """One collective, the same on all ranks."""

    op: str
    ranks: int
    message_bytes: int
    dtype: str
    device: str
    seed: int


class Group:
    """Rank 0 and its peers. Peers spin on a shared counter and launch when it moves: what rank 0 waits for is then
    a microsecond or two, not a pipe."""

    def __init__(self, plan: Plan) -> None:
        import socket

        import torch
        from torch import multiprocessing

        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self._turn: Any = torch.zeros(1, dtype=torch.int64)
        share: Any = self._turn.share_memory_
        share()
        spawned = multiprocessing.get_context("spawn")
        peers = [spawned.Process(target=_peer, args=(plan, rank, port, self._turn), daemon=True)
                 for rank in range(1, plan.ranks)]
        for p in peers:
            p.start()
        self._end = weakref.finalize(self, _stop, self._turn, peers)
        self._run = _member(plan, 0, port)

    def call(self) -> Any:
        self._turn += 1
        return self._run()


def _stop(turn: Any, peers: list[Any]) -> None:
    import torch.distributed as dist

    turn.fill_(_STOP)
    for p in peers:
        p.join(5)
        if p.is_alive():
            p.kill()
    if dist.is_initialized():
        dist.destroy_process_group()


def _peer(plan: Plan, rank: int, port: int, turn: Any) -> None:
    """A rank other than 0, in its own process."""
    import os

    run, done, parent = _member(plan, rank, port), 0, os.getppid()
    while (wanted := int(turn)) != _STOP and os.getppid() == parent:
        while done < wanted:
            run()
            done += 1


def _member(plan: Plan, rank: int, port: int) -> Callable[[], Any]:
    """Join the group and bind this rank's call; each call gives the collective's output."""
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    where = f"{plan.device}:{rank}" if plan.device == "cuda" else plan.device
    if plan.device == "cuda":
        torch.cuda.set_device(rank)
    dist.init_process_group("nccl" if plan.device == "cuda" else "gloo", init_method=f"tcp://127.0.0.1:{port}",
                            rank=rank, world_size=plan.ranks, timeout=timedelta(seconds=START_S))
    given = _input(plan, rank).to(where)
    if plan.op == "all_reduce":
        buffer = torch.empty_like(given)

        def reduce() -> Any:
            buffer.copy_(given)
            dist.all_reduce(buffer)
            return buffer

        return reduce
    sizes = {"all_gather": plan.ranks * given.numel(), "reduce_scatter": given.numel() // plan.ranks}
    out = torch.full((sizes.get(plan.op, given.numel()),), float("nan"), dtype=given.dtype, device=where)
    run: Any = next(getattr(dist, n) for n in _NAMES[plan.op] if hasattr(dist, n))

    def call() -> Any:
        run(out, given)
        return out

    return call


def _input(plan: Plan, rank: int) -> Any:
    """Numbers of one rank, drawn on the CPU so that rank 0 can compute what is right."""
    import torch

    kind = torch_dtype(plan.dtype)
    count = plan.message_bytes // kind.itemsize // (plan.ranks if plan.op == "all_gather" else 1)
    draws = torch.Generator().manual_seed(plan.seed * 1009 + rank)
    return torch.randn(count, generator=draws).to(kind)


def _error(plan: Plan, out: Any) -> float:
    import torch

    given = [_input(plan, r).double() for r in range(plan.ranks)]
    total = torch.stack(given).sum(0)
    want = {"all_reduce": lambda: total, "all_gather": lambda: torch.cat(given),
            "reduce_scatter": lambda: total.chunk(plan.ranks)[0],
            "alltoall": lambda: torch.cat([g.chunk(plan.ranks)[0] for g in given])}[plan.op]()
    return relative_error(out, want)


def _gpus(_: Any) -> str | None:
    import torch

    count = torch.cuda.device_count()
    return None if count > 1 else f"needs 2 GPUs or more, {count} here"

"""A step's time as a sum of parts that each depend on few numbers: what the simulator tabulates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from costplan.perf.batch import BatchState
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.op_terms import depends_on
from costplan.perf.ops import Op


class StepParts(Protocol):
    """Seconds of one step: ``busy = tokens + seqs + decode + prefill``, at least ``prefill_floor_s`` with prompt
    tokens in it, plus ``host``. ``request_s`` passes once per request before the engine sees it, ``prompt_token_s``
    for each of its prompt tokens."""

    @property
    def prefill_floor_s(self) -> float: ...

    @property
    def request_s(self) -> float: ...

    @property
    def prompt_token_s(self) -> float: ...

    def tokens_s(self, tokens: int) -> float:
        """Layers that see tokens, not sequences: matrix products, experts, collectives, norms."""
        ...

    def seqs_s(self, seqs: int) -> float:
        """Kernels that run once per sequence of the step: head and sampling."""
        ...

    def decode_s(self, seqs: int, kv_tokens: int) -> float:
        """Attention and state updates of decoding sequences."""
        ...

    def prefill_s(self, seqs: int, tokens: int, context_tokens: int) -> float:
        """Attention and state updates of prompt tokens."""
        ...

    def host_s(self, seqs: int) -> float:
        """The engine's own time."""
        ...


class KernelStepParts:
    """The parts of a `KernelLatencyModel`; they add up to its ``step_s``.

    An operation belongs to the part that its size depends on, which two probes tell. One that reads the cache
    for prompts and for decoding at once (the sparse indexer) counts in both: its launch is then counted twice.
    """

    def __init__(self, model: KernelLatencyModel) -> None:
        self._model = model
        groups: dict[str, list[Op]] = {"decode": [], "prefill": [], "both": [], "seqs": [], "tokens": []}
        for op in model.ops:
            groups[depends_on(op)].append(op)
        self._decode = groups["decode"] + groups["both"]
        self._prefill = groups["prefill"] + groups["both"]
        self._seqs, self._tokens = groups["seqs"], groups["tokens"]
        one = BatchState(decode_seqs=1, decode_kv_tokens=1)
        host = model.overhead.step_s(0.0, one)
        floor = model.overhead.step_s(0.0, BatchState(prefill_tokens=1, prefill_seqs=1)) - host
        self.prefill_floor_s = model.pp * max(0.0, floor)
        self.request_s = model.overhead.request_s
        self.prompt_token_s = model.overhead.prompt_token_s

    def _sum(self, ops: Sequence[Op], batch: BatchState) -> float:
        pp = self._model.pp
        stage = BatchState(*(-(-x // pp) for x in (batch.decode_seqs, batch.decode_kv_tokens, batch.prefill_tokens,
                                                   batch.prefill_context_tokens, batch.prefill_seqs)))
        return pp * self._model.ops_s(ops, stage)

    def tokens_s(self, tokens: int) -> float:
        return self._sum(self._tokens, BatchState(prefill_tokens=tokens, prefill_seqs=1))

    def seqs_s(self, seqs: int) -> float:
        return self._sum(self._seqs, BatchState(decode_seqs=seqs, decode_kv_tokens=seqs))

    def decode_s(self, seqs: int, kv_tokens: int) -> float:
        return self._sum(self._decode, BatchState(decode_seqs=seqs, decode_kv_tokens=kv_tokens))

    def prefill_s(self, seqs: int, tokens: int, context_tokens: int) -> float:
        return self._sum(self._prefill, BatchState(0, 0, tokens, context_tokens, seqs))

    def host_s(self, seqs: int) -> float:
        pp = self._model.pp
        return pp * self._model.overhead.step_s(0.0, BatchState(decode_seqs=-(-seqs // pp), decode_kv_tokens=1))

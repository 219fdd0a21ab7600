"""One benchmark run, whatever tool measured it: what the file says, in seconds and tokens; None is not said."""

from __future__ import annotations

from dataclasses import dataclass

from costplan.perf.steady import LoadKind


@dataclass(frozen=True, slots=True)
class BenchRun:
    """``load_value`` is requests in flight, requests/s or requests in all; ``isl`` and ``osl`` are means.

    ``tpot_s`` is (e2e - TTFT) / (osl - 1) per request, or the mean gap where a tool reports no other. ``spread``
    is the half width of lengths as a share of their mean, where the file tells. What follows it describes the
    deployment as far as the file knows it; ``skipped`` says why a run cannot be used.
    """

    tool: str
    where: str
    load_kind: LoadKind | None = None
    load_value: float | None = None
    isl: float | None = None
    osl: float | None = None
    requests: int | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None
    output_tok_s: float | None = None
    spread: float | None = None
    engine: str | None = None
    engine_version: str | None = None
    model: str | None = None
    gpu: str | None = None
    tp: int | None = None
    pp: int | None = None
    ep: int | None = None
    weights: str | None = None
    kv: str | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    skipped: str | None = None

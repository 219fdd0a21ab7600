"""TTFT, TPOT and throughput of one engine instance under a load, in closed form.

A mean-field model of continuous batching with fixed mean lengths: each request needs one prefill and
``osl - 1`` decode steps; the prefills of others ride along in the steps of those that decode. It answers
"how fast at this load" without a simulator; queueing beyond the batch is Little's law.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from costplan.core.errors import DoesNotFitError
from costplan.perf.batch import BatchState
from costplan.perf.latency import KernelLatencyModel


class LoadKind(StrEnum):
    CONCURRENCY = "concurrency"
    RATE = "rate"
    ALL_AT_ONCE = "all_at_once"
    STATIC_BATCH = "static_batch"
    BATCH1 = "batch1"


@dataclass(frozen=True, slots=True)
class Load:
    """What arrives: ``value`` is requests in flight, requests/s or requests in all; ``isl`` and ``osl`` are means.

    ``requests`` is the number served in all (None: long enough to forget how it started). ``spread`` is the half
    width of uniformly distributed lengths, as a share of their mean (0: all alike). With ``log_sd`` lengths are
    lognormal instead (chat: many short ones, few long ones); it is the standard deviation of their logarithm.
    """

    kind: LoadKind
    value: float
    isl: float
    osl: float
    requests: int | None = None
    spread: float = 0.0
    log_sd: float = 0.0

    @property
    def waves(self) -> float | None:
        """Requests per client of a closed loop that ends."""
        closed = self.requests is not None and self.kind is LoadKind.CONCURRENCY
        return self.requests / self.value if closed and self.requests is not None else None


@dataclass(frozen=True, slots=True)
class Limits:
    """What the engine admits: sequences and tokens per step, and KV tokens that fit."""

    max_num_seqs: int
    max_num_batched_tokens: int
    kv_tokens: float


@dataclass(frozen=True, slots=True)
class Point:
    """Means over requests. ``output_tok_s`` of the instance; ``batch`` sequences decode together on average."""

    ttft_s: float
    tpot_s: float
    e2e_s: float
    output_tok_s: float
    batch: float
    queue_s: float
    saturated: bool
    decode_step: BatchState
    prefill_step: BatchState


def steady_state(model: KernelLatencyModel, load: Load, limits: Limits) -> Point:
    """The operating point under ``load``. Raises DoesNotFitError if not one request fits."""
    per_seq = load.isl + load.osl
    if per_seq > limits.kv_tokens:
        raise DoesNotFitError(f"one request needs {per_seq:.0f} KV tokens, only {limits.kv_tokens:.0f} fit",
                              hint="use more GPUs, a smaller KV dtype, or shorter contexts")
    # sequences hold isl + half of their output on average, but an engine admits while blocks last
    fit = max(1.0, limits.kv_tokens / (load.isl + 0.5 * load.osl))
    ceiling = min(fit, float(limits.max_num_seqs))
    cycle = _Cycle(model, load.isl, load.osl, limits.max_num_batched_tokens)
    if load.kind is LoadKind.RATE:
        return _open_loop(cycle, load, ceiling)
    if load.kind in (LoadKind.ALL_AT_ONCE, LoadKind.STATIC_BATCH):
        return _drain(cycle, load, ceiling)
    return _closed_loop(cycle, load, ceiling)


class _Cycle:
    """Step times at mean lengths."""

    def __init__(self, model: KernelLatencyModel, isl: float, osl: float, budget: int) -> None:
        self.model, self.isl, self.osl, self.budget = model, isl, osl, budget

    def decode(self, batch: float) -> BatchState:
        n = max(1, round(batch))
        return BatchState(decode_seqs=n, decode_kv_tokens=round(n * (self.isl + self.osl / 2)))

    def prefill(self, seqs: float, beside: float = 0.0) -> BatchState:
        d = self.decode(beside) if beside >= 0.5 else BatchState()
        n = max(1, round(seqs))
        tokens = min(round(n * self.isl), max(1, self.budget - d.decode_seqs))
        return BatchState(d.decode_seqs, d.decode_kv_tokens, tokens, 0, min(n, max(1, round(tokens / self.isl))))

    def decode_s(self, batch: float) -> float:
        """One decode step; between whole batch sizes linear."""
        low = max(1, int(batch))
        t = self.model.step_s(self.decode(low))
        if batch > low:
            t += (batch - low) * (self.model.step_s(self.decode(low + 1)) - t)
        return t

    @property
    def mixed(self) -> bool:
        """Whether prompts share steps with decoding sequences."""
        return self.model.overhead.mixed

    def prompt_s(self, seqs: float, beside: float) -> float:
        """Time to prefill ``seqs`` whole prompts at once, in chunks within the token budget, beside a decode batch."""
        beside = beside if self.mixed else 0.0
        total = seqs * self.isl
        room = max(256.0, self.budget - beside)
        chunks = max(1.0, total / room)
        if chunks <= 1.0:
            return self.model.step_s(self.prefill(seqs, beside))
        return self._chunked(total, room, beside)

    def _chunked(self, total: float, room: float, beside: float) -> float:
        d = self.decode(beside) if beside >= 0.5 else BatchState()
        whole, left = int(total // room), total % room
        seconds = 0.0
        # a chunk starts on average in the middle of its prompt's context when prompts are longer than a chunk
        context = max(0.0, (self.isl - room) / 2)
        seqs = max(1, round(room / self.isl))
        step = BatchState(d.decode_seqs, d.decode_kv_tokens, round(room), round(context * seqs), seqs)
        seconds += whole * self.model.step_s(step)
        if left >= 1:
            n = max(1, round(left / self.isl))
            seconds += self.model.step_s(BatchState(d.decode_seqs, d.decode_kv_tokens, round(left),
                                                    round(context * n), n))
        return seconds

    def prompt_extra_s(self, beside: float, together: float = 1.0) -> float:
        """What each of ``together`` prompts in one step adds to the steps of ``beside`` decoding sequences."""
        with_prompts = self.prompt_s(together, beside)
        if not self.mixed:
            return with_prompts / together
        steps = max(1.0, together * self.isl / max(256.0, self.budget - beside))
        return max(0.0, with_prompts - steps * self.decode_s(max(1.0, beside))) / together


def _closed_loop(c: _Cycle, load: Load, ceiling: float) -> Point:
    """``value`` clients, each sends its next request when the last one is answered."""
    clients = max(1.0, load.value)
    active = min(clients, ceiling)
    steps = max(1.0, load.osl - 1)
    batch = active
    tpot = ttft = 0.0
    for _ in range(12):
        decode = c.decode_s(max(1.0, batch))
        extra = c.prompt_extra_s(batch, max(1.0, (active - 1) / steps)) if active > 1 else 0.0
        tpot = decode + max(0.0, active - 1) * extra / steps
        # a request that arrives during a step waits for its end, then prefills beside the others
        wait = 0.5 * tpot if active > 1 else 0.0
        ttft = wait + c.prompt_s(1, batch if active > 1 else 0.0)
        new = active * steps * tpot / (ttft + steps * tpot)
        if abs(new - batch) < 1e-3 * batch:
            break
        batch = 0.5 * (batch + new)
    first = ttft
    if load.waves:
        burst = 0.5 * c.prompt_s(active, 0.0) + 0.5 * c.prompt_s(1, 0.0) if active > 1 else ttft
        first = ttft + (max(burst, ttft) - ttft) / max(1.0, load.waves)
    service = first + steps * tpot
    queue = service * (clients - active) / active
    e2e = service + queue
    rate = clients * load.osl / e2e
    return Point(first + queue, tpot, e2e, rate, batch, queue, clients > ceiling, c.decode(batch),
                 c.prefill(1, batch if active > 1 else 0))


def _open_loop(c: _Cycle, load: Load, ceiling: float) -> Point:
    """Poisson arrivals at ``value`` requests/s: find the number in flight whose throughput meets the rate."""
    def closed(n: float) -> Point:
        return _closed_loop(c, Load(LoadKind.CONCURRENCY, n, load.isl, load.osl), ceiling)

    top = closed(ceiling)
    if load.value * load.osl >= top.output_tok_s:
        return Point(top.ttft_s, top.tpot_s, top.e2e_s, top.output_tok_s, top.batch, float("inf"), True,
                     top.decode_step, top.prefill_step)
    low, high = 0.0, ceiling
    point = closed(1.0)
    for _ in range(30):
        mid = (low + high) / 2
        point = _fractional(c, load, mid)
        if point.output_tok_s < load.value * load.osl:
            low = mid
        else:
            high = mid
        if high - low < 1e-3 * high:
            break
    return Point(point.ttft_s, point.tpot_s, point.e2e_s, load.value * load.osl, point.batch, 0.0, False,
                 point.decode_step, point.prefill_step)


def _fractional(c: _Cycle, load: Load, in_flight: float) -> Point:
    """Means with ``in_flight`` requests on average: an arriving one sees them all (PASTA)."""
    steps = max(1.0, load.osl - 1)
    decode = c.decode_s(1.0 + in_flight)
    extra = c.prompt_extra_s(1.0 + in_flight)
    tpot = decode
    ttft = decode
    for _ in range(6):
        rate = in_flight / (ttft + steps * tpot)
        share = min(0.98, rate * extra)  # of the time, somebody else's prompt is in the step
        tpot = decode / (1.0 - share)
        ttft = 0.5 * tpot * min(1.0, in_flight) + c.prompt_s(1, in_flight) / (1.0 - 0.5 * share)
    e2e = ttft + steps * tpot
    return Point(ttft, tpot, e2e, in_flight / e2e * load.osl, in_flight, 0.0, False, c.decode(1 + in_flight),
                 c.prefill(1, in_flight))


def _drain(c: _Cycle, load: Load, ceiling: float) -> Point:
    """``value`` requests queued at once: fill the batch, keep it full while the queue lasts, drain."""
    total = max(1.0, load.value)
    steps = max(1.0, load.osl - 1)
    batch = min(total, ceiling)
    burst = c.prompt_s(batch, 0.0)
    if total <= ceiling:
        tpot = c.decode_s(batch)
        end = burst + steps * tpot
        ttft = 0.5 * burst + 0.5 * c.prompt_s(1, 0.0) if batch > 1 else burst
        return Point(ttft, tpot, ttft + steps * tpot, total * load.osl / end, batch, 0.0, False, c.decode(batch),
                     c.prefill(batch))
    decode = c.decode_s(batch)
    extra = c.prompt_extra_s(batch)
    tpot = decode + (batch - 1) * extra / steps
    refills = total - batch
    # full batch: every request costs steps/batch of a decode step and its prompt
    middle = refills * (steps * decode / batch + extra)
    end = burst + middle + steps * decode
    ttft = end * 0.5
    return Point(ttft, tpot, ttft + steps * tpot, total * load.osl / end, batch, ttft, True, c.decode(batch),
                 c.prefill(1, batch))

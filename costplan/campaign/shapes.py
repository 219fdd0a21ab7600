"""Workload x model x device -> the kernel shapes that a plan visits, weighted by the step time they make up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from costplan.campaign.device import Device
from costplan.campaign.elementwise import elementwise_calls
from costplan.campaign.kernel import GRAPH_TOKENS, Kernel, legal
from costplan.campaign.states import Step
from costplan.campaign.targets import Visits
from costplan.campaign.work import call_s
from costplan.catalog.model_spec import ModelSpec
from costplan.perf.batch import BatchState
from costplan.profile.case import Case
from costplan.profile.lengths import ragged_case

BUCKET = 2.0 ** 0.25
"""Sizes within a quarter of an octave are one point."""
RAGGED_TOKENS = 256
"""Most sequences of a ragged case: its lengths are spelled out in the table."""
_QUANT = {"fp8": "quant_fp8", "fp8_block": "quant_fp8", "mxfp8": "quant_fp8", "int8": "quant_int8"}
"""Op that makes 8-bit activations for weights of a format."""


@dataclass(frozen=True, slots=True)
class DemandPoint:
    """``kernel`` at sizes ``at`` makes up ``weight`` of the step seconds of all systems; ``system`` is one of them."""

    kernel: Kernel
    at: tuple[int, ...]
    weight: float
    system: int

    @property
    def case(self) -> Case:
        return self.kernel.case(self.at)


@dataclass(frozen=True, slots=True)
class Demand:
    """Weighted points of all kernels (weights add up to 1), real ragged batches with their share of attention time,
    the ``systems`` behind them, and what cannot be measured here (share of step time by reason)."""

    points: tuple[DemandPoint, ...]
    ragged: tuple[tuple[Case, float], ...]
    systems: tuple[str, ...]
    left_out: tuple[tuple[str, float], ...] = ()

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """All kernels, heaviest first."""
        total: dict[Kernel, float] = {}
        for p in self.points:
            total[p.kernel] = total.get(p.kernel, 0.0) + p.weight
        return tuple(sorted(total, key=lambda k: (-total[k], k.label)))

    def of(self, kernel: Kernel) -> tuple[DemandPoint, ...]:
        """Points of one kernel."""
        return tuple(p for p in self.points if p.kernel == kernel)

    @property
    def families(self) -> tuple[str, ...]:
        """Families that the model needs, by weight; ragged attention last."""
        found = dict.fromkeys(k.family for k in self.kernels)
        return (*found, "attn_ragged") if self.ragged else tuple(found)


def demand_of(seen: Sequence[Visits], spec: ModelSpec, device: Device, *, only: Iterable[str] | None = None,
              ragged: int = 24) -> Demand:
    """Demand of sampled steps; ``only`` keeps some families, ``ragged`` batches are spelled out."""
    weights: dict[tuple[Kernel, tuple[int, ...], int], list[float]] = {}
    left: dict[str, float] = {}
    kept = None if only is None else frozenset(only)
    for i, v in enumerate(seen):
        for kernel, at, part in _calls(v, spec, device):
            share = part / len(seen)
            if isinstance(kernel, str):
                left[kernel] = left.get(kernel, 0.0) + share
            elif kept is not None and kernel.family not in kept:
                left["not asked for"] = left.get("not asked for", 0.0) + share
            elif kernel.family == "collective" and kernel.number("num_gpus") > device.count:
                reason = "collectives need more devices than are present"
                left[reason] = left.get(reason, 0.0) + share
            else:
                bucket = weights.setdefault((kernel, _bucket(at), i), [0.0] * (1 + len(at)))
                bucket[0] += share
                for d, x in enumerate(at):
                    bucket[1 + d] += share * math.log(x)
    total = sum(b[0] for b in weights.values()) or 1.0
    points = [DemandPoint(k, _centre(k, b), b[0] / total, i) for (k, _, i), b in weights.items()]
    drawn = _ragged(seen, ragged) if kept is None or "attn_ragged" in kept else ()
    return Demand(tuple(sorted(points, key=lambda p: (-p.weight, p.kernel.label, p.at))), drawn,
                  tuple(v.target.label for v in seen), tuple(sorted(left.items())))



def merged(demands: Sequence[Demand]) -> Demand:
    """Several models or workloads on one device, each with an equal part."""
    points: list[DemandPoint] = []
    ragged: list[tuple[Case, float]] = []
    systems: list[str] = []
    left: dict[str, float] = {}
    for d in demands:
        points += [replace(p, weight=p.weight / len(demands), system=p.system + len(systems)) for p in d.points]
        ragged += [(case, w / len(demands)) for case, w in d.ragged]
        systems += d.systems
        for reason, share in d.left_out:
            left[reason] = left.get(reason, 0.0) + share / len(demands)
    return Demand(tuple(sorted(points, key=lambda p: (-p.weight, p.kernel.label, p.at))), tuple(ragged),
                  tuple(systems), tuple(sorted(left.items())))


def _bucket(at: Sequence[float]) -> tuple[int, ...]:
    return tuple(round(math.log(x) / math.log(BUCKET)) for x in at)


def _centre(kernel: Kernel, b: Sequence[float]) -> tuple[int, ...]:
    return tuple(legal(axis, math.exp(s / b[0])) for axis, s in zip(kernel.sweep, b[1:], strict=True))


def _calls(v: Visits, spec: ModelSpec, device: Device) -> Iterator[tuple[Kernel | str, tuple[float, ...], float]]:
    """Kernel (or why it has none), sizes and share of step time of every call of the sampled steps."""
    small = elementwise_calls(spec, v.target.layout, quant=_QUANT.get(v.target.weight_dtype))
    for step in v.steps:
        batch = step.batch
        found: list[tuple[Kernel | str, tuple[float, ...], float]] = []
        for op in v.ops:
            point = None if op.part == "elementwise" else op.at(batch)
            if point is None:
                continue
            kernel = v.book.kernels.get(id(op.kernel))
            seconds = op.seconds(batch)
            if kernel is None:
                found.append((f"no kernel family measures the {op.kernel.name}", (), seconds))
            else:
                found.append((*_sizes(kernel, point, batch), seconds))
        for c in small:
            rows = batch.decode_seqs + batch.prefill_seqs if c.per_seq else batch.tokens
            kernel = Kernel.of("elementwise", ("m",), op=c.op, k=c.k, dtype="bf16")
            at = (_padded(rows),)
            found.append((kernel, at, c.count * call_s(kernel.case((round(at[0]),)), device)))
        total = sum(s for _, _, s in found) * len(v.steps)
        yield from ((k, at, s / total) for k, at, s in found)


def _sizes(kernel: Kernel, point: Sequence[float], batch: BatchState) -> tuple[Kernel, tuple[float, ...]]:
    """Kernel and sizes of one operation; prompts with cached context become chunks."""
    if kernel.family in ("gemm", "moe"):
        return kernel, (_padded(point[0]),)
    if kernel.family in ("attn_prefill", "mla_prefill"):
        seqs = max(1, batch.prefill_seqs)
        q, context = batch.prefill_tokens / seqs, batch.prefill_context_tokens / seqs
        if context >= 1:
            fixed = dict(kernel.fixed) | {"batch": 1}
            return Kernel.of(kernel.family, ("q_len", "context"), **fixed), (max(1.0, q), context)
        return kernel, (float(seqs), max(1.0, q))
    return kernel, tuple(max(1.0, x) for x in point)


def _padded(tokens: float) -> float:
    """Batches up to the largest CUDA graph are padded to its sizes."""
    if tokens > GRAPH_TOKENS or tokens <= 2:
        return max(1.0, tokens)
    return 4.0 if tokens <= 4 else float(-(-int(tokens) // 8) * 8)


def _ragged(seen: Sequence[Visits], n: int) -> tuple[tuple[Case, float], ...]:
    """Real batches in equal parts over the attention kernels: of several decoding sequences, or of prompts beside
    decoding ones. Every other one is mixed where there are such."""
    out: list[tuple[Case, float]] = []
    shapes = _decode_kernels(seen)
    each = max(2, n // max(1, len(shapes)))
    for kernel, v in shapes.items():
        decode = [s for s in v.steps if not s.prompts and 2 <= len(s.decode) <= RAGGED_TOKENS]
        mixed = [s for s in v.steps if s.prompts and s.decode and len(s.decode) < RAGGED_TOKENS]
        chosen = [*_spread(decode, each - each // 2), *_spread(mixed, each // 2)]
        fixed = {k: x for k, x in kernel.fixed if k != "num_splits"}
        out += [(ragged_case(s.pairs, **fixed), 1.0) for s in chosen]
    unique: Mapping[Case, float] = dict(out)
    return tuple((c, 1.0 / len(unique)) for c in unique)


def _decode_kernels(seen: Sequence[Visits]) -> dict[Kernel, Visits]:
    found: dict[Kernel, Visits] = {}
    for v in seen:
        for op in v.ops:
            kernel = v.book.kernels.get(id(op.kernel))
            if kernel is not None and kernel.family == "attn_decode":
                found.setdefault(kernel, v)
    return found


def _spread(steps: Sequence[Step], n: int) -> list[Step]:
    """``n`` steps from light to heavy."""
    order = sorted(steps, key=lambda s: (len(s.decode), s.batch.decode_kv_tokens + s.batch.prefill_tokens))
    if len(order) <= n:
        return order
    return [order[int((i + 0.5) * len(order) / n)] for i in range(n)]


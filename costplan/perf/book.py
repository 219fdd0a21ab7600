"""Which measured kernel answers for a shape: looks through the profiles, best match first.

The first profile is that of the user's engine on the target GPU (or on the nearest GPU that was measured);
others on the same GPU stand in for families that the first lacks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from costplan.catalog.gpu_spec import GpuSpec
from costplan.core.dtypes import dtype
from costplan.perf import roofline
from costplan.perf.formats import MatmulFormat
from costplan.perf.grid import Grid
from costplan.perf.roofline import Work
from costplan.perf.timed import LAUNCH_S, Baseline, TimedKernel, grid_from
from costplan.profile.table import Table

OTHER_ENGINE_SD = 0.08
"""Extra relative error where another engine's kernel stands in (spread between engines in the tables)."""
OTHER_GPU_SD = 0.20
"""Extra relative error where another GPU's efficiency stands in."""
OTHER_FORMAT_SD = 0.15
"""Extra relative error where another number format's efficiency stands in."""
SLOW_PATH_SD = 0.4
"""Relative error where two GPUs' bandwidth stands in for a topology that was not measured properly."""
GRAPH_TOKENS = 513
"""Largest captured CUDA graph of vLLM and SGLang is 512 tokens; rows one above lie on the unaligned path too."""
HBM_EFFICIENCY = 0.92
"""Highest sustained share of the HBM peak (large copies, H200: 0.90-0.93)."""

_SAME_WIDTH = {"fp8": ("fp8_block",), "fp8_block": ("fp8",)}
"""Formats of equal width whose expert kernels serve each other's weights: engines pick the faster backend."""

WorkAt = Callable[[Sequence[float]], Work]


class Source(Protocol):
    """What the book needs of a profile."""

    @property
    def name(self) -> str: ...

    def table(self, family: str) -> Table | None: ...


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """Attention of one layer on one rank."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    kv_dtype: str
    window: int = 0


class KernelBook:
    """Timed kernels of one GPU, built when first asked for.

    ``static_quant``: activations are quantised inside the preceding kernel (TensorRT-LLM's static FP8 and NVFP4
    checkpoints). Its own table times quantisation and GEMM together, so the fastest plain GEMM stands in.
    """

    def __init__(self, sources: Sequence[Source], measured_on: GpuSpec | None, target: GpuSpec, *,
                 static_quant: bool = False) -> None:
        self.sources = tuple(sources) if measured_on else ()
        self.static_quant = static_quant
        self.measured_on = measured_on or target
        self.target = target
        self._gpu_sd = 0.0 if self.measured_on.name == target.name else OTHER_GPU_SD
        self._cache: dict[object, TimedKernel] = {}
        self._columns: dict[tuple[str, str, str], Table] = {}

    # -- the pieces that every kernel shares -----------------------------------------------------------------

    def _memo(self, key: object, make: Callable[[], TimedKernel]) -> TimedKernel:
        found = self._cache.get(key)
        if found is None:
            found = self._cache[key] = make()
        return found

    def _select(self, family: str, column: str, wanted: Sequence[str]) -> tuple[Table, float, str] | None:
        """Rows of the first source and the best format that exist: table, extra relative error, format."""
        for rank, name in enumerate(wanted):
            for order, source in enumerate(self.sources):
                key = (source.name, family, name)
                if key not in self._columns:
                    table = source.table(family)
                    if table is None or column not in table.vocab or name not in table.vocab[column]:
                        continue
                    self._columns[key] = table.take(table.mask(**{column: name}))
                rows = self._columns[key]
                if len(rows):
                    sd = math.hypot(OTHER_FORMAT_SD if rank else 0.0, OTHER_ENGINE_SD if order else 0.0)
                    return rows, math.hypot(sd, self._gpu_sd), name
        return None

    def _baseline(self, work: WorkAt, gpu: GpuSpec, peak: float) -> Baseline:
        bandwidth = gpu.mem_bandwidth_bytes_per_s
        return lambda p: work(p).time_s(peak, bandwidth) + LAUNCH_S

    def _kernel(self, name: str, work: WorkAt, peaks: tuple[float, float], measured_work: WorkAt,
                picked: tuple[Table, Sequence[str], float] | None, efficiency: float,
                floor: Baseline | None = None) -> TimedKernel:
        """``peaks``: FLOP/s of the target and of the measured format on the measured GPU."""
        target_peak, measured_peak = peaks
        bandwidth = self.target.mem_bandwidth_bytes_per_s

        def bound(p: Sequence[float]) -> str:
            w = work(p)
            return "compute" if w.flops / target_peak > w.bytes / bandwidth else "bandwidth"

        grid: Grid | None = None
        sd = 0.0
        if picked is not None and len(picked[0]):
            rows, coords, sd = picked
            grid = grid_from(rows, coords, self._baseline(measured_work, self.measured_on, measured_peak))
        return TimedKernel(name, grid, self._baseline(work, self.target, target_peak), sd, -math.log(efficiency),
                           floor, bound, work)

    def _peak(self, gpu: GpuSpec, compute: str) -> float:
        return gpu.peak(compute) or gpu.peak("bf16") or gpu.peak("fp16") or gpu.peak("fp32") or 1e12

    # -- kernels ----------------------------------------------------------------------------------------------

    def gemm(self, n: int, k: int, fmt: MatmulFormat, name: str) -> TimedKernel:
        """``[m, k] x [k, n]``; free coordinate: ``(m,)``."""
        return self._memo(("gemm", n, k, fmt.weight, fmt.compute), lambda: self._make_gemm(n, k, fmt, name))

    def _make_gemm(self, n: int, k: int, fmt: MatmulFormat, name: str) -> TimedKernel:
        def work(p: Sequence[float]) -> Work:
            return roofline.gemm(p[0], n, k, fmt.weight_bytes, fmt.act_bytes)

        bandwidth = self.target.mem_bandwidth_bytes_per_s * HBM_EFFICIENCY
        least = n * k * fmt.weight_bytes / bandwidth
        found = self._select("gemm", "dtype", fmt.tables)
        if self.static_quant and fmt.act_bytes < 2:
            found = self._fastest_gemm(n, k, fmt.tables[0]) or found
        if found is None:
            return self._kernel(name, work, (fmt.peak_flops, 1.0), work, None, 0.7, lambda _: least)
        rows, sd, measured = found
        compute, bytes_w, bytes_a = _measured_format(measured)
        peak = self._peak(self.measured_on, compute)
        base = self._baseline(lambda p: roofline.gemm(p[0], p[1], p[2], bytes_w, bytes_a), self.measured_on, peak)
        near = rows.take(_near_lines(rows, n, k))
        grid = grid_from(near, ("m", "n", "k"), base)
        line = _Slice(grid, (float(n), float(k)))
        return TimedKernel(name, line, self._baseline(work, self.target, fmt.peak_flops), sd, 0.0, lambda _: least,
                           lambda p: "compute" if work(p).flops / fmt.peak_flops
                           > work(p).bytes / self.target.mem_bandwidth_bytes_per_s else "bandwidth", work)

    def _fastest_gemm(self, n: int, k: int, measured: str) -> tuple[Table, float, str] | None:
        """Rows of the source whose kernels near ``(n, k)`` are fastest."""
        best: tuple[float, Table] | None = None
        for source in self.sources:
            table = source.table("gemm")
            if table is None or measured not in table.vocab["dtype"]:
                continue
            rows = table.take(table.mask(dtype=measured))
            near = rows.take(_near_lines(rows, n, k, 1))
            near = near.take(np.asarray(near.columns["m"]) <= 256)
            typical = float(np.median(near.columns["latency_s"])) if len(near) else math.inf
            if best is None or typical < best[0]:
                best = typical, rows
        return None if best is None else (best[1], math.hypot(OTHER_ENGINE_SD, self._gpu_sd), measured)

    def attn_decode(self, s: AttentionShape) -> TimedKernel:
        """Free coordinates: ``(batch, kv_len)``."""
        return self._memo(("decode", s), lambda: self._make_attention(s, "attn_decode"))

    def attn_prefill(self, s: AttentionShape) -> TimedKernel:
        """Free coordinates: ``(batch, q_len)`` of prompts without cached context."""
        return self._memo(("prefill", s), lambda: self._make_attention(s, "attn_prefill"))

    def _make_attention(self, s: AttentionShape, family: str) -> TimedKernel:
        kv_bytes = dtype(s.kv_dtype).bytes
        prefill = family == "attn_prefill"

        def work_of(heads: int, kv_heads: int, dim: int, window: int) -> WorkAt:
            if prefill:
                return lambda p: roofline.attn_prefill(p[0], p[1], p[1], heads, kv_heads, dim, kv_bytes, window)
            return lambda p: roofline.attn_decode(p[0], p[1], heads, kv_heads, dim, kv_bytes, window)

        work = work_of(s.num_heads, s.num_kv_heads, s.head_dim, s.window)
        peak, measured_peak = self._peak(self.target, "bf16"), self._peak(self.measured_on, "bf16")
        picked, measured_work = None, work
        found = self._select(family, "kv_dtype", (s.kv_dtype, *(("bf16",) if s.kv_dtype != "bf16" else ())))
        if found is not None:
            rows, sd, _ = found
            rows, shape, distance = _nearest_heads(rows, s)
            measured_work = work_of(shape.num_heads, shape.num_kv_heads, shape.head_dim, shape.window)
            coords = ("batch", "q_len") if prefill else ("batch", "kv_len")
            picked = (rows, coords, math.hypot(sd, 0.05 * distance))
        return self._kernel(family, work, (peak, measured_peak), measured_work, picked, 0.55 if prefill else 0.65)

    def mla(self, num_heads: int, kv_dtype: str, dims: tuple[int, int, int, int], *, prefill: bool) -> TimedKernel:
        """Latent attention kernel; ``dims`` = kv_lora_rank, rope dim, nope dim, v dim. Coordinates as above."""
        return self._memo(("mla", num_heads, kv_dtype, dims, prefill),
                          lambda: self._make_mla(num_heads, kv_dtype, dims, prefill))

    def _make_mla(self, num_heads: int, kv_dtype: str, dims: tuple[int, int, int, int], prefill: bool) -> TimedKernel:
        rank, rope, nope, v_dim = dims
        kv_bytes = dtype(kv_dtype).bytes

        def work_of(heads: int) -> WorkAt:
            if prefill:
                return lambda p: roofline.mla_prefill(p[0], p[1], p[1], heads, nope + rope, v_dim)
            return lambda p: roofline.mla_decode(p[0], p[1], heads, rank, rope, kv_bytes)

        picked, measured = None, work_of(num_heads)
        family = "mla_prefill" if prefill else "mla_decode"
        found = self._select(family, "kv_dtype", (kv_dtype, "bf16"))
        if found is not None:
            rows, sd, _ = found
            heads = _nearest(np.unique(rows.columns["num_heads"]), num_heads)
            rows = rows.take(rows.mask(num_heads=heads))
            measured = work_of(heads)
            picked = (rows, ("batch", "q_len") if prefill else ("batch", "kv_len"), sd)
        peaks = self._peak(self.target, "bf16"), self._peak(self.measured_on, "bf16")
        return self._kernel(family, work_of(num_heads), peaks, measured, picked, 0.5)

    def moe(self, shape: MoeShape, fmt: MatmulFormat, balance: str) -> TimedKernel:
        """Routed experts of one layer on one rank; free coordinate: ``(tokens,)`` over all ranks."""
        return self._memo(("moe", shape, fmt.weight, fmt.compute, balance), lambda: self._make_moe(shape, fmt, balance))

    def _make_moe(self, s: MoeShape, fmt: MatmulFormat, balance: str) -> TimedKernel:
        def work_of(x: MoeShape, weight_bytes: float) -> WorkAt:
            return lambda p: roofline.moe(p[0], x.hidden, x.inter, x.top_k, x.num_experts, x.tp, x.ep,
                                          weight_bytes, x.gated)

        work = work_of(s, fmt.weight_bytes)
        bandwidth = self.target.mem_bandwidth_bytes_per_s
        chosen: tuple[Grid, float] | None = None
        best = math.inf
        for names in ((fmt.tables[0],), _SAME_WIDTH.get(fmt.tables[0], ()), fmt.tables[1:]):
            found = self._select("moe", "dtype", names) if names else None
            if found is None:
                continue
            rows, sd, name = found
            compute, bytes_w, _ = _measured_format(name)
            peak = self._peak(self.measured_on, compute)
            grid, distance, typical = _moe_grid(rows, s, balance, lambda x, w=bytes_w, pk=peak: self._baseline(
                work_of(x, w), self.measured_on, pk))
            if chosen is None or (typical < best and names is not fmt.tables[1:]):
                best, chosen = typical, (grid, math.hypot(sd, 0.06 * distance))

        def floor(p: Sequence[float]) -> float:
            return 0.6 * work(p).bytes / bandwidth

        kernel = self._kernel("moe", work, (fmt.peak_flops, fmt.peak_flops), work, None, 0.5, floor)
        return kernel if chosen is None else replace(kernel, grid=chosen[0], transfer_sd=chosen[1])

    def all_reduce(self, num_gpus: int) -> TimedKernel:
        """Sum over ``num_gpus`` in one node; free coordinate: ``(message_bytes,)``."""
        return self._memo(("ar", num_gpus), lambda: self._make_collective("all_reduce", num_gpus))

    def collective(self, op: str, num_gpus: int) -> TimedKernel:
        """NCCL operation ``op`` (all_gather, reduce_scatter, alltoall); coordinate: ``(message_bytes,)``."""
        return self._memo((op, num_gpus), lambda: self._make_collective(op, num_gpus))

    def _make_collective(self, op: str, num_gpus: int) -> TimedKernel:
        hops = LAUNCH_S * math.log2(max(2, num_gpus))

        def base_of(gpu: GpuSpec, gpus: int) -> Baseline:
            speed = gpu.link_bytes_per_s or gpu.pcie_bytes_per_s or 25e9
            share = (2.0 if op == "all_reduce" else 1.0) * (gpus - 1) / gpus
            return lambda p: p[0] * share / speed + LAUNCH_S + hops

        grid, sd = None, 0.0
        same_link = self.target.link == self.measured_on.link
        found = self._select("collective", "op", (op,)) if same_link or self.target.link_bytes_per_s else None
        if found is not None:
            rows, sd, _ = found
            rows = rows.take(_graph_kernels(rows))
            gpus = _nearest(np.unique(rows.columns["num_gpus"]), num_gpus)
            if _shares_a_slow_path(rows, gpus):
                gpus, sd = 2, math.hypot(sd, SLOW_PATH_SD)
            rows = rows.take(rows.mask(num_gpus=gpus))
            if len(rows):
                grid = grid_from(rows, ("message_bytes",), base_of(self.measured_on, gpus))
                sd = math.hypot(sd, 0.0 if gpus == num_gpus else 0.15)
        return TimedKernel(op, grid, base_of(self.target, num_gpus), sd, math.log(1.6), None, lambda _: "network")

    def linear_attention(self, kind: str, phase: str, heads: tuple[int, int, int, int], hidden: int) -> list[TimedKernel]:
        """All kernels of a linear mixer in ``phase`` (prefill: ``(batch, seq_len)``; decode: ``(batch,)``)."""
        k_heads, k_dim, v_heads, v_dim = heads
        coords = ("batch", "seq_len") if phase == "prefill" else ("batch",)

        def work(p: Sequence[float]) -> Work:
            tokens = p[0] * (p[1] if phase == "prefill" else 1)
            state = p[0] * v_heads * k_dim * v_dim * 4.0
            flops = 8.0 * tokens * v_heads * k_dim * v_dim
            return Work(flops, 2 * state + tokens * 2.0 * (2 * k_heads * k_dim + 3 * v_heads * v_dim))

        peak, measured_peak = self._peak(self.target, "bf16"), self._peak(self.measured_on, "bf16")
        found = self._select("linear_attention", "kind", (kind,))
        if found is None:
            return [self._kernel(kind, work, (peak, 1.0), work, None, 0.3)]
        rows, sd, _ = found
        rows = rows.take(rows.mask(phase=phase))
        near = _nearest(np.unique(rows.columns["num_v_heads"]), v_heads)
        rows = rows.take(rows.mask(num_v_heads=near))
        hiddens = np.unique(rows.columns["hidden_size"])
        rows = rows.take(rows.mask(hidden_size=_nearest(hiddens, hidden)))
        kernels = []
        for name in sorted(set(rows.text("kernel"))):
            part = rows.take(rows.mask(kernel=name))
            kernels.append(self._memo((kind, phase, heads, hidden, name), lambda part=part, name=name: self._kernel(  # type: ignore[misc]
                name, work, (peak, measured_peak), work, (part, coords, sd), 0.3)))
        return kernels or [self._kernel(kind, work, (peak, 1.0), work, None, 0.3)]


@dataclass(frozen=True, slots=True)
class MoeShape:
    """Routed experts of one layer; ``inter`` before sharding by ``tp``."""

    hidden: int
    inter: int
    top_k: int
    num_experts: int
    tp: int
    ep: int
    gated: bool = True


class _Slice(Grid):
    """A grid with all coordinates but the first held fixed."""

    __slots__ = ("_fixed", "_whole")

    def __init__(self, whole: Grid, fixed: tuple[float, ...]) -> None:
        self._whole = whole
        self._fixed = fixed

    def read(self, point: Sequence[float]):  # type: ignore[no-untyped-def]  # noqa: ANN201
        return self._whole.read((point[0], *self._fixed))


def _measured_format(name: str) -> tuple[str, float, float]:
    """Compute format, bytes per weight and per activation of a measured dtype."""
    if name in ("bf16", "fp16"):
        return "bf16", 2.0, 2.0
    weight, eight_bit = {"int8_wo": ("int8", False), "int4": ("int4", False), "mxfp4": ("mxfp4", False),
                         "mxfp4_a8": ("mxfp4", True), "w4afp8": ("int4", True)}.get(name, (name, True))
    if not eight_bit:
        return "bf16", dtype(weight).bytes, 2.0
    compute = {"nvfp4": "fp4", "int8": "int8"}.get(name, "fp8")
    return compute, dtype(weight).bytes, min(1.0, dtype(weight).bytes)


def _near_lines(rows: Table, n: int, k: int, each_side: int = 2) -> np.ndarray:  # type: ignore[type-arg]
    """Rows whose ``n`` and ``k`` are among the well-covered grid lines next to the wanted ones.

    Small batches run in CUDA graphs that are padded to multiples of 8, so rows of other sizes, which take the
    kernels' unaligned path, are left out there.
    """
    m = np.asarray(rows.columns["m"])
    padded = (m <= 16) | (m % 8 == 0) | (m > GRAPH_TOKENS)
    ns, counts = np.unique(rows.columns["n"], return_counts=True)
    full = ns[(counts >= counts.max() * 0.5) | (ns == n)]
    keep_n = _around(full, n, each_side)
    keep_k = _around(np.unique(rows.columns["k"]), k, each_side)
    return np.asarray(padded & np.isin(rows.columns["n"], keep_n) & np.isin(rows.columns["k"], keep_k))


def _around(values: np.ndarray, x: int, each_side: int) -> np.ndarray:  # type: ignore[type-arg]
    i = int(np.searchsorted(values, x))
    return values[max(0, i - each_side): i + each_side + 1]


def _nearest(values: np.ndarray, x: int) -> int:  # type: ignore[type-arg]
    return int(values[np.argmin(np.abs(np.log(np.maximum(values, 1)) - math.log(max(x, 1))))])


def _nearest_heads(rows: Table, s: AttentionShape) -> tuple[Table, AttentionShape, float]:
    """Rows of the measured head shape closest to ``s``, that shape, and the distance in doublings."""
    cols = rows.columns
    keys = np.stack([np.asarray(cols[c]) for c in ("num_heads", "num_kv_heads", "head_dim", "window")])
    shapes = np.unique(keys, axis=1)
    logs = np.log2(np.maximum(shapes, 1))
    wanted = np.log2([s.num_heads, s.num_kv_heads, s.head_dim, max(1, s.window)])
    group = np.abs((logs[0] - logs[1]) - (wanted[0] - wanted[1]))
    windowed = 4.0 * ((shapes[3] > 0) != (s.window > 0))
    distance = group + 0.7 * np.abs(logs[1] - wanted[1]) + 2.0 * np.abs(logs[2] - wanted[2]) + 0.5 * np.where(
        (shapes[3] > 0) & (s.window > 0), np.abs(logs[3] - wanted[3]), 0.0) + windowed
    best = int(np.argmin(distance))
    heads, kv_heads, dim, window = (int(v) for v in shapes[:, best])
    picked = rows.take(np.asarray((keys == shapes[:, [best]]).all(axis=0)))
    return picked, AttentionShape(heads, kv_heads, dim, s.kv_dtype, window), float(distance[best])


def _moe_grid(rows: Table, s: MoeShape, balance: str,
              base_of: Callable[[MoeShape], Baseline]) -> tuple[Grid, float, float]:
    """Efficiency over tokens for expert shape ``s``: as measured, or a mean over the nearest measured shapes.

    Returns the grid, the distance to the nearest shape in doublings, and the median time of an exact match
    (infinite where there is none).
    """
    names = ("hidden_size", "inter_size", "top_k", "num_experts", "tp", "ep")
    if "distribution" in rows.vocab:
        order = (balance, "power_law_1.01", "power_law_1.2", "balanced", "uniform")
        dist = next(d for d in order if d in rows.vocab["distribution"] and rows.mask(distribution=d).any())
        rows = rows.take(rows.mask(distribution=dist))
    keys = np.stack([np.asarray(rows.columns[c]) for c in names])
    shapes = np.unique(keys, axis=1)
    wanted = np.log2(np.array([[s.hidden], [s.inter], [s.top_k], [s.num_experts], [s.tp], [s.ep]], dtype=float))
    weights = np.array([[1.0], [1.0], [1.5], [1.0], [1.0], [1.0]])
    distance = (weights * np.abs(np.log2(shapes) - wanted)).sum(axis=0)
    near = np.argsort(distance, kind="stable")[:1 if distance.min() == 0 else 5]
    parts = []
    for i in near:
        h, inter, k, e, tp, ep = (int(v) for v in shapes[:, i])
        own = rows.take(np.asarray((keys == shapes[:, [i]]).all(axis=0)))
        parts.append((grid_from(own, ("tokens",), base_of(MoeShape(h, inter, k, e, tp, ep, s.gated))),
                      1.0 / (0.3 + float(distance[i])) ** 2, own))
    if len(parts) == 1:
        grid, _, own = parts[0]
        exact = distance.min() == 0
        return grid, float(distance.min()), float(np.median(own.columns["latency_s"])) if exact else math.inf
    axis = sorted({float(t) for g, _, _ in parts for t in g.axes[0]})
    total = sum(w for _, w, _ in parts)
    mean = np.array([sum(w * g.read((t,)).log_ratio for g, w, _ in parts) / total for t in axis])
    return Grid([axis], mean), float(distance.min()), math.inf


def _shares_a_slow_path(rows: Table, num_gpus: int) -> bool:
    """Whether more GPUs reach less than 40 % of the bus bandwidth of two: that measures one host's PCIe topology
    (no peer-to-peer, one shared root port), not the GPU."""
    large = 1 << 24

    def bandwidth(gpus: int) -> float:
        part = rows.take(rows.mask(num_gpus=gpus) & (np.asarray(rows.columns["message_bytes"]) >= large))
        if not len(part):
            return 0.0
        speed = part.columns["message_bytes"] / part.columns["latency_s"] * (gpus - 1) / gpus
        return float(np.max(speed))

    return num_gpus > 2 and bandwidth(num_gpus) < 0.4 * bandwidth(2)


def _graph_kernels(rows: Table) -> np.ndarray:  # type: ignore[type-arg]
    """Rows that a CUDA graph would run: not those timed eagerly."""
    eager = np.array(["eager" in k for k in rows.vocab["kernel"]])
    return np.asarray(~eager[rows.codes["kernel"]])

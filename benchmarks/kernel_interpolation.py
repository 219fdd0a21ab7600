"""How well measured kernels are predicted when they are held out of the interpolation.

Prints median and 90th-percentile absolute error per family and profile:

* ``one``       each cell from its neighbours on the grid (leave-one-out)
* ``shape``     GEMM: all sizes m of one (n, k) held out; attention: one head shape from the nearest other
* ``frontier``  the largest value of each axis held out and extrapolated

against the leave-one-out errors that AIConfigurator documents for its own interpolation
(GEMM 4.9 % / 15.6 %, unseen n,k 3.6 % / 14.7 %, prefill attention 2.0 % / 9.7 %, frontier 9-15 % median).

Run: python benchmarks/kernel_interpolation.py [profile ...]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import numpy as np

from costplan.catalog.gpus import gpu as find_gpu
from costplan.perf import roofline
from costplan.perf.grid import Grid, leave_one_out
from costplan.perf.kernel_source import KernelSource, baseline, measured_format, peak
from costplan.perf.timed import Baseline, grid_from
from costplan.profile.store import Profile, list_profiles

PEERS = {("gemm", "one"): "4.9 / 15.6", ("gemm", "shape"): "3.6 / 14.7", ("attn_prefill", "one"): "2.0 / 9.7",
         ("gemm", "frontier"): "9-15 median", ("attn_prefill", "frontier"): "9-15 median",
         ("attn_decode", "frontier"): "9-15 median"}


def gemm_grids(profile: Profile, src: KernelSource) -> Iterator[tuple[str, Grid]]:
    """One grid per number format over (m, n, k); sparse lines are left out as in the model itself."""
    table = profile.table("gemm")
    if table is None:
        return
    for name in table.vocab["dtype"]:
        rows = table.take(table.mask(dtype=name))
        ns, counts = np.unique(rows.columns["n"], return_counts=True)
        rows = rows.take(np.isin(rows.columns["n"], ns[counts >= counts.max() * 0.5]))
        compute, bytes_w, bytes_a = measured_format(name)
        base = baseline(lambda p, w=bytes_w, a=bytes_a: roofline.gemm(p[0], p[1], p[2], w, a),
                              src.target, peak(src.target, compute))
        yield name, grid_from(rows, ("m", "n", "k"), base)


def attention_grids(profile: Profile, src: KernelSource, family: str) -> Iterator[tuple[str, Grid]]:
    """One grid per head shape and KV format over (batch, length)."""
    table = profile.table(family)
    if table is None:
        return
    length = "q_len" if family == "attn_prefill" else "kv_len"
    names = ("num_heads", "num_kv_heads", "head_dim", "window")
    for kv in table.vocab["kv_dtype"]:
        rows = table.take(table.mask(kv_dtype=kv))
        keys = np.stack([rows.columns[c] for c in names])
        for shape in np.unique(keys, axis=1).T:
            picked = rows.take((keys == shape[:, None]).all(axis=0))
            yield kv, grid_from(picked, ("batch", length), attention_baseline(family, shape, kv, src))


def attention_baseline(family: str, shape: Sequence[int], kv: str, src: KernelSource) -> Baseline:
    heads, kv_heads, dim, window = (int(x) for x in shape)
    kv_bytes = 1.0 if kv == "fp8" else 2.0
    flops = peak(src.target, "bf16")
    if family == "attn_prefill":
        return baseline(lambda p: roofline.attn_prefill(p[0], p[1], p[1], heads, kv_heads, dim, kv_bytes, window),
                              src.target, flops)
    return baseline(lambda p: roofline.attn_decode(p[0], p[1], heads, kv_heads, dim, kv_bytes, window),
                          src.target, flops)


def measured_ratio(grid: Grid) -> np.ndarray:
    """The grid's values where somebody measured, NaN elsewhere."""
    mask = np.array(grid._measured).reshape(grid.values.shape)
    return np.where(mask, grid.values, np.nan)


def errors_one(grid: Grid) -> np.ndarray:
    return finite(np.expm1(grid.loo))


def errors_shape(grid: Grid) -> np.ndarray:
    """Whole m-curves held out: each (n, k) from its neighbours in n and k only."""
    values = measured_ratio(grid)
    logs = [np.asarray(a) for a in grid.log_axes[1:]]
    held = np.stack([leave_one_out(logs, plane) for plane in values])
    return finite(np.expm1(np.abs(held - values)))


def errors_frontier(grid: Grid) -> np.ndarray:
    """The last measured value along each axis, from a grid that ends one step before it."""
    values = measured_ratio(grid)
    out = []
    for axis in range(values.ndim):
        size = values.shape[axis]
        if size < 4:
            continue
        last = np.take(values, size - 1, axis=axis)
        before = np.take(values, size - 2, axis=axis)
        out.append(finite(np.expm1(np.abs(last - before))))
    return np.concatenate(out) if out else np.array([])


def finite(x: np.ndarray) -> np.ndarray:
    return x[np.isfinite(x)]


def report(profile: Profile) -> None:
    gpu = find_gpu(profile.gpu)
    src = KernelSource([profile], gpu, gpu)
    tests = {"one": errors_one, "shape": errors_shape, "frontier": errors_frontier}
    for family in ("gemm", "attn_prefill", "attn_decode"):
        grids = list(gemm_grids(profile, src) if family == "gemm" else attention_grids(profile, src, family))
        for label in sorted({name for name, _ in grids}):
            for test, run in tests.items():
                if test == "shape" and family != "gemm":
                    continue
                errors = np.concatenate([run(g) for name, g in grids if name == label] or [np.array([])])
                if len(errors):
                    print(f"{profile.name:24s} {family:13s} {label:10s} {test:9s} {len(errors):7d} "
                          f"{np.median(errors) * 100:6.2f} % {np.quantile(errors, 0.9) * 100:6.2f} %   "
                          f"{PEERS.get((family, test), '')}")


def main(names: Sequence[str]) -> None:
    print(f"{'profile':24s} {'family':13s} {'format':10s} {'held out':9s} {'cases':>7s} {'median':>8s} {'p90':>8s}   "
          "AIConfigurator's documented")
    chosen = [Profile.load(n) for n in names] if names else [
        Profile.load(p.folder) for p in list_profiles() if p.manifest]
    for profile in chosen:
        report(profile)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Where the fast engine finds its data: the fields of ``sim.h`` and arrays laid out one after the other."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any

from numpy.typing import NDArray

from costplan.simulate.clock import HISTOGRAM_BINS
from costplan.simulate.policy import Preemption
from costplan.simulate.setup import Setup

SEQ_BYTES = 104
OUTPUTS = ("arrival", "admitted", "first", "finish", "max_gap", "preempted")


@cache
def fields() -> dict[str, int]:
    """Name and place (in units of 8 bytes) of every field of ``Sim``."""
    text = files("costplan.simulate.engine").joinpath("sim.h").read_text(encoding="utf-8")
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    body = text[text.rindex("typedef struct {"):text.rindex("} Sim;")]
    names = [name.strip() for line in re.findall(r"[if]64 ([^;]*);", body) for name in line.split(",")]
    return {name: place for place, name in enumerate(names)}


def scalars(s: Setup) -> dict[str, int]:
    """Whole numbers of the setup by field."""
    p, lim, t = s.policy, s.limits, s.table
    return {
        "n": s.n, "units": s.units.count, "unit_tokens": s.units.tokens, "unit_blocks": s.units.blocks,
        "classes": len(s.class_rank), "ranks": int(s.class_rank.max()) + 1, "tenants": len(s.bucket_rate),
        "concurrency": s.concurrency, "think": s.think, "mixed": p.mixed_steps, "chunked": p.chunked_prefill,
        "static_batch": p.static_batch, "reserve_output": p.reserve_output, "reserve_permille": p.reserve_permille,
        "swap": p.preemption is Preemption.SWAP, "max_running": s.max_running,
        "max_tokens": lim.max_num_batched_tokens, "num_blocks": lim.num_blocks, "block_size": lim.block_size,
        "watermark": lim.watermark_blocks, "swap_ticks": s.swap_ticks, "num_knots": len(t.kv_knots),
        "prefill_floor": t.prefill_floor, "num_s": len(t.prefill_axes[0]), "num_q": len(t.prefill_axes[1]),
        "num_c": len(t.prefill_axes[2]), "gap_capacity": 2 * s.max_running + 64,
    }


def arrays(s: Setup) -> dict[str, NDArray[Any]]:
    """Arrays that the engine reads (``arrival`` it also writes), by field."""
    t = s.table
    return {
        "arrival": s.arrival, "isl": s.isl, "osl": s.osl, "cls": s.request_class, "unit_ids": s.units.ids,
        "unit_offsets": s.units.offsets, "class_rank": s.class_rank, "class_tenant": s.class_tenant,
        "bucket_rate": s.bucket_rate, "bucket_burst": s.bucket_burst, "t_tokens": t.tokens, "t_seqs": t.seqs,
        "t_host": t.host, "kv_knots": t.kv_knots, "t_decode": t.decode[:s.max_running + 1],
        "t_slope": t.slope[:s.max_running + 1], "axis_s": t.prefill_axes[0], "axis_q": t.prefill_axes[1],
        "axis_c": t.prefill_axes[2], "t_prefill": t.prefill,
    }


def work_bytes(s: Setup) -> dict[str, int]:
    """Bytes of the arrays that start as zeros: outputs and work space, by field."""
    n, units, classes, ranks = s.n, s.units.count, len(s.class_rank), int(s.class_rank.max()) + 1
    run, gaps, nodes = s.max_running, 2 * s.max_running + 64, s.units.count + 3
    out = dict.fromkeys(OUTPUTS[1:], 8 * n)
    return out | {
        "gaps": 8 * HISTOGRAM_BINS, "seqs": SEQ_BYTES * n, "wait_head": 4 * classes, "wait_tail": 4 * classes,
        "run_head": 4 * ranks, "run_tail": 4 * ranks, "bucket": 8 * len(s.bucket_rate),
        "bucket_time": 8 * len(s.bucket_rate), "phase": 8 * s.limits.block_size, "heap": 4 * run, "fresh": 4 * run,
        "batch": 8 * run, "gap_step": 8 * gaps, "gap_ticks": 8 * gaps, "gap_keep": 8 * gaps, "users": 4 * units,
        "node_next": 4 * (units + nodes), "node_prev": 4 * (units + nodes), "node_count": 8 * nodes,
        "node_free": 4 * nodes,
    }

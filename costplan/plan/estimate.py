"""A closed form that ranks systems before any kernel is read: roofline with typical efficiencies."""

from __future__ import annotations

from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.model_spec import ModelSpec
from costplan.perf.formats import matmul_format
from costplan.perf.kv import kv_bytes_per_token
from costplan.perf.overhead import overhead
from costplan.perf.speculative import tokens_per_cycle
from costplan.plan.bounds import active_params, read_bytes
from costplan.plan.demand import Demand
from costplan.plan.space import Candidate
from costplan.workload.workload import Metric, SloTarget

COMPUTE_EFFICIENCY = 0.5
BANDWIDTH_EFFICIENCY = 0.75
ATTENTION_EFFICIENCY = 0.6
COLLECTIVE_S = 12e-6
"""Typical figures of large dense steps; they order candidates and decide nothing."""

_BATCHES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


def estimated_requests_per_s(spec: ModelSpec, gpu: GpuSpec, c: Candidate, need: Demand,
                             targets: tuple[SloTarget, ...]) -> float:
    """Rough capacity of one replica under its TPOT limit; a small positive number where none is left."""
    lay = c.config.layout
    fmt = matmul_format(gpu, c.config.weight_dtype)
    bandwidth = gpu.mem_bandwidth_bytes_per_s
    flops = 2.0 * active_params(spec) / (lay.tp * lay.pp)
    read_s = lay.pp * read_bytes(spec, c.system) / (bandwidth * BANDWIDTH_EFFICIENCY)
    token_s = flops / (fmt.peak_flops * COMPUTE_EFFICIENCY) + _link_s(spec, gpu, lay.tp)
    kv_s = kv_bytes_per_token(spec, c.config.kv_dtype, lay.tp, lay.pp) * lay.pp / (bandwidth * ATTENTION_EFFICIENCY)
    fixed_s = 2.0 * spec.num_layers * COLLECTIVE_S * (lay.tp > 1) + overhead(c.config.engine).step_s0
    held = need.reads / max(1.0, need.decode_steps)
    room = c.budget.concurrency(max(1, round(need.new_tokens + need.output_tokens)))
    limit = min((t.limit_s for t in targets if t.metric is Metric.TPOT), default=float("inf"))
    prompt_s = need.new_tokens * token_s
    drafts = c.system.drafting
    guesses = 1 + (drafts.tokens if drafts else 0)
    kept = tokens_per_cycle(drafts.acceptance, drafts.tokens) if drafts else 1.0
    best = 1e-6
    for n in _BATCHES:
        if n > min(room, c.config.max_num_seqs) and n > 1:
            break
        step = (max(read_s, n * guesses * token_s) + n * held * kv_s + fixed_s) / kept
        cycle = max(1.0, need.decode_steps) * step + n * prompt_s  # n requests, and the prompts of n more
        if cycle / max(1.0, need.decode_steps) > limit and best > 1e-6:
            break
        slow = min(1.0, limit / (cycle / max(1.0, need.decode_steps)))
        best = max(best, n / cycle * slow**3)
    return best * lay.dp


def _link_s(spec: ModelSpec, gpu: GpuSpec, tp: int) -> float:
    """All-reduces of one token over all layers."""
    if tp == 1:
        return 0.0
    link = gpu.link_bytes_per_s or gpu.pcie_bytes_per_s or 16e9
    return 2.0 * spec.num_layers * spec.hidden_size * 2.0 * 2.0 * (tp - 1) / tp / (link * 0.6)

"""The catalogues as plain values: bytes, bytes/s, FLOP/s, USD."""

from __future__ import annotations

from typing import Any

from costplan.catalog.gpu_spec import GpuSpec
from costplan.report.catalog_text import ModelView, PriceView, attention_kind


def gpu_json(g: GpuSpec, *, measured: bool) -> dict[str, Any]:
    """One GPU; null is unknown or absent."""
    names = ("name", "title", "vendor", "arch", "compute_capability", "mem_bytes", "mem_marketed_bytes",
             "mem_bandwidth_bytes_per_s", "l2_bytes", "num_sms", "link", "link_bytes_per_s", "pcie_bytes_per_s",
             "node_net_bytes_per_s", "gpus_per_node", "link_gpus", "tdp_w", "notes")
    return {n: getattr(g, n) for n in names} | {
        "peak_flops_per_s": dict(g.peak_flops), "sources": dict(g.sources), "has_measured_kernels": measured}


def model_json(v: ModelView) -> dict[str, Any]:
    """One model."""
    s, p = v.spec, v.params
    return {
        "name": s.name, "aliases": list(v.aliases), "model_type": s.model_type, "params_total": p.total,
        "params_active": p.active, "params_by_part": dict(p.parts), "params_mtp": p.mtp, "num_layers": s.num_layers,
        "hidden_size": s.hidden_size, "vocab_size": s.vocab_size, "attention": attention_kind(s),
        "weight_dtype": s.weight_dtype, "base_dtype": s.base_dtype, "kv_dtype": v.kv_dtype,
        "kv_bytes_per_token": v.kv_bytes_per_token, "state_bytes_per_sequence": v.state_bytes_per_sequence,
        "max_position_tokens": s.max_position, "is_moe": s.is_moe, "notes": list(s.notes), "source": s.source}


def price_json(v: PriceView) -> dict[str, Any]:
    """One price of one whole instance."""
    p = v.price
    return {
        "gpu": p.gpu, "provider": p.provider, "instance": p.instance, "gpu_count": p.gpu_count, "region": p.region,
        "purchase": p.purchase.value, "price_usd_per_instance_h": p.price_usd_per_instance_h,
        "price_usd_per_gpu_h": p.price_usd_per_gpu_h, "price_date": p.price_date.isoformat() if p.price_date else None,
        "age_days": v.age_days, "stale": v.stale, "source": p.source}

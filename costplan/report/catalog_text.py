"""`costplan catalog`: GPUs, models and prices as tables, and one GPU or model with all that is known about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.model_spec import Attention, LinearMixer, MlaAttention, ModelSpec, MoeMlp
from costplan.catalog.params import ParamCount
from costplan.catalog.price import Price
from costplan.core.units import GB
from costplan.report.columns import Column, facts, heading, table
from costplan.report.numbers import gib, si, significant, usd
from costplan.report.style import Style

_MODEL_COLUMNS = (
    Column("model"), Column("params", right=True), Column("active", right=True),
    Column("layers", right=True, expendable=2), Column("attention", widest=30), Column("KV B/token", right=True),
    Column("weights", expendable=3), Column("context", right=True, expendable=1))
_FIELD_COLUMNS = (Column("field"), Column("value"), Column("source"))


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model with what follows from its shapes: parameters, and KV bytes on one GPU in ``kv_dtype``."""

    spec: ModelSpec
    params: ParamCount
    kv_dtype: str
    kv_bytes_per_token: float
    state_bytes_per_sequence: float
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PriceView:
    """A price on the day of asking; ``age_days`` None where it is undated."""

    price: Price
    age_days: int | None
    stale: bool

    @property
    def age(self) -> str:
        said = "undated" if self.age_days is None else f"{self.age_days} days"
        return f"{said}, stale" if self.stale else said


def gpus_text(specs: Iterable[GpuSpec], measured: frozenset[str], style: Style) -> str:
    """One line per GPU; ``measured`` names those that a profile exists for."""
    columns = (Column("gpu"), Column("arch", expendable=3), Column("memory", right=True), Column("TB/s", right=True),
               Column("bf16", right=True), Column("fp8", right=True), Column("fp4", right=True),
               Column("link GB/s", right=True, expendable=1), Column("W", right=True, expendable=2), Column("kernels"))
    rows = [[g.name, g.arch, gib(g.mem_bytes), f"{g.mem_bandwidth_bytes_per_s / 1e12:.2f}",
             *(_tflops(g.peak(k)) for k in ("bf16", "fp8", "fp4")), _per_s(g.link_bytes_per_s),
             "-" if g.tdp_w is None else f"{g.tdp_w:.0f}", "measured" if g.name in measured else "-"] for g in specs]
    note = ("memory as the driver reports it; bf16, fp8, fp4: dense peak in TFLOP/s; link: per GPU and direction. "
            "costplan catalog gpus NAME shows sources")
    return "\n".join([*table(columns, rows, style), "", *facts([("", note)], style)]) + "\n"


def _tflops(x: float | None) -> str:
    return "-" if x is None else f"{x / 1e12:,.0f}"


def _per_s(x: float | None) -> str:
    return "-" if x is None else significant(x / GB)


def gpu_text(g: GpuSpec, style: Style) -> str:
    """Every number of one GPU with its source."""
    rows = [(f"peak {k}, dense", f"{v / 1e12:,.1f} {'TOP/s' if k == 'int8' else 'TFLOP/s'}", f"peak_flops.{k}")
            for k, v in g.peak_flops.items()]
    rows += [("memory", f"{g.mem_bytes:,} B, {gib(g.mem_bytes)}", "mem_bytes"),
             ("memory as sold", gib(g.mem_marketed_bytes), "mem_marketed_bytes"),
             ("memory bandwidth", _known(g.mem_bandwidth_bytes_per_s), "mem_bandwidth_bytes_per_s"),
             ("L2 cache", _maybe(g.l2_bytes and f"{g.l2_bytes / 2**20:.0f} MiB"), "l2_bytes"),
             ("SMs or units", _maybe(g.num_sms), "num_sms"),
             ("link, per direction", _known(g.link_bytes_per_s), "link_bytes_per_s"),
             ("PCIe, per direction", _known(g.pcie_bytes_per_s), "pcie_bytes_per_s"),
             ("network, per GPU", _known(g.node_net_bytes_per_s), "node_net_bytes_per_s"),
             ("GPUs per node", str(g.gpus_per_node), "gpus_per_node"), ("GPUs on the link", _maybe(g.link_gpus),
                                                                        "link_gpus"),
             ("TDP", _maybe(g.tdp_w and f"{g.tdp_w:.0f} W"), "tdp_w")]
    cited = list(dict.fromkeys(g.sources[f] for _, _, f in rows if f in g.sources))
    cells = [[name, value, f"[{cited.index(g.sources[f]) + 1}]" if f in g.sources else ""] for name, value, f in rows]
    head = f"{g.name}: {g.title}, {g.vendor} {g.arch} {g.compute_capability}, link {g.link or 'none'}"
    lines = [*heading(head, style), "", *table(_FIELD_COLUMNS, cells, style), ""]
    lines += facts([(f"[{i}]", s) for i, s in enumerate(cited, 1)], style)
    if g.notes:
        lines += ["", *facts([("notes", g.notes)], style)]
    return "\n".join(lines) + "\n"


def _maybe(x: object) -> str:
    return "unknown" if x is None else str(x)


def _known(x: float | None) -> str:
    return "unknown" if x is None else f"{_per_s(x)} GB/s"


def attention_kind(spec: ModelSpec) -> str:
    """The mixers of a model in words: GQA 32/8, MLA, sliding 128, gdn ..."""
    kinds: dict[str, None] = {}
    for group in spec.layers:
        for mixer in group.layer.mixers:
            kinds[_mixer(mixer)] = None
    return " + ".join(kinds) or "none"


def _mixer(m: Attention | MlaAttention | LinearMixer) -> str:
    if isinstance(m, LinearMixer):
        return m.kind
    if isinstance(m, MlaAttention):
        return "sparse MLA" if m.index else "MLA"
    name = "MHA" if m.num_heads == m.num_kv_heads else "MQA" if m.num_kv_heads == 1 else "GQA"
    said = name if name == "MHA" else f"{name} {m.num_heads}/{m.num_kv_heads}"
    return f"{said} window {m.window:,}" if m.window else said


def models_text(views: Sequence[ModelView], style: Style) -> str:
    """One line per model."""
    rows = [[v.spec.name, si(v.params.total), si(v.params.active) if v.spec.is_moe else "", str(v.spec.num_layers),
             attention_kind(v.spec), f"{v.kv_bytes_per_token:,.0f}", v.spec.weight_dtype,
             "-" if v.spec.max_position is None else f"{v.spec.max_position:,}"] for v in views]
    note = "KV B/token: one more token of a long sequence, on one GPU, in the checkpoint's KV format"
    return "\n".join([*table(_MODEL_COLUMNS, rows, style), "", *facts([("", note)], style)]) + "\n"


def model_text(v: ModelView, style: Style) -> str:
    """One model: parameters by part, KV cache, layers, notes."""
    s, p = v.spec, v.params
    lines = [*heading(f"{s.name} ({s.model_type})", style), ""]
    pairs = [("parameters", f"{p.total:,} in total, {p.active:,} active per token"),
             ("by part", ", ".join(f"{k} {si(n)}" for k, n in p.parts.items() if n)),
             ("weights", f"{s.weight_dtype}, the rest {s.base_dtype}"), ("hidden size", f"{s.hidden_size:,}"),
             ("vocabulary", f"{s.vocab_size:,}{', tied embeddings' if s.tie_embeddings else ''}"),
             ("context", "unknown" if s.max_position is None else f"{s.max_position:,} tokens"),
             ("KV cache", f"{v.kv_bytes_per_token:,.0f} bytes per token in {v.kv_dtype} (tp 1)")]
    if v.state_bytes_per_sequence:
        pairs.append(("state", f"{v.state_bytes_per_sequence:,.0f} bytes per sequence"))
    pairs += [("layers" if i == 0 else "", f"{g.count} x {_layer(g.layer.mixers, g.layer.mlp)}")
              for i, g in enumerate(s.layers)]
    if p.mtp:
        pairs.append(("MTP", f"{si(p.mtp)} parameters, not in the total"))
    if v.aliases:
        pairs.append(("also known as", ", ".join(v.aliases)))
    pairs += [("note", n) for n in s.notes]
    if s.source:
        pairs.append(("source", s.source))
    return "\n".join([*lines, *facts(pairs, style)]) + "\n"


def _layer(mixers: Sequence[Attention | MlaAttention | LinearMixer], mlp: object) -> str:
    said = [_mixer(m) + (f" head_dim {m.head_dim}" if isinstance(m, Attention) else "") for m in mixers]
    if isinstance(mlp, MoeMlp):
        shared = f" + shared {mlp.shared_intermediate_size:,}" if mlp.shared_intermediate_size else ""
        said.append(f"{mlp.top_k} of {mlp.num_experts} experts of {mlp.intermediate_size:,}{shared}")
    elif mlp is not None:
        said.append(f"MLP {getattr(mlp, 'intermediate_size', 0):,}")
    return ", ".join(said) or "nothing"


def prices_text(views: Sequence[PriceView], total: int, style: Style) -> str:
    """Cheapest first; every line says how old it is."""
    columns = (Column("gpu"), Column("provider"), Column("instance"), Column("GPUs", right=True),
               Column("region", expendable=1), Column("purchase"), Column("$/GPU/h", right=True),
               Column("$/h", right=True, expendable=2), Column("age"))
    rows = [[v.price.gpu, v.price.provider, v.price.instance, str(v.price.gpu_count), v.price.region,
             v.price.purchase.value, usd(v.price.price_usd_per_gpu_h), usd(v.price.price_usd_per_instance_h), v.age]
            for v in views]
    lines = table(columns, rows, style)
    stale = sum(v.stale for v in views)
    said = f"{len(views)} of {total} prices" if len(views) < total else f"{total} prices"
    lines += ["", *facts([("", f"{said}, {stale} of these stale; whole instances only. Sources: --json")], style)]
    return "\n".join(lines) + "\n"

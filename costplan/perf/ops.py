"""The kernels of one engine step, as a list: what runs, how often, and at which size for a given batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from costplan.catalog.model_spec import Attention, Layer, LinearMixer, MlaAttention, ModelSpec, MoeMlp
from costplan.core.evidence import Evidence
from costplan.perf.attention_kernel import AttentionShape, MlaShape, reads_context
from costplan.perf.batch import BatchState
from costplan.perf.book import KernelBook
from costplan.perf.formats import MatmulFormat, matmul_format
from costplan.perf.layout import Layout
from costplan.perf.linear_kernel import LinearShape
from costplan.perf.moe_kernel import MoeShape
from costplan.perf.roofline import Work, causal_pairs
from costplan.perf.timed import LAUNCH_S, TimedKernel, Timing
from costplan.perf.weights import part_dtype

Points = Callable[[BatchState], Sequence[float] | None]


@dataclass(frozen=True, slots=True)
class Op:
    """``count`` calls per step of one kernel; ``at`` gives its size, None when this batch has no such work."""

    part: str  # attention | gemm | experts | collective | elementwise | head | linear
    kernel: TimedKernel
    count: float
    at: Points

    def timing(self, batch: BatchState) -> Timing | None:
        point = self.at(batch)
        return None if point is None else self.kernel.time(point)

    def seconds(self, batch: BatchState) -> float:
        """Seconds of all calls in a step over ``batch``."""
        point = self.at(batch)
        return 0.0 if point is None else self.count * self.kernel.seconds(point)


def equal_square(q_len: float, kv_len: float, window: int) -> float:
    """Length of a fresh causal prompt with as many query-key pairs as ``q_len`` queries after a cached context."""
    pairs = causal_pairs(q_len, kv_len, window)
    if window and pairs > window * (window + 1) / 2:
        return window + (pairs - window * (window + 1) / 2) / window
    return (math.sqrt(8 * pairs + 1) - 1) / 2


def _tokens(b: BatchState) -> Sequence[float] | None:
    return (float(b.tokens),) if b.tokens else None


def _decode(b: BatchState) -> Sequence[float] | None:
    return (float(b.decode_seqs), max(1.0, b.decode_kv_tokens / b.decode_seqs)) if b.decode_seqs else None


def _sequences(b: BatchState) -> Sequence[float] | None:
    return (float(b.decode_seqs),) if b.decode_seqs else None


def _prompts(b: BatchState) -> Sequence[float] | None:
    seqs = max(1, b.prefill_seqs)
    return (float(seqs), b.prefill_tokens / seqs) if b.prefill_tokens else None


def _logits(b: BatchState) -> Sequence[float] | None:
    n = b.decode_seqs + b.prefill_seqs
    return (float(n),) if n else None


def _prefill(window: int) -> Points:
    def at(b: BatchState) -> Sequence[float] | None:
        if not b.prefill_tokens:
            return None
        seqs = max(1, b.prefill_seqs)
        q = b.prefill_tokens / seqs
        return float(seqs), max(1.0, equal_square(q, q + b.prefill_context_tokens / seqs, window))
    return at


def _chunks(b: BatchState) -> Sequence[float] | None:
    """Sequences, new tokens of each, and the tokens that each then sees."""
    if not b.prefill_tokens:
        return None
    seqs = max(1, b.prefill_seqs)
    q = max(1.0, b.prefill_tokens / seqs)
    return float(seqs), q, q + b.prefill_context_tokens / seqs


def _windowed_decode(limit: int) -> Points:
    def at(b: BatchState) -> Sequence[float] | None:
        point = _decode(b)
        return None if point is None else (point[0], min(point[1], float(limit)))
    return at


class StepBuilder:
    """Lists the kernels of one step of ``spec`` on one rank."""

    def __init__(self, book: KernelBook, spec: ModelSpec, layout: Layout, weight_dtype: str, kv_dtype: str,
                 weight_only: bool = False, page_size: int = 0) -> None:
        self.book = book
        self.page_size = page_size
        self.weight_only = weight_only
        self.spec = spec
        self.layout = layout
        self.weight_dtype = weight_dtype
        self.kv_dtype = kv_dtype
        self.ops: list[Op] = []

    def build(self) -> list[Op]:
        """All kernels of one forward pass over the layers of one pipeline stage, head and sampling included."""
        for group in self.spec.layers:
            self._layer(group.layer, group.count / self.layout.pp)
        self._head()
        return self.ops

    # -- helpers ----------------------------------------------------------------------------------------------

    def _format(self, part: str) -> MatmulFormat:
        stored = part_dtype(self.spec, part, self.weight_dtype)
        return matmul_format(self.book.target, stored, weight_only=self.weight_only)

    def _gemm(self, name: str, n: float, k: float, part: str, count: float, at: Points = _tokens) -> None:
        if n >= 1 and k >= 1:
            fmt = self._format(part)
            kernel = self.book.gemm(round(n), round(k), fmt, name)
            self.ops.append(Op("head" if part == "lm_head" else "gemm", kernel, count, at))
            if fmt.act_bytes < 2 and name != "lm_head" and not self.book.static_quant:
                integer = fmt.compute == "int8"
                self._elementwise("quant", k * (2 + fmt.act_bytes), count, quant=0 if integer else k,
                                  quant_int8=k if integer else 0)

    def _elementwise(self, name: str, bytes_per_token: float, count: float, at: Points = _tokens,
                     **widths: float) -> None:
        """``widths`` are the elements per token of the kernels that make it up (see `elementwise_kernel`)."""
        parts = tuple((part, round(width)) for part, width in widths.items() if width >= 1)
        for kernel in self.book.elementwise(name, bytes_per_token, parts):
            self.ops.append(Op("elementwise", kernel, count, at))

    def _all_reduce(self, count: float) -> None:
        if self.layout.tp > 1:
            width = self.spec.hidden_size * 2.0
            self.ops.append(Op("collective", self.book.collective("all_reduce", self.layout.tp), count,
                               lambda b: (b.tokens * width,) if b.tokens else None))

    # -- layers -----------------------------------------------------------------------------------------------

    def _layer(self, layer: Layer, count: float) -> None:
        hidden = self.spec.hidden_size
        for mixer in layer.mixers:
            self._elementwise("norm", hidden * 8.0, count, norm=hidden)
            if isinstance(mixer, Attention):
                self._attention(mixer, count)
            elif isinstance(mixer, MlaAttention):
                self._mla(mixer, count)
            else:
                self._linear(mixer, count)
        if layer.mlp is not None:
            self._elementwise("norm", hidden * 8.0, count, norm=hidden)
            if isinstance(layer.mlp, MoeMlp):
                self._moe(layer.mlp, count)
            else:
                self._dense(layer.mlp.intermediate_size, layer.mlp.gated, "mlp", count)
                self._all_reduce(count)

    def _attention(self, a: Attention, count: float) -> None:
        tp, hidden = self.layout.tp, self.spec.hidden_size
        heads, kv_heads = max(1, a.num_heads // tp), max(1, a.num_kv_heads // tp)
        q_width = heads * a.head_dim * (2 if a.output_gate else 1)
        kv_width = kv_heads * (a.head_dim + (0 if a.k_eq_v or a.v_from_k else a.v_head_dim)) if a.owns_kv else 0
        self._gemm("qkv_proj", q_width + kv_width, hidden, "attention", count)
        keys = kv_heads * a.head_dim if a.owns_kv else 0
        self._elementwise("rope_kv_write", 4.0 * (q_width + 2 * kv_width), count, rope=heads * a.head_dim + keys,
                          kv_write=kv_width)
        window = a.window or 0
        shape = AttentionShape(heads, kv_heads, a.head_dim, self.kv_dtype, window, self.page_size)
        self.ops.append(Op("attention", self.book.attn_decode(shape), count, _decode))
        prompts = self.book.attn_prefill(shape)
        self.ops.append(Op("attention", prompts, count, _chunks if reads_context(prompts) else _prefill(window)))
        self._gemm("o_proj", hidden, heads * a.v_head_dim, "attention", count)
        self._all_reduce(count)

    def _mla(self, a: MlaAttention, count: float) -> None:
        tp, hidden = self.layout.tp, self.spec.hidden_size
        heads = max(1, a.num_heads // tp)
        qk = a.qk_nope_head_dim + a.qk_rope_head_dim
        latent = a.kv_lora_rank + a.qk_rope_head_dim
        if a.q_lora_rank:
            self._gemm("qkv_a_proj", a.q_lora_rank + latent, hidden, "attention", count)
            self._gemm("q_b_proj", heads * qk, a.q_lora_rank, "attention", count)
        else:
            self._gemm("q_proj", heads * qk + latent, hidden, "attention", count)
        self._gemm("kv_b_proj", heads * (a.qk_nope_head_dim + a.v_head_dim), a.kv_lora_rank, "attention", count)
        self._elementwise("rope_kv_write", 4.0 * (heads * qk + 2 * latent), count)
        shape = MlaShape(heads, a.kv_lora_rank, a.qk_rope_head_dim, a.qk_nope_head_dim, a.v_head_dim, self.kv_dtype)
        window = a.index.top_k if a.index else 0
        decode = _windowed_decode(window) if window else _decode
        self.ops.append(Op("attention", self.book.mla(shape, prefill=False), count, decode))
        self.ops.append(Op("attention", self.book.mla(shape, prefill=True), count, _prefill(window)))
        if a.index is not None and a.index.owns_cache:
            self._index(a.index.num_heads, a.index.head_dim, count)
        self._gemm("o_proj", hidden, heads * a.v_head_dim, "attention", count)
        self._all_reduce(count)

    def _index(self, heads: int, dim: int, count: float) -> None:
        """Lightning indexer: FP8 scores of every query against every cached key (DeepSeek-V3.2 report)."""
        def work(p: Sequence[float]) -> Work:
            return Work(2.0 * p[0] * p[1] * heads * dim, p[2] * (dim + 4.0))

        def at(b: BatchState) -> Sequence[float] | None:
            pairs = b.decode_kv_tokens + causal_pairs(b.prefill_tokens, b.prefill_tokens + b.prefill_context_tokens)
            return (1.0, float(pairs), float(b.decode_kv_tokens + b.prefill_tokens)) if b.tokens else None

        gpu = self.book.target
        peak = gpu.peak("fp8") or gpu.peak("bf16") or 1e12
        kernel = TimedKernel("indexer", None, lambda p: work(p).time_s(peak, gpu.mem_bandwidth_bytes_per_s) + LAUNCH_S,
                             default_log_ratio=math.log(2.0), work=work)
        self.ops.append(Op("attention", kernel, count, at))

    def _linear(self, m: LinearMixer, count: float) -> None:
        tp, hidden = self.layout.tp, self.spec.hidden_size
        v_heads = max(1, (m.num_v_heads or 1) // tp)
        k_heads = max(1, (m.num_k_heads or m.n_groups or 1) // tp)
        v_dim = m.head_v_dim or 64
        k_dim = m.head_k_dim or 128
        inner = v_heads * v_dim
        self._gemm("in_proj", max(1, m.params / hidden / tp - inner), hidden, "linear", count)
        shape = LinearShape(m.kind, k_heads, k_dim, v_heads, v_dim, hidden)
        for kernel in self.book.linear_attention(shape, prefill=False):
            self.ops.append(Op("linear", kernel, count, _sequences))
        for kernel in self.book.linear_attention(shape, prefill=True):
            self.ops.append(Op("linear", kernel, count, _prompts))
        self._gemm("out_proj", hidden, inner, "linear", count)
        self._all_reduce(count)

    def _dense(self, inter: int, gated: bool, part: str, count: float, tp: int | None = None) -> None:
        tp = tp or self.layout.tp
        hidden = self.spec.hidden_size
        width = max(1.0, inter / tp)
        self._gemm("gate_up_proj" if gated else "up_proj", width * (2 if gated else 1), hidden, part, count)
        self._elementwise("act_mul", width * 2.0 * (3 if gated else 2), count,
                          act_mul=width if gated else 0)
        self._gemm("down_proj", hidden, width, part, count)

    def _moe(self, m: MoeMlp, count: float) -> None:
        lay, hidden = self.layout, self.spec.hidden_size
        self._gemm("router", m.num_experts, hidden, "router", count)
        self._elementwise("topk_permute", 4.0 * m.num_experts + 4.0 * hidden, count)
        shape = MoeShape(m.latent_size or hidden, m.intermediate_size, m.top_k, m.num_experts, lay.moe_tp, lay.ep,
                         m.gated)
        kernel = self.book.moe(shape, self._format("experts"))
        dp = lay.dp
        self.ops.append(Op("experts", kernel, count, lambda b: (float(b.tokens * dp),) if b.tokens else None))
        if m.shared_intermediate_size:
            self._dense(m.shared_intermediate_size, m.gated, "shared_expert", count)
        if dp > 1:
            width = hidden * 2.0 * dp
            for op in ("all_gather", "reduce_scatter"):
                self.ops.append(Op("collective", self.book.collective(op, lay.tp * dp), count,
                                   lambda b: (b.tokens * width,) if b.tokens else None))
        else:
            self._all_reduce(count)

    def _head(self) -> None:
        spec = self.spec
        self._elementwise("norm", spec.hidden_size * 8.0, 1, norm=spec.hidden_size)
        self._gemm("lm_head", math.ceil(spec.vocab_size / self.layout.tp), spec.hidden_size, "lm_head", 1, _logits)
        self._elementwise("sampling", spec.vocab_size * 4.0 * 4, 1, _logits, sampling=spec.vocab_size)


def bound_of(timings: Sequence[tuple[Timing, float]]) -> str:
    """What most of a step's time waits for."""
    total: dict[str, float] = {}
    for t, count in timings:
        total[t.bound] = total.get(t.bound, 0.0) + t.seconds * count
    return max(total, key=total.__getitem__) if total else "latency"


def evidence_shares(timings: Sequence[tuple[Timing, float]]) -> dict[Evidence, float]:
    """Share of a step's kernel time by evidence."""
    total = sum(t.seconds * c for t, c in timings) or 1.0
    out: dict[Evidence, float] = {}
    for t, count in timings:
        out[t.evidence] = out.get(t.evidence, 0.0) + t.seconds * count / total
    return out


def overall_evidence(shares: Mapping[Evidence, float]) -> Evidence:
    """The weakest class that, with those weaker still, makes up at least a quarter of the time."""
    total = 0.0
    for evidence in reversed(Evidence):
        total += shares.get(evidence, 0.0)
        if total >= 0.25:
            return evidence
    return Evidence.MEASURED

"""A published performance or cost claim, as values: every number is optional, None is not stated."""

from __future__ import annotations

from dataclasses import dataclass

from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.model_spec import ModelSpec
from costplan.perf.kv import resolve_kv_dtype


@dataclass(frozen=True, slots=True)
class Claim:
    """What somebody says. ``num_gpus`` serve it in all, in ``replicas`` independent engines.

    ``spec`` is the model, or ``params`` the weights of a model that is only known by its size. ``batch``
    sequences are in one engine step; ``concurrency`` requests are in flight at the client. Rates are of the
    whole deployment. Latencies are means but for those called p50.
    """

    name: str
    spec: ModelSpec | None = None
    params: float | None = None
    gpu: GpuSpec | None = None
    num_gpus: int = 1
    replicas: int = 1
    weights: str | None = None
    kv: str | None = None
    weight_only: bool = False
    batch: float | None = None
    concurrency: float | None = None
    context: float | None = None
    isl: float | None = None
    osl: float | None = None
    output_tok_s: float | None = None
    total_tok_s: float | None = None
    requests_per_s: float | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None
    ttft_p50_s: float | None = None
    tpot_p50_s: float | None = None
    usd_per_h: float | None = None
    usd_per_gpu_h: float | None = None
    usd_per_mtok: float | None = None
    usd_per_request: float | None = None
    utilisation: float | None = None
    kv_budget_bytes: float | None = None
    requests_that_fit: float | None = None
    weight_bytes: float | None = None
    mem_bandwidth_bytes_per_s: float | None = None
    gpu_mem_bytes: float | None = None
    peak_flops: float | None = None
    peak_dtype: str = "bf16"
    mfu: float | None = None
    mbu: float | None = None
    score_matrix_bytes: float | None = None

    @property
    def engine_gpus(self) -> float:
        """GPUs of one engine."""
        return self.num_gpus / self.replicas

    @property
    def mean_context(self) -> float | None:
        """Tokens that a decoding sequence holds on average: half of its output is still to come."""
        if self.isl is not None and self.osl is not None:
            return self.isl + self.osl / 2
        return self.context

    @property
    def full_context(self) -> float | None:
        """Tokens of a sequence at its last token."""
        if self.context is not None:
            return self.context
        return self.isl + self.osl if self.isl is not None and self.osl is not None else None

    @property
    def kv_dtype(self) -> str:
        """Format of the KV cache; where nobody says, what needs least: FP8 beside weights below 16 bits."""
        if self.kv not in (None, "auto", "unknown"):
            return str(self.kv)
        if self.spec is None:
            return "bf16"
        small = self.weights not in (None, "bf16", "fp16", "fp32")
        return "fp8" if small else resolve_kv_dtype(self.spec, None)

    @property
    def stored_weights(self) -> str:
        """Format of the weights: as stated, else the checkpoint's."""
        return self.weights or (self.spec.weight_dtype if self.spec is not None else "bf16")

    @property
    def deployment_usd_per_h(self) -> float | None:
        """Price of all GPUs per hour."""
        if self.usd_per_h is not None:
            return self.usd_per_h
        return None if self.usd_per_gpu_h is None else self.usd_per_gpu_h * self.num_gpus

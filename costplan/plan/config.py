"""One way to serve a model: everything that decides speed, memory and money of an engine instance."""

from __future__ import annotations

from dataclasses import dataclass

from costplan.perf.drafting import Drafting
from costplan.perf.layout import Layout


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Settings of one engine instance, in the engine's own words.

    ``memory_fraction`` has the engine's own meaning (vLLM: budget of the whole device; SGLang: weights + KV of the
    total; TensorRT-LLM: KV share of what is free after load). ``block_size`` is the KV page size in tokens.
    ``gpu`` is the catalogue key, ``model`` the name or path that the user gave.
    """

    model: str
    gpu: str
    engine: str
    layout: Layout
    weight_dtype: str
    kv_dtype: str
    block_size: int
    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    memory_fraction: float
    prefix_caching: bool = True
    chunked_prefill: bool = True
    speculative: Drafting | None = None

    @property
    def num_gpus(self) -> int:
        """GPUs of one instance."""
        return self.layout.num_gpus

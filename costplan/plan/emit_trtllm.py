"""TensorRT-LLM: the YAML of ``trtllm-serve --config``. Unknown keys are errors there: all come from the table."""

from __future__ import annotations

from typing import Any

from costplan.plan.emit_drafts import trtllm_drafts
from costplan.plan.emit_pages import attention_kind
from costplan.plan.emit_server import Server


def trtllm_config(s: Server) -> dict[str, Any]:
    """Keys of TorchLlmArgs. ``free_gpu_memory_fraction`` is of what is free after load."""
    c, lay = s.config, s.config.layout
    ranks = lay.tp * lay.dp
    out: dict[str, Any] = {"tensor_parallel_size": ranks, "pipeline_parallel_size": lay.pp}
    if s.spec.is_moe:
        out["moe_expert_parallel_size"] = lay.ep
    if lay.dp > 1:
        out["enable_attention_dp"] = True
    if s.weights.dtype:
        out["dtype"] = s.weights.dtype
    return out | {
        "max_batch_size": c.max_num_seqs, "max_num_tokens": c.max_num_batched_tokens, "max_seq_len": c.max_model_len,
        "enable_chunked_prefill": c.chunked_prefill,
        "cuda_graph_config": {"enable_padding": True, "max_batch_size": c.max_num_seqs},
        "kv_cache_config": {
            "dtype": s.kv_dtype, "enable_block_reuse": reuses_blocks(s), "tokens_per_block": s.block_size,
            "free_gpu_memory_fraction": c.memory_fraction},
    } | trtllm_drafts(c)


def trtllm_args(s: Server, config_path: str) -> list[str]:
    """Arguments after the model."""
    return ["--host", "0.0.0.0", "--port", str(s.port), "--config", config_path]


def reuses_blocks(s: Server) -> bool:
    """Block reuse; its managers of recurrent state assert that it is off."""
    return s.config.prefix_caching and attention_kind(s.spec) != "hybrid"


def trtllm_notes(s: Server) -> tuple[str, ...]:
    """What the file cannot say."""
    if s.config.prefix_caching and not reuses_blocks(s):
        return ("TensorRT-LLM cannot reuse blocks of models with recurrent layers: prefix caching is off, so a plan "
                "that counts on it will not hold",)
    return ()

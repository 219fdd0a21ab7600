"""vLLM start-up arguments (``vllm serve MODEL ...``)."""

from __future__ import annotations

from costplan.plan.emit_drafts import vllm_drafts
from costplan.plan.emit_server import Server


def vllm_args(s: Server) -> list[str]:
    """Arguments after the model, flags and values apart."""
    c, lay = s.config, s.config.layout
    args = ["--host", "0.0.0.0", "--port", str(s.port), "--tensor-parallel-size", str(lay.tp)]
    if lay.pp > 1:
        args += ["--pipeline-parallel-size", str(lay.pp)]
    if lay.dp > 1:
        args += ["--data-parallel-size", str(lay.dp)]
    if lay.ep > 1:
        args += ["--enable-expert-parallel"]
    if s.weights.dtype:
        args += ["--dtype", s.weights.dtype]
    if s.weights.quantization:
        args += ["--quantization", s.weights.quantization]
    args += ["--kv-cache-dtype", s.kv_dtype]
    if s.block_size is not None:
        args += ["--block-size", str(s.block_size)]
    return [*args, "--gpu-memory-utilization", f"{c.memory_fraction:g}",
            "--max-model-len", str(c.max_model_len), "--max-num-seqs", str(c.max_num_seqs),
            "--max-num-batched-tokens", str(c.max_num_batched_tokens),
            "--enable-prefix-caching" if c.prefix_caching else "--no-enable-prefix-caching",
            "--enable-chunked-prefill" if c.chunked_prefill else "--no-enable-chunked-prefill", *vllm_drafts(c)]

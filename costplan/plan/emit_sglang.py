"""SGLang start-up arguments (``python3 -m sglang.launch_server --model-path MODEL ...``)."""

from __future__ import annotations

from costplan.plan.emit_drafts import sglang_drafts
from costplan.plan.emit_server import Server


def sglang_args(s: Server) -> list[str]:
    """Arguments after the model path, flags and values apart.

    SGLang's ``tp`` counts all ranks of a stage, attention groups included, and its limits are divided among those
    groups (``parallel_hook.py``), so they are given as sums.
    """
    c, lay = s.config, s.config.layout
    tokens = str(c.max_num_batched_tokens * lay.dp)
    args = ["--host", "0.0.0.0", "--port", str(s.port), "--tp-size", str(lay.tp * lay.dp)]
    if lay.pp > 1:
        args += ["--pp-size", str(lay.pp)]
    if lay.dp > 1:
        args += ["--attn-dp-size", str(lay.dp)]
    if lay.ep > 1:
        args += ["--ep-size", str(lay.ep)]
    if s.weights.dtype:
        args += ["--dtype", s.weights.dtype]
    if s.weights.quantization:
        args += ["--quantization", s.weights.quantization]
    args += ["--kv-cache-dtype", s.kv_dtype]
    if s.block_size is not None:
        args += ["--page-size", str(s.block_size)]
    args += ["--mem-fraction-static", f"{c.memory_fraction:g}", "--context-length", str(c.max_model_len),
             "--max-running-requests", str(c.max_num_seqs * lay.dp),
             "--chunked-prefill-size", tokens if c.chunked_prefill else "-1", "--max-prefill-tokens", tokens,
             *sglang_drafts(c)]
    return args if c.prefix_caching else [*args, "--disable-radix-cache"]

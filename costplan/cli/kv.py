"""`costplan kv`: bytes per token, memory by part, KV blocks and how many requests fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from costplan.catalog.model_spec import ModelSpec
    from costplan.perf.kv_budget import EngineSettings, KvBudget
    from costplan.report.kv_text import KvView

Model = Annotated[str, typer.Option("--model", "-m", help="Model of the catalogue, or path of a config.json.")]
Gpu = Annotated[str | None, typer.Option("--gpu", "-g", help="GPU of the catalogue; not needed with --budget.")]
Budget = Annotated[str | None, typer.Option("--budget", help="KV memory of one GPU instead of a GPU: 40GB, 40GiB.")]
Tokens = Annotated[int | None, typer.Option("--tokens", min=1, help="Cached tokens of one sequence.")]
Isl = Annotated[int | None, typer.Option("--isl", min=0, help="Prompt tokens; with --osl.")]
Osl = Annotated[int | None, typer.Option("--osl", min=1, help="Output tokens; with --isl.")]


def kv(
    model: Model, gpu: Gpu = None, budget: Budget = None, tokens: Tokens = None, isl: Isl = None, osl: Osl = None,
    tp: Annotated[int, typer.Option(min=1, help="Tensor-parallel size.")] = 1,
    pp: Annotated[int, typer.Option(min=1, help="Pipeline-parallel size.")] = 1,
    ep: Annotated[int, typer.Option(min=1, help="Expert-parallel size.")] = 1,
    weights: Annotated[str | None, typer.Option("--weights", help="Weight format; default: the checkpoint's.")] = None,
    kv_dtype: Annotated[str | None, typer.Option("--kv", help="KV format; default: as the checkpoint says.")] = None,
    engine: Annotated[str, typer.Option(help="vllm, sglang or trtllm.")] = "vllm",
    engine_version: Annotated[str | None, typer.Option(help="vLLM version, such as 0.19.")] = None,
    memory_fraction: Annotated[float | None, typer.Option(help="The engine's own memory fraction, in (0, 1].")] = None,
    max_model_len: Annotated[int | None, typer.Option(min=1, help="Longest sequence admitted.")] = None,
    max_num_batched_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens per step.")] = None,
    max_num_seqs: Annotated[int | None, typer.Option(min=1, help="Sequences per step.")] = None,
    block_size: Annotated[int | None, typer.Option(min=1, help="Tokens per KV block.")] = None,
    enforce_eager: Annotated[bool, typer.Option("--enforce-eager", help="No CUDA graphs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON: bytes, tokens, fractions.")] = False,
) -> None:
    """KV bytes per token, memory of one GPU by part, and how many sequences fit."""
    import json

    from costplan.catalog.models import model as find_model
    from costplan.perf.kv_budget import EngineSettings
    from costplan.report.kv_text import kv_json, render_kv

    spec = find_model(model)
    settings = EngineSettings(engine, engine_version, tp, pp, ep, 1, weights, kv_dtype, memory_fraction, max_model_len,
                              max_num_batched_tokens, max_num_seqs, block_size, enforce_eager)
    view, found = _answer(spec, settings, gpu, budget, _length(tokens, isl, osl), None if isl is None else osl)
    typer.echo(json.dumps(kv_json(view, found), indent=2) + "\n" if as_json else render_kv(view, found), nl=False)


def size_bytes(text: str) -> int:
    """``40GB`` (decimal) or ``40GiB`` (binary) in bytes. Raises InputError for anything without a unit."""
    import re

    from costplan.core.errors import InputError
    from costplan.core.units import GB, GIB, MIB

    units = {"gb": GB, "gib": GIB, "mb": GB // 1000, "mib": MIB, "tb": 1000 * GB, "tib": 1024 * GIB}
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]+)\s*", text, re.ASCII)
    if found is None or found[2].lower() not in units or float(found[1]) <= 0:
        raise InputError(f"not a size: {text!r}", hint="write 40GB (10^9 bytes each) or 40GiB (2^30)", where="--budget")
    size = float(found[1]) * units[found[2].lower()]
    if size > 1e18:
        raise InputError(f"size out of range: {text!r}", where="--budget")
    return round(size)


def _length(tokens: int | None, isl: int | None, osl: int | None) -> int | None:
    """Tokens of one sequence at its end. Raises InputError for half an answer or two."""
    from costplan.core.errors import InputError

    if tokens is not None and (isl is not None or osl is not None):
        raise InputError("--tokens and --isl/--osl exclude each other", hint="give one of them")
    if (isl is None) != (osl is None):
        raise InputError("--isl and --osl belong together", hint="or give --tokens")
    return tokens if isl is None or osl is None else isl + osl


def _answer(spec: ModelSpec, s: EngineSettings, gpu: str | None, budget: str | None, tokens: int | None,
            osl: int | None) -> tuple[KvView, KvBudget | None]:
    from costplan.catalog.gpus import gpu as find_gpu
    from costplan.core.errors import InputError
    from costplan.perf.concurrency import concurrency, fixed_concurrency
    from costplan.perf.kv import (
        checkpoint_kv_dtype,
        kv_bytes_per_sequence,
        kv_bytes_per_token,
        state_bytes_per_sequence,
    )
    from costplan.perf.kv_budget import kv_budget
    from costplan.report.kv_text import KvView

    if (gpu is None) == (budget is None):
        raise InputError("give either --gpu or --budget", hint="for example --gpu h100_sxm, or --budget 40GB")
    dtype_name = checkpoint_kv_dtype(spec, s.weight_dtype, s.kv_dtype)
    found = kv_budget(spec, find_gpu(gpu), s) if gpu is not None else None
    block_size = s.block_size or (found.block_size if found else 16)
    one = kv_bytes_per_sequence(spec, tokens, dtype_name, block_size, s.tp, s.pp) if tokens else None
    fits = spread = None
    if tokens and found:
        fits = fixed_concurrency(found.pool, found.num_blocks, tokens)
        if osl is not None:
            spread = concurrency(found.pool, found.num_blocks, [(tokens - osl, osl)])
    elif one and budget:
        fits = size_bytes(budget) // one
    where = f"on {gpu}, tp {s.tp}, pp {s.pp}" if gpu else f"in {budget} per GPU, tp {s.tp}, pp {s.pp}"
    return KvView(f"{spec.name} {where}, KV {dtype_name}", kv_bytes_per_token(spec, dtype_name, s.tp, s.pp),
                  state_bytes_per_sequence(spec, s.tp, s.pp), tokens, one, fits, spread), found

"""`costplan roofline`: one engine step, kernel by kernel, against what the GPU could do at best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from costplan.perf.batch import BatchState


def roofline(
    model: Annotated[str, typer.Option("--model", "-m", help="Built-in name, or path of a config.json.")],
    gpu: Annotated[str, typer.Option("--gpu", "-g", help="GPU name (see: costplan catalog gpus).")],
    tp: Annotated[int, typer.Option(min=1, help="Tensor-parallel size.")] = 1,
    weights: Annotated[str | None, typer.Option(help="Weight dtype [checkpoint's].")] = None,
    kv: Annotated[str | None, typer.Option(help="KV cache dtype [checkpoint's].")] = None,
    batch: Annotated[int, typer.Option(min=1, max=65536, help="Sequences in the step.")] = 32,
    context: Annotated[int, typer.Option(min=1, max=16_777_216, help="Tokens per sequence: cached ones (decode), "
                                                                     "or of a fresh prompt (prefill).")] = 2048,
    phase: Annotated[str, typer.Option(help="decode or prefill.")] = "decode",
    engine: Annotated[str, typer.Option(help="vllm, sglang or trtllm.")] = "vllm",
    profile: Annotated[str | None, typer.Option(help="Profile name or folder [best shipped one].")] = None,
    json_: Annotated[bool, typer.Option("--json", help="JSON: FLOPs, bytes, seconds of one call.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead.")] = None,
) -> None:
    """FLOPs, bytes, roofline time and predicted time of every kernel of one step."""
    from costplan.cli.output import emit, emit_json, style, warn
    from costplan.cli.predict_inputs import assumed, deployment
    from costplan.perf.assemble import latency_model
    from costplan.perf.devices import open_profile
    from costplan.perf.explain import kernel_rows
    from costplan.report.roofline_text import RooflineView, roofline_json, roofline_text

    own = open_profile(profile) if profile else None
    dep = deployment(model=model, gpu=gpu, layout=(tp, 1, 1, 1), replicas=1, weights=weights, kv=kv, engine=engine,
                     engine_version=None, memory_fraction=None, max_model_len=None, max_num_seqs=None,
                     max_num_batched_tokens=None)
    state = _state(phase, batch, context)
    times = latency_model(dep.spec, dep.gpu, dep.layout, engine=engine, weight_dtype=dep.weight_dtype,
                          kv_dtype=dep.stored_kv_dtype, profile=own)
    step = times.step(state)
    title = (f"{dep.spec.name} on {dep.gpu.title}, tp {tp}, weights {dep.weight_dtype or dep.spec.weight_dtype}, KV "
             f"{dep.stored_kv_dtype}: one {phase} step of {batch:,} x {context:,} tokens")
    rows = kernel_rows(times.ops, state)
    alone = sum(r.calls * r.predicted_s for r in rows)
    view = RooflineView(title, dep.gpu, state, rows, step.seconds, step.seconds - alone, times.basis)
    notes = [*assumed(gpu, dep)]
    if times.measured_on != dep.gpu.name:
        notes.append(f"the kernels were measured on {times.measured_on}, not on {dep.gpu.name}: scaled by the roofline"
                     if times.measured_on else "no measured kernels at hand: typical efficiencies stand in")
    warn(notes)
    if json_:
        emit_json(roofline_json(view), output)
    else:
        emit(roofline_text(view, style(output)), output)


def _state(phase: str, batch: int, context: int) -> BatchState:
    from costplan.core.errors import UnknownNameError
    from costplan.perf.batch import BatchState

    if phase == "decode":
        return BatchState(decode_seqs=batch, decode_kv_tokens=batch * context)
    if phase == "prefill":
        return BatchState(prefill_tokens=batch * context, prefill_seqs=batch)
    raise UnknownNameError("phase", phase, ("decode", "prefill"), where="--phase")

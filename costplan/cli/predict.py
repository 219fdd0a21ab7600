"""`costplan predict`: one deployment, one load, one honest answer."""

from __future__ import annotations

from pathlib import Path

import typer


def predict(
    model: str = typer.Option(..., help="Built-in name, Hugging Face id, or path of a config.json."),
    gpu: str = typer.Option(..., help="GPU name, for example h100_sxm (see: costplan catalog gpus)."),
    isl: int = typer.Option(..., min=1, help="Input tokens per request."),
    osl: int = typer.Option(..., min=1, help="Output tokens per request."),
    concurrency: float | None = typer.Option(None, min=0.001, help="Requests in flight (closed loop)."),
    rate: float | None = typer.Option(None, min=1e-6, help="Requests per second (Poisson)."),
    tp: int = typer.Option(1, min=1, help="Tensor-parallel size."),
    pp: int = typer.Option(1, min=1, help="Pipeline-parallel size."),
    dp: int = typer.Option(1, min=1, help="Attention data-parallel size inside one engine."),
    ep: int = typer.Option(1, min=1, help="Expert-parallel size."),
    replicas: int = typer.Option(1, min=1, help="Independent engine instances; the load is spread over them."),
    weights: str | None = typer.Option(None, help="Weight dtype: bf16 fp8 int8 int4 nvfp4 ... [checkpoint's]"),
    kv: str | None = typer.Option(None, help="KV cache dtype: bf16 fp8 ... [checkpoint's]"),
    engine: str = typer.Option("vllm", help="vllm, sglang or trtllm."),
    engine_version: str | None = typer.Option(None, help="Engine version [newest known]."),
    memory_fraction: float | None = typer.Option(None, min=0.01, max=1.0, help="The engine's own fraction [default]."),
    max_model_len: int | None = typer.Option(None, min=1, help="Longest context the engine admits."),
    max_num_seqs: int | None = typer.Option(None, min=1, help="Sequences per step [engine's default]."),
    max_num_batched_tokens: int | None = typer.Option(None, min=1, help="Tokens per step [engine's default]."),
    profile: str | None = typer.Option(None, help="Profile name or folder [best shipped one]."),
    price: float | None = typer.Option(None, min=0.0001, help="USD per GPU and hour [cheapest on-demand listed]."),
    json_: bool = typer.Option(False, "--json", help="Print JSON (seconds, bytes, USD; fractions, not percent)."),
    output: Path | None = typer.Option(None, "-o", "--output", help="Write to a file instead of the terminal."),
) -> None:
    """Predict TTFT, TPOT, throughput, memory and $/1M tokens of one configuration under one load."""
    from costplan.cli.output import emit, emit_json, style, warn
    from costplan.cli.predict_inputs import assumed, cost_of, deployment, load, manifest_of
    from costplan.perf.predict import predict as run
    from costplan.profile.store import Profile
    from costplan.report.answer import Answer

    dep = deployment(model=model, gpu=gpu, layout=(tp, pp, dp, ep), replicas=replicas, weights=weights, kv=kv,
                     engine=engine, engine_version=engine_version, memory_fraction=memory_fraction,
                     max_model_len=max_model_len, max_num_seqs=max_num_seqs,
                     max_num_batched_tokens=max_num_batched_tokens)
    asked = load(concurrency, rate, isl, osl)
    own = Profile.load(profile) if profile else None
    found = run(dep, asked, profile=own)
    answer = Answer(dep, asked, found, cost_of(found, dep, osl, price), manifest_of(found, own),
                    assumed(gpu, dep.spec))
    warn(answer.warnings)
    if json_:
        from costplan.report.predict_json import predict_json

        emit_json(predict_json(answer), output)
    else:
        from costplan.report.predict_text import predict_text

        emit(predict_text(answer, style(output)), output)

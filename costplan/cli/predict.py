"""`costplan predict`: one deployment, one load, one honest answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Tp = Annotated[int, typer.Option(min=1, max=1024, help="Tensor-parallel size.")]
Pp = Annotated[int, typer.Option(min=1, max=256, help="Pipeline-parallel size.")]
Dp = Annotated[int, typer.Option(min=1, max=1024, help="Attention data-parallel size inside one engine.")]
Ep = Annotated[int, typer.Option(min=1, max=1024, help="Expert-parallel size.")]
Calibrations = Annotated[list[Path] | None, typer.Option("--calibration", help="File of `costplan calibrate`; may be "
                                                                               "given again.")]

SpecDraft = Annotated[str | None, typer.Option(help="Speculative decoding by mtp, eagle, ngram, or a draft model.")]
Acceptance = Annotated[float | None, typer.Option(min=0, max=1, help="Share of its guesses that are kept.")]
DraftTokens = Annotated[int | None, typer.Option(min=1, max=16, help="Guesses per cycle [4].")]
AcceptanceSpread = Annotated[float | None, typer.Option(min=0, max=1, help="Standard deviation of the acceptance "
                                                                           "between requests [0.1].")]
AdaptiveDrafts = Annotated[bool, typer.Option("--adaptive-drafts", help="As many guesses, up to --draft-tokens, as pay "
                                                                        "at each batch size.")]


def predict(
    model: Annotated[str, typer.Option("--model", "-m", help="Built-in name, Hugging Face id, or a config.json.")],
    gpu: Annotated[str, typer.Option("--gpu", "-g", help="GPU name, e.g. h100_sxm (see: costplan catalog gpus).")],
    isl: Annotated[int, typer.Option(min=1, max=100_000_000, help="Input tokens per request.")],
    osl: Annotated[int, typer.Option(min=1, max=100_000_000, help="Output tokens per request.")],
    concurrency: Annotated[float | None, typer.Option(min=0.001, help="Requests in flight (closed loop).")] = None,
    rate: Annotated[float | None, typer.Option(min=1e-6, help="Requests per second (Poisson).")] = None,
    spread: Annotated[float, typer.Option(min=0, max=1, help="Lengths vary uniformly by this share of the "
                                                             "mean.")] = 0.2,
    tp: Tp = 1, pp: Pp = 1, dp: Dp = 1, ep: Ep = 1,
    replicas: Annotated[int, typer.Option(min=1, max=1_000_000, help="Independent engine instances that share the "
                                                                     "load.")] = 1,
    weights: Annotated[str | None, typer.Option(help="Weight dtype: bf16 fp8 int8 int4 nvfp4 ... "
                                                     "[checkpoint's]")] = None,
    kv: Annotated[str | None, typer.Option(help="KV cache dtype: bf16 fp8 ... [checkpoint's]")] = None,
    engine: Annotated[str, typer.Option(help="vllm, sglang or trtllm.")] = "vllm",
    engine_version: Annotated[str | None, typer.Option(help="Engine version [newest known].")] = None,
    memory_fraction: Annotated[float | None, typer.Option(min=0.01, max=1.0, help="The engine's own fraction "
                                                                                  "[its default].")] = None,
    max_model_len: Annotated[int | None, typer.Option(min=1, help="Longest context the engine admits.")] = None,
    max_num_seqs: Annotated[int | None, typer.Option(min=1, help="Sequences per step [engine's default].")] = None,
    max_num_batched_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens per step [engine's "
                                                                           "default].")] = None,
    profile: Annotated[str | None, typer.Option(help="Profile name or folder [best shipped one].")] = None,
    calibration: Calibrations = None,
    spec_draft: SpecDraft = None,
    acceptance: Acceptance = None,
    draft_tokens: DraftTokens = None,
    acceptance_spread: AcceptanceSpread = None,
    adaptive_drafts: AdaptiveDrafts = False,
    price: Annotated[float | None, typer.Option(min=0.0001, help="USD per GPU and hour [cheapest on-demand "
                                                                 "listed].")] = None,
    json_: Annotated[bool, typer.Option("--json", help="JSON: seconds, bytes, USD; fractions, not percent.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead.")] = None,
) -> None:
    """Predict TTFT, TPOT, throughput, memory and $/1M tokens of one configuration under one load."""
    from functools import partial

    from costplan.cli.output import emit, emit_json, style, warn
    from costplan.cli.predict_inputs import (
        assumed,
        calibration_notes,
        check_length,
        cost_of,
        deployment,
        load,
        manifest_of,
        tuned_by,
    )
    from costplan.cli.speculative_inputs import drafting, drafts_of, room, speculated
    from costplan.perf.calibration import calibrated
    from costplan.perf.devices import open_profile
    from costplan.perf.drafter import model_of
    from costplan.perf.predict import budget_of
    from costplan.perf.predict import predict as run
    from costplan.report.answer import Answer
    from costplan.simulate.operate import operate

    own = open_profile(profile) if profile else None
    dep = deployment(model=model, gpu=gpu, layout=(tp, pp, dp, ep), replicas=replicas, weights=weights, kv=kv,
                     engine=engine, engine_version=engine_version, memory_fraction=memory_fraction,
                     max_model_len=max_model_len, max_num_seqs=max_num_seqs,
                     max_num_batched_tokens=max_num_batched_tokens)
    asked = load(concurrency, rate, isl, osl, spread)
    check_length(dep, asked)
    tuned = tuned_by(calibration)
    drafts = drafts_of(dep, drafting(spec_draft, acceptance, draft_tokens, acceptance_spread, adaptive_drafts), own)
    plain = found = calibrated(run(dep, asked, profile=own, operate=operate), dep, asked, tuned.observed)
    if drafts is not None:
        found = run(dep, asked, profile=own, budget=room(budget_of(dep), drafts),
                    operate=partial(operate, drafts=drafts))
        found = calibrated(found, dep, asked, tuned.observed)
    answer = Answer(dep, asked, found, cost_of(found, dep, osl, price), manifest_of(found, own),
                    (*assumed(gpu, dep, asked), *calibration_notes(tuned, dep, asked)),
                    None if drafts is None else speculated(model_of(dep, own), asked, plain, drafts),
                    None if drafts is None else plain)
    warn(answer.warnings)
    if json_:
        from costplan.report.predict_json import predict_json

        emit_json(predict_json(answer), output)
    else:
        from costplan.report.predict_text import predict_text

        emit(predict_text(answer, style(output)), output)

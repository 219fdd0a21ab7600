"""`costplan simulate`: one configuration, one workload or trace, request by request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from costplan.cli.predict import (
    Acceptance,
    AcceptanceSpread,
    AdaptiveDrafts,
    Calibrations,
    Dp,
    DraftTokens,
    Ep,
    Pp,
    SpecDraft,
    Tp,
)
from costplan.cli.workload import Format, TimeUnit


def simulate(
    gpu: Annotated[str, typer.Option("--gpu", "-g", help="GPU name, e.g. h100_sxm (see: costplan catalog gpus).")],
    load: Annotated[str | None, typer.Argument(help="workload.yaml, a shipped one's name, or a trace; else give --isl, "
                                                    "--osl and --rate or --concurrency.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Built-in name, Hugging Face id, or a "
                                                                    "config.json [the workload's].")] = None,
    isl: Annotated[int | None, typer.Option(min=1, max=10_000_000, help="Input tokens per request.")] = None,
    osl: Annotated[int | None, typer.Option(min=1, max=10_000_000, help="Output tokens per request.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Requests in flight.")] = None,
    rate: Annotated[float | None, typer.Option(min=1e-6, max=1e6, help="Requests per second (Poisson).")] = None,
    spread: Annotated[float, typer.Option(min=0, max=1, help="--isl and --osl vary uniformly by this share.")] = 0.2,
    time_unit: TimeUnit = None,
    fmt: Format = "auto",
    slo: Annotated[list[str] | None, typer.Option(help="Limit like ttft:p99=800ms, instead of the workload's; may be "
                                                       "given again.")] = None,
    requests: Annotated[int | None, typer.Option("-n", min=1, max=5_000_000, help="Requests of one engine [the "
                                                                                  "trace's, else 5000].")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the requests drawn.")] = 0,
    tp: Tp = 1, pp: Pp = 1, dp: Dp = 1, ep: Ep = 1,
    replicas: Annotated[int, typer.Option(min=1, max=1_000_000, help="Engines that share the load.")] = 1,
    weights: Annotated[str | None, typer.Option(help="Weight dtype [checkpoint's].")] = None,
    kv: Annotated[str | None, typer.Option(help="KV cache dtype [checkpoint's].")] = None,
    engine: Annotated[str, typer.Option(help="vllm, sglang or trtllm.")] = "vllm",
    engine_version: Annotated[str | None, typer.Option(help="Engine version [newest known].")] = None,
    block_size: Annotated[int | None, typer.Option(min=1, max=1024, help="KV page size [engine's default].")] = None,
    memory_fraction: Annotated[float | None, typer.Option(min=0.01, max=1.0, help="The engine's own fraction.")] = None,
    max_model_len: Annotated[int | None, typer.Option(min=1, help="Longest context the engine admits.")] = None,
    max_num_seqs: Annotated[int | None, typer.Option(min=1, help="Sequences per step.")] = None,
    max_num_batched_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens per step.")] = None,
    chunked_prefill: Annotated[bool, typer.Option(help="Split long prompts over steps.")] = True,
    prefix_caching: Annotated[bool, typer.Option(help="Reuse the KV of shared prefixes.")] = True,
    calibration: Calibrations = None,
    spec_draft: SpecDraft = None,
    acceptance: Acceptance = None,
    draft_tokens: DraftTokens = None,
    acceptance_spread: AcceptanceSpread = None,
    adaptive_drafts: AdaptiveDrafts = False,
    profile: Annotated[str | None, typer.Option(help="Profile name or folder [best shipped one].")] = None,
    json_: Annotated[bool, typer.Option("--json", help="JSON: seconds, tokens; fractions, not percent.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead.")] = None,
) -> None:
    """Run requests one by one through one configuration: percentiles, goodput, utilisation, KV cache."""
    from dataclasses import replace

    from costplan.cli.output import emit, emit_json, style, warn
    from costplan.cli.predict_inputs import calibration_notes, deployment, tuned_by
    from costplan.cli.simulate_inputs import count_of, limited, run, workload_of
    from costplan.cli.speculative_inputs import drafting, drafts_of
    from costplan.core.errors import InputError
    from costplan.perf.devices import open_profile
    from costplan.report.simulate_text import simulate_json, simulate_text
    from costplan.workload.trace_rows import ReadOptions

    own = open_profile(profile) if profile else None
    asked = limited(workload_of(load, isl, osl, concurrency, rate, spread, ReadOptions(fmt, time_unit)), slo)
    named = model or (str(asked.model_path) if asked.model_path else asked.model)
    if named is None:
        raise InputError("no model is named", hint="give --model")
    dep = deployment(model=named, gpu=gpu, layout=(tp, pp, dp, ep), replicas=replicas, weights=weights, kv=kv,
                     engine=engine, engine_version=engine_version, memory_fraction=memory_fraction,
                     max_model_len=max_model_len, max_num_seqs=max_num_seqs,
                     max_num_batched_tokens=max_num_batched_tokens)
    tuned = tuned_by([*(calibration or ()), *asked.calibrations])
    dep = replace(dep, block_size=block_size)
    drafts = drafts_of(dep, drafting(spec_draft, acceptance, draft_tokens, acceptance_spread, adaptive_drafts,
                                     asked.speculative), own,
                       where="--spec-draft" if spec_draft else "speculative.draft")
    found = run(asked, dep, count_of(asked, requests, replicas * dp), seed, own, chunked_prefill, prefix_caching,
                tuned.observed, drafts)
    warn((*calibration_notes(tuned, dep, None), *found.warnings))
    if json_:
        emit_json(simulate_json(found), output)
    else:
        emit(simulate_text(found, style(output)), output)

"""`costplan calibrate`: own benchmark results correct predictions near them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from costplan.validate.bench_deployment import Given
    from costplan.validate.bench_read import ResultFile

Number = float | None


def calibrate(
    results: Annotated[list[Path], typer.Argument(help="Result files of vLLM bench, SGLang bench_serving, GuideLLM, "
                                                       "AIPerf, genai-perf, trtllm-bench or InferenceX.")],
    gpu: Annotated[str | None, typer.Option("--gpu", "-g", help="GPU that it ran on.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Model [the file's].")] = None,
    engine: Annotated[str | None, typer.Option(help="vllm, sglang or trtllm [the file's].")] = None,
    engine_version: Annotated[str | None, typer.Option(help="Engine version [newest known].")] = None,
    tp: Annotated[int | None, typer.Option(min=1, max=1024, help="Tensor-parallel size.")] = None,
    pp: Annotated[int | None, typer.Option(min=1, max=256, help="Pipeline-parallel size [1].")] = None,
    dp: Annotated[int | None, typer.Option(min=1, max=1024, help="Attention data-parallel size [1].")] = None,
    ep: Annotated[int | None, typer.Option(min=1, max=1024, help="Expert-parallel size [1].")] = None,
    replicas: Annotated[int, typer.Option(min=1, max=1_000_000, help="Engines that shared the load.")] = 1,
    weights: Annotated[str | None, typer.Option(help="Weight dtype [checkpoint's].")] = None,
    kv: Annotated[str | None, typer.Option(help="KV cache dtype [checkpoint's].")] = None,
    memory_fraction: Annotated[Number, typer.Option(min=0.01, max=1.0, help="The engine's own fraction.")] = None,
    max_model_len: Annotated[int | None, typer.Option(min=1, help="Longest context the engine admitted.")] = None,
    max_num_seqs: Annotated[int | None, typer.Option(min=1, help="Sequences per step.")] = None,
    max_num_batched_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens per step.")] = None,
    concurrency: Annotated[Number, typer.Option(min=0.001, help="Requests in flight, where a file is silent.")] = None,
    rate: Annotated[Number, typer.Option(min=1e-6, help="Requests/s, where a file is silent.")] = None,
    isl: Annotated[Number, typer.Option(min=1, help="Input tokens per request, where a file is silent.")] = None,
    osl: Annotated[Number, typer.Option(min=1, help="Output tokens per request, where a file is silent.")] = None,
    batch: Annotated[Number, typer.Option(min=1, help="Sequences of a static batch (vllm bench latency).")] = None,
    spread: Annotated[Number, typer.Option(min=0, max=1, help="Lengths varied by this share of the mean [the file's, "
                                                              "else 0.2].")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the calibration as JSON.")] = False,
    output: Annotated[Path, typer.Option("-o", "--output", help="Calibration file to write.")] = Path(
        "calibration.yaml"),
) -> None:
    """Compare own runs with their predictions and write a calibration file for --calibration.

    All runs must be of one deployment; what a file does not say is asked for as a flag.
    """
    from datetime import date

    from costplan.cli.output import emit, emit_json, style, warn
    from costplan.core.atomic import write_text
    from costplan.core.errors import InputError
    from costplan.perf.calibration_file import written
    from costplan.report.calibrate_text import calibrate_text
    from costplan.validate.bench_deployment import Given
    from costplan.validate.calibrate import calibrate as compare
    from costplan.validate.calibrate import doubts, file_values

    if concurrency is not None and rate is not None:
        raise InputError("give either --concurrency or --rate")
    if not output.parent.is_dir():
        raise InputError(f"there is no folder {output.parent}", where="--output")
    given = Given(gpu, model, engine, engine_version, tp, pp, dp, ep, replicas, weights, kv, memory_fraction,
                  max_model_len, max_num_seqs, max_num_batched_tokens, concurrency, rate, isl, osl, batch, spread)
    files = _read(results, given)
    found = compare(files, given)
    warn((*found.skipped, *doubts(found)))
    values = file_values(found, files, date.today().isoformat())
    write_text(output, written(values))
    if json_:
        emit_json(values, None)
    else:
        emit(calibrate_text(found, str(output), style()), None)


def _read(paths: list[Path], given: Given) -> list[ResultFile]:
    from costplan.validate.bench_read import read_runs

    silent = {"isl": given.isl, "osl": given.osl, "batch": given.batch}
    return [read_runs(p, silent) for p in dict.fromkeys(paths)]

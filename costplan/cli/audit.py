"""`costplan audit`: is a published number possible?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from costplan.validate.audit_claim import Claim

WRONG = 1
Number = float | None


def audit(
    files: Annotated[list[Path] | None, typer.Argument(help="Claims as YAML or CSV, or measurements as CSV "
                                                            "(docs/audit.md); or use the flags.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Name, config.json, or a size like 13B.")] = None,
    gpu: Annotated[str | None, typer.Option("--gpu", "-g", help="GPU name.")] = None,
    num_gpus: Annotated[int | None, typer.Option(help="GPUs in all [1].")] = None,
    replicas: Annotated[int | None, typer.Option(help="Independent engines among them [1].")] = None,
    weights: Annotated[str | None, typer.Option(help="Weight dtype [checkpoint's].")] = None,
    kv: Annotated[str | None, typer.Option(help="KV cache dtype.")] = None,
    batch: Annotated[Number, typer.Option(help="Sequences in one engine step.")] = None,
    concurrency: Annotated[Number, typer.Option(help="Requests in flight at the client.")] = None,
    context: Annotated[Number, typer.Option(help="Tokens of a sequence.")] = None,
    isl: Annotated[Number, typer.Option(help="Input tokens per request.")] = None,
    osl: Annotated[Number, typer.Option(help="Output tokens per request.")] = None,
    output_tok_s: Annotated[Number, typer.Option(help="Output tokens/s of all GPUs.")] = None,
    total_tok_s: Annotated[Number, typer.Option(help="Tokens/s in and out.")] = None,
    requests_per_s: Annotated[Number, typer.Option(help="Requests/s.")] = None,
    ttft: Annotated[str | None, typer.Option(help="Time to first token, like 200ms.")] = None,
    tpot: Annotated[str | None, typer.Option(help="Time per output token, like 8ms.")] = None,
    e2e: Annotated[str | None, typer.Option(help="Latency of a request, like 2.5s.")] = None,
    usd_per_h: Annotated[Number, typer.Option(help="USD per hour of all GPUs.")] = None,
    usd_per_gpu_h: Annotated[Number, typer.Option(help="USD per GPU and hour.")] = None,
    usd_per_mtok: Annotated[Number, typer.Option(help="USD per 1M tokens (of the kind whose rate is given).")] = None,
    usd_per_request: Annotated[Number, typer.Option(help="USD per request.")] = None,
    utilisation: Annotated[Number, typer.Option(help="Part of the time it is busy, for the cost of tokens.")] = None,
    kv_budget_gb: Annotated[Number, typer.Option(help="GB (1e9 bytes) for the KV cache.")] = None,
    requests_that_fit: Annotated[Number, typer.Option(help="Requests said to fit into it.")] = None,
    weights_gb: Annotated[Number, typer.Option(help="GB of weights.")] = None,
    gpu_memory_gb: Annotated[Number, typer.Option(help="GB of one GPU.")] = None,
    mem_bandwidth_tb_s: Annotated[Number, typer.Option(help="TB/s of one GPU's memory.")] = None,
    peak_tflops: Annotated[Number, typer.Option(help="Peak TFLOP/s of one GPU.")] = None,
    peak_dtype: Annotated[str | None, typer.Option(help="Format of that peak [bf16].")] = None,
    mfu: Annotated[Number, typer.Option(help="Model FLOPs utilisation, 0 to 1.")] = None,
    mbu: Annotated[Number, typer.Option(help="Memory bandwidth utilisation, 0 to 1.")] = None,
    score_matrix_gb: Annotated[Number, typer.Option(help="GB said to be needed for attention scores.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="JSON: seconds, bytes, USD; fractions.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead.")] = None,
) -> None:
    """Check claims about speed, memory and cost against the hardware and against themselves.

    Exit code 1: a claim is impossible or contradicts itself.
    """
    said = {k: v for k, v in locals().items() if k not in ("files", "json_", "output") and v is not None}
    from costplan import __version__
    from costplan.cli.output import emit, emit_json, style
    from costplan.report.audit_text import audit_json, audit_text
    from costplan.validate.audit import audit as judge

    claims, refused = _claims(files or [], said)
    found = [judge(c) for c in claims]
    if json_:
        emit_json(audit_json(found, refused, __version__), output)
    else:
        emit(audit_text(found, style(output), refused), output)
    if any(a.wrong for a in found):
        raise typer.Exit(WRONG)


def _claims(files: list[Path], said: dict[str, object]) -> tuple[list[Claim], list[str]]:
    from costplan.core.errors import InputError
    from costplan.validate.audit_file import claim_of_flags, is_reference_table, read_claims, read_measurements

    if bool(files) == bool(said):
        raise InputError("give either files of claims or one claim as flags",
                         hint="costplan audit claims.yaml, or costplan audit --gpu h100 --mem-bandwidth-tb-s 3.65")
    if not files:
        return [claim_of_flags(said)], []
    claims: list[Claim] = []
    refused: list[str] = []
    for path in files:
        if is_reference_table(path):
            rows, bad = read_measurements(path)
            claims, refused = claims + rows, refused + bad
        else:
            claims += read_claims(path)
    return claims, refused

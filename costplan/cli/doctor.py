"""`costplan doctor`: what can be measured here, which kernels are installed, and what does not fit together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def doctor(
    device: Annotated[str, typer.Option(help="cuda, cpu or all.")] = "all",
    sdpa: Annotated[str | None, typer.Option(
        help="Tell which kernel torch's attention runs for these inputs, e.g. "
             "'dtype=bf16 heads=32/8 head_dim=128 q=4096 kv=4096 causal'.")] = None,
    timeout: Annotated[float, typer.Option(min=1.0, max=3600.0, help="Seconds that one library may take.")] = 120.0,
    json_: Annotated[bool, typer.Option("--json", help="JSON: everything found, with build facts.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead.")] = None,
) -> None:
    """Driver, CUDA, torch, every kernel library and its build. Exit code 4 where nothing can be measured."""
    from costplan.cli.output import emit, emit_json, style
    from costplan.core.errors import UnknownNameError
    from costplan.kernels.doctor import examine
    from costplan.kernels.sdpa_choice import read
    from costplan.report.doctor_text import doctor_text

    if device not in ("cuda", "cpu", "all"):
        raise UnknownNameError("device", device, ("cuda", "cpu", "all"), where="--device")
    if sdpa is not None:
        read(sdpa)
    found = examine(("cuda", "cpu") if device == "all" else (device,), sdpa, timeout)
    if json_:
        emit_json(found.as_json(), output)
    else:
        emit(doctor_text(found.as_json(), style(output)), output)
    if not found.usable:
        raise typer.Exit(4)

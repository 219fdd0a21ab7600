"""`costplan validate --live`: a real model with random weights on this machine against the profile of this machine."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from costplan.profile.steps import StepCase
    from costplan.validate.live import LiveReport


@dataclass(frozen=True, slots=True)
class LiveFlags:
    """What was asked for on the command line."""

    model: str | None
    profile: str | None
    layers: int | None
    batches: str
    contexts: str
    device: str
    attention: str
    page_size: int
    mode: str | None
    dtype: str
    sample_s: float
    force: bool
    as_json: bool


def validate_live(flags: LiveFlags) -> None:
    """Run, compare, print."""
    from costplan.catalog.models import model as find_model
    from costplan.cli.output import emit, emit_json, style, warn
    from costplan.core.errors import InputError
    from costplan.kernels.live_machine import describe, free_bytes
    from costplan.kernels.live_steps import run_live
    from costplan.profile.store import Profile
    from costplan.report.live_text import live_text
    from costplan.validate.live import check_machine, compare
    from costplan.validate.live_device import device_of
    from costplan.validate.live_model import check_fits, live_model

    for name, value in (("--model", flags.model), ("--profile", flags.profile)):
        if value is None:
            raise InputError(f"--live needs {name}", hint="costplan validate --live --model smollm2-135m --profile "
                                                          "NAME; `costplan profile list` shows profiles")
    how, cases = _how(flags), _grid(flags)
    spec, profile = find_model(str(flags.model), where="--model"), Profile.load(str(flags.profile))
    model = live_model(spec, flags.layers, flags.dtype)
    device = device_of(profile.manifest)
    warning = check_machine(profile.manifest, describe(how.device), force=flags.force)
    check_fits(spec, flags.layers, flags.dtype, cases, free_bytes(how.device))
    run = run_live(model, how, cases, sample_s=flags.sample_s, progress=_progress if sys.stderr.isatty() else None)
    found = compare(run, spec, profile, device)
    if flags.as_json:
        emit_json(as_json(found), None)
    else:
        emit(live_text(found, style()), None)
    warn([warning] if warning else [])


def _how(flags: LiveFlags) -> Any:
    from costplan.core.errors import UnknownNameError
    from costplan.profile.steps import LiveHow

    on_gpu = flags.device == "cuda"
    mode = flags.mode or ("graph" if on_gpu else "eager")
    known = {"--device": (flags.device, ("cpu", "cuda")), "--dtype": (flags.dtype, ("bf16", "fp16", "fp32")),
             "--attention": (flags.attention, ("sdpa", "sdpa-packed", *(("fa2", "fa3") if on_gpu else ()))),
             "--mode": (mode, ("eager", "compile", *(("graph",) if on_gpu else ())))}
    for flag, (value, names) in known.items():
        if value not in names:
            raise UnknownNameError(f"{flag.removeprefix('--')} on {flags.device}" if flag != "--device" else "device",
                                   value, names, where=flag)
    return LiveHow(flags.device, flags.attention, flags.page_size, mode)


def _grid(flags: LiveFlags) -> list[StepCase]:
    from costplan.validate.live import grid

    most = 8192 if flags.device == "cuda" else 1024
    return grid(_numbers(flags.batches, "--batch"), _numbers(flags.contexts, "--context"), most)


def _numbers(text: str, where: str) -> list[int]:
    from costplan.core.errors import InputError

    try:
        found = [int(x) for x in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(1 <= x <= 1 << 20 for x in found):
        raise InputError(f"{text!r} is no list of whole numbers", where=where, hint=f"for example {where} 1,4,16")
    return list(dict.fromkeys(found))


def as_json(r: LiveReport) -> dict[str, Any]:
    """The report with all samples, in seconds."""
    rows = [{**asdict(x), "error": x.error} for x in r.rows]
    return {"schema": "costplan.validate_live/1", "profile": r.profile, "median_error": r.median_error(),
            "median_error_decode": r.median_error(False), "median_error_prefill": r.median_error(True),
            "rows": rows, "run": asdict(r.run), "notes": list(r.notes)}


def _progress(what: str, done: int, total: int) -> None:
    sys.stderr.write(f"\r\x1b[K{what}: step {done + 1} of {total}" if done + 1 < total else "\r\x1b[K")
    sys.stderr.flush()

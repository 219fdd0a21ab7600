"""Entry point: builds the command tree without importing any room, runs it, turns errors into messages."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

from costplan import __version__

if TYPE_CHECKING:
    from costplan.catalog.gpu_spec import GpuSpec

EXIT_CODES = ("Exit codes: 0 done, 1 judged worse or wrong (ci, audit, profile diff, history), 2 bad usage or input, "
              "3 could not be judged (under --strict), 4 environment, 5 no plan holds the limits, 70 a bug of ours, "
              "130 interrupted.")

app = typer.Typer(
    name="costplan", no_args_is_help=True, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Which GPUs to rent for serving LLMs, how many, configured how, and what 1M tokens will cost: "
         "from measured kernels, with an error bar.",
    epilog=EXIT_CODES)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"costplan {__version__}")
        raise typer.Exit


@app.callback()
def root(_: bool = typer.Option(False, "--version", help="Print the version and exit.", callback=_version,
                                is_eager=True)) -> None:
    """Options of all commands."""
    from costplan.catalog.gpus import look_further

    look_further(_devices_on_disk)


def _devices_on_disk() -> Iterable[GpuSpec]:
    """Devices of the profiles in the search path: read when a name is not in the catalogue."""
    from costplan.perf.devices import devices_on_disk

    return devices_on_disk()


def _register() -> None:
    from costplan.cli import (
        audit,
        calibrate,
        catalog,
        ci,
        diff,
        doctor,
        emit,
        explain,
        history,
        kv,
        plan,
        predict,
        profile,
        roofline,
        schema,
        simulate,
        validate,
        workload,
    )

    app.command("plan", short_help="What to rent for a workload, how configured, at what cost.")(plan.plan)
    app.command("explain", short_help="How every number of a plan follows from others.")(explain.explain)
    app.command("emit", short_help="Start-up flags, YAML or manifests of a plan.")(emit.emit)
    app.command("simulate", short_help="One configuration, one workload or trace, request by request.")(
        simulate.simulate)
    app.command("predict", short_help="TTFT, TPOT, tokens/s, $/1M tokens of one configuration.")(predict.predict)
    app.command("kv", short_help="KV bytes per token, KV blocks, sequences that fit.")(kv.kv)
    app.command("roofline", short_help="Every kernel of one step against its least time.")(roofline.roofline)
    app.command("diff", short_help="What a change does to the bill: two plan files or two commits.")(diff.diff)
    app.command("validate", short_help="The error against published measurements.")(validate.validate)
    app.command("calibrate", short_help="Correct predictions by own benchmark results.")(calibrate.calibrate)
    app.command("audit", short_help="Is a published speed, size or cost possible?")(audit.audit)
    app.command("doctor", short_help="What can be measured here, and what does not fit together.")(doctor.doctor)
    app.command("schema", short_help="JSON Schema of workload.yaml or of JSON output.")(schema.schema)
    app.add_typer(ci.app, name="ci")
    app.add_typer(history.app, name="history")
    app.add_typer(workload.app, name="workload")
    app.add_typer(profile.app, name="profile")
    app.add_typer(catalog.app, name="catalog")


_register()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        code = app(args=list(argv) if argv is not None else None, prog_name="costplan", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as e:
        return _report(e)
    if code == 130:  # typer swallows the signal and hands back its code
        print("interrupted", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _report(e: Exception) -> int:
    """Print an error the way all commands do, and choose the exit code."""
    from costplan.core.errors import CostplanError

    if isinstance(e, CostplanError):
        print(f"error: {_clean(str(e))}", file=sys.stderr)
        if e.hint:
            print(f"\nhint: {_clean(e.hint)}", file=sys.stderr)
        return e.exit_code
    if isinstance(e, typer.Abort):
        print("interrupted", file=sys.stderr)
        return 130
    if isinstance(e, typer.TyperException):
        if type(e).__name__ == "NoArgsIsHelpError":
            print(e.format_message())
        else:
            command = getattr(getattr(e, "ctx", None), "command_path", "costplan")
            print(f"error: {_clean(e.format_message())}\n\nhint: see {command} --help", file=sys.stderr)
        return 2
    if os.environ.get("COSTPLAN_DEBUG"):
        raise e
    if isinstance(e, OSError):
        print(f"error: {_clean(str(e))}\n\nhint: is the disk full, or the file out of reach?", file=sys.stderr)
        return 4
    print(f"error: unexpected {type(e).__name__}: {_clean(str(e))}\n\nhint: this is a bug of costplan; run again with "
          "COSTPLAN_DEBUG=1 and report the traceback", file=sys.stderr)
    return 70


def _clean(text: str) -> str:
    """Without control characters: names come from files that strangers may have written."""
    text = "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)
    return re.sub(r"(?m)^(\s*:)(?=:)|##(?=\[)", r"\g<0> ", text)  # nor anything that a CI log takes for a command


def run() -> None:
    """Console script."""
    sys.exit(main())

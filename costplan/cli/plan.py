"""`costplan plan`: what to rent for a workload, how to run it, what it costs, how sure that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costplan.cli.predict import Calibrations

if TYPE_CHECKING:
    from costplan.plan.types import PlanSet

INFEASIBLE = 5

Workload = Annotated[str, typer.Argument(help="workload.yaml, or the name of a shipped one (chat, code, ...).")]
Names = list[str] | None


def plan(
    workload: Workload,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Instead of the workload's model.")] = None,
    gpu: Annotated[Names, typer.Option("--gpu", "-g", help="Only these GPUs; again, or with commas, for more.")] = None,
    engine: Annotated[Names, typer.Option(help="Only these engines: vllm, sglang, trtllm.")] = None,
    weights: Annotated[Names, typer.Option(help="Only these weight dtypes: bf16 fp8 int8 int4 nvfp4.")] = None,
    kv: Annotated[Names, typer.Option(help="Only these KV cache dtypes.")] = None,
    provider: Annotated[Names, typer.Option(help="Only these providers.")] = None,
    region: Annotated[Names, typer.Option(help="Only these regions.")] = None,
    purchase: Annotated[Names, typer.Option(help="Only these ways to buy: on_demand, spot, 1y, 3y.")] = None,
    max_gpus: Annotated[int | None, typer.Option(min=1, help="At most so many GPUs.")] = None,
    budget: Annotated[float | None, typer.Option(min=0.01, help="At most so many USD per month.")] = None,
    headroom: Annotated[float | None, typer.Option(min=0, max=0.9, help="Part of capacity to keep free.")] = None,
    spare: Annotated[int | None, typer.Option(min=0, max=1000, help="Spare replicas (N+1: 1).")] = None,
    profile: Annotated[Names, typer.Option(help="Measured profile, by name or folder; may be given again.")] = None,
    calibration: Calibrations = None,
    prices: Annotated[Path | None, typer.Option(help="CSV of your own prices, or of SkyPilot's catalogue, instead "
                                                     "of the shipped ones.")] = None,
    price: Annotated[Names, typer.Option(help="Your price per GPU and hour, NAME=USD, instead of listed ones; may be "
                                              "given again.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the requests drawn.")] = 0,
    top: Annotated[int, typer.Option(min=1, max=200, help="Plans to show.")] = 10,
    exhaustive: Annotated[bool, typer.Option("--exhaustive", help="Leave out only what a bound excludes.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="JSON: seconds, bytes, USD; fractions, not percent.")] = False,
    csv_: Annotated[bool, typer.Option("--csv", help="One line per plan.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown tables.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Also write a page with plots to this file.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open that page in a browser.")] = False,
) -> None:
    """Search the cheapest way to serve a workload within its limits, and say how sure that is.

    Exit code 5: no plan holds the limits; the nearest relaxations are printed.
    """
    from costplan.cli import page
    from costplan.cli.output import emit, say, warn
    from costplan.cli.plan_inputs import (
        Overrides,
        digests,
        find_workload,
        overridden,
        price_table,
        profiles_named,
        with_devices_of,
        with_stated,
    )
    from costplan.cli.predict_inputs import tuned_by
    from costplan.cli.progress import Progress
    from costplan.core.errors import InputError

    if json_ + csv_ + markdown > 1:
        raise InputError("choose one of --json, --csv and --markdown")
    page.check(html, show)
    asked = overridden(find_workload(workload), Overrides(
        gpu, engine, weights, kv, provider, region, purchase, max_gpus, budget, headroom, spare))
    from datetime import date

    profiles = profiles_named(profile)
    asked = asked if gpu else with_devices_of(asked, profiles)
    table = with_stated(price_table(prices), price, date.today())
    from costplan.plan.planner import PlanOptions
    from costplan.plan.planner import plan as search

    tuned = tuned_by([*(calibration or ()), *asked.calibrations])
    warn(tuned.warnings)
    progress = Progress.of_terminal()
    try:
        found = search(asked, today=date.today(), seed=seed, model=model, prices=table, profiles=profiles,
                       options=PlanOptions(exhaustive=exhaustive, shown=top), progress=progress.told,
                       observed=tuned.observed)
    except KeyboardInterrupt:
        progress.clear()
        say(f"stopped {progress.where}; nothing was written")
        raise
    progress.clear()
    if json_:
        from costplan.cli.derive import document

        emit(document(found, digests(asked, seed, model, profiles, table, tuned), profiles, tuned.observed), output)
    else:
        emit(_rendered(found, "csv" if csv_ else "markdown" if markdown else "text", output), output)
    if html is not None:
        inputs = digests(asked, seed, model, profiles, table, tuned)
        page.write(page.of_plan(found, inputs, profiles, tuned.observed), html, show)
    if not found.feasible:
        raise typer.Exit(INFEASIBLE)


def _rendered(found: PlanSet, form: str, output: Path | None) -> str:
    """For people and spreadsheets."""
    if form == "csv":
        from costplan.report.plan_csv import plan_csv

        return plan_csv(found)
    if form == "markdown":
        from costplan.report.plan_markdown import plan_markdown

        return plan_markdown(found)
    from costplan.cli.output import style
    from costplan.report.plan_text import plan_text

    return plan_text(found, style(output))

"""`costplan history`: keep plans and actuals, list them, say how cost moves and where it left the plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Cost over time: keep plans and actuals, compare, watch.", no_args_is_help=True)
DEFAULT = "costplan-history.sqlite"
ALERT = 1

Db = Annotated[str, typer.Option("--db", envvar="COSTPLAN_HISTORY", show_default=DEFAULT,
                                 help="SQLite file, or SQLAlchemy URL such as postgresql://USER@HOST/NAME.")]
Service = Annotated[str | None, typer.Option("--service", "-s", help="Only this service.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead.")]


@app.command()
def add(
    files: Annotated[list[Path], typer.Argument(help="Plan (JSON), /metrics of vLLM, Prometheus range query (JSON), or "
                                                     "benchmark result of vLLM or SGLang.")],
    service: Annotated[str | None, typer.Option("--service", "-s", help="Service [the plan's workload].")] = None,
    at: Annotated[str | None, typer.Option(help="When planned, or end of the window [what the file says, else now].")]
    = None,
    usd_per_h: Annotated[float | None, typer.Option("--usd-per-h", min=0, help="What the fleet cost [as planned].")]
    = None,
    before: Annotated[Path | None, typer.Option(help="An earlier scrape of /metrics: the window lies between.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Length of the window of /metrics [since start].")]
    = None,
    db: Db = DEFAULT,
) -> None:
    """Keep plans and measurements. What is reported as added is on disk; the same content at the same time is added
    once."""
    from costplan.cli.history_inputs import Given, check_price, priced, read
    from costplan.cli.output import say
    from costplan.history.store import opened
    from costplan.report.numbers import usd
    from costplan.report.style import plain

    found = [read(f, Given(service, at, before, seconds)) for f in files]
    check_price(usd_per_h)
    with opened(db, create=True) as store:
        kept = priced(found, usd_per_h, store)
        new = store.add(kept)
    for e in kept:
        say(plain(f"{e.service}: {e.kind} of {usd(e.usd_per_mtok_out)} per 1M output tokens at {e.at:%Y-%m-%d %H:%M}Z"))
    say(f"added {new} to {store.name}" + (f", {len(kept) - new} were there" if new < len(kept) else ""))


@app.command()
def show(
    service: Service = None, number: Annotated[int, typer.Option("-n", min=1, help="Newest entries to show.")] = 30,
    json_: Annotated[bool, typer.Option("--json", help="JSON: seconds, tokens, USD.")] = False, output: Output = None,
    db: Db = DEFAULT,
) -> None:
    """Entries one by one, newest last."""
    from costplan.cli.history_inputs import of_service
    from costplan.cli.output import emit, emit_json, style
    from costplan.report.history_json import entries_json
    from costplan.report.history_text import entries_text

    found = of_service(db, service)[-number:]
    if json_:
        emit_json(entries_json(found), output)
    else:
        emit(entries_text(found, style(output)), output)


@app.command()
def report(
    service: Service = None, json_: Annotated[bool, typer.Option("--json", help="JSON.")] = False,
    openmetrics: Annotated[bool, typer.Option("--openmetrics", help="OpenMetrics, for Prometheus.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Also write a page with plots to this file.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open that page in a browser.")] = False, output: Output = None,
    fail: Annotated[bool, typer.Option("--fail-on-alert", help="Exit code 1 if the newest point of a service is an "
                                                               "alert.")] = False,
    db: Db = DEFAULT,
) -> None:
    """$/1M by service, weekly trend, alerts, plan against actual."""
    from costplan.cli import page
    from costplan.cli.history_inputs import of_service
    from costplan.cli.output import emit, emit_json, style
    from costplan.core.errors import InputError
    from costplan.history.summary import summaries

    if json_ and openmetrics:
        raise InputError("choose one of --json and --openmetrics")
    page.check(html, open_)
    found = summaries(of_service(db, service))
    if json_:
        from costplan.report.history_json import report_json

        emit_json(report_json(found), output)
    elif openmetrics:
        from costplan.report.history_metrics import openmetrics as rendered

        emit(rendered(found), output)
    else:
        from costplan.report.history_text import report_text

        emit(report_text(found, style(output)), output)
    if html is not None:
        from costplan.report.html.history_page import history_page

        page.write(history_page(found), html, open_)
    if fail and any(s.alert is not None for s in found):
        raise typer.Exit(ALERT)

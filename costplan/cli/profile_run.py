"""``costplan profile --workload``: measure the kernels that a workload needs, on this machine, within a budget."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from costplan.campaign.campaign import Campaign
    from costplan.campaign.device import Device
    from costplan.cli.profile_setup import Wish
    from costplan.kernels.pool import Pool
    from costplan.kernels.session import Progress
    from costplan.plan.question import Question

_BUSY_SHARE = 0.5
_DESCRIBE_S = 60.0


def run(wish: Wish, *, out: Path | None, dry_run: bool, resume: bool, price_usd_per_h: float | None) -> None:
    """Measure, or with ``dry_run`` say what would be measured. Raises InputError."""
    from costplan.cli.profile_setup import asked, check_out, out_folder, partial_of
    from costplan.kernels.pool import Pool

    wanted = asked(wish)
    with Pool(wish.device) as pool:
        device = _described(pool)
        folder = out_folder(out, device["key"])
        if not dry_run:
            check_out(folder, resume)
            _warn_if_busy(device)
        with _journal(partial_of(folder), wish.head(device, wanted), keep=not dry_run) as journal:
            _measure(wish, [a.question for a in wanted], pool, device, journal, folder, dry_run=dry_run,
                     price_usd_per_h=price_usd_per_h)


def _described(pool: Pool) -> dict[str, Any]:
    from costplan.core.errors import InputError

    reply = pool.ask("describe", {"op": "describe"}, _DESCRIBE_S)
    if "device" not in reply:
        missing = "torch" in str(reply["failed"]) and "No module" in str(reply["failed"])
        raise InputError(f"this device cannot be measured: {reply['failed']}",
                         hint="pip install torch" if missing else "run `costplan doctor`")
    found: dict[str, Any] = reply["device"]
    return found


def _warn_if_busy(device: dict[str, Any]) -> None:
    from costplan.cli.output import warn

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if device["kind"] == "cpu" and load > _BUSY_SHARE * device["cores"]:
        warn([f"the load of this machine is {load:.1f} on {device['cores']} cores: other work will slow the kernels "
              "down; the sentinel shows by how much"])


@contextlib.contextmanager
def _journal(folder: Path, head: dict[str, Any], *, keep: bool) -> Iterator[Any]:
    """The journal in ``folder``; in a temporary folder where nothing is kept."""
    import tempfile

    from costplan.kernels.journal import FILE_NAME, Journal

    if keep:
        with Journal(folder / FILE_NAME, head) as journal:
            yield journal
    else:
        with tempfile.TemporaryDirectory() as name, Journal(Path(name) / FILE_NAME, head) as journal:
            yield journal


def _measure(wish: Wish, questions: list[Question], pool: Pool, device: dict[str, Any], journal: Any, folder: Path, *,
             dry_run: bool, price_usd_per_h: float | None) -> None:
    from costplan.cli.output import emit, say, style
    from costplan.cli.profile_setup import campaign, device_of, partial_of, settings
    from costplan.kernels.session import Session
    from costplan.report.campaign_text import DryRun, done_text, dry_run_text

    begun = datetime.now(UTC)
    line = _Line()
    session = Session(settings(wish), journal, pool.ask, begun.strftime("%Y%m%dT%H%M%S.%f"), line.told)
    ceilings = session.open()
    target = device_of(device, ceilings)
    chooser = campaign(questions, target, wish, session.usable, session.settings.pass_share)
    if dry_run:
        line.clear()
        price = price_usd_per_h if price_usd_per_h is not None else _listed(target)
        models = ", ".join(dict.fromkeys(q.spec.name for q in questions))
        emit(dry_run_text(DryRun(models, wish.label, device["name"], chooser.demand.systems, chooser.dry_run(),
                                 tuple(b.name for b in session.usable), chooser.demand.left_out, wish.budget_s, price,
                                 tuple(c.key for c in chooser.first())), style()), None)
        return
    try:
        why = session.run(chooser)
    except KeyboardInterrupt:
        line.clear()
        say(f"stopped: {len(session.results())} rows are safe in {partial_of(folder)}; go on with --resume")
        raise
    line.clear()
    summary = chooser.summary(session.results())
    made = _finish(folder, journal, wish, device, chooser, why, begun.date())
    shutil.rmtree(partial_of(folder))
    emit(done_text(made.manifest, summary, folder, style()), None)


def _listed(target: Device) -> float | None:
    """Cheapest listed on-demand price of the device."""
    from costplan.catalog.gpus import shipped_gpus
    from costplan.plan.cost import listed_price

    found = listed_price(target.gpu.name, 1, date.today()) if target.gpu.name in shipped_gpus() else None
    return found.usd_per_h if found else None


def _finish(folder: Path, journal: Any, wish: Wish, device: dict[str, Any], chooser: Campaign, why: str,
            begun: date) -> Any:
    from costplan.catalog.device_spec import spec_mapping
    from costplan.catalog.gpus import shipped_gpus
    from costplan.cli.profile_setup import device_of
    from costplan.kernels.finish import finish
    from costplan.kernels.passes import best_ceilings

    target = device_of(device, best_ceilings(journal.entries))
    summary = chooser.summary(_rows(journal))
    held = summary.held_out
    told = {"names": list(wish.workloads), "models": journal.head["models"], "sha256": journal.head["workloads_sha256"],
            "systems": list(chooser.demand.systems), "budget_s": wish.budget_s, "plan_error": summary.plan_error,
            "held_out": {"cases": held.cases, "median": held.median, "p90": held.p90, "step": held.step_error,
                         "by_family": [list(f) for f in held.by_family]},
            "left_out": [list(x) for x in chooser.demand.left_out]}
    days = sorted({datetime.strptime(str(e["run"])[:8], "%Y%m%d").date() for e in journal.entries} | {begun})
    return finish(folder, journal.entries, gpu=target.gpu.name, device=device,
                  device_spec={} if target.gpu.name in shipped_gpus() else spec_mapping(target.gpu), workload=told,
                  days=(days[0].isoformat(), days[-1].isoformat()), why=why)


def _rows(journal: Any) -> Any:
    from costplan.kernels.session import results_of

    return results_of(journal.entries)


class _Line:
    """What is being measured: one line that is rewritten on a terminal, now and then a line elsewhere."""

    EVERY_S = 15.0

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._last_s = -self.EVERY_S

    def told(self, p: Progress) -> None:
        if "regimes" not in p.entry:
            return
        now = time.monotonic()
        if not self._terminal and now - self._last_s < self.EVERY_S:
            return
        self._last_s = now
        text = _progress(p)
        width = shutil.get_terminal_size((100, 24)).columns - 1
        sys.stderr.write(f"\r\x1b[K{text[:width]}" if self._terminal else text + "\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _progress(p: Progress) -> str:
    from costplan.profile.case import Case
    from costplan.report.campaign_text import clock
    from costplan.report.numbers import seconds

    left_s = max(0.0, p.budget_s - p.spent_s)
    steady = p.entry["regimes"][0]
    what = "sentinel" if p.entry.get("sentinel") else Case.from_json(p.entry["case"]).key
    flag = "" if steady["stop"] == "settled" else " (not settled)"
    return (f"{p.phase or 'check'}  {p.done}/{p.planned}  {clock(p.spent_s)} of {clock(p.budget_s)}, at most "
            f"{clock(left_s)} left  {seconds(steady['median_s'])}{flag}  {p.entry['kernel']}  {what}")

"""The main job from Python, as short as on the command line.

    from costplan.api import load_profile, load_workload, plan

    workload = load_workload("configs/chat.yaml")
    answer = plan(workload, profiles=[load_profile("h100_sxm-vllm")])
    print(answer.best.name, answer.best.money.usd_per_mtok_out.value)

Nothing heavy is imported before a function is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from costplan.catalog.price import Price
    from costplan.plan.planner import PlanOptions
    from costplan.plan.types import PlanSet
    from costplan.profile.store import Profile
    from costplan.workload.workload import Workload

__all__ = ["load_prices", "load_profile", "load_workload", "plan"]


def load_workload(path: str | Path) -> Workload:
    """The workload of a YAML file and of the traces it names. Raises InputError with file, line and key."""
    from costplan.workload.load import load_workload as load

    return load(path)


def load_profile(path_or_name: str | Path) -> Profile:
    """The measured profile in a folder, or the shipped one of that name. Raises ProfileError, UnknownNameError."""
    from costplan.perf.devices import open_profile

    return open_profile(path_or_name)


def load_prices(path: str | Path) -> tuple[Price, ...]:
    """Prices of a user's own CSV file or of a SkyPilot catalogue. Raises InputError with file, line and column."""
    from costplan.catalog.price_import import read_prices

    return read_prices(Path(path)).prices


def plan(workload: Workload | str | Path, *, seed: int = 0, today: date | None = None, model: str | None = None,
         prices: Iterable[Price] | None = None, profiles: Sequence[Profile] = (),
         options: PlanOptions | None = None, progress: Callable[[int, int, str], None] | None = None,
         calibrations: Sequence[str | Path] = ()) -> PlanSet:
    """The cheapest ways to serve ``workload`` (or the one in this file) within its limits, best first.

    The same ``seed`` and ``today`` (for the age of prices; None: the clock's) give the same answer. ``prices``
    replace the shipped list, ``profiles`` go before the shipped ones of their GPUs, ``model`` before the
    workload's.
    ``calibrations`` are files of `costplan calibrate`, beside the one that the workload names.
    ``progress`` is told (done, of, what) as systems are tried. An infeasible workload gives an answer without
    plans, with ``relaxations`` instead. Raises CostplanError where something named is not known.
    """
    from costplan.perf.calibration_file import read_calibrations
    from costplan.plan.planner import plan as run

    asked = load_workload(workload) if isinstance(workload, str | Path) else workload
    return run(asked, today=today or date.today(), seed=seed, model=model, prices=prices, profiles=profiles,
               options=options, progress=progress, observed=read_calibrations(
                   [*map(Path, calibrations), *asked.calibrations]).observed)

"""Plans of inputs, each made once: the same inputs on both sides, or in two swaps, cost nothing more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from costplan.ci.inputs import PlanInputs
from costplan.core.errors import CostplanError, InputError
from costplan.plan.types import Plan
from costplan.report.plan_file import PlanFile, parse_plan

Planner = Callable[[PlanInputs, bool], str]
"""Plans inputs and gives the text of the plan file; the flag asks for everything that `costplan plan` tells."""


@dataclass(slots=True)
class Plans:
    """Plans by the digest of their inputs, each made once. ``told`` hears what is planned."""

    planner: Planner
    told: Callable[[str], None] = lambda _: None
    texts: dict[tuple[str, bool], str] = field(default_factory=dict)
    files: dict[tuple[str, bool], PlanFile] = field(default_factory=dict)

    def of(self, inputs: PlanInputs, *, full: bool = False) -> PlanFile:
        """The plan of ``inputs``. Raises CostplanError, with places as their source calls them."""
        if (inputs.digest, True) in self.files:
            full = True
        key = (inputs.digest, full)
        if key not in self.files:
            self.told(inputs.document.name)
            try:
                self.texts[key] = self.planner(inputs, full)
            except CostplanError as e:
                raise _placed(e, inputs.folder) from e
            self.files[key] = parse_plan(self.texts[key].encode(), inputs.document.name)
        return self.files[key]

    def text(self, inputs: PlanInputs) -> str | None:
        """The plan file of ``inputs`` if it was made in full."""
        return self.texts.get((inputs.digest, True))

    def best(self, inputs: PlanInputs) -> Plan | None:
        """The recommended plan; None where the inputs make none."""
        try:
            return first(self.of(inputs))
        except CostplanError:
            return None


def first(f: PlanFile) -> Plan | None:
    """The recommended plan of a file."""
    return f.plans[0] if f.plans else None


def _placed(e: CostplanError, folder: Path) -> CostplanError:
    """The same error with staged paths as they are in the repository."""
    def clean(text: str) -> str:
        for name in ("base", "head"):
            text = text.replace(f"{folder}/{name}/", "").replace(f"./{name}/", "")
        return text

    return InputError(clean(e.message), hint=clean(e.hint) if e.hint else None,
                      where=clean(e.where) if e.where else None)

"""One state of a repository as costplan sees it: its costplan.yaml and the inputs of every workload that it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from costplan.ci.config_file import CiEntry, ConfigFile, WorkloadEntry
from costplan.ci.inputs import Common, PlanInputs, Stage, common, digest, plan_inputs, price_part
from costplan.ci.source import Source, inside
from costplan.ci.types import Side
from costplan.core.errors import CostplanError, InputError
from costplan.core.yaml_door import YamlDocument, check
from costplan.report.plan_file import PlanFile

CONFIG = "costplan.yaml"


@dataclass(frozen=True, slots=True)
class Entry:
    """One workload of one state: its ``inputs``, or a ``plan`` that was made before, or the ``error`` in its files."""

    name: str
    path: str
    inputs: PlanInputs | None = None
    plan: PlanFile | None = None
    error: CostplanError | None = None


@dataclass(frozen=True, slots=True)
class State:
    """A side of the comparison. ``config`` is None for plan files."""

    side: Side
    entries: tuple[Entry, ...]
    config: ConfigFile | None = None
    paths: tuple[str, ...] = ()

    @property
    def ci(self) -> CiEntry:
        """What must hold; without a costplan.yaml nothing is limited."""
        return self.config.ci if self.config else CiEntry()


def read_state(source: Source, folder: Path, name: str, config_path: str, *, lenient: bool = False) -> State:
    """Copy the inputs of ``source`` to ``folder``/``name`` and read them.

    ``lenient``: an unreadable workload becomes an `Entry` with its error, as for the base, which nobody can mend.
    Raises InputError.
    """
    stage = Stage(source, folder, name)
    doc = stage.yaml(config_path)
    config = check(doc, ConfigFile)
    base = PurePosixPath(config_path).parent
    listed = [(i, w if isinstance(w, WorkloadEntry) else WorkloadEntry(file=w)) for i, w in enumerate(config.workloads)]
    places = [doc.where(("workloads", i)) for i, _ in listed]
    source.ahead([inside(base, w.file, where) for (_, w), where in zip(listed, places, strict=True)])
    shared = common(stage, base, config.seed, config.prices, config.profiles, doc.where(("profiles",)))
    entries = tuple(_guarded(lenient, w, base, _reader(stage, base, shared, doc, i)) for i, w in listed)
    _distinct(entries, doc)
    told = {e.name: e.inputs.digest if e.inputs else str(e.error) for e in entries}
    return State(Side(source.rev, digest(told)), entries, config, tuple(stage.digests))


def _reader(stage: Stage, base: PurePosixPath, shared: Common, doc: YamlDocument, i: int,
            ) -> Callable[[WorkloadEntry], Entry]:
    def read(w: WorkloadEntry) -> Entry:
        where = doc.where(("workloads", i))
        path = inside(base, w.file, where)
        if not stage.source.has(path):
            raise InputError(f"workloads: no such file {w.file}", where=where)
        prices = shared.prices if w.prices is None else price_part(stage, base, w.prices, where)
        inputs = plan_inputs(stage, path, shared, prices)
        return Entry(w.name or _named(inputs), path, inputs)

    return read


def _named(inputs: PlanInputs) -> str:
    name = inputs.document.data.get("name")
    if not isinstance(name, str) or not name.strip():
        raise InputError("name: required key is missing", where=inputs.document.where())
    return name


def _guarded(lenient: bool, w: WorkloadEntry, base: PurePosixPath, read: Callable[[WorkloadEntry], Entry]) -> Entry:
    try:
        return read(w)
    except CostplanError as e:
        if not lenient:
            raise
        return Entry(w.name or w.file, str(base / w.file), error=e)


def _distinct(entries: tuple[Entry, ...], doc: YamlDocument) -> None:
    seen: dict[str, int] = {}
    for i, e in enumerate(entries):
        if e.name in seen:
            raise InputError(f"two workloads are called {e.name[:80]!r}", where=doc.where(("workloads", i)),
                             hint="give one of them another name: {file: ..., name: ...}")
        seen[e.name] = i


def pairs(base: State | None, head: State) -> list[tuple[Entry | None, Entry | None]]:
    """Entries that belong together: by name; of the rest by file, then by equal inputs; a single plan on each side
    too."""
    left = {e.name: e for e in base.entries} if base else {}
    if base and len(base.entries) == len(head.entries) == 1 and (base.config is None or head.config is None):
        return [(base.entries[0], head.entries[0])]
    found: dict[str, Entry] = {e.name: left.pop(e.name) for e in head.entries if e.name in left}
    for same in (_same_file, _same_inputs):
        for e in head.entries:
            if e.name not in found and (old := next((o for o in left.values() if same(o, e)), None)) is not None:
                found[e.name] = left.pop(old.name)
    return [*((found.get(e.name), e) for e in head.entries), *((old, None) for old in left.values())]


def _same_file(a: Entry, b: Entry) -> bool:
    return bool(a.path) and a.path == b.path


def _same_inputs(a: Entry, b: Entry) -> bool:
    return a.inputs is not None and b.inputs is not None and a.inputs.digest == b.inputs.digest

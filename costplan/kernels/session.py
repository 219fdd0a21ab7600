"""A measuring run: which kernel next, on which worker, in which pass, until the budget is spent. Resumable anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from costplan.core.errors import InputError
from costplan.core.rng import stream
from costplan.kernels.backend import Backend
from costplan.kernels.journal import Journal
from costplan.kernels.passes import doubtful_ceilings, kept_passes
from costplan.kernels.registry import backends
from costplan.profile.case import Case

Ask = Callable[[str, Mapping[str, Any], float], dict[str, Any]]
Entry = dict[str, Any]
SENTINEL = Case.of("gemm", m=64, n=2048, k=2048, dtype="bf16")
"""Measured again and again: what changes about it is the machine."""
_BLOCK = 24
_MOST_FATALITIES = 3


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run may spend. ``pass_share``: part of the budget for the first pass over all cases."""

    device: str
    budget_s: float
    seed: int = 0
    only_backends: tuple[str, ...] | None = None
    regimes: tuple[str, ...] = ("steady", "cold")
    case_timeout_s: float = 90.0
    sentinel_every: int = 30
    pass_share: float = 0.6
    limits: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """One measured case: seconds (median of the steady regime) and relative spread."""

    case: Case
    backend: str
    kernel: str
    seconds: float
    spread: float


class Chooser(Protocol):
    """Who decides what is worth measuring."""

    def first(self) -> Sequence[Case]:
        """The initial cases, most valuable first."""
        ...

    def more(self, results: Sequence[Result], budget_left_s: float) -> Sequence[Case]:
        """What to add after these results; nothing where enough is known."""
        ...

    def skips(self, results: Sequence[Result]) -> Any:
        """What need not be measured, for `wants`."""
        ...

    def wants(self, case: Case, backend: str, skips: Any) -> bool:
        """Whether a backend should measure a case."""
        ...

    @property
    def why(self) -> str:
        """Why `more` had nothing to add, in words."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """What a watcher is told after each measurement."""

    done: int
    planned: int
    spent_s: float
    budget_s: float
    phase: str
    entry: Entry


class Session:
    """Runs a chooser's cases on all backends that take them; everything goes through the journal.

    `open` finds out what can be measured here, `run` measures.
    """

    def __init__(self, settings: Settings, journal: Journal, ask: Ask, run_id: str,
                 watch: Callable[[Progress], None] = lambda _: None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self.journal = journal
        self.ask = ask
        self.run_id = run_id
        self.watch = watch
        self.clock = clock
        self._done = {_mark(e) for e in journal.entries if "case" in e}
        self._fatalities: dict[str, int] = {}
        for e in journal.entries:
            if e.get("fatal"):
                self._fatal(str(e["backend"]))
        self._spent_s = sum(float(e.get("spent_s", 0.0)) for e in journal.entries)
        self._since_sentinel = 0
        self._planned = 0
        self._usable: list[Backend] = []

    # -- what is known ------------------------------------------------------------------------------------------

    def results(self) -> list[Result]:
        """Measured cases so far, see `results_of`."""
        return results_of(self.journal.entries)

    # -- the run ------------------------------------------------------------------------------------------------

    def open(self) -> dict[str, Any]:
        """Probe the backends and measure the device's limits (see `Ceilings`), unless the journal has them."""
        self._usable = self._probe()
        self._measure_ceilings()
        found: dict[str, Any] = next(e["ceilings"] for e in self.journal.entries if "ceilings" in e)
        return found

    @property
    def usable(self) -> tuple[Backend, ...]:
        """Backends that can run here; known after `open`."""
        return tuple(self._usable)

    def run(self, chooser: Chooser) -> str:
        """Measure until nothing is left or the budget is spent; says in words why it ended."""
        first_pass_s = self.settings.budget_s * self.settings.pass_share
        cases = list(chooser.first())
        whole = self._pass(cases, 1, first_pass_s, chooser)
        while whole:
            added = [c for c in chooser.more(self.results(), first_pass_s - self._spent_s) if c not in cases]
            if not added:
                break
            cases += added
            whole = self._pass(added, 1, first_pass_s, chooser)
        known = list(dict.fromkeys(case for case, _ in kept_passes(self.journal.entries)))
        twice = self._pass(known, 2, self.settings.budget_s, chooser)
        self._sentinel()
        twice = twice and self._repeat_disturbed(chooser)
        if not twice:
            return "the budget is spent"
        return chooser.why if whole else "the first pass used its share of the budget; all of it was measured twice"

    def _repeat_disturbed(self, chooser: Chooser) -> bool:
        """Limits and cases that only a busy machine was asked for, once more; False where the budget ended it."""
        if doubtful_ceilings(self.journal.entries) and self._spent_s < self.settings.budget_s:
            self._ask_ceilings()
        for pass_ in (3, 4):
            again = [case for (case, _), found in kept_passes(self.journal.entries).items() if found[0].disturbed]
            if not again:
                return True
            if not self._pass(list(dict.fromkeys(again)), pass_, self.settings.budget_s, chooser):
                return False
            self._sentinel()
        return True

    def _probe(self) -> list[Backend]:
        """Backends of this device that can run, each answer in the journal."""
        known = {e["backend"]: e for e in self.journal.entries if "availability" in e}
        out = []
        for b in backends(self.settings.device, self.settings.only_backends):
            if b.name not in known:
                reply = self.ask(b.domain, {"op": "probe", "backend": b.name}, self.settings.case_timeout_s)
                told = reply.get("availability", {"version": None, "reason": reply.get("failed", "no answer")})
                known[b.name] = {"backend": b.name, "availability": told}
                self.journal.add({**known[b.name], "run": self.run_id})
            if not known[b.name]["availability"]["reason"]:
                out.append(b)
        if not out:
            reasons = [f"{n}: {e['availability']['reason']}" for n, e in known.items()]
            raise InputError("no kernel backend is usable here", hint="; ".join(reasons[:3]) or "run `costplan doctor`")
        return out

    def _measure_ceilings(self) -> None:
        if not any("ceilings" in e for e in self.journal.entries):
            self._ask_ceilings()
        self._sentinel()

    def _ask_ceilings(self) -> None:
        began = self.clock()
        reply = self.ask(self._usable[0].domain, {"op": "ceilings", "limits": self.settings.limits},
                         4 * self.settings.case_timeout_s)
        if "ceilings" not in reply:
            raise InputError(f"the limits of this device cannot be measured: {reply.get('failed')}",
                             hint="run `costplan doctor`")
        self._add({**reply, "spent_s": round(self.clock() - began, 4)})

    def _pass(self, cases: Sequence[Case], pass_: int, until_s: float, chooser: Chooser) -> bool:
        """One pass over ``cases``; False where the budget ended it."""
        todo = list(self._pairs(cases, pass_, chooser))
        self._planned = self._tried + len(todo)
        for case, b in todo:
            if self._spent_s >= until_s:
                return False
            self._one(case, b, pass_)
            if self._since_sentinel >= self.settings.sentinel_every:
                self._sentinel()
        return True

    def _pairs(self, cases: Sequence[Case], pass_: int, chooser: Chooser) -> Iterator[tuple[Case, Backend]]:
        """What is left of this pass, in random order within blocks of equal worth; unsupported pairs are recorded.
        Later passes repeat what the first has measured, the third and fourth what was always disturbed."""
        rng = stream(self.settings.seed, f"profile.order.{pass_}")
        size = _BLOCK if pass_ == 1 else max(1, len(cases))
        before, skips = self._to_repeat(pass_), chooser.skips(self.results())
        for start in range(0, len(cases), size):
            pairs = [(c, b) for c in cases[start:start + size] for b in self._usable if c.family in b.families]
            for i in rng.permutation(len(pairs)).tolist():
                case, b = pairs[i]
                if pass_ > 1 and (case, b.name) not in before:
                    continue
                reason = b.supports(case)
                if reason is not None:
                    self._unsupported(case, b, reason)
                elif not chooser.wants(case, b.name, skips):
                    self._unsupported(case, b, "slower than another kernel at every size tried before")
                elif (case.key, b.name, pass_) not in self._done:
                    yield case, b

    def _to_repeat(self, pass_: int) -> set[tuple[Case, str]]:
        kept = kept_passes(self.journal.entries).items()
        return {(case, str(found[0].entry["backend"])) for (case, _), found in kept
                if pass_ == 2 or found[0].disturbed}

    def _unsupported(self, case: Case, b: Backend, reason: str) -> None:
        if (case.key, b.name, 0) not in self._done:
            self._add({"case": case.as_json(), "backend": b.name, "pass": 0, "skipped": reason})

    def _one(self, case: Case, b: Backend, pass_: int) -> None:
        if self._fatalities.get(b.name, 0) >= _MOST_FATALITIES:
            self._add({"case": case.as_json(), "backend": b.name, "pass": pass_,
                       "skipped": f"{b.name} ended its process {_MOST_FATALITIES} times"})
            return
        regimes = self.settings.regimes if pass_ == 1 else self.settings.regimes[:1]
        began = self.clock()
        reply = self.ask(b.domain, {
            "op": "measure", "backend": b.name, "case": case.as_json(), "regimes": list(regimes),
            "limits": dict(self.settings.limits), "seed": self._seed(case, pass_)}, self.settings.case_timeout_s)
        entry = {"case": case.as_json(), "backend": b.name, "pass": pass_}
        if "failed" in reply:
            entry |= {"skipped": reply["failed"], **({"fatal": True} if reply.get("fatal") else {})}
            if reply.get("fatal"):
                self._fatal(b.name)
        else:
            entry |= reply
        self._add({**entry, "spent_s": round(self.clock() - began, 4)})
        self._since_sentinel += 1

    def _sentinel(self) -> None:
        b = next((b for b in self._usable if b.supports(SENTINEL) is None), None)
        self._since_sentinel = 0
        if b is None:
            return
        began = self.clock()
        reply = self.ask(b.domain, {"op": "measure", "backend": b.name, "case": SENTINEL.as_json(),
                                    "regimes": ["steady"], "limits": dict(self.settings.limits), "seed": 1},
                         self.settings.case_timeout_s)
        if "regimes" in reply:
            self._add({"case": SENTINEL.as_json(), "backend": b.name, "pass": -1, "sentinel": True, **reply,
                       "spent_s": round(self.clock() - began, 4)})

    @property
    def _tried(self) -> int:
        """Measurements begun, of both passes and the sentinel."""
        return sum(1 for _, _, pass_ in self._done if pass_)

    # -- helpers ------------------------------------------------------------------------------------------------

    def _seed(self, case: Case, pass_: int) -> int:
        """Fresh inputs in each pass, the same in a repeated run."""
        return int(stream(self.settings.seed, f"profile.inputs.{pass_}.{case.key}").integers(1 << 31))

    def _fatal(self, backend: str) -> None:
        self._fatalities[backend] = self._fatalities.get(backend, 0) + 1

    def _add(self, entry: Mapping[str, Any]) -> None:
        whole = {**entry, "run": self.run_id}
        self.journal.add(whole)
        self._spent_s += float(entry.get("spent_s", 0.0))
        if "case" in entry:
            self._done.add(_mark(entry))
        self.watch(Progress(self._tried, max(self._planned, self._tried), self._spent_s,
                            self.settings.budget_s, f"pass {entry['pass']}" if entry.get("pass", 0) > 0 else "", whole))


def results_of(entries: Iterable[Mapping[str, Any]]) -> list[Result]:
    """Measured cases, one per case and kernel, in the order of measuring; sentinels are none."""
    return [Result(case, str(found[0].entry["backend"]), kernel, found[0].steady["median_s"],
                   _spread(found[0].steady["samples_ns"])) for (case, kernel), found in kept_passes(entries).items()]


def _mark(entry: Mapping[str, Any]) -> tuple[str, str, int]:
    return Case.from_json(entry["case"]).key, str(entry["backend"]), int(entry["pass"])


def _spread(samples_ns: Iterable[int]) -> float:
    """Half the distance of the 10th and 90th percentile over the median."""
    x = sorted(samples_ns)
    return (x[int(0.9 * (len(x) - 1))] - x[int(0.1 * (len(x) - 1))]) / (2.0 * max(1, x[len(x) // 2]))

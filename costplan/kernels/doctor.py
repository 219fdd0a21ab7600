"""What can be measured on this machine: each library looked at in a process of its own, and what to do about it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from costplan.kernels import registry
from costplan.kernels.backend import Availability, Backend
from costplan.kernels.skew import Advice, advise

SCHEMA = "costplan.doctor/1"
TORCH_INSTALL = "pip install torch"
AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Found:
    """One backend and whether it can run here."""

    name: str
    device: str
    domain: str
    families: tuple[str, ...]
    availability: Availability


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """``environment`` as environment.py gathers it; ``sdpa`` as sdpa_choice.py answers, None where not asked."""

    environment: Mapping[str, Any]
    backends: Sequence[Found]
    advice: Sequence[Advice]
    sdpa: Mapping[str, Any] | None = None

    @property
    def usable(self) -> bool:
        """Whether anything can be measured."""
        return any(b.availability.ok for b in self.backends)


    def as_json(self) -> dict[str, Any]:
        """Everything that was found, for programs and for the text."""
        return {
            "schema": SCHEMA, "usable": self.usable, "environment": dict(self.environment),
            "backends": [{"name": b.name, "device": b.device, "domain": b.domain, "families": list(b.families),
                          "available": b.availability.ok, "version": b.availability.version,
                          "reason": b.availability.reason or None, "install": b.availability.install or None,
                          "facts": dict(b.availability.facts)} for b in self.backends],
            "sdpa": None if self.sdpa is None else dict(self.sdpa),
            "advice": [{"what": a.what, "do": a.do, "grave": a.grave} for a in self.advice]}


@dataclass(frozen=True, slots=True)
class _Answers:
    """What a probing process said, and why it ended where it did not end well."""

    lines: Sequence[Mapping[str, Any]]
    failure: str | None = None
    begun: frozenset[str] = field(default_factory=frozenset)


def examine(devices: Sequence[str], sdpa: str | None, timeout_s: float) -> Diagnosis:
    """Look at all backends of ``devices`` and at the environment. Starts a process per domain; imports no library."""
    chosen = [b for d in devices for b in registry.backends(d)]
    if find_spec("torch") is None:
        missing = Availability(None, "torch is not installed", TORCH_INSTALL)
        found = [_found(b, missing) for b in chosen]
        environment: dict[str, Any] = {"torch": {"error": "not installed"}}
        return Diagnosis(environment, found, advise(environment, {}))
    domains: dict[str, list[Backend]] = {}
    for b in chosen:
        domains.setdefault(b.domain, []).append(b)
    with ThreadPoolExecutor(min(AT_ONCE, os.cpu_count() or 1)) as pool:
        about = pool.submit(_ask, ["environment"], timeout_s)
        asked = pool.submit(_ask, ["sdpa", sdpa], timeout_s) if sdpa else None
        found = [f for part in pool.map(lambda bs: _domain(bs, timeout_s), domains.values()) for f in part]
        said, told = about.result(), asked.result() if asked else None
    environment = dict(said.lines[0]) if said.lines else {"torch": {"error": said.failure}}
    reasons = {f.name: f.availability.reason for f in found}
    return Diagnosis(environment, found, advise(environment, reasons), _sdpa(sdpa, told))


def _sdpa(question: str | None, told: _Answers | None) -> Mapping[str, Any] | None:
    if told is None:
        return None
    return told.lines[0] if told.lines else {"question": question, "error": told.failure}


def _found(b: Backend, availability: Availability) -> Found:
    return Found(b.name, b.device, b.domain, tuple(sorted(b.families)), availability)


def _domain(backends: Sequence[Backend], timeout_s: float) -> list[Found]:
    """States of the backends of one domain. After a crash the rest is looked at in a new process."""
    out: dict[str, Availability] = {}
    while rest := [b.name for b in backends if b.name not in out]:
        said = _ask(["backends", *rest], timeout_s)
        for line in said.lines:
            if "name" in line:
                out[line["name"]] = Availability(line["version"], line["reason"], line["install"], line["facts"])
        left = [n for n in rest if n not in out]
        if left:
            culprits = [n for n in left if n in said.begun] or left
            out.update((n, Availability(None, said.failure or "no answer", "")) for n in culprits)
    return [_found(b, out[b.name]) for b in backends]


def _ask(words: Sequence[str], timeout_s: float) -> _Answers:
    """Answers of one probing process; however it ends, what it said before counts."""
    command = [sys.executable, "-m", "costplan.kernels.probing", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        try:
            out, errors = process.communicate(timeout=timeout_s)
            failure = _ending(process.returncode, errors.decode(errors="replace"))
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
            failure = f"no answer within {timeout_s:g} s"
    lines = []
    for line in out.decode(errors="replace").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            failure = failure or "an answer was cut off"
    return _Answers(lines, failure, frozenset(x["begin"] for x in lines if "begin" in x))


def _ending(code: int, errors: str) -> str | None:
    if code == 0:
        return None
    if code < 0:
        import signal

        try:
            return f"crashed when imported: {signal.Signals(-code).name}"
        except ValueError:
            return f"crashed when imported: signal {-code}"
    last = [line for line in errors.splitlines() if line.strip()][-1:]
    return f"failed: {last[0].strip()[:200]}" if last else f"failed with exit code {code}"

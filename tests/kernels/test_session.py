"""A run measures everything twice, in its budget, whatever single kernels do; and goes on where it stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from costplan.core.errors import InputError
from costplan.kernels.finish import RAW_FILE, finish
from costplan.kernels.journal import Journal
from costplan.kernels.session import SENTINEL, Session, Settings
from costplan.profile.sample_check import check_samples
from costplan.profile.samples import read_samples
from costplan.profile.store import Profile
from tests.kernels.measuring import DECODES, GEMMS, NAMES, Answers, FixedCases

DEVICE = {"name": "Test CPU", "key": "cpu_test_2c", "versions": {"torch": "2"}}


OPEN: list[Journal] = []


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().__exit__(None, None, None)


def session(path: Path, ask: Answers, *, budget_s: float = 1e9, run: str = "a") -> Session:
    settings = Settings("cpu", budget_s, only_backends=NAMES, sentinel_every=5)
    OPEN.append(Journal(path / "journal.jsonl", {"x": 1}))
    return Session(settings, OPEN[-1], ask, run)


def measured(s: Session, cases: FixedCases) -> str:
    s.open()
    return s.run(cases)


def profile(path: Path, s: Session) -> Profile:
    return finish(path, s.journal.entries, gpu="cpu_test_2c", device=DEVICE, device_spec={}, workload={},
                  days=("2026-11-21", "2026-11-21"), why="done")


def counts(ask: Answers) -> Counter[tuple[str, str]]:
    return Counter(m for m in ask.measured if m[0] != SENTINEL.key)


def test_everything_is_measured_twice_and_becomes_a_profile(tmp_path: Path) -> None:
    ask = Answers()
    s = session(tmp_path, ask)
    assert measured(s, FixedCases(GEMMS, DECODES)) == "enough"
    assert set(counts(ask).values()) == {2}
    assert len(counts(ask)) == len(GEMMS) + len(DECODES)
    p = profile(tmp_path / "p", s)
    gemm, decode = p.table("gemm"), p.table("attn_decode")
    assert gemm is not None and decode is not None
    assert (len(gemm), len(decode)) == (len(GEMMS), len(DECODES))
    assert set(gemm.columns["runs"].tolist()) == {2}
    assert p.manifest.origin["sentinel"]["drift"] == 0.0
    assert (p.folder / RAW_FILE).is_file()


def test_the_passes_have_different_orders(tmp_path: Path) -> None:
    ask = Answers()
    measured(session(tmp_path, ask), FixedCases(GEMMS))
    order = [m for m, _ in ask.measured if m != SENTINEL.key]
    first, second = order[: len(GEMMS)], order[len(GEMMS):]
    assert sorted(first) == sorted(second)
    assert first != second


def test_pairs_that_cannot_be_are_recorded_with_the_reason(tmp_path: Path) -> None:
    s = session(tmp_path, Answers())
    measured(s, FixedCases(DECODES))
    skipped = {(e["backend"], e["skipped"]) for e in s.journal.entries if "skipped" in e}
    assert skipped == {("torch-cpu-sdpa", "needs a contiguous cache"), ("torch-cpu-paged", "needs a paged cache")}
    origin = profile(tmp_path / "p", s).manifest.origin
    assert origin["not_run"] == {"torch-cpu-paged": {"needs a paged cache": 3},
                                 "torch-cpu-sdpa": {"needs a contiguous cache": 3}}


def test_a_kernel_that_fails_or_kills_its_process_stops_nothing_else(tmp_path: Path) -> None:
    ask = Answers(failing={"torch-cpu-sdpa": "RuntimeError: no"}, deadly=frozenset({"torch-cpu-paged"}))
    s = session(tmp_path, ask)
    measured(s, FixedCases([*GEMMS, *DECODES]))
    p = profile(tmp_path / "p", s)
    assert p.families == ("gemm",)
    reasons = Counter(e["skipped"] for e in s.journal.entries if "skipped" in e and e["pass"] == 1)
    assert reasons["RuntimeError: no"] == 3
    assert reasons["the worker process ended (killed by SIGSEGV)"] == 3
    assert counts(ask)[(DECODES[0].key, "torch-cpu-sdpa")] == 1


def test_a_resumed_run_measures_only_what_is_missing(tmp_path: Path) -> None:
    whole = Answers()
    measured(session(tmp_path / "whole", whole), FixedCases(GEMMS, DECODES))
    path = tmp_path / "cut" / "journal.jsonl"
    measured(session(tmp_path / "cut", Answers()), FixedCases(GEMMS, DECODES))
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in (1, 4, 9, 14, len(lines) - 2):
        path.write_bytes(b"".join(lines[:kept]))
        rest = Answers()
        s = session(tmp_path / "cut", rest, run="b")
        before = Counter((e["case"]["family"], str(e["case"]), e["backend"]) for e in s.journal.entries
                         if "regimes" in e and not e.get("sentinel"))
        measured(s, FixedCases(GEMMS, DECODES))
        assert sum(before.values()) + sum(counts(rest).values()) == sum(counts(whole).values())
        after = Counter(e["pass"] for e in s.journal.entries if "regimes" in e and not e.get("sentinel"))
        assert after[1] == after[2] == len(GEMMS) + len(DECODES)


def test_the_budget_ends_a_run_and_counts_over_resumes(tmp_path: Path) -> None:
    now = [0.0]

    def tick() -> float:
        now[0] += 0.5
        return now[0]

    s = session(tmp_path, Answers(), budget_s=8.0)
    s.clock = tick
    assert measured(s, FixedCases(GEMMS, DECODES)) == "the budget is spent"
    spent = sum(e.get("spent_s", 0.0) for e in s.journal.entries)
    assert 8.0 <= spent <= 9.5
    again = Answers()
    resumed = session(tmp_path, again, budget_s=8.0, run="b")
    resumed.clock = tick
    measured(resumed, FixedCases(GEMMS, DECODES))
    assert counts(again) == Counter()


def test_a_kernel_that_another_beats_everywhere_is_left_out(tmp_path: Path) -> None:
    ask = Answers()
    s = session(tmp_path, ask)
    measured(s, FixedCases([*GEMMS, *DECODES], slow=frozenset({"torch-cpu-sdpa"})))
    assert {b for _, b in counts(ask)} == {"torch-cpu-gemm", "torch-cpu-paged"}
    assert sum("slower" in str(e.get("skipped")) for e in s.journal.entries) == 3


def test_no_usable_backend_says_why(tmp_path: Path) -> None:
    class Absent(Answers):
        def __call__(self, domain, request, timeout_s):  # type: ignore[no-untyped-def]
            return {"availability": {"version": None, "reason": "torch is not installed"}}

    with pytest.raises(InputError, match="no kernel backend") as e:
        measured(session(tmp_path, Absent()), FixedCases(GEMMS))
    assert "torch is not installed" in (e.value.hint or "")


def test_nothing_measured_is_an_error(tmp_path: Path) -> None:
    s = session(tmp_path, Answers(failing={"torch-cpu-gemm": "RuntimeError: no"}))
    measured(s, FixedCases(GEMMS))
    with pytest.raises(InputError, match="nothing could be measured") as e:
        profile(tmp_path / "p", s)
    assert "RuntimeError: no" in (e.value.hint or "")


class Busy(Answers):
    """A machine on which everything takes three times as long during some of the requests."""

    def __init__(self, busy: range) -> None:
        super().__init__()
        self.busy, self.asked = busy, 0

    def __call__(self, domain: str, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        reply = super().__call__(domain, request, timeout_s)
        self.asked += 1
        if self.asked in self.busy:
            for r in reply.get("regimes", ()):
                r |= {"samples_ns": [3 * x for x in r["samples_ns"]], "median_s": 3 * r["median_s"]}
            if "ceilings" in reply:
                reply["ceilings"] = {**reply["ceilings"], "copy_bytes_per_s": 1e9}
        return reply


@pytest.mark.parametrize("busy", [range(1, 12), range(8, 20), range(20, 30)])
def test_what_was_measured_on_a_busy_machine_is_measured_again(tmp_path: Path, busy: range) -> None:
    calm = session(tmp_path / "calm", Answers())
    measured(calm, FixedCases(GEMMS, DECODES))
    s = session(tmp_path / "busy", Busy(busy))
    measured(s, FixedCases(GEMMS, DECODES))
    ours, theirs = profile(tmp_path / "p", s), profile(tmp_path / "q", calm)
    for family in ("gemm", "attn_decode"):
        a, b = ours.table(family), theirs.table(family)
        assert a is not None and b is not None
        assert a.columns["latency_s"].tolist() == b.columns["latency_s"].tolist()
    assert ours.manifest.origin["disturbed"] == 0
    assert ours.manifest.origin["sentinel"]["drift"] > 1
    assert ours.manifest.origin["ceilings"]["copy_bytes_per_s"] == 2e10
    samples = read_samples(ours)
    assert samples is not None and any(x.disturbed for x in samples.sampled)
    assert check_samples(ours, samples) == sum(len(t) for f in ours.families if (t := ours.table(f)) is not None)

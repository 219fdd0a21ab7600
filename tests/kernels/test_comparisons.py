"""The programs that hold our own measurements against imported tables and against what the field says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest

from costplan.kernels.registry import backends
from costplan.profile.case import Case
from costplan.profile.store import Profile
from tests.kernels.test_gpu_day import load


class Doubled:
    """An imported profile as if every kernel had taken twice as long here."""

    families = ("gemm", "attn_decode", "attn_prefill", "collective")

    def __init__(self, of: Profile) -> None:
        self.manifest, self._of = of.manifest, of

    def table(self, family: str) -> object:
        found = self._of.table(family)
        if found is None:
            return None
        some = found.take(found.columns["latency_s"].argsort()[::397])
        return type(some)(some.family, {**some.columns, "latency_s": 2 * some.columns["latency_s"]}, some.codes,
                          some.vocab)


def test_kernels_twice_as_slow_show_as_a_ratio_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    program = load("measured_vs_imported", monkeypatch)
    theirs = Profile.load("l40s-vllm")
    found = list(program.pairs(Doubled(theirs), theirs))
    inside = [p for p in found if p is not None]
    assert len(inside) > 100 and any(p is None for p in found)  # collectives have no counterpart here
    groups = {p.group[:2] for p in inside}
    assert {("gemm", "bf16"), ("attn_decode", "bf16, KV bf16"), ("attn_prefill", "bf16, KV bf16")} <= groups
    ratios = sorted(p.ratio for p in inside)
    assert ratios[len(ratios) // 2] == pytest.approx(2.0, rel=0.02)
    assert any("| gemm | bf16 |" in line for line in program.table_of(inside))
    assert len(program.worst_of(inside, 3)) == 5


def test_claims_are_ratios_of_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    program = load("field_claims", monkeypatch)

    def seconds(case: Case, by: Sequence[object]) -> float | None:
        """FA3 1.8 times as fast as FA2, FP8 1.25 times, pages of 16 a fifth slower, four splits twice as fast."""
        names = [b.name for b in by]  # type: ignore[attr-defined]
        if not names:
            return None
        if case.family == "attn_prefill":
            return 1.8e-3 if names[0].startswith("fa2") else 1e-3
        faster = 1.25 if case.text("dtype") == "fp8" else 1.0
        slower = 1.2 if case.size("page_size") == 16 else 1.0
        return 1e-3 * slower / faster / {4: 2.0}.get(case.size("num_splits"), 1.0)

    usable = [b for b in backends("cuda") if b.name.startswith(("fa2", "fa3-vllm"))]
    of: Callable[[str], list[object]] = lambda library: [b for b in usable if b.name.startswith(library)]  # noqa: E731
    found = program.claims(SimpleNamespace(usable=usable, fastest=seconds, of=of), 1, 989e12)
    ratios = [{round(v, 3) for _, v in c.found} for c in found]
    assert ratios[0] == {1.8} and ratios[2] == {1.25} and ratios[3] == {1.0, 1.2} and ratios[4] == {2.0}
    flops = 4 * 8 * 1024 ** 2 / 2 * 32 * 128  # 8 prompts of 1,024 tokens, causal, 32 heads of 128
    assert dict(found[1].found)["1024 tokens"] == pytest.approx(flops / 989e12 / 1e-3)
    assert "not measured here" in program.Claim("x", ()).line()

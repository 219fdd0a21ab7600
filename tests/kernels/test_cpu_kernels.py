"""Every CPU kernel against the reference, and what each says it cannot do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.core.errors import CostplanError, UnknownNameError
from costplan.kernels import registry
from costplan.kernels.inputs import Inputs
from costplan.kernels.routing import tokens_per_expert
from costplan.kernels.timer.protocol import check
from costplan.profile.case import Case, case_columns
from costplan.profile.families import FAMILIES
from costplan.profile.lengths import ragged_case

HEADS = {"num_heads": 8, "num_kv_heads": 2, "head_dim": 64}
QUICK = [n for n in registry.names() if n.startswith("torch-cpu") and n != "torch-cpu-flex"]


def cases() -> list[Case]:
    out = [Case.of("gemm", m=m, n=64, k=256, dtype=d) for m in (1, 5)
           for d in ("bf16", "fp32", "fp16", "int8", "int8_wo", "int4")]
    for dtype in ("bf16", "fp32"):
        kind = {**HEADS, "dtype": dtype, "kv_dtype": dtype}
        out += [Case.of("attn_decode", batch=2, kv_len=96, page_size=p, num_splits=s, **kind)
                for p in (0, 1, 16) for s in (0, 1, 4)]
        out += [Case.of("attn_prefill", batch=2, q_len=24, kv_len=kv, page_size=p, window=w, **kind)
                for kv in (24, 70) for p in (0, 16) for w in (0, 9)]
        out += [ragged_case([(8, 30), (1, 33), (1, 90)], page_size=p, **kind) for p in (0, 16)]
        out += [Case.of("elementwise", m=7, k=256, op=op, dtype=dtype) for op in (
            "rms_norm", "add_rms_norm", "rope", "silu_mul", "kv_write", "quant_int8", "sampling", "copy")]
        out += [Case.of("moe", tokens=9, hidden_size=32, inter_size=64, top_k=2, num_experts=8, tp=2, ep=2,
                        dtype=dtype, distribution=d) for d in ("balanced", "power_law_1.2")]
    return out


PAIRS = [(name, c) for c in cases() for name in QUICK if registry.backend(name).supports(c) is None]


@pytest.mark.parametrize(("name", "case"), PAIRS, ids=lambda x: x if isinstance(x, str) else x.key)
def test_every_result_is_right(name: str, case: Case, inputs: Inputs) -> None:
    prepared = registry.backend(name).prepare(case, inputs)
    assert check(prepared, lambda: None) <= prepared.tolerance
    if len(prepared.calls) > 1:
        prepared.calls[-1]()


def test_every_cpu_kernel_was_tried() -> None:
    assert {name for name, _ in PAIRS} == set(QUICK)


def test_the_check_would_see_a_wrong_kernel(inputs: Inputs) -> None:
    backend = registry.backend("torch-cpu-gemm")
    prepared = backend.prepare(Case.of("gemm", m=4, n=32, k=64, dtype="bf16"), inputs)
    right = prepared.calls[0]()
    assert prepared.error(right) < 1e-2
    assert prepared.error(right.flip(0)) > 0.5


@given(st.sampled_from([n for n in registry.names() if n.startswith("torch-cpu")]), st.sampled_from(sorted(FAMILIES)),
       st.data())
def test_saying_what_is_supported_never_fails(name: str, family: str, data: st.DataObject) -> None:
    values: dict[str, int | str] = {n: data.draw(st.integers(0, 1 << 20)) for n in FAMILIES[family].ints}
    words = ["bf16", "fp8", "int4", "rope", "balanced", "1:5,2:9", "?"]
    values |= {n: data.draw(st.sampled_from(words)) for n in case_columns(family) if n not in values}
    backend = registry.backend(name)
    reason = backend.supports(Case.of(family, **values))
    assert reason is None or reason
    if family not in backend.families:
        assert reason


def test_names_are_unique_and_unknown_ones_are_helped() -> None:
    with pytest.raises(CostplanError, match="two kernel backends"):
        registry.register("torch-cpu-gemm", "a:b")
    with pytest.raises(UnknownNameError) as e:
        registry.backend("torch-cpu-gem")
    assert "torch-cpu-gemm" in e.value.nearest


def test_every_backend_is_called_what_the_registry_calls_it() -> None:
    for name in registry.names():
        b = registry.backend(name)
        assert b.name == name
        assert b.families <= set(FAMILIES)


@given(st.integers(0, 5000), st.integers(1, 8), st.integers(1, 256), st.sampled_from(["balanced", "power_law_1.2"]))
def test_routing_gives_every_token_its_experts(tokens: int, top_k: int, experts: int, distribution: str) -> None:
    share = tokens_per_expert(tokens, top_k, experts, distribution)
    assert share is not None
    assert sum(share) == tokens * top_k
    assert min(share) >= 0
    if distribution == "balanced":
        assert max(share) - min(share) <= 1
    assert tokens_per_expert(tokens, top_k, experts, "unheard of") is None

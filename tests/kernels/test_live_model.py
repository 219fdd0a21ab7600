"""The live model computes what transformers' own code computes, whatever cache and attention it runs with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the live model needs torch")
pytest.importorskip("transformers", reason="the live model needs transformers")

from costplan.core.errors import InputError  # noqa: E402
from costplan.kernels import live_model, live_steps  # noqa: E402
from costplan.kernels.live_cache import FlatCache, PagedCache  # noqa: E402
from costplan.kernels.live_trace import group_of  # noqa: E402
from costplan.profile.steps import LiveHow, LiveModel, StepCase  # noqa: E402

SMALL = LiveModel("small", "llama", 64, 96, 2, 2, 4, 2, 16, 101, True, "fp32")


def logits(net: Any, ids: Any, past: int, cache: Any) -> Any:
    positions = torch.arange(past, past + ids.shape[1]).expand(ids.shape)
    with torch.inference_mode():
        return net(input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True).logits


@pytest.mark.parametrize("family", live_model.FAMILIES)
def test_the_model_equals_transformers_own(family: str) -> None:
    """Same weights in the unchanged class with its own attention: fused projections and norms change nothing."""
    model = replace(SMALL, family=family)
    net = live_model.build(model, "cpu", "sdpa")
    config_class, model_class = live_model._classes(family)
    config = config_class(**{**net.config.to_dict(), "attn_implementation": "eager"})
    own = model_class(config).eval()
    weights = dict(net.state_dict())
    for i in range(model.num_layers):
        at = f"model.layers.{i}"
        for kind in ("weight", "bias"):
            q, kv = model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim
            for first, names, widths in (("self_attn.q_proj", ("q", "k", "v"), (q, kv, kv)),
                                         ("mlp.gate_proj", ("gate", "up"), (model.intermediate_size,) * 2)):
                whole = weights.pop(f"{at}.{first}.whole.{kind}", None)
                if whole is not None:
                    group = first.split(".")[0]
                    parts = whole.split(widths, dim=0)
                    weights |= {f"{at}.{group}.{n}_proj.{kind}": p for n, p in zip(names, parts, strict=True)}
    own.load_state_dict(weights)
    ids = torch.randint(0, model.vocab_size, (2, 9))
    with torch.inference_mode():
        wanted = own(input_ids=ids, use_cache=False).logits
    found = logits(net, ids, 0, FlatCache(model, 2, 9, 0, net.lm_head.weight))
    assert torch.allclose(found, wanted, atol=1e-4), (found - wanted).abs().max()
    assert wanted.std() > 0.01


@pytest.mark.parametrize("attention", ["sdpa", "sdpa-packed"])
@pytest.mark.parametrize("page_size", [0, 1, 4])
def test_decode_behind_a_cache_equals_prefill(attention: str, page_size: int) -> None:
    net = live_model.build(SMALL, "cpu", attention)
    ids = torch.randint(0, SMALL.vocab_size, (3, 11))
    like = net.lm_head.weight

    def cache(length: int) -> Any:
        return (PagedCache(SMALL, 3, 11, length, page_size, like) if page_size else
                FlatCache(SMALL, 3, 11, length, like))

    whole = cache(0)
    wanted = logits(net, ids, 0, whole)[:, -1]
    last = cache(10)
    if page_size:
        assert sorted(last.table.flatten().tolist()) == list(range(last.table.numel()))
    last.k, last.v = whole.k, whole.v
    for k in whole.k:  # the last token must be written anew
        flat = k.view(-1, *k.shape[2:])
        flat[last.slots if page_size else [10, 21, 32]] = 0.0
    assert torch.allclose(logits(net, ids[:, 10:], 10, last)[:, -1], wanted, atol=1e-4)


def test_a_step_counts_its_operators_and_the_kernels_among_them() -> None:
    net, how = live_model.build(SMALL, "cpu", "sdpa"), LiveHow("cpu")
    with torch.inference_mode():
        for prefill in (False, True):
            step = live_steps.step_of(net, SMALL, how, StepCase(prefill, 2, 8))
            operators, kernels, small = live_steps._operators(step)
            assert kernels == 2 * (4 + 1) + 1  # QKV, O, gate and up, down, attention; head
            assert small > kernels and operators > kernels + small
            assert step().shape == (2,)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_prompt_multiplies_the_head_once(batch: int) -> None:
    """On a view into the prompt torch falls back to a batched product with a copy of the head per sequence."""
    net = live_model.build(SMALL, "cpu", "sdpa")
    with torch.inference_mode():
        step = live_steps.step_of(net, SMALL, LiveHow("cpu"), StepCase(True, batch, 8))
        with torch.autograd.profiler.profile(use_kineto=False) as seen:
            step()
    called = {e.key: e.count for e in seen.key_averages()}
    assert "aten::bmm" not in called, called
    assert called["aten::mm"] + called.get("aten::addmm", 0) == 2 * 4 + 1


@pytest.mark.parametrize(("name", "group"), [
    ("aten::mm", "gemm"), ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"), ("aten::copy_", "copy"),
    ("aten::silu", "elementwise"), ("aten::transpose", "other"), ("flash_attn::_flash_attn_forward", "attention"),
    ("aten.linear.default", "gemm"), ("aten.mul.Tensor", "elementwise"), ("aten.slice.Tensor", "other"),
    ("aten.scaled_dot_product_attention.default", "attention"), ("aten.to.dtype", "copy"), ("ProfilerStep*", "other"),
])
def test_operators_have_groups(name: str, group: str) -> None:
    assert group_of(name) == group


@pytest.mark.parametrize("missing", ["torch", "transformers"])
def test_a_missing_library_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr(live_model, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(InputError, match=f"{missing} is not installed") as e:
        live_model.build(SMALL, "cpu", "sdpa")
    assert e.value.hint and "costplan[live]" in e.value.hint


def test_a_missing_flash_attention_is_named() -> None:
    if live_model.find_spec("flash_attn_interface") is not None:
        pytest.skip("FlashAttention 3 is installed")
    with pytest.raises(InputError, match="fa3 is not installed"):
        live_model.build(SMALL, "cpu", "fa3")

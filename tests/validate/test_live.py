"""Live validation: what may run, how predictions are put together, and a real small model end to end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from costplan.catalog.model_spec import ModelSpec
from costplan.catalog.models import model as find_model
from costplan.cli import app as cli
from costplan.core.errors import CostplanError, DoesNotFitError, InputError, ProfileError
from costplan.profile.ai_schema import make_table
from costplan.profile.families import FAMILIES
from costplan.profile.manifest import Manifest
from costplan.profile.steps import LiveHow, LiveRun, StepCase, StepTimes, StepTrace
from costplan.profile.store import Profile, write_profile
from costplan.report.live_text import live_text
from costplan.report.style import Style
from costplan.validate import live
from costplan.validate.live import check_machine, compare, grid
from costplan.validate.live_device import device_of
from costplan.validate.live_model import check_fits, cut, live_model, needed_bytes
from costplan.validate.live_rows import RowsOf

HAVE_TORCH = find_spec("torch") is not None and find_spec("transformers") is not None
CONFIG = {"model_type": "llama", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
          "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 1000,
          "tie_word_embeddings": True, "torch_dtype": "bfloat16"}
DEVICE = {"name": "cpu_here", "title": "this CPU", "vendor": "CPU", "arch": "cpu", "peak_flops": {"bf16": 2e11},
          "mem_bytes": 8 << 30, "mem_bandwidth_bytes_per_s": 1.5e10}
MACHINE = {"name": "AMD EPYC", "cores": "2"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps(CONFIG), encoding="utf-8")
    return path


@pytest.fixture
def spec(config: Path) -> ModelSpec:
    return find_model(config)


def made_profile(folder: Path, seconds: Callable[[str, dict[str, Any]], float],
                 machine: dict[str, Any] | None = None) -> Profile:
    """A profile whose rows take ``seconds(family, row)``."""
    attn = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 64, "dtype": "bf16", "kv_dtype": "bf16"}
    shapes = ((512, 256), (256, 256), (1024, 256), (256, 512), (1000, 256))
    rows: dict[str, list[dict[str, Any]]] = {
        "gemm": [{"m": m, "n": n, "k": k, "dtype": "bf16", "kernel": "torch-linear"} for m in (1, 4, 64)
                 for n, k in shapes],
        "attn_decode": [{"batch": b, "kv_len": c, "kernel": name, **attn} for b in (1, 4) for c in (16, 64)
                        for name in ("torch-sdpa-flash", "other")],
        "attn_prefill": [{"batch": b, "q_len": c, "kv_len": c, "kernel": "torch-sdpa-flash", **attn} for b in (1, 4)
                         for c in (16, 64)]}
    tables = []
    for family, found in rows.items():
        f = FAMILIES[family]
        columns: dict[str, Any] = {n: np.array([r.get(n, 0) for r in found], dtype=np.int64) for n in f.ints}
        columns |= {n: np.array([r.get(n, "x") for r in found], dtype=object) for n in f.texts}
        columns["latency_s"] = np.array([seconds(family, r) for r in found])
        tables.append(make_table(family, columns))
    return write_profile(folder, Manifest(
        folder.name, "cpu_here", "costplan", MACHINE["name"], {}, {}, ("2026-11-21",),
        {"machine": machine or {"name": MACHINE["name"], "cores": 2}, "device_spec": DEVICE}, "none", {}), tables)


def times(case: StepCase, median_s: float = 1e-2) -> StepTimes:
    return StepTimes(case, ((median_s,) * 5,) * 2, 1e-3, 100, 11, 40)


def run_of(spec: ModelSpec, cases: list[StepCase], layers: int | None = None, **how: Any) -> LiveRun:
    groups = {"gemm": 5e-3, "attention": 1e-3, "elementwise": 1e-3, "copy": 1e-3, "other": 0.0, "gaps": 2e-3}
    return LiveRun(live_model(spec, layers, "bf16"), LiveHow("cpu", **how), MACHINE, tuple(times(c) for c in cases),
                   tuple(StepTrace(c, groups, dict.fromkeys(groups, 3), (("mul", 1e-3, 4),)) for c in cases), 1e-5)


def const(family: str, row: dict[str, Any]) -> float:
    return {"gemm": 1e-3, "attn_prefill": 3e-3, "attn_decode": 2e-3 if row.get("kernel") != "other" else 1e-4}[family]


def test_the_prediction_is_the_sum_of_measured_kernels_and_dispatch(spec: ModelSpec, tmp_path: Path) -> None:
    """Every kernel has one time, so a step can be added up by hand; the faster attention kernel did not run."""
    cases = [StepCase(False, 4, 64), StepCase(True, 4, 16)]
    found = compare(run_of(spec, cases), spec, made_profile(tmp_path / "p", const), device_of_dict())
    decode, prefill = found.rows
    assert decode.parts_s["gemm"] == pytest.approx(2 * 4 * 1e-3, rel=0.01)
    assert decode.parts_s["attention"] == pytest.approx(2 * 2e-3, rel=0.01)
    assert decode.parts_s["head"] == pytest.approx(1e-3, rel=0.01)
    assert prefill.parts_s["attention"] == pytest.approx(2 * 3e-3, rel=0.01)
    for row in found.rows:
        assert row.parts_s["dispatch"] == pytest.approx(89 * 1e-5)
        assert sum(row.parts_s.values()) == pytest.approx(row.predicted_s)
        assert row.error == pytest.approx(row.predicted_s / 1e-2 - 1)
        assert (row.whole_measured_s, row.whole_predicted_s) == pytest.approx((row.measured_s, row.predicted_s))
    assert found.median_error() == pytest.approx(np.mean([abs(r.error) for r in found.rows]))
    assert found.median_error(True) == abs(prefill.error)


@pytest.mark.parametrize(("each_s", "added_s"), [(1e-5, 0.0), (1.0, 89.0)])
def test_on_a_gpu_launching_hides_behind_kernels(spec: ModelSpec, tmp_path: Path, each_s: float,
                                                 added_s: float) -> None:
    run = replace(run_of(spec, [StepCase(False, 1, 16)]), dispatch_s=each_s, how=LiveHow("cuda", mode="eager"))
    [row] = compare(run, spec, made_profile(tmp_path / "p", const), device_of_dict()).rows
    kernels_s = sum(s for part, s in row.parts_s.items() if part != "dispatch")
    assert row.predicted_s == pytest.approx(max(kernels_s, added_s))


def test_launching_is_not_counted_twice_where_elementwise_rows_contain_it(spec: ModelSpec, tmp_path: Path) -> None:
    run = run_of(spec, [StepCase(False, 1, 16)])
    model = live._latency_model(RowsOf(made_profile(tmp_path / "p", const), run.how), spec, device_of_dict(), run)
    assert live.launched_apart(run.steps[0], model) == 89
    grid_of = next(op.kernel.grid for op in model.ops if op.part == "gemm")
    model.ops = tuple(replace(op, kernel=replace(op.kernel, grid=grid_of)) if op.part == "elementwise" else op
                      for op in model.ops)
    assert live.launched_apart(run.steps[0], model) == 49


def device_of_dict() -> Any:
    return device_of(Manifest("p", "cpu_here", "costplan", None, {}, {}, (), {"device_spec": DEVICE}, "none", {}))


def test_a_cut_model_is_extrapolated_by_layers(spec: ModelSpec, tmp_path: Path) -> None:
    found = compare(run_of(spec, [StepCase(False, 1, 16)], layers=1), spec, made_profile(tmp_path / "p", const),
                    device_of_dict())
    [row] = found.rows
    assert row.whole_measured_s == pytest.approx(1e-3 + 2 * 9e-3)
    assert row.whole_predicted_s > 1.8 * (row.predicted_s - row.parts_s["head"])
    text = live_text(found, Style(160))
    assert "1 of 2 layers" in text and "extrapolated" in text and "whole model ms" in text


def test_another_kernel_that_stands_in_is_told(spec: ModelSpec, tmp_path: Path) -> None:
    made = made_profile(tmp_path / "p", const)
    found = compare(run_of(spec, [StepCase(False, 1, 16)], attention="sdpa-packed"), spec, made, device_of_dict())
    assert not found.notes  # another SDPA row is near enough
    paged = compare(run_of(spec, [StepCase(False, 1, 16)], page_size=16), spec, made, device_of_dict())
    assert paged.notes == ("no attn_decode row has page size 16: other pages stand in",)
    only = RowsOf(made, LiveHow("cpu"))
    table = only.table("attn_decode")
    assert table is not None and set(table.text("kernel")) == {"torch-sdpa-flash"}


def test_the_report_names_what_the_composition_misses(spec: ModelSpec, tmp_path: Path) -> None:
    found = compare(run_of(spec, [StepCase(False, 1, 16), StepCase(True, 1, 16)]), spec,
                    made_profile(tmp_path / "p", const), device_of_dict())
    text = live_text(found, Style(120))
    assert text.startswith(f"median error {(found.median_error() or 0) * 100:.1f}% over 2 steps (decode ")
    assert "furthest off: decode 1 x 16" in text and "furthest off: prefill 1 x 16" in text
    assert "mul 1.00 ms (4)" in text and "89 operators beside the measured kernels x 10.0 us" in text


@pytest.mark.parametrize(("name", "said"), [
    ("mixtral-8x7b", "mixture of experts"), ("gemma-2-9b-it", "type gemma2 is not built"),
    ("nvidia/Nemotron-H-56B-Base-8K", "hybrid"), ("mistralai/Mistral-7B-v0.1", "windowed"),
])
def test_models_that_cannot_run_live_say_why(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as e:
        live_model(find_model(name), None, "bf16")
    assert e.value.hint and "llama" in e.value.hint


def test_latent_attention_is_named() -> None:
    spec = find_model("deepseek-v3")
    mla = replace(spec, layers=tuple(replace(g, layer=replace(g.layer, mlp=None)) for g in spec.layers))
    with pytest.raises(InputError, match=r"latent \(MLA\)"):
        live_model(mla, None, "bf16")


def test_memory_is_estimated_before_anything_is_allocated() -> None:
    spec = find_model("llama-3.1-8b")
    cases = grid([1, 4], [128, 2048], 1024)
    whole = needed_bytes(spec, None, "bf16", cases)
    assert 16e9 < whole < 24e9  # 16.06 GB of weights
    assert needed_bytes(spec, 1, "bf16", cases) < needed_bytes(spec, 2, "bf16", cases) < whole
    with pytest.raises(DoesNotFitError, match=r"needs about .* GiB, 8\.0 GiB are free") as e:
        check_fits(spec, None, "bf16", cases, 8 << 30)
    hinted = int((e.value.hint or "").split("--layers ")[1].split(":")[0])
    assert needed_bytes(spec, hinted, "bf16", cases) <= 8 << 30 < needed_bytes(spec, hinted + 1, "bf16", cases)
    check_fits(spec, None, "bf16", cases, None)


def test_cutting_keeps_the_first_layers() -> None:
    spec = find_model("llama-3.1-8b")
    assert cut(spec, 3).num_layers == 3 and cut(spec, 99) is spec and cut(spec, None) is spec


def test_a_profile_of_another_machine_is_refused_unless_forced(tmp_path: Path) -> None:
    made = made_profile(tmp_path / "p", const)
    assert check_machine(made.manifest, MACHINE, force=False) == ""
    for here in ({"name": "Other CPU", "cores": "2"}, {"name": "AMD EPYC", "cores": "8"}):
        with pytest.raises(InputError, match="not of this machine") as e:
            check_machine(made.manifest, here, force=False)
        assert e.value.hint and "--force" in e.value.hint
        assert "not of this machine" in check_machine(made.manifest, here, force=True)
    nameless = replace(made.manifest, device=None, origin={})
    with pytest.raises(InputError, match="does not say"):
        check_machine(nameless, MACHINE, force=False)


def test_a_profile_without_a_known_device_is_refused() -> None:
    bare = Manifest("p", "cpu_here", "costplan", None, {}, {}, (), {}, "none", {})
    with pytest.raises(ProfileError, match="which nothing describes"):
        device_of(bare)
    with pytest.raises(CostplanError, match="device_spec"):
        device_of(replace(bare, origin={"device_spec": {"speed": 1}}))
    assert device_of(replace(bare, gpu="h200_sxm")).name == "h200_sxm"


@pytest.mark.parametrize(("args", "said", "hint"), [
    ([], "--live needs --model", "smollm2"), (["--model", "smollm2-135m"], "--live needs --profile", "profile list"),
    (["x.csv"], "takes no file", "--json"),
    (["--model", "smollm2-135m", "--profile", "p", "--batch", "1,x"], "--batch: '1,x' is no list", "--batch 1,4,16"),
    (["--model", "smollm2-135m", "--profile", "p", "--attention", "fa3"], "--attention: unknown", "sdpa"),
    (["--model", "smollm2-135m", "--profile", "p", "--device", "gpu"], "--device: unknown device 'gpu'", "cpu"),
    (["--model", "smollm2-135m", "--profile", "nowhere"], "unknown profile 'nowhere'", None),
    (["--model", "mixtral-8x7b", "--profile", "h200_sxm-vllm"], "cannot run live: it is a mixture of", "--layers"),
])
def test_bad_flags_of_live_are_2_with_a_hint(capsys: pytest.CaptureFixture[str], args: list[str], said: str,
                                             hint: str | None) -> None:
    code = cli.main(["validate", "--live", *args])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "") and said in err
    assert hint is None or hint in err.split("hint:")[1]


@pytest.mark.skipif(not HAVE_TORCH, reason="a live run needs torch and transformers: pip install 'costplan[live]'")
def test_a_small_model_runs_beside_a_profile_measured_here(config: Path, tmp_path: Path,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    """Real kernels, real steps. Machines are noisy, so only the order of magnitude is asked for."""
    import torch
    from torch.nn.functional import linear, scaled_dot_product_attention

    from costplan.kernels.live_machine import describe

    def fastest(call: Callable[[], Any]) -> float:
        def once() -> float:
            began = time.perf_counter()
            call()
            return time.perf_counter() - began
        return min(once() for _ in range(6))

    def kernel(family: str, r: dict[str, Any]) -> float:
        if family == "gemm":
            x, w = (torch.randn(s).to(torch.bfloat16) for s in ((r["m"], r["k"]), (r["n"], r["k"])))
            return fastest(lambda: linear(x, w))
        q = torch.randn(r["batch"], 4, r.get("q_len", 1), 64).to(torch.bfloat16)
        k, v = torch.randn(2, r["batch"], 2, r["kv_len"], 64).to(torch.bfloat16)
        return fastest(lambda: scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1, enable_gqa=True))

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        here = describe("cpu")
        machine = {"name": here["name"], "cores": int(here["cores"])}
        made_profile(tmp_path / "here", kernel, machine)
        code = cli.main(["validate", "--live", "--model", str(config), "--profile", str(tmp_path / "here"), "--batch",
                         "1,4", "--context", "16,64", "--sample-s", "0.02", "--json"])
    finally:
        torch.set_num_threads(threads)
    out, err = capsys.readouterr()
    assert code == 0, err
    told = json.loads(out)
    assert len(told["rows"]) == 8 and len(told["run"]["traces"]) == 8
    for row in told["rows"]:
        assert 0 < row["measured_s"] < 10 and sum(row["parts_s"].values()) == pytest.approx(row["predicted_s"])
    ratios = [r["predicted_s"] / r["measured_s"] for r in told["rows"]]
    assert 0.1 < float(np.median(ratios)) < 10
    assert all(s["kernel_calls"] == 11 and s["operators"] > 60 for s in told["run"]["steps"])
    assert all(t["groups_s"]["gemm"] > 0 and t["groups_s"]["attention"] > 0 for t in told["run"]["traces"])

"""The profiles that we ship: whole, sane, small, and described as they are."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from costplan.catalog.gpus import gpu, shipped_gpus
from costplan.core.shipped import shipped_dir
from costplan.perf.devices import device_of, open_profile
from costplan.profile.coverage import coverage
from costplan.profile.families import FAMILIES
from costplan.profile.merge import columns_of, group_ids
from costplan.profile.sample_check import check_samples
from costplan.profile.samples import read_samples
from costplan.profile.store import Profile

FOLDER = shipped_dir("profiles")
NAMES = sorted(p.parent.name for p in FOLDER.glob("*/manifest.json"))
OURS = sorted(n for n in NAMES if n.endswith("-costplan"))
IMPORTED = sorted(set(NAMES) - set(OURS))
NEEDED = ("h100_sxm", "h200_sxm", "a100_80gb_sxm", "l40s", "b200_sxm")


def test_the_gpus_that_were_promised_are_there() -> None:
    assert {f"{g}-{e}" for g in NEEDED for e in ("vllm", "sglang", "trtllm")} <= set(NAMES)


def test_every_device_is_in_the_catalogue_or_described() -> None:
    assert {Profile.load(FOLDER / n).gpu for n in IMPORTED} <= set(shipped_gpus())
    for name in OURS:
        p = open_profile(FOLDER / name)
        assert (device_of(p.manifest, name) is None) == (p.gpu in shipped_gpus()) and gpu(p.gpu).name == p.gpu


def test_all_together_stay_within_25_mb_and_each_within_a_few() -> None:
    sizes = {n: sum(f.stat().st_size for f in (FOLDER / n).iterdir()) for n in NAMES}
    assert sum(sizes.values()) <= 25e6
    assert max(sizes.values()) <= 3e6


@pytest.mark.parametrize("name", OURS)
def test_what_we_measured_is_its_samples(name: str) -> None:
    p = Profile.load(FOLDER / name)
    assert (p.name, f"{p.gpu}-{p.engine}") == (name, name)
    samples = read_samples(p)
    assert samples is not None and p.manifest.origin["disturbed"] == 0
    assert check_samples(p, samples) == sum(t.rows for t in p.manifest.tables.values()) > 0
    assert p.manifest.origin["workload"]["held_out"]["median"] <= 0.05


@pytest.mark.parametrize("name", IMPORTED)
def test_every_table_is_whole_and_sane(name: str) -> None:
    p = Profile.load(FOLDER / name)
    assert (p.name, f"{p.gpu}-{p.engine}") == (name, name)
    assert p.manifest.licence == "Apache-2.0"
    assert p.manifest.origin["attribution"] and p.manifest.origin["package_version"]
    assert {f.name for f in p.folder.iterdir()} == {"manifest.json", *(t.file for t in p.manifest.tables.values())}
    for family, entry in p.manifest.tables.items():
        t = p.table(family)
        assert t is not None and len(t) == entry.rows > 0
        latency = np.asarray(t.columns["latency_s"], dtype=float)
        assert latency.min() > 1e-9 and latency.max() < 20, family
        assert len(np.unique(group_ids(t, tuple(columns_of(t))))) == len(t), f"{family} repeats a key"
        assert sum(s["rows_kept"] for s in entry.sources) == sum(g["rows"] for g in entry.groups) == entry.rows
        for n in FAMILIES[family].texts:
            assert len(set(entry.vocab[n])) == len(entry.vocab[n]) and all(w for w in entry.vocab[n])


@pytest.mark.parametrize("name", IMPORTED)
def test_every_row_that_was_read_is_accounted_for(name: str) -> None:
    p = Profile.load(FOLDER / name)
    for family, entry in p.manifest.tables.items():
        assert sum(s["rows_read"] for s in entry.sources) == entry.rows + sum(entry.dropped.values()), family


def test_the_h200_can_serve_any_kind_of_model() -> None:
    p = Profile.load(FOLDER / "h200_sxm-vllm")
    assert set(p.families) >= {"gemm", "attn_prefill", "attn_decode", "mla_module_prefill", "mla_module_decode", "moe",
                               "collective", "linear_attention", "elementwise"}
    gemm = p.table("gemm")
    assert gemm is not None and {"bf16", "fp8", "fp8_block"} <= set(gemm.vocab["dtype"])
    decode = p.table("attn_decode")
    assert decode is not None and {"bf16", "fp8"} <= set(decode.vocab["kv_dtype"])
    assert decode.columns["window"].max() > 0


def test_small_gemms_were_timed_from_a_graph() -> None:
    for name in IMPORTED:
        gemm = Profile.load(FOLDER / name).table("gemm")
        assert gemm is not None
        small = (gemm.columns["m"] <= 16) & (gemm.columns["n"] <= 2048) & (gemm.columns["k"] <= 2048)
        for kernel in gemm.vocab["kernel"]:
            rows = gemm.take(small & gemm.mask(kernel=kernel))
            if len(rows) >= 20:
                assert np.quantile(np.asarray(rows.columns["latency_s"], dtype=float), 0.05) < 40e-6, (name, kernel)


def test_h200_moves_no_faster_than_its_links_and_memory() -> None:
    p = Profile.load(FOLDER / "h200_sxm-vllm")
    c = p.table("collective")
    assert c is not None
    custom = c.mask(op="all_reduce", kernel="vLLM_custom_graph", num_gpus=8)
    big = c.take(custom & (c.columns["message_bytes"] >= 2**28))
    rate = 2 * 7 / 8 * np.asarray(big.columns["message_bytes"]) / np.asarray(big.columns["latency_s"], dtype=float)
    assert len(big) and (rate > 300e9).all() and (rate < 480e9).all()


def test_coverage_counts_every_row() -> None:
    p = Profile.load(FOLDER / "a100_80gb_sxm-vllm")
    groups = coverage(p)
    assert sum(g.rows for g in groups) == sum(t.rows for t in p.manifest.tables.values())
    gemm = [g for g in groups if g.family == "gemm"]
    assert [g.texts["dtype"] for g in gemm] == ["bf16"] and gemm[0].hull["m"][0] == 1


def test_the_readme_tells_the_same_rows() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    told = {m[1]: int(m[2].replace(",", "")) for m in re.finditer(r"^\| ([\w-]+) \| ([\d,]+) \|", text, re.M)}
    assert told == {n: sum(t.rows for t in Profile.load(FOLDER / n).manifest.tables.values()) for n in NAMES}


def test_no_path_of_a_machine_is_shipped() -> None:
    for name in NAMES:
        text = (Path(FOLDER) / name / "manifest.json").read_text(encoding="utf-8")
        assert not re.search(r'"/(?:home|tmp|work|root|usr)\b', text)

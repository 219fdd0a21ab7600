"""The GPU table is complete, sourced, consistent with physics and found under every common name."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.catalog import gpus as gpus_module
from costplan.catalog.gpus import gpu, gpu_key, gpu_name_note, gpus
from costplan.core.errors import UnknownNameError
from costplan.core.units import GIB

DATA = Path(gpus_module.__file__).parent / "data"
SHARED = Path(__file__).resolve().parents[2] / ".." / "shared"

MUST_EXIST = [
    "v100_sxm_32gb", "v100_pcie_32gb", "v100s_pcie_32gb", "a100_40gb_sxm", "a100_80gb_sxm", "a100_40gb_pcie",
    "a100_80gb_pcie", "a800_80gb_sxm", "a30", "a10", "a10g", "rtx_a6000", "l4", "l40s", "rtx_3090", "rtx_4090",
    "rtx_4090_d", "rtx_4000_ada", "rtx_6000_ada", "rtx_5090", "rtx_pro_6000", "rtx_pro_6000_ws", "h100_sxm",
    "h100_pcie", "h100_nvl", "h200_sxm", "h200_nvl", "gh200", "gh200_144gb", "h20", "h20_3e", "b200_sxm",
    "b300_sxm", "gb200", "gb300", "gb10", "mi300x", "mi325x", "mi350x", "mi355x", "gaudi2", "gaudi3",
    "inferentia2", "tpu_v5e", "tpu_v6e", "jetson_agx_orin_64gb", "ascend_910b2", "mtt_s4000",
]

UNIT_OF = {"peak_flops": {"TFLOP/s", "TOP/s"}, "mem_bytes": {"MiB", "GiB", "bytes"},
           "mem_marketed_bytes": {"GiB"}, "mem_bandwidth_bytes_per_s": {"GB/s"}, "l2_bytes": {"MiB"},
           "num_sms": {"1"}, "gpus_per_node": {"1"}, "link_gpus": {"1"}, "tdp_w": {"W"},
           "link_bytes_per_s": {"GB/s"}, "pcie_bytes_per_s": {"GB/s"}, "node_net_bytes_per_s": {"GB/s"}}


def fact_rows() -> list[dict[str, str]]:
    with (DATA / "gpu_facts.csv").open(encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def test_every_device_that_was_promised_exists() -> None:
    assert set(MUST_EXIST) <= set(gpus())


def test_every_number_has_a_known_gpu_unit_and_source() -> None:
    assert len(fact_rows()) > 600
    for row in fact_rows():
        assert row["gpu"] in gpus(), row
        assert row["unit"] in UNIT_OF[row["field"].split(".")[0]], row
        assert math.isfinite(float(row["value"])), row
        assert float(row["value"]) > 0, row
        assert len(row["source"]) >= 5, row
        assert gpus()[row["gpu"]].sources[row["field"]] == row["source"]


def test_every_number_of_a_spec_comes_from_the_fact_table() -> None:
    for spec in gpus().values():
        for name in UNIT_OF:
            value = getattr(spec, name)
            known = [f for f in spec.sources if f.split(".")[0] == name]
            assert (value is not None) == bool(known), (spec.name, name)


def test_no_fact_is_given_twice() -> None:
    assert [k for k, n in Counter((r["gpu"], r["field"]) for r in fact_rows()).items() if n > 1] == []


@pytest.mark.parametrize("key", gpus())
def test_numbers_are_of_sane_size(key: str) -> None:
    spec = gpus()[key]
    assert spec.name == key
    assert 0.9 < spec.mem_bytes / spec.mem_marketed_bytes <= 1
    assert 14 * GIB < spec.mem_bytes < 300 * GIB
    assert 1e11 < spec.mem_bandwidth_bytes_per_s < 1e13
    half = spec.peak("fp16") or spec.peak("bf16")
    assert half is not None
    assert 4e13 < half < 3e15
    intensity = half / spec.mem_bandwidth_bytes_per_s
    assert 30 < intensity < 700, "FLOP per byte of memory traffic"
    assert 1 <= spec.gpus_per_node <= 16
    assert (spec.link is None) == (spec.link_bytes_per_s is None) or key == "inferentia2"


@pytest.mark.parametrize("key", gpus())
def test_peaks_are_dense_and_ordered(key: str) -> None:
    """A narrower format is twice as fast as the next wider one, except where the row says otherwise."""
    spec = gpus()[key]
    half, fp8, fp4, fp32 = (spec.peak(d) for d in ("bf16", "fp8", "fp4", "fp32"))
    if half and fp8 and key not in ("gaudi3", "inferentia2"):
        assert fp8 / half == pytest.approx(2, rel=0.02)
    if fp8 and fp4:
        assert 1.95 < fp4 / fp8 < 4.05
    if half and fp32:
        assert fp32 < half
    if spec.peak("int8") is not None and key not in ("b300_sxm", "gb300", "v100_sxm_32gb", "v100_pcie_32gb",
                                                     "v100s_pcie_32gb"):
        assert spec.peak("int8") >= 0.99 * (fp8 or half or 0)  # type: ignore[operator]


def test_formats_exist_only_where_the_hardware_has_them() -> None:
    for spec in gpus().values():
        if spec.vendor != "NVIDIA":
            continue
        cc = float(spec.compute_capability)
        assert (spec.peak("fp8") is not None) == (cc >= 8.9), spec.name
        assert (spec.peak("fp4") is not None) == (cc >= 10), spec.name
        assert (spec.peak("bf16") is not None) == (cc >= 8), spec.name
    assert gpu("tpu_v5e").peak("fp16") is None
    assert gpu("mi300x").peak("fp4") is None
    assert gpu("mi355x").peak("fp4") is not None


@pytest.mark.parametrize(("key", "units", "flop_per_clk", "mhz", "tflops"), [
    ("v100_sxm_32gb", 80, 1024, 1530, 125.3), ("rtx_a6000", 84, 1024, 1800, 154.8), ("a10", 72, 1024, 1695, 125.0),
    ("l4", 58, 1024, 2040, 121.2), ("rtx_4090", 128, 512, 2520, 165.2), ("rtx_6000_ada", 142, 1024, 2505, 364.2),
    ("rtx_pro_6000_ws", 188, 1024, 2617, 503.8), ("h100_sxm", 132, 4096, 1830, 989.4),
    ("mi300x", 304, 2048, 2100, 1307.4), ("mi355x", 256, 4096, 2400, 2516.6), ("a100_80gb_sxm", 108, 2048, 1410, 312),
])
def test_fp16_peak_follows_from_units_and_clock(key: str, units: int, flop_per_clk: int, mhz: int,
                                                tflops: float) -> None:
    assert units * flop_per_clk * mhz / 1e6 == pytest.approx(tflops, rel=0.001)
    assert gpu(key).peak("fp16") == pytest.approx(tflops * 1e12, rel=0.005)
    assert gpu(key).num_sms == units


def test_memory_is_what_drivers_print() -> None:
    printed_gib = {"h100_sxm": 79.11, "h200_sxm": 139.80, "a100_40gb_sxm": 39.49, "l40s": 44.40, "l4": 22.03,
                   "b200_sxm": 178.35, "rtx_3090": 23.56, "rtx_5090": 31.36, "mi300x": 191.98, "h100_nvl": 93.10}
    for key, gib in printed_gib.items():
        assert gpu(key).mem_bytes / GIB == pytest.approx(gib, abs=0.006)


@pytest.mark.parametrize(("key", "trap"), [
    ("l40s", "1466"), ("rtx_pro_6000", "1597"), ("b200_sxm", "8.0"), ("b300_sxm", "INT8"), ("gaudi3", "1678"),
    ("tpu_v5e", "800 GiB/s"), ("rtx_4090", "330.3"), ("h20_3e", "4.0 TB/s"), ("mi300x", "TechPowerUp"),
])
def test_conflicts_between_sources_are_stated(key: str, trap: str) -> None:
    assert trap in gpu(key).notes


@pytest.mark.parametrize(("name", "key"), [
    ("H100", "h100_sxm"), ("NVIDIA H100 80GB HBM3", "h100_sxm"), ("h100-80g", "h100_sxm"),
    ("NVIDIA H100 NVL", "h100_nvl"), ("NVIDIA H100 PCIe", "h100_pcie"), ("H200", "h200_sxm"),
    ("NVIDIA H200", "h200_sxm"), ("a100-80g", "a100_80gb_sxm"), ("A100-80GB", "a100_80gb_sxm"),
    ("NVIDIA A100-SXM4-40GB", "a100_40gb_sxm"), ("NVIDIA A100 80GB PCIe", "a100_80gb_pcie"),
    ("NVIDIA A100-PCIE-40GB", "a100_40gb_pcie"), ("Tesla V100-SXM2-32GB", "v100_sxm_32gb"), ("Tesla T4", "t4"),
    ("a10g", "a10g"), ("NVIDIA A10", "a10"), ("rtx-pro-server-6000", "rtx_pro_6000"),
    ("rtx_pro_6000_server", "rtx_pro_6000"),
    ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "rtx_pro_6000_ws"), ("RTX6000-Ada", "rtx_6000_ada"),
    ("NVIDIA RTX 6000 Ada Generation", "rtx_6000_ada"), ("NVIDIA GeForce RTX 4090 D", "rtx_4090_d"),
    ("4090", "rtx_4090"), ("AMD Instinct MI300X OAM", "mi300x"), ("NVIDIA GH200 480GB", "gh200"),
    ("NVIDIA GH200 144G HBM3e", "gh200_144gb"), ("NVIDIA B200", "b200_sxm"),
    ("NVIDIA B300 SXM6 AC", "b300_sxm"), ("NVIDIA H20-3e", "h20_3e"), ("DGX Spark", "gb10"),
    ("Gaudi2", "gaudi2"), ("inferentia2", "inferentia2"), ("tpu-v5e", "tpu_v5e"),
    ("Ascend910B2", "ascend_910b2"),
])
def test_names_as_people_and_drivers_write_them(name: str, key: str) -> None:
    assert gpu(name).name == key


def test_no_name_means_two_devices() -> None:
    with (DATA / "gpus.csv").open(encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    owner: dict[str, str] = {}
    for row in rows:
        names = [row["gpu"], row["title"], *row["aliases"].split("|"), *filter(None, row["short_names"].split("|"))]
        for name in names[:1] + names[2:]:
            plain = re.sub(r"[^0-9a-z]", "", name.lower())
            assert owner.setdefault(plain, row["gpu"]) == row["gpu"], name
            assert gpu(name).name == row["gpu"]


def test_short_names_say_what_was_assumed() -> None:
    note = gpu_name_note("A100")
    assert note is not None
    assert "a100_80gb_sxm" in note
    assert "a100_40gb_pcie" in note
    assert gpu_name_note("NVIDIA A100-SXM4-40GB") is None
    assert gpu_name_note("rtx_pro_6000") is None
    assert "rtx_pro_6000_ws" in (gpu_name_note("RTX PRO 6000") or "")


@pytest.mark.parametrize("name", ["", "   ", "NVIDIA", "gpu", "h100_sxn", "RTX 9999"])
def test_an_unknown_name_is_refused(name: str) -> None:
    assert gpu_key(name) is None
    with pytest.raises(UnknownNameError) as e:
        gpu(name, where="w.yaml:3")
    assert e.value.where == "w.yaml:3"
    assert e.value.hint


def test_a_near_miss_is_offered() -> None:
    with pytest.raises(UnknownNameError) as e:
        gpu("h100_sxn")
    assert e.value.nearest[0] == "h100_sxm"


@given(st.text(max_size=30))
def test_any_text_is_a_device_or_a_clear_error(name: str) -> None:
    try:
        assert gpu(name).name in gpus()
    except UnknownNameError as e:
        assert e.hint


def test_the_catalogue_cannot_be_changed_by_a_caller() -> None:
    with pytest.raises(TypeError):
        gpus()["x"] = gpu("l4")  # type: ignore[index]
    with pytest.raises(TypeError):
        gpu("l4").peak_flops["bf16"] = 1.0  # type: ignore[index]


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "truth" / "tune.csv").is_file(), reason="reference data not beside the repository")
def test_every_device_of_the_ground_truth_is_known_by_its_key() -> None:
    with (SHARED / "truth" / "tune.csv").open(encoding="utf-8", newline="") as f:
        assert {row["gpu"] for row in csv.DictReader(f)} <= set(gpus())


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "data" / "gpus.csv").is_file(), reason="reference data not beside the repository")
def test_values_agree_with_the_reference_table() -> None:
    other = {"Jetson-AGX-Orin-64GB": "jetson_agx_orin_64gb", "H100-SXM5-80GB": "h100_sxm"}
    with (SHARED / "data" / "gpus.csv").open(encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    for row in rows:
        spec = gpu(other.get(row["gpu"], row["gpu"]))
        bandwidth_gbs = spec.mem_bandwidth_bytes_per_s / 1e9
        assert bandwidth_gbs == pytest.approx(float(row["mem_bw_gbs"]), rel=0.002), row["gpu"]
        for column, dtype in (("fp16_bf16_tflops_dense", "fp16"), ("fp8_tflops_dense", "fp8"),
                              ("fp4_tflops_dense", "fp4"), ("int8_tops_dense", "int8")):
            peak = spec.peak("bf16" if dtype == "fp16" and spec.vendor == "Google" else dtype)
            if row[column]:
                assert peak == pytest.approx(float(row[column]) * 1e12, rel=0.01), (row["gpu"], dtype)

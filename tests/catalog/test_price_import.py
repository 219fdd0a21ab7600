"""Users' price files are read strictly, SkyPilot catalogues leniently; both say file and line."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costplan.catalog import csv_rows
from costplan.catalog.price import Purchase
from costplan.catalog.price_import import read_price_csv, read_prices, read_skypilot_csv
from costplan.core.errors import CostplanError, InputError, UnknownNameError

HEAD = "gpu,gpu_count,price_usd_per_instance_h,provider,instance,region,purchase,price_date\n"
ROW = "h100_sxm,8,20.0,own,dc1,eu,on_demand,2026-11-01\n"


def write(folder: Path, text: str, name: str = "prices.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_good_file(tmp_path: Path) -> None:
    got = read_price_csv(write(tmp_path, HEAD + ROW + "\nNVIDIA L4,1,0.5,own,,,spot,2026-11-02\n"))
    first, second = got.prices
    assert (first.gpu, first.gpu_count, first.price_usd_per_gpu_h) == ("h100_sxm", 8, 2.5)
    assert (first.purchase, first.price_date) == (Purchase.ON_DEMAND, date(2026, 11, 1))
    assert (second.gpu, second.region, second.instance, second.purchase) == ("l4", "all", "1x l4", Purchase.SPOT)
    assert "prices.csv" in first.source
    assert got.skipped == {}


def test_per_gpu_prices_in_any_column_order_with_a_byte_order_mark(tmp_path: Path) -> None:
    text = "price_date,purchase,provider,price_usd_per_gpu_h,gpu_count,gpu\r\n2026-11-01,1y,own,2.5,8,H100\r\n"
    (price,) = read_price_csv(write(tmp_path, "\ufeff" + text)).prices
    assert price.price_usd_per_instance_h == 20
    assert price.purchase == Purchase.RESERVED_1Y


@pytest.mark.parametrize(("row", "line", "part"), [
    ("h100_sxm,8,-1,own,i,r,spot,2026-11-01", 2, "price_usd_per_instance_h"),
    ("h100_sxm,8,0,own,i,r,spot,2026-11-01", 2, "above 0"),
    ("h100_sxm,8,nan,own,i,r,spot,2026-11-01", 2, "finite"),
    ("h100_sxm,8,inf,own,i,r,spot,2026-11-01", 2, "finite"),
    ("h100_sxm,8,$20,own,i,r,spot,2026-11-01", 2, "not a number"),
    ("h100_sxm,8,1_0,own,i,r,spot,2026-11-01", 2, "not a number"),
    ("h100_sxm,8,,own,i,r,spot,2026-11-01", 2, "exactly one"),
    ("h100_sxm,0,20,own,i,r,spot,2026-11-01", 2, "gpu_count"),
    ("h100_sxm,1.5,20,own,i,r,spot,2026-11-01", 2, "whole number"),
    ("h100_sxm,1e9,20,own,i,r,spot,2026-11-01", 2, "whole number"),
    ("h100_sxm,8,20,,i,r,spot,2026-11-01", 2, "provider is empty"),
    ("h100_sxm,8,20,own,i,r,spot,", 2, "price_date is empty"),
    ("h100_sxm,8,20,own,i,r,spot,01.11.2026", 2, "not a date"),
    ("h100_sxm,8,20,own,i,r,spot,2026-02-30", 2, "not a date"),
    ("h100_sxm,8,20,own,i,r,spot", 2, "7 cells"),
    (ROW + "h100_sxm,8,20,own,i,r,spot,2026-11-01,x", 3, "9 cells"),
    (ROW + ROW, 3, "already"),
    ('"h100_sxm,8,20,own,i,r,spot,2026-11-01', 2, "CSV"),
])
def test_a_bad_row_is_refused_with_its_line(tmp_path: Path, row: str, line: int, part: str) -> None:
    path = write(tmp_path, HEAD + row)
    with pytest.raises(InputError) as e:
        read_price_csv(path)
    assert part in e.value.message
    assert e.value.where == f"{path}:{line}"


@pytest.mark.parametrize(("row", "nearest"), [("h100_sxn,8,20,own,i,r,spot,2026-11-01", "h100_sxm"),
                                              ("h100_sxm,8,20,own,i,r,spott,2026-11-01", "spot")])
def test_an_unknown_name_gets_a_near_miss(tmp_path: Path, row: str, nearest: str) -> None:
    with pytest.raises(UnknownNameError) as e:
        read_price_csv(write(tmp_path, HEAD + row))
    assert e.value.nearest[0] == nearest
    assert str(e.value.where).endswith(":2")


@pytest.mark.parametrize(("header", "part"), [
    ("gpu,gpu,gpu_count,price_usd_per_gpu_h,provider,purchase,price_date", "duplicate column 'gpu'"),
    ("gpu,gpu_count,price_usd_per_gpu_h,provider,purchase", "missing column price_date"),
    ("gpu,gpu_count,price_usd_per_gpu_hour,provider,purchase,price_date", "unknown column"),
    ("", "empty"),
    ("gpu,gpu_count,price_usd_per_gpu_h,provider,purchase,price_date", "no rows"),
])
def test_a_bad_header_is_refused(tmp_path: Path, header: str, part: str) -> None:
    with pytest.raises(InputError) as e:
        read_price_csv(write(tmp_path, header))
    assert part in e.value.message


def test_both_price_columns_filled_are_refused(tmp_path: Path) -> None:
    text = "gpu,gpu_count,price_usd_per_gpu_h,price_usd_per_instance_h,provider,purchase,price_date\n"
    with pytest.raises(InputError, match="exactly one"):
        read_price_csv(write(tmp_path, text + "l4,1,1,1,own,spot,2026-11-01\n"))


def test_other_encodings_folders_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin1.csv"
    path.write_bytes((HEAD + ROW.replace("own", "f\xfcr")).encode("latin-1"))
    for bad in (path, tmp_path, tmp_path / "none.csv"):
        with pytest.raises(InputError) as e:
            read_price_csv(bad)
        assert e.value.hint


def test_a_file_over_the_cap_is_refused_by_its_size_alone(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + ROW)
    os.truncate(path, csv_rows.MAX_BYTES + 1)
    with pytest.raises(InputError, match="50 MB"):
        read_price_csv(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_are_prices_or_a_clear_error(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "any.csv"
    path.write_bytes(HEAD.encode() + tail)
    for read in (lambda: read_price_csv(path), lambda: read_skypilot_csv(path, provider="x")):
        try:
            assert all(p.price_usd_per_instance_h > 0 for p in read().prices)
        except CostplanError as e:
            assert e.message


SKY = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,Region,GpuInfo,SpotPrice\n"
INFO = "\"{'Gpus': [{'Name': 'X', 'Count': 1.0, 'MemoryInfo': {'SizeInMiB': %s}}], 'TotalGpuMemoryInMiB': 1}\""


def sky(folder: Path, *rows: str, head: str = SKY) -> Path:
    return write(folder, head + "\n".join(rows) + "\n", "vms.csv")


def test_skypilot_on_demand_and_spot(tmp_path: Path) -> None:
    path = sky(tmp_path, f"p5,H100,8.0,192,2048,55.04,us-east-1,{INFO % 81920},11.0",
               f"v1,H200,1.0,44,182,,FIN-02,{INFO % 144384},1.19", "cpu,,,8,32,0.4,us-east-1,,0.1")
    got = read_skypilot_csv(path, provider="aws", price_date=date(2026, 11, 1))
    assert [(p.gpu, p.gpu_count, p.purchase.value, p.price_usd_per_instance_h) for p in got.prices] == [
        ("h100_sxm", 8, "on_demand", 55.04), ("h100_sxm", 8, "spot", 11.0), ("h200_sxm", 1, "spot", 1.19)]
    assert got.skipped == {"no accelerator": 1}
    assert {p.price_date for p in got.prices} == {date(2026, 11, 1)}


def test_skypilot_column_order_may_differ_and_spot_may_be_absent(tmp_path: Path) -> None:
    head = "Region,Price,GpuInfo,AcceleratorCount,AcceleratorName,InstanceType,AvailabilityZone\n"
    got = read_skypilot_csv(sky(tmp_path, "eu,2.29,,1,H100,one,eu-a", "eu,2.10,,1,H100,one,eu-b", head=head),
                            provider="verda")
    (price,) = got.prices
    assert price.price_usd_per_instance_h == 2.10, "the cheapest zone"
    assert price.is_stale(date(2026, 11, 21)), "a catalogue without a date"


@pytest.mark.parametrize(("name", "info", "key"), [
    ("A100", INFO % 40960, "a100_40gb_sxm"), ("A100", "", "a100_40gb_sxm"),
    ("A100-80GB", INFO % 81920, "a100_80gb_sxm"),
    ("V100-32GB", INFO % 32768, "v100_sxm_32gb"), ("A10G", INFO % 22888, "a10g"), ("L40S", INFO % 48, "l40s"),
    ("GH200", INFO % 98304, "gh200"),
])
def test_skypilot_names(tmp_path: Path, name: str, info: str, key: str) -> None:
    (price,) = read_skypilot_csv(sky(tmp_path, f"i,{name},1,8,8,1.0,r,{info},"), provider="x").prices
    assert price.gpu == key


def test_skypilot_memory_summed_over_all_gpus_is_understood(tmp_path: Path) -> None:
    (price,) = read_skypilot_csv(sky(tmp_path, f"i,H100,8,8,8,20.0,r,{INFO % 655360},"), provider="x").prices
    assert price.gpu == "h100_sxm"


def test_skypilot_tpu_slices_count_chips(tmp_path: Path) -> None:
    path = sky(tmp_path, "TPU-VM,tpu-v5litepod-4,1,,,4.8,us-west4,,2.4", ",tpu-v6e-8,1,,,21.6,us-east5,,")
    got = read_skypilot_csv(path, provider="gcp").prices
    assert [(p.gpu, p.gpu_count) for p in got] == [("tpu_v5e", 4), ("tpu_v5e", 4), ("tpu_v6e", 8)]
    assert got[0].price_usd_per_gpu_h == pytest.approx(1.2)


def test_skypilot_rows_that_cannot_be_used_are_counted_by_reason(tmp_path: Path) -> None:
    path = sky(tmp_path, "a,Radeon-Pro-V520,1,8,8,1.0,r,,", f"b,V100,1,8,8,1.0,r,{INFO % 16384},",
               "c,L4,0.5,8,8,1.0,r,,", "d,L4,,8,8,1.0,r,,", "e,L4,1,8,8,,r,,", "f,L4,1,8,8,0.7,r,,")
    got = read_skypilot_csv(path, provider="x")
    assert [p.instance for p in got.prices] == ["f"]
    assert got.skipped == {"unknown accelerator Radeon-Pro-V520": 1, "unknown accelerator V100": 1,
                           "no whole number of accelerators": 2, "no price": 1}


@pytest.mark.parametrize(("price", "spot"), [("-1", ""), ("nan", ""), ("1.0", "inf"), ("abc", "")])
def test_skypilot_broken_numbers_are_errors(tmp_path: Path, price: str, spot: str) -> None:
    path = sky(tmp_path, f"i,L4,1,8,8,{price},r,,{spot}")
    with pytest.raises(InputError) as e:
        read_skypilot_csv(path, provider="x")
    assert e.value.where == f"{path}:2"


def test_gpu_info_is_never_executed(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    info = f"\"__import__('pathlib').Path('{mark}').touch() or {{'MemoryInfo': {{'SizeInMiB': 24576}}}}\""
    (price,) = read_skypilot_csv(sky(tmp_path, f"i,L4,1,8,8,1.0,r,{info},"), provider="x").prices
    assert price.gpu == "l4"
    assert not mark.exists()


def test_the_header_tells_whose_file_it_is(tmp_path: Path) -> None:
    assert read_prices(write(tmp_path, HEAD + ROW)).prices[0].provider == "own"
    cloud = tmp_path / "lambda"
    cloud.mkdir()
    path = sky(cloud, "gpu_8x_h100,H100,8,8,8,20.0,us," + INFO % 655360 + ",")
    assert read_prices(path).prices == read_skypilot_csv(path, provider="lambda").prices


@pytest.mark.parametrize("made", ["absent", "folder", "empty", "useless"])
def test_a_file_without_prices_is_refused(tmp_path: Path, made: str) -> None:
    path = tmp_path / "prices.csv"
    if made == "folder":
        path.mkdir()
    elif made == "empty":
        path.write_bytes(b"")
    elif made == "useless":
        path = sky(tmp_path, "i,NoSuchChip,8,8,8,20.0,us,,")
    with pytest.raises(InputError, match=r"prices\.csv|vms\.csv|" + path.name):
        read_prices(path)

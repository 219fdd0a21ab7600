"""Prices from outside: a user's own CSV, and the CSV files of the SkyPilot catalogue.

A user's file is strict: every row is right or the file is refused. A SkyPilot catalogue lists thousands of
machines that costplan does not know: those rows are left out and counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import NamedTuple

from costplan.catalog.csv_rows import CsvRow, read_csv_rows
from costplan.catalog.gpus import gpu, gpu_key, gpus
from costplan.catalog.price import Price, Purchase
from costplan.catalog.prices import purchase_name
from costplan.core.errors import InputError
from costplan.core.units import GIB

_PER_INSTANCE, _PER_GPU = "price_usd_per_instance_h", "price_usd_per_gpu_h"
_OWN_REQUIRED = ("gpu", "gpu_count", "provider", "purchase", "price_date")
_OWN_COLUMNS = (*_OWN_REQUIRED, _PER_INSTANCE, _PER_GPU, "instance", "region")
_SKY_COLUMNS = ("InstanceType", "AcceleratorName", "AcceleratorCount", "Price", "Region")
_SKY_PRICES = (("Price", Purchase.ON_DEMAND), ("SpotPrice", Purchase.SPOT))
# SkyPilot's own meaning where it differs from the commonest device of that name
_SKY_NAMES = {"A100": "a100_40gb_sxm"}
_TPU = re.compile(r"tpu-(v5litepod|v6e)-(\d{1,4})")
_MEMORY = re.compile(r"""["']SizeInMiB["']\s*:\s*([0-9]{1,9}(?:\.[0-9]+)?)""")
_MEMORY_TOLERANCE = 0.15
MAX_HEADER = 10_000
"""Characters of the first line that are looked at."""


class PriceImport(NamedTuple):
    """Imported prices, and how many rows were left out for which reason."""

    prices: tuple[Price, ...]
    skipped: Mapping[str, int]


def read_prices(path: Path) -> PriceImport:
    """A user's own price file, or a SkyPilot ``catalogs/vN/<cloud>/vms.csv``, told apart by its header.

    The provider of a SkyPilot file is its folder's name. Raises InputError, also where no row can be used.
    """
    if not path.is_file():
        raise InputError(f"cannot read {path}: not a file", hint="give the path of a CSV file")
    with path.open(encoding="utf-8-sig", errors="replace") as f:
        sky = "AcceleratorName" in f.readline(MAX_HEADER)
    found = read_skypilot_csv(path, provider=path.resolve().parent.name) if sky else read_price_csv(path)
    if not found.prices:
        raise InputError("no row holds a price of a GPU that costplan knows", where=str(path),
                         hint="costplan catalog gpus lists the names")
    return found


def read_price_csv(path: Path) -> PriceImport:
    """A user's own prices, strictly read.

    Columns ``gpu, gpu_count, provider, purchase, price_date`` and one of ``price_usd_per_instance_h`` and
    ``price_usd_per_gpu_h``; optional ``instance``, ``region``. Raises InputError with file and line.
    """
    table: dict[tuple[object, ...], Price] = {}
    for row in read_csv_rows(path, required=_OWN_REQUIRED, allowed=_OWN_COLUMNS):
        price = _own_price(row, path)
        key = (price.provider, price.region, price.instance, price.gpu, price.gpu_count, price.purchase)
        if key in table:
            raise InputError("this provider, region, instance, GPU and purchase has a price already",
                             where=row.where, hint="keep the newest")
        table[key] = price
    return PriceImport(tuple(table.values()), {})


def read_skypilot_csv(path: Path, *, provider: str, price_date: date | None = None) -> PriceImport:
    """Prices of one cloud from a SkyPilot catalogue (``catalogs/vN/<cloud>/vms.csv``).

    ``price_date`` is the day of the catalogue, which the file does not hold: without it the prices count
    as stale. Of several zones of a region the cheapest stays.
    """
    skipped: Counter[str] = Counter()
    table: dict[tuple[str, str, Purchase], Price] = {}
    for row in read_csv_rows(path, required=_SKY_COLUMNS):
        device = _sky_device(row, skipped)
        if device is None:
            continue
        found = _sky_prices(row, device, provider, price_date, path)
        if not found:
            skipped["no price"] += 1
        for price in found:
            key = (price.instance, price.region, price.purchase)
            if key not in table or price.price_usd_per_instance_h < table[key].price_usd_per_instance_h:
                table[key] = price
    return PriceImport(tuple(table.values()), dict(skipped))


def _own_price(row: CsvRow, path: Path) -> Price:
    spec = gpu(row.need("gpu"), where=row.where)
    count = _whole(row, "gpu_count")
    given = [c for c in (_PER_INSTANCE, _PER_GPU) if row.text(c)]
    if len(given) != 1:
        raise InputError(f"give exactly one of {_PER_INSTANCE} and {_PER_GPU}", where=row.where)
    amount = row.number(given[0])
    return Price(
        provider=row.need("provider"), region=row.text("region") or "all",
        instance=row.text("instance") or f"{count}x {spec.name}", gpu=spec.name, gpu_count=count,
        purchase=Purchase(purchase_name(row.need("purchase"), where=row.where)),
        price_usd_per_instance_h=amount if given[0] == _PER_INSTANCE else amount * count,
        price_date=_day(row, "price_date"), source=f"{path.name}, given by the user")


def _whole(row: CsvRow, column: str) -> int:
    value = row.number(column)
    if value != int(value) or value > 1024:
        raise InputError(f"{column}: {row.text(column)!r} must be a whole number from 1 to 1024", where=row.where)
    return int(value)


def _day(row: CsvRow, column: str) -> date:
    text = row.need(column)
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text, flags=re.ASCII) is None:
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{column}: {text!r} is not a date", where=row.where,
                         hint="write YYYY-MM-DD, e.g. 2026-11-21") from None


def _sky_device(row: CsvRow, skipped: Counter[str]) -> tuple[str, int] | None:
    """Catalogue key and count of the row's accelerators; None (counted in ``skipped``) if it cannot be used."""
    name = row.text("AcceleratorName")
    if not name:
        skipped["no accelerator"] += 1
        return None
    tpu = _TPU.fullmatch(name)
    if tpu and int(tpu[2]) > 0:
        return ("tpu_v5e" if tpu[1] == "v5litepod" else "tpu_v6e"), int(tpu[2])
    count = row.number("AcceleratorCount") if row.text("AcceleratorCount") else 0.0
    if count < 1 or count != int(count):
        skipped["no whole number of accelerators"] += 1
        return None
    key = _of_memory(_SKY_NAMES.get(name) or gpu_key(name), int(count), row)
    if key is None:
        skipped[f"unknown accelerator {name}"] += 1
        return None
    return key, int(count)


def _of_memory(key: str | None, count: int, row: CsvRow) -> str | None:
    """``key`` if the memory that the row states fits it (or none is stated), else None.

    Keeps a 16 GB V100 from passing as the 32 GB one. Some clouds write GiB into the MiB field, some the sum
    over all accelerators.
    """
    stated = _MEMORY.search(row.text("GpuInfo"))
    if key is None or stated is None or float(stated[1]) == 0:
        return key
    size = float(stated[1])
    gib = size if size < 1024 else size / 1024
    expected = gpus()[key].mem_marketed_bytes / GIB
    fits = any(abs(g / expected - 1) <= _MEMORY_TOLERANCE for g in (gib, gib / count))
    return key if fits else None


def _sky_prices(row: CsvRow, device: tuple[str, int], provider: str, day: date | None, path: Path) -> list[Price]:
    key, count = device
    instance = row.text("InstanceType") or row.text("AcceleratorName")
    return [Price(provider=provider, region=row.text("Region") or "all", instance=instance, gpu=key,
                  gpu_count=count, purchase=purchase, price_usd_per_instance_h=row.number(column),
                  price_date=day, source=f"SkyPilot catalogue file {path.name}")
            for column, purchase in _SKY_PRICES if row.text(column) not in ("", "0", "0.0")]

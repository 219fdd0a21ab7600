"""The price table that ships with costplan, and how a price is found, aged and counted in whole instances.

``data/prices.csv`` holds list prices per provider, instance, purchase and region (the cheapest region and a
few main ones). Rows without a date come from a catalogue whose date is not recorded: they always count as
stale.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from pathlib import Path

from costplan.catalog.gpus import gpu as find_gpu
from costplan.catalog.price import STALE_AFTER_DAYS, Price, Purchase
from costplan.core.errors import CostplanError, InputError, UnknownNameError

_TABLE = Path(__file__).parent / "data" / "prices.csv"


@lru_cache(maxsize=1)
def prices() -> tuple[Price, ...]:
    """All shipped prices."""
    try:
        with _TABLE.open(encoding="utf-8", newline="") as f:
            return tuple(_price(row) for row in csv.DictReader(f))
    except OSError as e:
        raise CostplanError(f"this installation has no prices.csv: {e.strerror}", hint="reinstall costplan") from e


def find_prices(gpu: str | None = None, provider: str | None = None, region: str | None = None,
                purchase: Purchase | str | None = None, *,
                among: Iterable[Price] | None = None) -> tuple[Price, ...]:
    """Prices that match every given value, cheapest per GPU first; ``among`` replaces the shipped table.

    ``gpu`` takes any name that the GPU catalogue knows. A price whose region is ``all`` holds in every
    region. Raises UnknownNameError for a GPU, provider, region or purchase that no row can have.
    """
    table = prices() if among is None else tuple(among)
    key = find_gpu(gpu).name if gpu is not None else None
    kind = Purchase(purchase_name(purchase)) if purchase is not None else None
    where = _known("provider", provider, {p.provider for p in table})
    place = _known("region", region, {p.region for p in table})
    found = (p for p in table
             if (key is None or p.gpu == key) and (kind is None or p.purchase == kind)
             and (where is None or p.provider == where) and (place is None or p.region in (place, "all")))
    return tuple(sorted(found, key=lambda p: (p.price_usd_per_gpu_h, p.gpu_count, p.provider, p.instance, p.region)))


def cheapest(gpu: str, purchase: Purchase | str | None = Purchase.ON_DEMAND, num_gpus: int | None = None, *,
             provider: str | None = None, region: str | None = None,
             among: Iterable[Price] | None = None) -> Price | None:
    """The price that rents ``num_gpus`` GPUs for the least, whole instances counted; None where there is none.

    Without ``num_gpus`` the least per GPU.
    """
    found = find_prices(gpu, provider, region, purchase, among=among)
    if num_gpus is None:
        return found[0] if found else None
    return min(found, key=lambda p: fleet_usd_per_h(p, num_gpus), default=None)


def instances_needed(price: Price, num_gpus: int) -> int:
    """Whole instances that hold ``num_gpus`` GPUs; GPUs left over in the last one are paid for too."""
    if num_gpus < 1:
        raise InputError(f"{num_gpus} GPUs cannot be rented", hint="ask for one or more")
    return -(-num_gpus // price.gpu_count)


def fleet_usd_per_h(price: Price, num_gpus: int) -> float:
    """USD per hour of the whole instances that hold ``num_gpus`` GPUs."""
    return instances_needed(price, num_gpus) * price.price_usd_per_instance_h


def freshness(price: Price, today: date) -> str:
    """Age of a price in words, with the flag that every output must show."""
    if price.price_date is None:
        return "undated: stale"
    days = (today - price.price_date).days
    if days < 0:
        return f"dated {price.price_date.isoformat()}, in the future"
    age = "1 day old" if days == 1 else f"{days} days old"
    return f"{age}: stale (over {STALE_AFTER_DAYS} days)" if price.is_stale(today) else age


def purchase_name(text: Purchase | str, *, where: str | None = None) -> str:
    """The `Purchase` value that ``text`` means (``on-demand``, ``preemptible``, ``reserved_1y`` ... accepted)."""
    key = text.strip().lower().replace("-", "_").replace(" ", "_")
    value = _PURCHASE_ALIASES.get(key, key)
    if value not in {p.value for p in Purchase}:
        raise UnknownNameError("purchase", text, [p.value for p in Purchase], where=where)
    return value


_PURCHASE_ALIASES = {"ondemand": "on_demand", "preemptible": "spot", "reserved_1y": "1y", "reserved_3y": "3y",
                     "1yr": "1y", "3yr": "3y"}


def _known(kind: str, name: str | None, known: set[str]) -> str | None:
    if name is None:
        return None
    exact = {k.lower(): k for k in known}
    if name.strip().lower() not in exact:
        raise UnknownNameError(kind, name, known)
    return exact[name.strip().lower()]


def _price(row: dict[str, str]) -> Price:
    return Price(
        provider=row["provider"], region=row["region"], instance=row["instance"], gpu=row["gpu"],
        gpu_count=int(row["gpu_count"]), purchase=Purchase(row["purchase"]),
        price_usd_per_instance_h=float(row["price_usd_per_instance_h"]),
        price_date=date.fromisoformat(row["price_date"]) if row["price_date"] else None, source=row["source"])

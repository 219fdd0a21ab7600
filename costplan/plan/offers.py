"""Which listed prices a plan may use: those of the user's providers, regions and ways to buy."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from costplan.catalog.price import Price, Purchase
from costplan.catalog.prices import find_prices, freshness, purchase_name
from costplan.catalog.prices import prices as shipped_prices
from costplan.core.errors import InputError
from costplan.perf.layout import Layout
from costplan.plan.types import Rental
from costplan.workload.workload import Constraints


def offers(limits: Constraints, table: Iterable[Price] | None = None) -> tuple[Price, ...]:
    """Prices within the constraints; on-demand where the user names no way to buy."""
    rows = shipped_prices() if table is None else tuple(table)
    for name in limits.providers or ():
        find_prices(provider=name, among=rows)  # raises with near misses
    for name in limits.regions or ():
        find_prices(region=name, among=rows)
    providers = {p.lower() for p in limits.providers} if limits.providers else None
    regions = {r.lower() for r in limits.regions} if limits.regions else None
    wanted = {Purchase(purchase_name(p)) for p in limits.purchase or (Purchase.ON_DEMAND,)}
    return tuple(p for p in rows if p.purchase in wanted
                 and (providers is None or p.provider.lower() in providers)
                 and (regions is None or p.region == "all" or p.region.lower() in regions))


def instances_for(price: Price, layout: Layout, replicas: int) -> int | None:
    """Whole instances that hold ``replicas``: none is split unless it is larger than an instance.

    None where one pipeline stage would have to cross instances: its collectives were measured inside a node.
    """
    per_replica = layout.num_gpus
    if per_replica <= price.gpu_count:
        return -(-replicas // (price.gpu_count // per_replica))
    stage = layout.tp * layout.dp
    if stage > price.gpu_count:
        return None
    return -(-layout.pp // (price.gpu_count // stage)) * replicas


def rent(prices: Iterable[Price], gpu: str, layout: Layout, replicas: int, today: date) -> Rental | None:
    """The cheapest whole instances of one type for ``replicas``; None where no listed one can hold a replica."""
    if replicas < 1:
        raise InputError(f"{replicas} replicas cannot be rented")
    best: tuple[float, int, int, str, Price] | None = None
    for p in prices:
        if p.gpu != gpu:
            continue
        count = instances_for(p, layout, replicas)
        if count is None:
            continue
        key = (count * p.price_usd_per_instance_h, p.gpu_count * count, count, p.provider + p.instance + p.region, p)
        if best is None or key[:4] < best[:4]:
            best = key
    if best is None:
        return None
    usd_per_h, gpus, count, _, price = best
    each = f"{count} x {price.instance}" if count > 1 else price.instance
    label = (f"{price.provider} {each} ({price.gpu_count} GPU) in {price.region}, "
             f"{price.purchase.value.replace('_', ' ')}, {freshness(price, today)}")
    return Rental(price, count, usd_per_h, gpus - layout.num_gpus * replicas, price.is_stale(today), label)

"""What a deployment costs per hour and per million output tokens.

``usd_per_mtok_out = 1e6 * usd_per_h / (output_tok_s * 3600)``, with the throughput at the load that was asked
for: utilisation is in it already.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from costplan.catalog.price import Purchase
from costplan.catalog.prices import cheapest, fleet_usd_per_h, freshness, instances_needed, prices
from costplan.core.errors import InputError
from costplan.core.evidence import Estimate


@dataclass(frozen=True, slots=True)
class ListedPrice:
    """The cheapest listed way to rent so many GPUs, whole instances counted."""

    usd_per_h: float
    label: str
    stale: bool


@dataclass(frozen=True, slots=True)
class Cost:
    """Money of one deployment. ``label`` says where the price comes from, ``stale`` that it is old or undated."""

    usd_per_h: float
    usd_per_mtok_out: Estimate
    usd_per_request: Estimate
    label: str
    stale: bool


def listed_price(gpu: str, num_gpus: int, today: date, *, together: int = 1) -> ListedPrice | None:
    """Cheapest on-demand price for ``num_gpus`` of ``gpu``; None where no provider lists the GPU.

    Only instances that hold ``together`` GPUs count: tensor parallelism does not cross machines. Where none
    does, all count.
    """
    table = prices()
    roomy = [p for p in table if p.gpu_count >= together]
    price = (cheapest(gpu, Purchase.ON_DEMAND, num_gpus, among=roomy)
             or cheapest(gpu, Purchase.ON_DEMAND, num_gpus, among=table))
    if price is None:
        return None
    count = instances_needed(price, num_gpus)
    each = f"{count} x {price.instance}" if count > 1 else price.instance
    return ListedPrice(fleet_usd_per_h(price, num_gpus),
                       f"{price.provider} {each} ({price.gpu_count} GPU) in {price.region}, on demand, "
                       f"{freshness(price, today)}", price.is_stale(today))


def cost(output_tok_s: Estimate, osl: float, usd_per_h: float, label: str, *, stale: bool = False) -> Cost:
    """Cost at ``output_tok_s`` of the whole deployment. Raises InputError for a price that is not positive."""
    if not 0 < usd_per_h < float("inf"):
        raise InputError(f"the price must be positive, got {usd_per_h}", where="--price")
    per_mtok = output_tok_s.inverse(1e6 * usd_per_h / 3600)
    return Cost(usd_per_h, per_mtok, per_mtok.scaled(osl / 1e6), label, stale)

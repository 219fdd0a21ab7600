"""What an instance costs: provider, purchase type and date belong to every price."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

STALE_AFTER_DAYS = 90


class Purchase(StrEnum):
    ON_DEMAND = "on_demand"
    SPOT = "spot"
    RESERVED_1Y = "1y"
    RESERVED_3Y = "3y"


@dataclass(frozen=True, slots=True)
class Price:
    """Price of one whole instance. ``gpu`` is the catalogue key; ``price_date`` None where it is not known."""

    provider: str
    region: str
    instance: str
    gpu: str
    gpu_count: int
    purchase: Purchase
    price_usd_per_instance_h: float
    price_date: date | None
    source: str

    @property
    def price_usd_per_gpu_h(self) -> float:
        return self.price_usd_per_instance_h / self.gpu_count

    def is_stale(self, today: date) -> bool:
        """Older than 90 days on ``today``, or undated."""
        return self.price_date is None or (today - self.price_date).days > STALE_AFTER_DAYS

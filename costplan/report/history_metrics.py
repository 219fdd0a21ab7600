"""The newest state of every service as OpenMetrics, for a scraper or node_exporter's textfile collector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from costplan.core.errors import InputError
from costplan.history.entry import Entry
from costplan.history.summary import ServiceHistory
from costplan.report.style import plain

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

USD = "costplan_usd_per_million_output_tokens"
METRICS = {
    USD: "USD per 1M output tokens, newest of each kind",
    f"{USD}_low90": "Low end of the newest plan's 90 % interval",
    f"{USD}_high90": "High end of the newest plan's 90 % interval",
    "costplan_usd_per_hour": "USD per hour of the fleet",
    "costplan_output_tokens_per_second": "Output tokens per second of the fleet",
    "costplan_entry_time_seconds": "When the newest entry was planned, or its window ended",
    "costplan_actual_over_plan": "Newest actual cost over the cost planned then",
    "costplan_cost_change_per_week": "Trend of the cost as a fraction per week",
    "costplan_cost_alert": "1 if the newest cost is unusual",
}
_BY_KIND = (USD, "costplan_usd_per_hour", "costplan_output_tokens_per_second", "costplan_entry_time_seconds")


def openmetrics(found: Sequence[ServiceHistory]) -> str:
    """All gauges. Raises InputError where the extra is not installed."""
    try:
        from prometheus_client.core import GaugeMetricFamily
        from prometheus_client.openmetrics.exposition import generate_latest
    except ImportError as e:
        raise InputError("OpenMetrics needs prometheus-client", hint="pip install 'costplan[history]'") from e
    gauges = {name: GaugeMetricFamily(name, said, labels=["service", "kind"] if name in _BY_KIND else ["service"])
              for name, said in METRICS.items()}
    for s in found:
        _fill(gauges, s)
    text: str = generate_latest(_Collected(gauges.values())).decode()  # type: ignore[no-untyped-call]
    return text


class _Collected:
    """What the library expects of a registry."""

    def __init__(self, families: Iterable[GaugeMetricFamily]) -> None:
        self._families = [f for f in families if f.samples]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        return self._families


def _fill(gauges: dict[str, GaugeMetricFamily], s: ServiceHistory) -> None:
    name = plain(s.service)
    for e in (s.plans[-1:] + s.actuals[-1:]):
        for metric, value in zip(_BY_KIND, _by_kind(e), strict=True):
            gauges[metric].add_metric([name, e.kind.value], value)
    ends = s.plans[-1] if s.plans else None
    single = {
        f"{USD}_low90": ends.low90 if ends else None, f"{USD}_high90": ends.high90 if ends else None,
        "costplan_actual_over_plan": s.compared[-1].ratio if s.compared else None,
        "costplan_cost_change_per_week": s.trend.per_week if s.trend else None,
        "costplan_cost_alert": float(s.alert is not None)}
    for metric, known in single.items():
        if known is not None:
            gauges[metric].add_metric([name], known)


def _by_kind(e: Entry) -> tuple[float, float, float, float]:
    return e.usd_per_mtok_out, e.usd_per_h, e.output_tok_s, e.at.timestamp()

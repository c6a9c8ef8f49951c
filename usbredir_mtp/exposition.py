"""The metrics as Prometheus reads them; the only module that knows prometheus-client, which may not be there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from usbredir_mtp import __version__
from usbredir_mtp.metrics import PREFIX, ROWS, Row, View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from usbredir_mtp.metrics import Served

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of Prometheus's text format."""

_FAMILIES: Final[dict[str, Callable[..., Any]]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


class Devices(Collector):
    """Reads all that is in `metrics.ROWS`, when it is asked.

    Args:
        devices: Those that there are; may be called by any thread.
    """

    def __init__(self, devices: Callable[[], Iterable[Served]]) -> None:
        self._devices = devices

    def collect(self) -> Iterator[Metric]:
        """All metrics, with their samples."""
        yield InfoMetricFamily(PREFIX, "The program.", {"version": __version__})
        views = [View(each) for each in self._devices()]
        for row in ROWS:
            yield _family(row, views)


def _family(row: Row, views: Iterable[View]) -> Metric:
    family = _FAMILIES[row.kind](f"{PREFIX}_{row.name}", row.help, labels=("device", *row.labels))
    for view in views:
        for labels, values in row.source(view):
            family.add_metric((view.name, *labels), *values)
    metric: Metric = family
    return metric


def page_of(devices: Callable[[], Iterable[Served]]) -> Callable[[], bytes]:
    """What makes the page, at any time and on any thread: all devices, and what the process itself takes.

    To be called before a sandbox is entered: it reads when the machine was started.
    """
    registry = CollectorRegistry()
    registry.register(Devices(devices))
    ProcessCollector(registry=registry)
    return partial(generate_latest, registry)

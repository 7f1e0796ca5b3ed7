"""Metrics for Prometheus (``pip install 'fast-channels[prometheus]'``).

``install()`` adds them to what ``prometheus_client`` exposes. They are read at each scrape; between
two, nothing is done for them.
"""

import errno
import math
from collections.abc import Iterable, Iterator
from typing import Any, Final

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from fast_channels.layers import ChannelLayerRegistry, channel_layers

from .measurements import MEASURES, PUBLISHING, Measurements

PREFIX: Final = "fast_channels_"


class LayerCollector(Collector):
    """The metrics of the registered layers and of all consumers of this process."""

    def __init__(self, layers: ChannelLayerRegistry = channel_layers) -> None:
        self._measurements = Measurements(layers)

    def describe(self) -> Iterable[Metric]:
        """Return every metric without its numbers: what the names are checked with."""
        return [*self._families().values(), self._histogram()]

    def collect(self) -> Iterator[Metric]:
        """Yield every metric that has a number; called at each scrape."""
        families = self._families()
        for measure, labels, value in self._measurements.samples():
            families[measure.name].add_metric(labels, value)
        yield from (family for family in families.values() if family.samples)
        histogram = self._histogram()
        for layer, buckets, seconds in self._measurements.timings():
            bounds = [("+Inf" if math.isinf(le) else str(le), count) for le, count in buckets]
            histogram.add_metric([layer], bounds, seconds)
        if histogram.samples:
            yield histogram

    def close(self) -> None:
        """Consumers are not counted any more."""
        self._measurements.close()

    def _families(self) -> dict[str, Any]:
        kinds: dict[str, Any] = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
        return {
            measure.name: kinds[measure.kind](
                PREFIX + measure.name, measure.text, labels=measure.labels
            )
            for measure in MEASURES
        }

    def _histogram(self) -> HistogramMetricFamily:
        name = f"{PREFIX}publish_duration_seconds"
        return HistogramMetricFamily(name, PUBLISHING, labels=["layer"])


def install(
    registry: CollectorRegistry = REGISTRY, layers: ChannelLayerRegistry = channel_layers
) -> LayerCollector:
    """What ``prometheus_client`` exposes has the metrics; consumers are counted from now on.

    Call it once, before the server starts. ``ValueError`` if the registry has them already.
    """
    collector = LayerCollector(layers)
    try:
        registry.register(collector)
    except ValueError:
        collector.close()
        raise
    return collector


def serve(
    ports: Iterable[int], address: str = "0.0.0.0", registry: CollectorRegistry = REGISTRY
) -> int:
    """A thread serves ``/metrics`` on the first free one of ``ports``, which is returned.

    For servers with several processes, each of which has numbers of its own: give all the same
    ports, and Prometheus all of these as targets. ``OSError`` when none is free.
    """
    tried: list[int] = []
    for port in ports:
        try:
            start_http_server(port, address, registry)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            tried.append(port)
        else:
            return port
    text = f"none of the ports {tried} is free on {address}; give as many as there are processes"
    raise OSError(errno.EADDRINUSE, text)

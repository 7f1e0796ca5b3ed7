"""OpenTelemetry: the metrics of layers and consumers, and instrumenting itself."""

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from fast_channels.layers import BaseChannelLayer, ChannelLayerRegistry
from fast_channels.layers.counters import BOUNDS
from fast_channels_tools import otel

from .spans import Spans


async def test_metrics_are_those_of_the_layers_and_consumers(
    layer: BaseChannelLayer, layers: ChannelLayerRegistry
) -> None:
    reader = InMemoryMetricReader()
    instrumentation = otel.instrument(None, MeterProvider([reader]), layers)
    await layer.close()
    await layer.open()  # batches are timed in sessions that open from now on
    try:
        for expected in (3, 6):
            for number in range(3):
                await layer.group_send("room", {"type": "x", "n": number})
            data = reader.get_metrics_data()
            assert data is not None
            [metrics] = [
                scope.metrics
                for resource in data.resource_metrics
                for scope in resource.scope_metrics
                if scope.scope.name == "fast_channels"
            ]
            values = {
                metric.name: [
                    (dict(p.attributes or {}), getattr(p, "value", p))
                    for p in metric.data.data_points
                ]
                for metric in metrics
            }
            assert values["fast_channels.messages_sent"] == [({"layer": "default"}, expected)]
            assert values["fast_channels.sessions"] == [({"layer": "default"}, 1)]
            labels = {"layer": "default", "reason": "overflowed"}
            assert (labels, 0) in values["fast_channels.messages_dropped"]
            [(labels, took)] = values["fast_channels.publish_duration"]
            assert (labels, took.count) == ({"layer": "default"}, expected)
            assert took.explicit_bounds == BOUNDS
            assert 0 < took.sum < 60
    finally:
        instrumentation.uninstrument()


async def test_instrumenting_twice_is_an_error(spans: Spans) -> None:
    with pytest.raises(RuntimeError, match="carry contexts already"):
        otel.instrument(spans.provider)

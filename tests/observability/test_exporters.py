"""Prometheus and OpenTelemetry show the same: each thing that is measured, with the same number."""

import asyncio
from collections.abc import Generator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry
from tests.tcp_broker import TCPBroker, TCPLayer
from tests.waiting import until

from fast_channels import AsyncWebsocketConsumer
from fast_channels.layers import ChannelLayerRegistry
from fast_channels.testing import WebsocketCommunicator
from fast_channels_tools import otel, prometheus

Numbers = dict[tuple[str, str], float]


class Served(AsyncWebsocketConsumer):
    channel_layer_alias = None


@pytest.fixture
def broker() -> Generator[TCPBroker]:
    """A broker that can cut connections."""
    with TCPBroker() as made:
        yield made


def by_prometheus(registry: CollectorRegistry) -> Numbers:
    """Return what a scrape shows, by name and by what tells its series apart."""
    return {
        (sample.name.removesuffix("_total"), _series(sample.labels)): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_sum"))
    }


def by_otel(reader: InMemoryMetricReader) -> Numbers:
    """Return what a collection shows, under the names of Prometheus."""
    data = reader.get_metrics_data()
    assert data is not None
    found: Numbers = {}
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            name = metric.name.replace(".", "_", 1)
            if histogram := hasattr(point, "count"):
                name = f"{name}_seconds_count"
            value: Any = point.count if histogram else point.value  # type: ignore[union-attr]
            found[name, _series(dict(point.attributes or {}))] = value
    return found


def _series(labels: dict[str, Any]) -> str:
    return str(labels.get("reason") or labels.get("name") or labels.get("consumer") or "")


async def test_what_is_measured_is_the_same_in_both_and_nothing_is_left_out(
    broker: TCPBroker,
) -> None:
    layers, registry, reader = ChannelLayerRegistry(), CollectorRegistry(), InMemoryMetricReader()
    collector = prometheus.install(registry, layers)
    instrumentation = otel.instrument(None, MeterProvider([reader]), layers)
    layer = TCPLayer(broker.url, gaps=True, capacity=3, expiry=1e-6)
    layers.register("default", layer)
    client = WebsocketCommunicator(Served.as_asgi(), "/")
    await client.connect()
    read, unread = await layer.new_channel(), await layer.new_channel()
    for channel in (read, unread):
        await layer.group_add("room", channel)
    for number in range(5):
        await layer.group_send("room", {"type": "x", "n": number})
    reading = asyncio.create_task(layer.receive(read))
    await until(lambda: layer.stats()["expired"] == 3)
    broker.cut()
    await until(lambda: layer.stats()["reconnects"] == 1)
    assert (await reading)["type"] == "channels.gap"

    shown, exported = by_prometheus(registry), by_otel(reader)
    assert shown == exported
    wanted = {
        ("fast_channels_consumers", "Served"): 1,
        ("fast_channels_consumers_started", "Served"): 1,
        ("fast_channels_messages_sent", ""): 5,
        ("fast_channels_messages_delivered", ""): 6,
        ("fast_channels_messages_dropped", "overflowed"): 4,
        ("fast_channels_messages_dropped", "expired"): 3,
        ("fast_channels_reconnects", ""): 1,
        ("fast_channels_unsent_messages", ""): 0,
    }
    assert {key: shown[key] for key in wanted} == wanted
    batches = shown["fast_channels_batches", ""]  # what tells a lost tail is one, too
    assert shown["fast_channels_publish_duration_seconds_count", ""] == batches >= 5
    assert shown["fast_channels_gaps", ""] >= 1
    assert shown["fast_channels_unread_messages", ""] >= 3
    await client.disconnect()
    await layer.close()
    collector.close()
    instrumentation.uninstrument()

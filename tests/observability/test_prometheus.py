"""Prometheus: what a scrape shows of layers and consumers, and that it follows the conventions."""

import asyncio
import re
import socket

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.waiting import soon, until

from fast_channels import AsyncWebsocketConsumer
from fast_channels.exceptions import ChannelFull
from fast_channels.layers import BaseChannelLayer, ChannelLayerRegistry, InMemoryChannelLayer
from fast_channels.testing import WebsocketCommunicator
from fast_channels_tools import prometheus


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """Return what a scrape shows; None: nothing."""
    return registry.get_sample_value(f"fast_channels_{name}", {"layer": "default", **labels})


def consumers(registry: CollectorRegistry, name: str) -> dict[str, float]:
    """Return what a scrape shows by the names of consumers."""
    return {
        sample.labels["consumer"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == f"fast_channels_{name}"
    }


async def test_messages_batches_and_what_is_held_are_shown_as_of_the_scrape(
    layer: BaseChannelLayer, exposed: CollectorRegistry
) -> None:
    assert value(exposed, "messages_sent_total") == 0
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await asyncio.gather(*(layer.group_send("room", {"type": "x", "n": n}) for n in range(7)))
    await until(lambda: layer.stats()["delivered"] == 7)
    shown = {
        name: value(exposed, name)
        for name in (
            "messages_sent_total",
            "messages_delivered_total",
            "batches_total",
            "channels",
            "groups",
            "sessions",
            "unread_messages",
            "unsent_messages",
        )
    }
    assert shown == {
        "messages_sent_total": 7,
        "messages_delivered_total": 7,
        "batches_total": 2,  # the first alone, and what gathered meanwhile
        "channels": 1,
        "groups": 1,
        "sessions": 1,
        "unread_messages": 7,
        "unsent_messages": 0,
    }


async def test_every_loss_is_shown_by_its_reason(
    layer: BaseChannelLayer, exposed: CollectorRegistry
) -> None:
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    for number in range(layer.capacity + 3):
        await layer.group_send("room", {"type": "x", "n": number})
    await until(lambda: layer.stats()["overflowed"] == 3)
    shown = {
        sample.labels["reason"]: sample.value
        for family in exposed.collect()
        for sample in family.samples
        if sample.name == "fast_channels_messages_dropped_total"
    }
    assert shown == {
        "overflowed": 3,
        "expired": 0,
        "backlogged": 0,
        "undeliverable": 0,
        "malformed": 0,
        "refused": 0,
    }


async def test_the_time_of_publishing_is_a_histogram_of_batches(
    layer: BaseChannelLayer, exposed: CollectorRegistry
) -> None:
    for number in range(5):
        await layer.group_send("room", {"type": "x", "n": number})
    assert value(exposed, "publish_duration_seconds_count") == 5
    assert value(exposed, "publish_duration_seconds_bucket", le="+Inf") == 5
    total = value(exposed, "publish_duration_seconds_sum")
    assert total is not None
    assert 0 < total < 60
    families = {family.name: family for family in exposed.collect()}
    counts = [
        sample.value
        for sample in families["fast_channels_publish_duration_seconds"].samples
        if sample.name.endswith("_bucket")
    ]
    assert counts == sorted(counts)


class Chat(AsyncWebsocketConsumer):
    channel_layer_alias = None

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        raise RuntimeError(text_data)


async def test_consumers_are_counted_by_class_while_they_serve_and_when_they_fail(
    exposed: CollectorRegistry,
) -> None:
    assert consumers(exposed, "consumers") == {}
    first = WebsocketCommunicator(Chat.as_asgi(), "/")
    second = WebsocketCommunicator(Chat.as_asgi(), "/")
    await first.connect()
    await second.connect()
    assert consumers(exposed, "consumers") == {"Chat": 2}
    await first.disconnect()
    assert consumers(exposed, "consumers") == {"Chat": 1}
    assert consumers(exposed, "consumers_failed_total") == {"Chat": 0}
    await second.send_to(text_data="boom")
    with pytest.raises(RuntimeError, match="boom"):
        await soon(second.wait())
    assert consumers(exposed, "consumers") == {"Chat": 0}
    assert consumers(exposed, "consumers_started_total") == {"Chat": 2}
    assert consumers(exposed, "consumers_failed_total") == {"Chat": 1}


async def test_a_connection_from_before_does_not_make_the_gauge_negative(
    layers: ChannelLayerRegistry,
) -> None:
    before = WebsocketCommunicator(Chat.as_asgi(), "/")
    await before.connect()
    registry = CollectorRegistry()
    collector = prometheus.install(registry, layers)
    after = WebsocketCommunicator(Chat.as_asgi(), "/")
    await after.connect()
    await before.disconnect()
    assert consumers(registry, "consumers") == {"Chat": 1}
    await after.disconnect()
    collector.close()


async def test_a_layer_with_two_aliases_is_shown_once_and_one_that_counts_nothing_never(
    layer: BaseChannelLayer, layers: ChannelLayerRegistry, exposed: CollectorRegistry
) -> None:
    class Upstream:
        async def send(self, channel: str, message: object) -> None: ...
        async def receive(self, channel: str) -> object: ...
        async def new_channel(self, prefix: str = "specific") -> str: ...

    layers.register("again", layer)
    layers.register("upstream", Upstream())  # type: ignore[arg-type]
    layers.register("other", InMemoryChannelLayer())
    text = generate_latest(exposed).decode()
    shown = re.findall(r'^fast_channels_messages_sent_total{layer="(\w+)"}', text, re.MULTILINE)
    assert shown == ["default", "other"]


async def test_what_a_backend_tells_besides_is_shown_by_its_name(
    layers: ChannelLayerRegistry, exposed: CollectorRegistry
) -> None:
    class Telling(InMemoryChannelLayer):
        def stats(self) -> dict[str, int]:
            return {**super().stats(), "notification_queue_percent": 12}

    layers.register("telling", Telling())
    labels = {"layer": "telling", "name": "notification_queue_percent"}
    assert exposed.get_sample_value("fast_channels_backend_state", labels) == 12


async def test_names_and_texts_follow_the_conventions(exposed: CollectorRegistry) -> None:
    families = list(text_string_to_metric_families(generate_latest(exposed).decode()))
    assert len(families) > 10
    for family in families:
        assert re.fullmatch(r"fast_channels_[a-z_]+[a-z]", family.name)
        assert family.documentation.endswith(".")
        assert family.type in ("counter", "gauge", "histogram")
        names = {sample.name for sample in family.samples if not sample.name.endswith("_created")}
        if family.type == "counter":
            assert names == {f"{family.name}_total"}
        if "duration" in family.name:
            assert family.name.endswith("_seconds")


async def test_installing_twice_into_one_registry_is_an_error_and_changes_nothing(
    layers: ChannelLayerRegistry, exposed: CollectorRegistry
) -> None:
    with pytest.raises(ValueError, match="Duplicated"):
        prometheus.install(exposed, layers)
    socket_of_one = WebsocketCommunicator(Chat.as_asgi(), "/")
    await socket_of_one.connect()
    assert consumers(exposed, "consumers") == {"Chat": 1}
    await socket_of_one.disconnect()


async def test_sends_that_failed_are_shown(layers: ChannelLayerRegistry) -> None:
    layer = InMemoryChannelLayer()
    layers.register("default", layer)
    registry = CollectorRegistry()
    collector = prometheus.install(registry, layers)
    await layer.open()
    channel = await layer.new_channel()
    with pytest.raises(ChannelFull):
        for number in range(layer.capacity + 1):
            await layer.send(channel, {"type": "x", "n": number})
    assert value(registry, "sends_failed_total") == 1
    await layer.close()
    collector.close()


def test_that_none_of_the_ports_is_free_is_an_error_that_names_them() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"none of the ports \[{port}\] is free on 127"):
            prometheus.serve([port], "127.0.0.1")

"""Loss that was noticed: told once, to whom it concerns, before what comes after it."""

import asyncio
import logging
from collections.abc import Collection, Iterator
from typing import Any

import pytest

from fast_channels import plugins
from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer, Publication
from fast_channels.plugins import hookimpl

from .backends import DoublingBackend, LosingBackend, Make, frame, layers, node_of, packed
from .clock import virtual_time
from .waiting import message, numbers, read_to_fence, receive, until

LOST = OSError("connection lost")


def gap(group: str | None) -> dict[str, Any]:
    return {"type": "channels.gap", "group": group}


def with_number(*lost: int) -> Any:
    """Return what is true for a publication that carries one of the numbers."""

    def loses(publication: Publication) -> bool:
        return any(each.get("n") in lost for each in packed(publication))

    return loses


class Listener:
    """Notes what plugins are told of gaps."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    @hookimpl
    def layer_gap(self, cause: Exception, topics: Collection[str] | None) -> None:
        self.told.append((str(cause), None if topics is None else list(topics)))


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    plugins.register(made)
    yield made
    plugins.unregister(made)


async def test_a_frame_that_was_lost_is_told_before_the_next_one(make: Make) -> None:
    sender = make(LosingBackend)
    reader = make(broker=sender.broker, gaps=True)
    channel = await reader.new_channel()
    await reader.group_add("group", channel)
    await sender.open()
    sender.backend.loses = with_number(1, 2)
    for n in range(5):
        await sender.group_send("group", message(n))
    assert await receive(reader, channel, 4) == [message(0), gap("group"), message(3), message(4)]
    assert reader.stats()["gaps"] == 1


async def test_every_member_is_told_once_for_each_loss(make: Make) -> None:
    sender = make(LosingBackend)
    reader = make(broker=sender.broker, gaps=True)
    channels = [await reader.new_channel() for _ in range(3)]
    for channel in channels:
        await reader.group_add("group", channel)
    await sender.open()
    sender.backend.loses = with_number(1, 3)
    for n in range(5):
        await sender.group_send("group", message(n))
    expected = [message(0), gap("group"), message(2), gap("group"), message(4)]
    for channel in channels:
        assert await receive(reader, channel, 5) == expected


async def test_who_is_in_other_groups_is_not_told(make: Make) -> None:
    sender = make(LosingBackend)
    reader = make(broker=sender.broker, gaps=True)
    member, other = await reader.new_channel(), await reader.new_channel()
    await reader.group_add("group", member)
    await reader.group_add("other", other)
    await sender.open()
    sender.backend.loses = with_number(1)
    for n in range(3):
        await sender.group_send("group", message(n))
        await sender.group_send("other", message(10 + n))
    assert numbers(await read_to_fence(reader, other, sender=sender)) == [10, 11, 12]
    assert gap("group") in await read_to_fence(reader, member, sender=sender)


async def test_a_lost_direct_message_is_told_to_the_channels_of_the_node(make: Make) -> None:
    sender = make(LosingBackend)
    reader = make(broker=sender.broker, gaps=True)
    channels = [await reader.new_channel() for _ in range(2)]
    await sender.open()
    sender.backend.loses = with_number(1)
    for n in range(3):
        await sender.send(channels[0], message(n))
    assert await receive(reader, channels[0], 3) == [message(0), gap(None), message(2)]
    assert await read_to_fence(reader, channels[1], sender=sender) == [gap(None)]


async def test_without_gaps_a_loss_is_counted_and_told_to_no_member(make: Make) -> None:
    sender = make(LosingBackend)
    reader = make(broker=sender.broker)
    channel = await reader.new_channel()
    await reader.group_add("group", channel)
    await sender.open()
    sender.backend.loses = with_number(1)
    for n in range(3):
        await sender.group_send("group", message(n))
    assert numbers(await receive(reader, channel, 2)) == [0, 2]
    reader.backend.inbox.gap(LOST)
    assert await read_to_fence(reader, channel, sender=sender) == []
    assert reader.stats()["gaps"] == 2


async def test_what_was_sent_before_joining_is_no_loss(make: Make) -> None:
    sender = make()
    reader = make(broker=sender.broker, gaps=True)
    for n in range(3):
        await sender.group_send("group", message(n))
    channel = await reader.new_channel()
    await reader.group_add("group", channel)
    await sender.group_send("group", message(3))
    assert await read_to_fence(reader, channel, sender=sender) == [message(3)]


@virtual_time
async def test_what_was_sent_while_nobody_was_a_member_is_no_loss() -> None:
    async with layers() as make:
        sender = make()
        reader = make(broker=sender.broker, gaps=True, linger=1.0)
        channel = await reader.new_channel()
        for n in range(4):
            await reader.group_add("group", channel)
            await sender.group_send("group", message(n))
            await reader.group_discard("group", channel)
            await sender.group_send("group", message(-1))
            await asyncio.sleep(0.5 if n % 2 else 2.0)
            await sender.group_send("group", message(-1))
        assert numbers(await read_to_fence(reader, channel, sender=sender)) == [0, 1, 2, 3]
        assert reader.stats()["gaps"] == 0


async def test_what_comes_twice_is_delivered_once(make: Make) -> None:
    sender = make(DoublingBackend)
    reader = make(broker=sender.broker, gaps=True)
    channel = await reader.new_channel()
    await reader.group_add("group", channel)
    for n in range(5):
        await sender.group_send("group", message(n))
    assert numbers(await read_to_fence(reader, channel, sender=sender)) == list(range(5))
    assert reader.stats()["repeated"] >= 5
    assert reader.stats()["gaps"] == 0


async def test_a_lost_connection_is_told_to_every_member_of_every_group(make: Make) -> None:
    layer = make(gaps=True)
    first, second, loner = [await layer.new_channel() for _ in range(3)]
    await layer.group_add("a", first)
    await layer.group_add("b", first)
    await layer.group_add("b", second)
    layer.backend.inbox.gap(LOST)
    assert await read_to_fence(layer, first) == [gap("a"), gap("b")]
    assert await read_to_fence(layer, second) == [gap("b")]
    assert await read_to_fence(layer, loner) == [gap(None)]
    assert layer.stats()["gaps"] == 1


async def test_a_loss_on_some_topics_is_told_to_their_members_only(make: Make) -> None:
    layer = make(gaps=True)
    first, second = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("a", first)
    await layer.group_add("b", second)
    layer.backend.inbox.gap(LOST, ["fc:g.a", "fc:g.unknown"])
    assert await read_to_fence(layer, first) == [gap("a")]
    assert await read_to_fence(layer, second) == []


async def test_a_loss_on_the_topic_of_the_node_is_told_to_its_channels(make: Make) -> None:
    layer = make(gaps=True)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    layer.backend.inbox.gap(LOST, [node_of(channel)])
    assert await read_to_fence(layer, channel) == [gap(None)]


async def test_a_loss_on_a_group_and_the_node_is_told_to_each_channel_once(make: Make) -> None:
    layer = make(gaps=True)
    member, other, loner = [await layer.new_channel() for _ in range(3)]
    await layer.group_add("a", member)
    await layer.group_add("b", other)
    layer.backend.inbox.gap(LOST, ["fc:g.a", node_of(member)])
    assert await read_to_fence(layer, member) == [gap("a")]
    assert await read_to_fence(layer, other) == [gap(None)]
    assert await read_to_fence(layer, loner) == [gap(None)]


async def test_a_loss_on_no_topics_is_told_to_nobody(make: Make) -> None:
    layer = make(gaps=True)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    layer.backend.inbox.gap(LOST, [])
    assert await read_to_fence(layer, channel) == []


async def test_one_loss_is_told_once_even_if_the_numbers_show_it_as_well(make: Make) -> None:
    sender = make(LosingBackend)
    reader = make(broker=sender.broker, gaps=True)
    channel = await reader.new_channel()
    await reader.group_add("group", channel)
    await sender.open()
    sender.backend.loses = with_number(1)
    await sender.group_send("group", message(0))
    await sender.group_send("group", message(1))
    await receive(reader, channel, 1)
    reader.backend.inbox.gap(LOST)
    await sender.group_send("group", message(2))
    assert await receive(reader, channel, 2) == [gap("group"), message(2)]
    assert reader.stats()["gaps"] == 1


async def test_a_gap_comes_after_what_arrived_before_and_before_what_comes_after(
    make: Make,
) -> None:
    layer = make(gaps=True)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    for _ in range(1_000):
        await layer.group_add("group", await layer.new_channel())
    last = await layer.new_channel()
    await layer.group_add("group", last)
    layer.backend.inbox.deliver("fc:g.group", frame(message(1)))
    layer.backend.inbox.gap(LOST)
    layer.backend.inbox.deliver("fc:g.group", frame(message(2)))
    for each in (channel, last):
        assert await receive(layer, each, 3) == [message(1), gap("group"), message(2)]


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
async def test_a_gap_takes_no_capacity_and_is_never_dropped(make: Make, overflow: str) -> None:
    layer = make(gaps=True, capacity=2, overflow=overflow)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    inbox = layer.backend.inbox
    inbox.gap(LOST)
    for n in range(4):
        inbox.deliver("fc:g.group", frame(message(n)))
        inbox.gap(LOST)
    got = await receive(layer, channel, 7)
    kept = [0, 1] if overflow == "drop_newest" else [2, 3]
    assert [each["n"] for each in got if each != gap("group")] == kept
    assert got.count(gap("group")) == 5
    assert got[0] == got[-1] == gap("group")
    await layer.send(channel, message(9))
    assert numbers(await receive(layer, channel, 1)) == [9]


async def test_behind_a_gap_the_first_message_may_have_any_size(make: Make) -> None:
    layer = make(gaps=True, capacity_bytes=10)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    layer.backend.inbox.gap(LOST)
    layer.backend.inbox.deliver("fc:g.group", frame(message(1)))
    await until(lambda: layer.stats()["unread"] == 2)
    assert await receive(layer, channel, 2) == [gap("group"), message(1)]


async def test_a_gap_is_logged_and_told_to_plugins(
    make: Make, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    layer = make()
    await layer.open()
    layer.backend.inbox.gap(LOST)
    layer.backend.inbox.gap(LOST, ["fc:g.a"])
    assert listener.told == [("connection lost", None), ("connection lost", ["fc:g.a"])]
    assert caplog.messages == [
        f"{layer} may have missed messages on any topic: connection lost",
        f"{layer} may have missed messages on fc:g.a: connection lost",
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


@virtual_time
async def test_a_lost_last_message_is_told_within_seconds_by_an_empty_frame() -> None:
    async with layers() as make:
        sender = make(LosingBackend)
        reader = make(broker=sender.broker, gaps=True)
        channel = await reader.new_channel()
        await reader.group_add("group", channel)
        await sender.open()
        sender.backend.loses = with_number(1)
        await sender.group_send("group", message(0))
        await sender.group_send("group", message(1))
        assert await receive(reader, channel, 1) == [message(0)]
        start = asyncio.get_running_loop().time()
        assert await reader.receive(channel) == gap("group")
        assert asyncio.get_running_loop().time() - start <= 5.5
        published = len(sender.backend.publications)
        assert packed(sender.backend.publications[-1]) == []
        await asyncio.sleep(3_600)
        assert len(sender.backend.publications) == published


@virtual_time
async def test_topics_that_go_quiet_together_get_their_empty_frames_in_one_call() -> None:
    async with layers() as make:
        layer = make()
        for n in range(5):
            await layer.group_send(f"group-{n}", message(n))
        await asyncio.sleep(20)
        assert [len(call) for call in layer.backend.published] == [1] * 5 + [5]


@virtual_time
async def test_a_busy_topic_gets_no_empty_frame() -> None:
    async with layers() as make:
        layer = make()
        for n in range(20):
            await layer.group_send("group", message(n))
            await asyncio.sleep(4)
        assert all(packed(publication) for publication in layer.backend.publications)


@virtual_time
async def test_an_empty_frame_that_fails_is_nobodys_error() -> None:
    async with layers() as make:
        layer = make()
        await layer.group_send("group", message(0))
        layer.backend.publish_error = OSError("broken")
        await asyncio.sleep(20)
        layer.backend.publish_error = None
        await layer.group_send("group", message(1))
        assert layer.stats()["failed"] == 0


async def test_layers_made_by_the_registry_tell_of_gaps_and_others_do_not() -> None:
    registry = ChannelLayerRegistry()
    made: list[Any] = [
        registry.register("name", "memory"),
        registry.register("url", "memory://"),
        registry.register("dict", {"BACKEND": "memory"}),
        registry.register("path", {"BACKEND": "fast_channels.layers.InMemoryChannelLayer"}),
    ]
    assert [layer.options.gaps for layer in made] == [True] * 4
    quiet: Any = registry.register("quiet", "memory", gaps=False)
    instance: Any = registry.register("instance", InMemoryChannelLayer())
    assert (quiet.options.gaps, instance.options.gaps) == (False, False)
    assert InMemoryChannelLayer(gaps=True).options.gaps


async def test_a_queue_in_a_group_gets_no_gap(make: Make) -> None:
    layer = make(gaps=True, queues=True)
    await layer.group_add("group", "jobs")
    layer.backend.inbox.gap(LOST)
    await layer.group_send("group", message(1))
    assert await receive(layer, "jobs", 1) == [message(1)]

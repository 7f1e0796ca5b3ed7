"""Channels: made, reached from everywhere, left, forgotten."""

import asyncio
import logging
from typing import Any

import pytest

from fast_channels.exceptions import ChannelNotFound
from fast_channels.layers import Channel
from fast_channels.layers.names import channel_node

from .backends import Layer, Make, layers, node_of
from .clock import virtual_time
from .waiting import message, numbers, read_to_fence, receive, soon, turns, until


async def test_every_channel_has_another_name_with_the_prefix_asked_for(make: Make) -> None:
    layer = make()
    names = [await layer.new_channel() for _ in range(100)]
    names += [await layer.new_channel("chat.room") for _ in range(100)]
    assert len(set(names)) == 200
    assert all(name.startswith("specific.") for name in names[:100])
    assert all(name.startswith("chat.room.") for name in names[100:])
    assert len({channel_node(name) for name in names}) == 1


async def test_a_message_reaches_its_channel_and_no_other(make: Make) -> None:
    layer = make()
    first, second = await layer.new_channel(), await layer.new_channel()
    await layer.send(first, message(1))
    assert await receive(layer, first, 1) == [message(1)]
    assert await read_to_fence(layer, second) == []


async def test_a_channel_is_reached_from_another_node(make: Make) -> None:
    here = make()
    there = make(broker=here.broker)
    channel = await here.new_channel()
    await there.send(channel, message(1))
    assert await receive(here, channel, 1) == [message(1)]


async def test_applications_with_another_prefix_share_nothing(make: Make) -> None:
    here = make()
    there = make(broker=here.broker, prefix="other")
    mine, theirs = await here.new_channel(), await there.new_channel()
    await here.group_add("group", mine)
    await there.group_add("group", theirs)
    await there.group_send("group", message(1))
    await there.send(mine, message(2))
    assert await receive(there, theirs, 1) == [message(1)]
    assert await read_to_fence(here, mine) == []


async def test_receiving_from_a_channel_of_another_node_is_an_error(make: Make) -> None:
    here = make()
    there = make(broker=here.broker)
    channel = await here.new_channel()
    with pytest.raises(ChannelNotFound, match="belongs to another process or event loop; only the"):
        await there.receive(channel)


async def test_a_message_for_a_channel_that_is_gone_is_one_debug_line(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    here = make()
    there = make(broker=here.broker)
    async with here.channel() as channel:
        gone = channel.name
    with caplog.at_level(logging.DEBUG, "fast_channels"):
        await here.send(gone, message(1))
        await there.send(gone, message(2))
        await until(lambda: here.stats()["undeliverable"] == 2)
    lines = [record for record in caplog.records if gone in record.getMessage()]
    assert [record.levelno for record in lines] == [logging.DEBUG] * 2


# --- the life of a channel --------------------------------------------------------------------


async def test_a_channel_lives_as_long_as_its_async_with(make: Make) -> None:
    layer = make()
    async with layer.channel("chat") as channel:
        assert channel.name.startswith("chat.")
        await layer.group_add("group", channel.name)
        await layer.group_send("group", message(1))
        await layer.send(channel.name, message(2))
        assert [await soon(channel.receive()) for _ in range(2)] == [message(1), message(2)]
        assert (layer.stats()["channels"], layer.stats()["groups"]) == (1, 1)
    assert (layer.stats()["channels"], layer.stats()["groups"]) == (0, 0)


async def test_leaving_a_channel_discards_its_unread_messages(make: Make) -> None:
    layer = make()
    async with layer.channel() as channel:
        await layer.send(channel.name, message(1))
        await until(lambda: layer.stats()["unread"] == 1)
    assert layer.stats()["unread"] == 0


async def test_a_crash_inside_leaves_no_channel_behind(make: Make) -> None:
    layer = make()
    with pytest.raises(ZeroDivisionError):
        async with layer.channel() as channel:
            await layer.group_add("group", channel.name)
            raise ZeroDivisionError
    assert (layer.stats()["channels"], layer.stats()["groups"]) == (0, 0)


async def test_a_reader_that_waits_learns_that_its_channel_was_left(make: Make) -> None:
    layer = make()
    async with layer.channel() as channel:
        reading = asyncio.create_task(channel.receive())
        by_name = asyncio.create_task(layer.receive(channel.name))
        await turns()
    for task in (reading, by_name):
        with pytest.raises(ChannelNotFound, match=f"channel '{channel.name}' was closed"):
            await soon(task)


async def test_a_channel_that_was_left_can_neither_be_read_nor_join_a_group(make: Make) -> None:
    layer = make()
    async with layer.channel() as channel:
        pass
    with pytest.raises(ChannelNotFound, match="was closed"):
        await soon(channel.receive())
    with pytest.raises(ChannelNotFound, match="was closed"):
        await channel.join("group")
    await layer.group_add("group", channel.name)
    assert layer.stats()["groups"] == 0


async def test_a_channel_can_be_iterated_over(make: Make) -> None:
    layer = make()
    got: list[Any] = []
    async with layer.channel() as channel:
        for n in range(3):
            await layer.send(channel.name, message(n))
        async for each in channel:
            got.append(each)
            if len(got) == 3:
                break
    assert numbers(got) == [0, 1, 2]


async def test_a_channel_joins_and_leaves_groups_by_itself(make: Make) -> None:
    layer = make()
    async with layer.channel() as channel:
        await channel.join("group")
        await layer.group_send("group", message(1))
        assert await soon(channel.receive()) == message(1)
        channel.leave("group")
        await layer.group_send("group", message(2))
        assert await read_to_fence(layer, channel.name) == []


async def test_what_a_layer_makes_is_a_channel(make: Make) -> None:
    async with make().channel() as made:
        channel: Channel = made
        assert channel.name


# --- channels made by new_channel -------------------------------------------------------------


@virtual_time
async def test_an_unread_channel_is_discarded_after_group_expiry() -> None:
    async with layers() as make:
        layer = make(group_expiry=100.0)
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        await asyncio.sleep(99)
        assert (layer.stats()["channels"], layer.stats()["groups"]) == (1, 1)
        await asyncio.sleep(111)
        assert (layer.stats()["channels"], layer.stats()["groups"]) == (0, 0)


@virtual_time
async def test_a_channel_is_kept_as_long_as_somebody_waits_for_its_messages() -> None:
    async with layers() as make:
        layer = make(group_expiry=10.0)
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        reading = asyncio.create_task(layer.receive(channel))
        await asyncio.sleep(1_000)
        await layer.group_send("group", message(1))
        assert await reading == message(1)


@virtual_time
async def test_a_channel_is_kept_as_long_as_it_is_read_now_and_then() -> None:
    async with layers() as make:
        layer = make(group_expiry=10.0)
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        for n in range(100):
            await asyncio.sleep(9)
            await layer.group_send("group", message(n))
            assert await layer.receive(channel) == message(n)


@virtual_time
async def test_a_channel_of_an_async_with_is_kept_however_long_it_is_silent() -> None:
    async with layers() as make:
        layer = make(group_expiry=10.0)
        async with layer.channel() as channel:
            await channel.join("group")
            await asyncio.sleep(1_000)
            await layer.group_send("group", message(1))
            assert await channel.receive() == message(1)


@virtual_time
async def test_a_channel_that_was_discarded_is_one_again_when_it_is_read() -> None:
    async with layers() as make:
        layer = make(group_expiry=10.0)
        channel = await layer.new_channel()
        await asyncio.sleep(100)
        reading = asyncio.create_task(layer.receive(channel))
        await turns()
        await layer.send(channel, message(1))
        assert await reading == message(1)


async def test_flush_ends_memberships_and_unread_messages_but_not_channels(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.send(channel, message(1))
    await until(lambda: layer.stats()["unread"] == 1)
    await layer.flush()
    assert (layer.stats()["unread"], layer.stats()["groups"]) == (0, 0)
    await layer.group_send("group", message(2))
    await layer.send(channel, message(3))
    assert numbers(await receive(layer, channel, 1)) == [3]


async def test_flush_gives_back_the_capacity(make: Make) -> None:
    layer = make(capacity=2)
    channel = await layer.new_channel()
    for _ in range(3):
        for n in range(2):
            await layer.send(channel, message(n))
        await until(lambda: layer.stats()["unread"] == 2)
        await layer.flush()


async def test_a_direct_message_travels_through_the_broker_even_to_its_own_node(make: Make) -> None:
    """So that it keeps its order among what other nodes send."""
    layer: Layer = make()
    channel = await layer.new_channel()
    await layer.send(channel, message(1))
    assert [publication.topic for publication in layer.backend.publications] == [node_of(channel)]

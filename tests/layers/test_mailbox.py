"""How many unread messages a channel holds, and what happens to the next one."""

import asyncio
import logging
import re
from collections.abc import Iterator, Mapping

import pytest

from fast_channels import plugins
from fast_channels.exceptions import ChannelFull
from fast_channels.plugins import hookimpl

from .backends import LosingBackend, Make, layers
from .clock import virtual_time
from .waiting import message, numbers, read_to_fence, receive, soon, until


class Listener:
    """Notes what plugins are told of losses."""

    def __init__(self) -> None:
        self.told: list[Mapping[str, int]] = []

    @hookimpl
    def messages_dropped(self, losses: Mapping[str, int]) -> None:
        self.told.append(losses)


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    plugins.register(made)
    yield made
    plugins.unregister(made)


async def test_messages_are_received_in_the_order_in_which_they_were_sent(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    for n in range(100):
        await layer.send(channel, message(n))
    assert numbers(await receive(layer, channel, 100)) == list(range(100))


async def test_sends_in_a_row_fill_a_channel_exactly_to_its_capacity(make: Make) -> None:
    layer = make(capacity=3)
    channel = await layer.new_channel()
    for n in range(3):
        await layer.send(channel, message(n))
    with pytest.raises(ChannelFull) as caught:
        await layer.send(channel, message(3))
    assert re.fullmatch(
        rf"channel '{channel}' holds 3 unread messages \(capacity 3, 1048576 bytes\)",
        str(caught.value),
    )
    assert numbers(await receive(layer, channel, 1)) == [0]
    await layer.send(channel, message(4))
    assert numbers(await receive(layer, channel, 3)) == [1, 2, 4]


async def test_sends_at_once_fill_a_channel_exactly_to_its_capacity(make: Make) -> None:
    layer = make(capacity=7)
    channel = await layer.new_channel()
    sends = [layer.send(channel, message(n)) for n in range(20)]
    results = await soon(asyncio.gather(*sends, return_exceptions=True))
    assert results[:7] == [None] * 7
    assert [type(result) for result in results[7:]] == [ChannelFull] * 13
    assert numbers(await receive(layer, channel, 7)) == list(range(7))


async def test_a_send_that_is_refused_publishes_nothing_and_loses_nothing(make: Make) -> None:
    layer = make(capacity=1)
    channel = await layer.new_channel()
    await layer.send(channel, message(0))
    published = len(layer.backend.published)
    with pytest.raises(ChannelFull):
        await layer.send(channel, message(1))
    assert len(layer.backend.published) == published
    assert layer.stats()["overflowed"] == 0
    assert layer.stats()["failed"] == 1


async def test_a_send_that_failed_takes_no_capacity(make: Make) -> None:
    layer = make(capacity=1)
    channel = await layer.new_channel()
    layer.backend.publish_error = OSError("broken")
    for _ in range(3):
        with pytest.raises(OSError, match="broken"):
            await layer.send(channel, message(0))
    layer.backend.publish_error = None
    await layer.send(channel, message(1))
    assert numbers(await receive(layer, channel, 1)) == [1]


async def test_a_send_that_was_cancelled_takes_no_capacity(make: Make) -> None:
    layer = make(capacity=1)
    channel = await layer.new_channel()
    layer.backend.may_publish.clear()
    sending = asyncio.create_task(layer.send(channel, message(0)))
    await until(lambda: layer.backend.published)
    sending.cancel()
    await asyncio.wait([sending])
    layer.backend.may_publish.set()
    await layer.send(channel, message(1))
    assert numbers(await receive(layer, channel, 1)) == [1]


async def test_a_full_channel_drops_the_newest_message_of_a_group(make: Make) -> None:
    layer = make(capacity=3)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    for n in range(5):
        await layer.group_send("group", message(n))
    await until(lambda: layer.stats()["overflowed"] == 2)
    assert numbers(await receive(layer, channel, 3)) == [0, 1, 2]
    assert await read_to_fence(layer, channel) == []


async def test_a_full_channel_may_drop_its_oldest_message(make: Make) -> None:
    layer = make(capacity=3, overflow="drop_oldest")
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    for n in range(5):
        await layer.group_send("group", message(n))
    await until(lambda: layer.stats()["overflowed"] == 2)
    assert numbers(await receive(layer, channel, 3)) == [2, 3, 4]


async def test_a_full_channel_may_cut_off_its_reader(make: Make) -> None:
    layer = make(capacity=3, overflow="disconnect")
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    for n in range(4):
        await layer.group_send("group", message(n))
    await until(lambda: layer.stats()["overflowed"])
    with pytest.raises(ChannelFull, match="was full, and its policy is 'disconnect'"):
        await soon(layer.receive(channel))


async def test_a_channel_that_was_cut_off_stays_so_and_counts_what_it_loses(make: Make) -> None:
    layer = make(capacity=1, overflow="disconnect")
    channel = await layer.new_channel()
    witness = await layer.new_channel()
    await layer.group_add("group", channel)
    for n in range(5):
        await layer.group_send("group", message(n))
    await layer.send(witness, message(5))
    await receive(layer, witness, 1)
    for _ in range(2):
        with pytest.raises(ChannelFull, match="was full, and its policy is 'disconnect'"):
            await soon(layer.receive(channel))
    assert layer.stats()["overflowed"] == 4


async def test_one_full_channel_costs_the_others_nothing(make: Make) -> None:
    layer = make(capacity=2)
    slow, quick = await layer.new_channel(), await layer.new_channel()
    for channel in (slow, quick):
        await layer.group_add("group", channel)
    for n in range(10):
        await layer.group_send("group", message(n))
        assert numbers(await receive(layer, quick, 1)) == [n]
    assert numbers(await receive(layer, slow, 2)) == [0, 1]


async def test_a_channel_of_another_node_drops_by_its_own_policy(make: Make) -> None:
    sender = make(capacity=1)
    receiver = make(broker=sender.broker, capacity=2, overflow="drop_oldest")
    channel = await receiver.new_channel()
    for n in range(5):
        await sender.send(channel, message(n))
    await until(lambda: receiver.stats()["overflowed"] == 3)
    assert numbers(await receive(receiver, channel, 2)) == [3, 4]
    assert sender.stats()["failed"] == 0


async def test_capacity_and_policy_are_chosen_by_the_name_of_the_channel(make: Make) -> None:
    layer = make(
        capacity=1,
        channel_capacity={"chat.*": 2, re.compile("feed"): 3},
        channel_overflow={"feed*": "drop_oldest"},
    )
    for prefix, kept in (("chat.room", [0, 1]), ("feed.news", [2, 3, 4]), ("other", [0])):
        channel = await layer.new_channel(prefix)
        await layer.group_add(prefix, channel)
        for n in range(5):
            await layer.group_send(prefix, message(n))
        await until(lambda: layer.stats()["sent"] == layer.stats()["received"])
        assert numbers(await receive(layer, channel, len(kept))) == kept
        assert await read_to_fence(layer, channel) == []


async def test_bytes_are_bounded_too_but_never_for_the_first_message(make: Make) -> None:
    layer = make(capacity_bytes=1_000)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.group_send("group", message(0, data=b"x" * 5_000))
    await layer.group_send("group", message(1))
    await until(lambda: layer.stats()["overflowed"] == 1)
    assert numbers(await receive(layer, channel, 1)) == [0]
    for n in range(2, 5):
        await layer.group_send("group", message(n, data=b"x" * 450))
    await until(lambda: layer.stats()["overflowed"] == 2)
    assert numbers(await receive(layer, channel, 2)) == [2, 3]


async def test_dropping_the_oldest_makes_room_for_the_bytes_of_the_newest(make: Make) -> None:
    layer = make(capacity_bytes=1_000, overflow="drop_oldest")
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    for n in range(3):
        await layer.group_send("group", message(n, data=b"x" * 250))
    await layer.group_send("group", message(3, data=b"x" * 600))
    await until(lambda: layer.stats()["overflowed"] == 2)
    assert numbers(await receive(layer, channel, 2)) == [2, 3]
    await layer.group_send("group", message(4, data=b"x" * 5_000))
    assert numbers(await receive(layer, channel, 1)) == [4]


async def test_a_send_of_too_many_bytes_is_refused_not_dropped(make: Make) -> None:
    layer = make(capacity_bytes=1_000)
    channel = await layer.new_channel()
    await layer.send(channel, message(0, data=b"x" * 600))
    with pytest.raises(ChannelFull):
        await layer.send(channel, message(1, data=b"x" * 600))
    await layer.send(channel, message(2, data=b"x" * 100))
    sends = [layer.send(channel, message(n, data=b"x" * 50)) for n in range(3, 13)]
    results = await asyncio.gather(*sends, return_exceptions=True)
    accepted = [n for n, result in zip(range(3, 13), results, strict=True) if result is None]
    assert 0 < len(accepted) < 10
    assert numbers(await receive(layer, channel, 2 + len(accepted))) == [0, 2, *accepted]
    assert layer.stats()["overflowed"] == 0


async def test_a_send_behind_a_long_fan_out_is_refused_not_dropped(make: Make) -> None:
    layer = make(capacity=2)
    channel = await layer.new_channel()
    for _ in range(5_000):
        await layer.group_add("crowd", await layer.new_channel())
    await layer.group_send("crowd", message(0))
    for n in range(2):
        await layer.send(channel, message(n))
    for n in range(2, 4):
        assert layer.stats()["delivered"] < 5_000, "the fan-out was over too early for this test"
        with pytest.raises(ChannelFull):
            await layer.send(channel, message(n))
    assert numbers(await receive(layer, channel, 2)) == [0, 1]


async def test_what_its_own_node_lost_on_the_way_takes_no_capacity_for_ever(make: Make) -> None:
    layer = make(LosingBackend, capacity=3)
    channel = await layer.new_channel()
    await layer.send(channel, message(0))
    layer.backend.loses = lambda publication: True
    await layer.send(channel, message(1))
    await layer.send(channel, message(2))
    layer.backend.loses = lambda publication: False
    assert numbers(await receive(layer, channel, 1)) == [0]
    await layer.send(channel, message(3))
    for n in range(4, 6):
        await layer.send(channel, message(n))
    assert numbers(await receive(layer, channel, 3)) == [3, 4, 5]


@virtual_time
async def test_losses_are_reported_at_most_once_a_second(
    caplog: pytest.LogCaptureFixture, listener: Listener
) -> None:
    async with layers() as make:
        layer = make(capacity=1)
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        start = asyncio.get_running_loop().time()
        for n in range(1 + 5):
            await layer.group_send("group", message(n))
        await asyncio.sleep(start + 0.5 - asyncio.get_running_loop().time())
        for n in range(3):
            await layer.group_send("group", message(n))
        assert listener.told == []
        await asyncio.sleep(0.6)
        assert listener.told == [{"overflowed": 8}]
        await layer.group_send("group", message(9))
        await asyncio.sleep(0.5)
        assert len(listener.told) == 1
        await asyncio.sleep(0.6)
        assert listener.told == [{"overflowed": 8}, {"overflowed": 1}]
        lines = [record.getMessage() for record in caplog.records]
        assert [line for line in lines if "lost messages" in line] == [
            f"{layer} lost messages: 8 overflowed ({channel}: drop_newest)",
            f"{layer} lost messages: 1 overflowed ({channel}: drop_newest)",
        ]


async def test_losses_that_were_not_reported_yet_are_reported_at_close(
    make: Make, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    layer = make(capacity=1)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    for n in range(3):
        await layer.group_send("group", message(n))
    await until(lambda: layer.stats()["overflowed"] == 2)
    await layer.close()
    assert listener.told == [{"overflowed": 2}]
    assert "2 overflowed" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.WARNING}

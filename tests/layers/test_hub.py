"""Fan-out: in turns that leave the loop free, in order, past who left, held back when behind."""

import asyncio
import time
from collections.abc import Generator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers.codec import Entry, encode_entries, encode_frame
from fast_channels.layers.hub import HIGH_WATER, MAX_BACKLOG, TOGETHER, TURN_SECONDS
from fast_channels.layers.mailbox import Mailbox, Unread
from fast_channels.layers.messages import encode_message

from .backends import Layer, Make, frame, from_callback, node_of
from .waiting import message, numbers, read_to_fence, receive, soon, turns, until


async def crowd(layer: Layer, group: str, size: int) -> list[str]:
    """Return the channels of a new group."""
    channels = [await layer.new_channel() for _ in range(size)]
    for channel in channels:
        await layer.group_add(group, channel)
    return channels


async def begin(layer: Layer, *messages: dict[str, Any]) -> int:
    """Deliver the messages to the crowd; return how many are unread when deliver returns."""

    def deliver() -> int:
        for each in messages:
            layer.backend.inbox.deliver("fc:g.crowd", frame(each))
        return layer.stats()["unread"]

    return await from_callback(deliver)


async def test_a_small_fan_out_is_over_when_deliver_returns(make: Make) -> None:
    layer = make()
    channels = await crowd(layer, "crowd", 100)
    assert await begin(layer, message(1)) == 100
    assert await receive(layer, channels[-1], 1) == [message(1)]


async def test_a_task_that_delivers_is_not_kept_with_the_fan_out(make: Make) -> None:
    layer = make()
    channels = await crowd(layer, "crowd", 10)
    layer.backend.inbox.deliver("fc:g.crowd", frame(message(1)))
    assert layer.stats()["unread"] == 0
    assert await receive(layer, channels[-1], 1) == [message(1)]


async def test_a_fan_out_to_10_000_leaves_the_loop_free_for_other_work(make: Make) -> None:
    layer = make()
    channels = await crowd(layer, "crowd", 10_000)
    gaps: list[float] = []
    running = True

    async def other_work() -> None:
        before = time.perf_counter()
        while running:
            await asyncio.sleep(0)
            now = time.perf_counter()
            gaps.append(now - before)
            before = now

    working = asyncio.create_task(other_work())
    await turns(1)
    await layer.group_send("crowd", message(1, nested={"data": "x" * 100}))
    await until(lambda: layer.stats()["delivered"] == 10_000)
    running = False
    await working
    assert len(gaps) >= 40  # 250 members at a turn, or 5 ms
    for channel in (channels[0], channels[5_000], channels[9_999]):
        assert numbers(await receive(layer, channel, 1)) == [1]


async def test_a_turn_ends_after_some_members_and_the_next_comes_by_itself(make: Make) -> None:
    layer = make()
    await crowd(layer, "crowd", 600)
    assert 0 < await begin(layer, message(1)) <= 250
    await until(lambda: layer.stats()["unread"] == 600)


async def test_fan_outs_behind_each_other_keep_their_order(make: Make) -> None:
    layer = make()
    channels = await crowd(layer, "crowd", 2_000)
    for n in range(5):
        layer.backend.inbox.deliver("fc:g.crowd", frame(message(n)))
        layer.backend.inbox.deliver(
            node_of(channels[1_999]), frame(message(10 + n), channels[1_999])
        )
    await until(lambda: layer.stats()["delivered"] == 5 * 2_001)
    assert numbers(await receive(layer, channels[0], 5)) == [0, 1, 2, 3, 4]
    got = numbers(await receive(layer, channels[1_999], 10))
    assert got == [0, 10, 1, 11, 2, 12, 3, 13, 4, 14]


async def test_a_member_that_leaves_during_the_fan_out_is_skipped(make: Make) -> None:
    layer = make()
    channels = await crowd(layer, "crowd", 1_000)
    leaver, gone = channels[900], layer.channel()
    async with gone:
        await gone.join("crowd")
        assert 0 < await begin(layer, message(1)) < 500
        await layer.group_discard("crowd", leaver)
    await until(lambda: layer.stats()["delivered"] == 999)
    assert await read_to_fence(layer, leaver) == []
    assert numbers(await read_to_fence(layer, channels[901])) == [1]


async def test_a_member_that_joins_during_the_fan_out_does_not_get_it(make: Make) -> None:
    layer = make()
    await crowd(layer, "crowd", 1_000)
    late = await layer.new_channel()
    assert 0 < await begin(layer, message(1)) < 1_000
    await layer.group_add("crowd", late)
    layer.backend.inbox.deliver("fc:g.crowd", frame(message(2)))
    assert numbers(await receive(layer, late, 1)) == [2]


async def test_a_member_that_leaves_and_comes_back_during_the_fan_out_gets_it_at_most_once(
    make: Make,
) -> None:
    layer = make()
    channels = await crowd(layer, "crowd", 1_000)
    assert 0 < await begin(layer, message(1)) < 500
    for channel in (channels[0], channels[999]):
        await layer.group_discard("crowd", channel)
        await layer.group_add("crowd", channel)
    await until(lambda: layer.stats()["delivered"] >= 1_000)
    for channel in (channels[0], channels[999]):
        assert numbers(await read_to_fence(layer, channel)) == [1]


async def test_a_delivery_during_a_delivery_is_queued_and_not_nested(make: Make) -> None:
    """A chain of messages, each delivered while the one before is put, must not recurse."""
    layer = make()
    depth = deepest = count = 0

    class Chained(Mailbox):
        def put(self, unread: Unread) -> bool:
            nonlocal depth, deepest, count
            depth += 1
            deepest = max(deepest, depth)
            count += 1
            if count < 2_000:
                layer.backend.inbox.deliver("fc:g.group", frame({"type": "x", "n": count}))
            depth -= 1
            return True

    async with layer.channel(make=Chained) as channel:
        await channel.join("group")
        layer.backend.inbox.deliver("fc:g.group", frame(message(0)))
        await until(lambda: count == 2_000)
    assert deepest == 1


async def test_senders_wait_while_this_side_is_far_behind(make: Make) -> None:
    layer = make()
    await crowd(layer, "crowd", 300)
    other = make(broker=layer.broker)
    await other.open()
    for n in range(HIGH_WATER + 500):
        layer.backend.inbox.deliver("fc:g.crowd", frame(message(n)))
    sending = asyncio.create_task(layer.group_send("elsewhere", message(0)))
    await turns(3)
    assert not sending.done()
    assert layer.backend.published == []
    await other.group_send("elsewhere", message(0))  # its own fan-out is not behind
    await soon(sending)
    assert layer.stats()["received"] >= HIGH_WATER + 500


async def test_a_sender_that_waited_for_this_side_in_vain_says_so(make: Make) -> None:
    layer = make(send_timeout=0.02)
    await crowd(layer, "crowd", 3_000)
    for n in range(2 * HIGH_WATER):
        layer.backend.inbox.deliver("fc:g.crowd", frame(message(n, data={"text": "x" * 100})))
    with pytest.raises(BackendUnavailable) as caught:
        await layer.group_send("elsewhere", message(0))
    assert str(caught.value) == (
        "this process could not fan out what it has within 0.02 s; the message was not sent"
    )
    assert layer.stats()["failed"] == 1
    await layer.flush()


async def overload(layer: Layer) -> int:
    """Deliver at once twice as much as may wait; return how many the 1,000 members got."""
    before = layer.stats()
    for n in range(8):
        data = b"x" * (MAX_BACKLOG // 4)
        layer.backend.inbox.deliver("fc:g.crowd", frame(message(n, data=data)))
    kept = 8 - (layer.stats()["backlogged"] - before["backlogged"])
    assert 0 < kept < 8
    await until(lambda: layer.stats()["delivered"] == before["delivered"] + kept * 1_000)
    return kept


ROOMY = {"max_message_size": 2 * MAX_BACKLOG, "capacity_bytes": 8 * MAX_BACKLOG}


async def test_a_sender_that_waits_for_this_side_learns_that_the_layer_is_closed(
    make: Make,
) -> None:
    layer = make()
    await crowd(layer, "crowd", 300)
    for n in range(HIGH_WATER + 500):
        layer.backend.inbox.deliver("fc:g.crowd", frame(message(n)))
    sending = asyncio.create_task(layer.group_send("elsewhere", message(0)))
    await turns(1)
    await layer.close()
    with pytest.raises(BackendUnavailable, match="the layer was closed; the message was not sent"):
        await soon(sending)
    assert layer.backend.published == []


async def test_what_arrives_too_fast_is_dropped_counted_and_told(make: Make) -> None:
    layer = make(gaps=True, **ROOMY)
    channels = await crowd(layer, "crowd", 1_000)
    kept = await overload(layer)
    got = await read_to_fence(layer, channels[-1])
    assert numbers(got[:-1]) == list(range(kept))
    assert got[-1] == {"type": "channels.gap", "group": "crowd"}


async def test_without_gaps_what_arrives_too_fast_is_counted_only(make: Make) -> None:
    layer = make(**ROOMY)
    channels = await crowd(layer, "crowd", 1_000)
    kept = await overload(layer)
    assert numbers(await read_to_fence(layer, channels[-1])) == list(range(kept))


async def test_an_overload_after_a_flush_is_told_like_the_first(make: Make) -> None:
    layer = make(gaps=True, **ROOMY)
    channels = await crowd(layer, "crowd", 1_000)
    for n in range(8):
        data = b"x" * (MAX_BACKLOG // 4)
        layer.backend.inbox.deliver("fc:g.crowd", frame(message(n, data=data)))
    await layer.flush()
    for channel in channels:
        await layer.group_add("crowd", channel)
    await overload(layer)
    got = await read_to_fence(layer, channels[-1])
    assert got[-1] == {"type": "channels.gap", "group": "crowd"}


async def test_a_turn_looks_at_the_clock_as_well(make: Make) -> None:
    """Members that take long, as handlers that start in place may, end a turn before 250 of them.

    So do readers that wait for a message that is costly to decode.
    """

    class Slow(Mailbox):
        def put(self, unread: Unread) -> bool:
            end = time.perf_counter() + 0.001
            while time.perf_counter() < end:
                pass
            return super().put(unread)

    layer = make()
    async with AsyncExitStack() as stack:
        for _ in range(250):
            channel = await stack.enter_async_context(layer.channel(make=Slow))
            await channel.join("crowd")
        assert 0 < await begin(layer, message(1)) < 250
        assert TURN_SECONDS == 0.005
        await until(lambda: layer.stats()["unread"] == 250)


async def deliver_together(layer: Layer, count: int) -> int:
    """Deliver one frame of so many messages to the crowd; return how many are unread then."""
    entries = [Entry(encode_message(message(n), 2**20)) for n in range(count)]
    packed = encode_frame("0123456789abcdef", 0, 0, encode_entries(entries))

    def deliver() -> int:
        layer.backend.inbox.deliver("fc:g.crowd", packed)
        return layer.stats()["unread"]

    return await from_callback(deliver)


async def test_members_get_messages_that_came_together_in_one_turn(make: Make) -> None:
    layer = make()
    channels = await crowd(layer, "crowd", 600)
    assert await deliver_together(layer, 10) in range(10, 2_501, 10)
    await until(lambda: layer.stats()["unread"] == 6_000)
    for channel in (channels[0], channels[300], channels[599]):
        assert numbers(await receive(layer, channel, 10)) == list(range(10))


class Receiving:
    """Awaits the channel's next message, and notes when it has to wait for it."""

    def __init__(self, layer: Layer, channel: str, waits: list[str]) -> None:
        self.layer, self.channel, self.waits = layer, channel, waits

    def __await__(self) -> Generator[Any, None, dict[str, Any]]:
        steps = self.layer.receive(self.channel).__await__()
        try:
            while True:
                waits_for = next(steps)
                self.waits.append(self.channel)
                yield waits_for
        except StopIteration as end:
            received: dict[str, Any] = end.value
            return received


async def test_readers_wake_once_for_messages_that_came_together(make: Make) -> None:
    layer = make()
    channels = await crowd(layer, "crowd", 100)
    waits: list[str] = []

    async def read(channel: str) -> list[int]:
        return numbers([await Receiving(layer, channel, waits) for _ in range(TOGETHER)])

    readers = [asyncio.create_task(read(channel)) for channel in channels]
    await until(lambda: len(waits) == 100)
    await deliver_together(layer, TOGETHER)
    assert await soon(asyncio.gather(*readers)) == [list(range(TOGETHER))] * 100
    assert sorted(waits) == sorted(channels)


async def test_readers_that_keep_up_lose_nothing_of_what_came_together(make: Make) -> None:
    """More at once than a mailbox holds: turns leave them time to read."""
    layer = make(capacity=TOGETHER)
    channels = await crowd(layer, "crowd", 20)

    async def read(channel: str) -> list[int]:
        return numbers(await receive(layer, channel, 100))

    readers = [asyncio.create_task(read(channel)) for channel in channels]
    await turns(2)
    await deliver_together(layer, 100)
    assert await soon(asyncio.gather(*readers)) == [list(range(100))] * 20
    assert layer.stats()["overflowed"] == 0


async def test_what_came_together_is_dropped_one_by_one_where_it_does_not_fit(make: Make) -> None:
    layer = make(capacity=4)
    [channel] = await crowd(layer, "crowd", 1)
    await deliver_together(layer, 10)
    assert layer.stats()["overflowed"] == 6
    assert numbers(await receive(layer, channel, 4)) == [0, 1, 2, 3]


async def test_who_leaves_at_a_message_gets_none_of_those_that_came_with_it(make: Make) -> None:
    layer = make()

    class Leaver(Mailbox):
        def put(self, unread: Unread) -> bool:
            channel.leave("crowd")
            return super().put(unread)

        def put_all(self, unread: Sequence[Unread], size: int) -> int:
            return 0

    async with layer.channel(make=Leaver) as channel:
        await channel.join("crowd")
        [other] = await crowd(layer, "crowd", 1)
        await deliver_together(layer, 3)
        assert numbers(await receive(layer, other, 3)) == [0, 1, 2]
        assert numbers(channel.mailbox.unread) == [0]


async def test_messages_that_came_together_are_each_receivers_own(make: Make) -> None:
    layer = make()
    channels = await crowd(layer, "crowd", 3)
    await begin(layer, message(1), message(2), message(3, nested={"list": []}))
    for channel in channels:
        got = await receive(layer, channel, 3)
        assert got == [message(1), message(2), message(3, nested={"list": []})]
        for each in got:
            each["seen"] = True
        got[2]["nested"]["list"].append("mine")


async def test_fan_out_makes_no_task(make: Make) -> None:
    layer = make()
    await crowd(layer, "crowd", 500)
    before = asyncio.all_tasks()
    layer.backend.inbox.deliver("fc:g.crowd", frame(message(1)))
    await turns()
    assert asyncio.all_tasks() == before

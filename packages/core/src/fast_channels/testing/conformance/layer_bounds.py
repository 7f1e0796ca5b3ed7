"""Clauses about bounds: what unread messages may cost, and what happens to the next one."""

import asyncio
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import pytest

from fast_channels import plugins
from fast_channels.exceptions import ChannelFull
from fast_channels.testing.conformance.clause import clause
from fast_channels.testing.conformance.layer_suite import LayerSuite, message, messages, numbers


class BoundClauses(LayerSuite):
    """Capacity, overflow and expiry; no loss is silent."""

    @clause
    async def test_capacity_is_per_channel_and_not_per_process(self) -> None:
        """A thousand channels of one process each get their first message. Usual cause: one
        bounded queue for the whole process."""
        here, there = await self.node(capacity=100), await self.node()
        channels = [await self.member(here) for _ in range(1_000)]
        for sender in (here, there):
            for first in range(0, 1_000, 100):
                part = channels[first : first + 100]
                await asyncio.gather(*(sender.send(name, message(1)) for name in part))
        for channel in channels:
            assert await self.receive(here, channel, 2) == [message(1), message(1)]

    @clause
    async def test_a_full_channel_of_this_process_refuses_the_next_message(self) -> None:
        """``ChannelFull``; its neighbour takes messages, and so does it once it was read. Usual
        cause: the message is dropped, and the sender learns nothing."""
        node = await self.node(capacity=3)
        full, other = await node.new_channel(), await node.new_channel()
        for each in messages(3):
            await node.send(full, each)
        with pytest.raises(ChannelFull, match=full):
            await node.send(full, message(-1))
        await node.send(other, message(1))
        assert numbers(await self.receive(node, full)) == [0]
        await node.send(full, message(3))
        with pytest.raises(ChannelFull, match=full):
            await node.send(full, message(-1))
        assert numbers(await self.receive(node, full, 3)) == [1, 2, 3]

    @clause
    async def test_every_message_that_met_a_full_channel_is_counted_and_told(self) -> None:
        """In ``stats()["overflowed"]`` at once, and to the plugins' ``messages_dropped`` at the
        latest when the layer is closed. Usual cause: only a log line, or nothing."""
        here, there = await self.node(), await self.node(capacity=10)
        full, reader = await self.member(there, "room"), await self.member(there, "room")
        with drops() as told:
            for each in messages(25):
                await here.group_send("room", each)
                assert await self.receive(there, reader) == [each]
            for each in messages(5):
                await here.send(full, each)
            await self.fenced(there, reader, here)
            assert there.stats()["overflowed"] == 20
            assert there.stats()["unread"] == 10
            await there.close()
        assert told["overflowed"] == 20

    @clause
    async def test_a_reader_that_stops_holds_at_most_its_capacity(self) -> None:
        """``drop_newest``: the first messages are kept; who reads gets all. Usual cause: the
        bound is on the connection or on the group, and one slow client stops the others."""
        await self._overflow("drop_newest", [0, 1, 2, 3, 4])

    @clause
    async def test_drop_oldest_keeps_the_newest_messages(self) -> None:
        """Usual cause: the policy is not handed to the mailbox."""
        await self._overflow("drop_oldest", [15, 16, 17, 18, 19])

    async def _overflow(self, policy: str, kept: list[int]) -> None:
        here, there = await self.node(), await self.node(capacity=5, overflow=policy)
        slow, reader = await self.member(there, "room"), await self.member(there, "room")
        for each in messages(20):
            await here.group_send("room", each)
            assert await self.receive(there, reader) == [each]
        assert there.stats()["unread"] == 5
        assert numbers(await self.receive(there, slow, 5)) == kept
        await here.group_send("room", message(20))
        assert numbers(await self.fenced(there, slow, here)) == [20]

    @clause
    async def test_disconnect_ends_a_channel_that_was_full(self) -> None:
        """Its reader gets ``ChannelFull``; who reads gets all. Usual cause: the policy is not
        handed to the mailbox, or its readers wait forever."""
        here, there = await self.node(), await self.node(capacity=5, overflow="disconnect")
        reader = await self.member(there, "room")
        async with there.channel() as slow:
            await there.group_add("room", slow.name)
            for each in messages(20):
                await here.group_send("room", each)
                assert await self.receive(there, reader) == [each]
            with pytest.raises(ChannelFull, match=slow.name):
                await self.soon(slow.receive(), "receive on an overflown channel")

    @clause
    async def test_a_reader_that_stops_holds_at_most_its_capacity_in_bytes(self) -> None:
        """And always takes a first message. Usual cause: only the number of messages is bounded,
        and 100 of a megabyte each are held."""
        here, there = await self.node(), await self.node(capacity_bytes=10_000)
        slow, reader = await self.member(there, "room"), await self.member(there, "room")
        for each in messages(20):
            await here.group_send("room", {**each, "data": b"x" * 3_000})
            assert numbers(await self.receive(there, reader)) == [each["n"]]
        assert numbers(await self.receive(there, slow, 3)) == [0, 1, 2]
        await here.group_send("room", {**message(20), "data": b"x" * 30_000})
        assert numbers(await self.receive(there, slow)) == [20]

    @clause
    async def test_a_late_reader_gets_the_next_message_of_its_group(self) -> None:
        """What nobody read in time is not delivered, and is counted; the membership stays. Usual
        cause: one expired message ends the channel's memberships."""
        here, there = await self.node(), await self.node(expiry=0.1)
        late, witness = await self.member(there, "room"), await self.member(there, "room")
        waiting = asyncio.create_task(self.receive(there, witness))
        await asyncio.sleep(0)
        await here.group_send("room", message(1))
        await waiting
        await self.passing(0.15)
        reading = asyncio.create_task(self.receive(there, late))
        await asyncio.sleep(0)
        assert not reading.done()
        await here.group_send("room", message(2))
        assert await reading == [message(2)]
        assert there.stats()["expired"] == 1

    @clause
    async def test_channels_that_nobody_reads_are_gone_after_group_expiry(self) -> None:
        """With their memberships and messages. Usual cause: names and unread messages of crashed
        clients are kept forever."""
        node = await self.node(group_expiry=0.1)
        for _ in range(50):
            await node.send(await self.member(node, "room", "hall"), message(1))
        await self.until(lambda: node.stats()["channels"] == 0, "the end of 50 unread channels")
        assert node.stats()["groups"] == 0
        assert node.stats()["unread"] == 0
        member = await self.member(node, "room")
        await node.group_send("room", message(2))
        assert await self.receive(node, member) == [message(2)]

    @clause
    async def test_a_live_member_outlives_group_expiry(self) -> None:
        """A channel inside its block, and one that somebody waits for, however long nothing
        comes. Usual cause: memberships have a time stamp, and nobody renews it."""
        here, there = await self.node(), await self.node(group_expiry=0.1)
        async with there.channel() as idle:
            await there.group_add("room", idle.name)
            waited_for = await self.member(there, "room")
            waiting = asyncio.create_task(there.receive(waited_for))
            for _ in range(2):  # each unread channel ends after one to two times group_expiry
                await there.new_channel()
                await self.until(
                    lambda: there.stats()["channels"] == 2, "the end of a channel nobody reads"
                )
            await here.group_send("room", message(1))
            assert await self.soon(idle.receive(), "receive") == message(1)
            assert await self.soon(waiting, "receive") == message(1)


@contextmanager
def drops() -> Generator[Counter[str]]:
    """Count what the plugins are told of lost messages, by reason."""
    told: Counter[str] = Counter()

    class Listener:
        @plugins.hookimpl
        def messages_dropped(self, losses: Mapping[str, int]) -> None:
            told.update(losses)

    listener = Listener()
    plugins.register(listener)
    try:
        yield told
    finally:
        plugins.unregister(listener)

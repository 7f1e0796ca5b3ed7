"""Clauses about groups: who is a member, from when, until when, and what a send costs."""

import asyncio

import pytest

from fast_channels.exceptions import ChannelNotFound
from fast_channels.testing.conformance.clause import clause, clause_unless
from fast_channels.testing.conformance.layer_suite import (
    LayerSuite,
    message,
    messages,
    no_backend,
    numbers,
)


class GroupClauses(LayerSuite):
    """``group_add``, ``group_discard`` and ``group_send``."""

    @clause
    async def test_a_group_message_reaches_every_member_on_every_node_once(self) -> None:
        """Usual cause: only the members of the sender's own process get it, or they get it
        twice."""
        nodes = [await self.node() for _ in range(3)]
        members = [(node, await self.member(node, "room")) for node in nodes for _ in range(3)]
        for number, sender in enumerate(nodes):
            await sender.group_send("room", message(number))
            for node, channel in members:
                assert await self.fenced(node, channel, sender) == [message(number)]

    @clause
    async def test_a_group_message_reaches_nobody_else(self) -> None:
        """Not a group of a similar name, not a channel without a group. Usual cause: topics are
        matched by pattern, shortened, or compared without case."""
        here, there = await self.node(), await self.node()
        others = ["room", "Room.1", "room.", "room.1.", "room.12", "room-1", "room_1", ".room.1"]
        channels = [await self.member(there, name) for name in others]
        channels.append(await there.new_channel())
        member = await self.member(there, "room.1")
        await here.group_send("room.1", message(1))
        assert await self.fenced(there, member, here) == [message(1)]
        for channel in channels:
            assert await self.fenced(there, channel, here) == []

    @clause
    async def test_a_group_without_members_can_be_sent_to(self) -> None:
        """Nothing is raised, and who joins later does not get it. Usual cause: the broker keeps
        it for the next subscriber."""
        here, there = await self.node(), await self.node()
        await here.group_send("room", message(1))
        member = await self.member(there, "room")
        assert await self.fenced(there, member, here) == []

    @clause
    async def test_the_excluded_channel_is_left_out_and_nobody_else(self) -> None:
        """Wherever it lives. Usual cause: ``exclude`` is applied only in the sender's process, or
        forgotten on the way."""
        here, there = await self.node(), await self.node()
        members = [(node, await self.member(node, "room")) for node in (here, there, there)]
        for number, (_, excluded) in enumerate(members):
            await here.group_send("room", message(number), exclude=excluded)
        await here.group_send("room", message(3), exclude="specific.0123456789abcdef!1")
        for number, (node, channel) in enumerate(members):
            expected = [n for n in range(4) if n != number]
            assert numbers(await self.fenced(node, channel, here)) == expected

    @clause
    async def test_joining_twice_is_joining_once(self) -> None:
        """One message, and one discard is enough. Usual cause: members are a list."""
        node = await self.node()
        member = await self.member(node, "room", "room")
        await asyncio.gather(*(node.group_add("room", member) for _ in range(5)))
        await node.group_send("room", message(1))
        assert await self.fenced(node, member) == [message(1)]
        await node.group_discard("room", member)
        await node.group_send("room", message(2))
        assert await self.fenced(node, member) == []

    @clause
    async def test_a_discarded_channel_gets_no_more(self) -> None:
        """Whichever node discards it; the other members go on. Usual cause: only the owner's
        process can end a membership."""
        here, there = await self.node(), await self.node()
        stable = await self.member(there, "room")
        for number, node in enumerate((there, here)):
            leaver = await self.member(there, "room")
            await node.group_discard("room", leaver)
            await here.group_send("room", message(number))
            assert await self.fenced(there, leaver, here) == []
        assert numbers(await self.fenced(there, stable, here)) == [0, 1]

    @clause
    async def test_discarding_what_is_no_member_is_no_error(self) -> None:
        """A channel of this process, of another, of one that ended, or a group that is not there.
        Usual cause: a KeyError, or a wait for an answer that cannot come."""
        here, there, ended = [await self.node() for _ in range(3)]
        gone = await ended.new_channel()
        await ended.close()
        for channel in (await here.new_channel(), await there.new_channel()):
            await self.soon(here.group_discard("room", channel), "group_discard")
        impatient = await self.node(send_timeout=0.5)  # nobody will answer
        await self.soon(impatient.group_discard("room", gone), "group_discard")

    @clause
    async def test_joining_is_complete_when_group_add_returns(self) -> None:
        """A hundred times: whoever adds and whoever sends, the next message arrives. Usual cause:
        ``group_add`` does not wait until the broker has confirmed the subscription."""
        nodes = [await self.node(linger=0.0) for _ in range(3)]
        for number in range(100):
            owner, adder, sender = nodes[number % 3], nodes[number // 3 % 3], nodes[number // 9 % 3]
            channel = await owner.new_channel()
            await self.soon(adder.group_add(f"room.{number}", channel), "group_add")
            await sender.group_send(f"room.{number}", message(number))
            assert await self.receive(owner, channel) == [message(number)]

    @clause
    async def test_a_group_that_was_just_left_can_be_joined_again(self) -> None:
        """Fifty times, after pauses of different length. Usual cause: the unsubscribe of the last
        leave overtakes the subscribe of the next join."""
        here, there = await self.node(linger=0.0), await self.node()
        channel = await here.new_channel()
        for number in range(50):
            await self.soon(here.group_add("room", channel), "group_add")
            await there.group_send("room", message(number))
            assert await self.receive(here, channel) == [message(number)]
            await here.group_discard("room", channel)
            for _ in range(number % 10):
                await asyncio.sleep(0)

    @clause
    async def test_a_channel_that_is_gone_cannot_be_added_by_another_process(self) -> None:
        """``ChannelNotFound``, within the send timeout, whether the channel or its process has
        ended. Usual cause: the request is sent, and nobody waits for the answer."""
        here, there = await self.node(send_timeout=0.5), await self.node()
        ended = await self.node()
        gone = [await ended.new_channel()]
        await ended.close()
        async with there.channel() as channel:
            gone.append(channel.name)
        for name in gone:
            with pytest.raises(ChannelNotFound, match=name):
                await self.soon(here.group_add("room", name), "group_add")
        assert there.stats()["groups"] == 0

    @clause_unless(no_backend)
    async def test_a_group_message_to_two_thousand_members_is_one_publish(self) -> None:
        """And all of them get it. Usual cause: a loop over the members on the sending side."""
        here, there = await self.node(), await self.node()
        members = [await self.member(there, "room") for _ in range(2_000)]
        before = self.published(here)
        await self.soon(here.group_send("room", message(1)), "group_send")
        assert self.published(here) - before == 1
        for channel in members:
            assert await self.receive(there, channel) == [message(1)]
        assert there.stats()["overflowed"] == 0

    @clause
    async def test_a_member_loses_nothing_while_others_come_and_go(self) -> None:
        """A thousand messages beside a few hundred joins and leaves of its group and of others.
        Usual cause: each join makes the connection's subscriptions anew."""
        # The capacity is no part of this: where a machine is busy, many messages come at once.
        here, there = [await self.node(linger=0.0, capacity=1_000) for _ in range(2)]
        stable = await self.member(there, "room")
        reading = asyncio.create_task(self.receive(there, stable, 1_000))
        coming = asyncio.Event()

        async def come_and_go(number: int) -> None:
            while not coming.is_set():
                async with there.channel() as channel:
                    await there.group_add("room", channel.name)
                    await there.group_add(f"room.{number}", channel.name)
                other = await here.new_channel()
                await here.group_add("room", other)
                await here.group_discard("room", other)
                await asyncio.sleep(0)  # a join of a topic that is here already waits for nothing

        crowd = [asyncio.create_task(come_and_go(number)) for number in range(4)]
        for each in messages(1_000):
            await here.group_send("room", each)
        got = await reading
        coming.set()
        await asyncio.gather(*crowd)
        assert numbers(got) == list(range(1_000))

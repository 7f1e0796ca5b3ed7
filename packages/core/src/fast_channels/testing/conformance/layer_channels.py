"""Clauses about channels: sending to one, receiving from it, and its end."""

import asyncio
from contextlib import suppress

import pytest

from fast_channels.exceptions import ChannelNotFound
from fast_channels.layers.names import check_channel
from fast_channels.testing.conformance.clause import clause
from fast_channels.testing.conformance.layer_suite import (
    LayerSuite,
    Message,
    holdings,
    message,
    messages,
    numbers,
)


class ChannelClauses(LayerSuite):
    """``send``, ``receive``, ``new_channel`` and ``channel``."""

    @clause
    async def test_a_message_sent_on_one_node_is_received_on_another(self) -> None:
        """Usual cause: the node's own topic is not subscribed at opening."""
        here, there = await self.node(), await self.node()
        channel = await there.new_channel()
        await here.send(channel, message(1))
        assert await self.receive(there, channel) == [message(1)]

    @clause
    async def test_a_message_to_the_own_node_is_received_once(self) -> None:
        """Usual cause: local delivery is a shortcut beside the broker, and both deliver."""
        node = await self.node()
        channel = await node.new_channel()
        await node.send(channel, message(1))
        assert await self.fenced(node, channel) == [message(1)]

    @clause
    async def test_new_channels_have_the_prefix_and_names_of_their_own(self) -> None:
        """Two nodes never make the same name. Usual cause: a counter that starts anew in each."""
        nodes = [await self.node(), await self.node()]
        names = [await node.new_channel("chat.room.") for node in nodes for _ in range(50)]
        names += [await nodes[0].new_channel() for _ in range(50)]
        async with nodes[0].channel("chat.room.") as channel:
            names.insert(0, channel.name)
        assert len(set(names)) == len(names)
        assert all(name.startswith("chat.room.") for name in names[:101])
        assert all(name.startswith("specific.") for name in names[101:])
        assert all("!" in check_channel(name) for name in names)

    @clause
    async def test_each_message_is_received_by_one_of_many_readers(self) -> None:
        """Usual cause: all readers are woken, or the second reader replaces the first."""
        here, there = await self.node(), await self.node()
        channel = await there.new_channel()
        readers = [asyncio.create_task(self.receive(there, channel, 5)) for _ in range(6)]
        for each in messages(30):
            await here.send(channel, each)
        got = await asyncio.gather(*readers)
        assert sorted(numbers([each for part in got for each in part])) == list(range(30))

    @clause
    async def test_cancelled_receives_lose_and_reorder_nothing(self) -> None:
        """Usual cause: a message was handed to the waiting reader, and dropped when that was
        cancelled, or put back behind younger ones."""
        here, there = await self.node(), await self.node()
        for sender in (here, there):
            channel = await there.new_channel()
            got: list[Message] = []
            for number in range(0, 240, 2):
                reader = asyncio.create_task(there.receive(channel))
                await asyncio.sleep(0)
                sending = asyncio.gather(
                    *(sender.send(channel, each) for each in messages(2, number))
                )
                for _ in range(number // 2 % 12):
                    await asyncio.sleep(0)
                reader.cancel()
                await asyncio.wait([reader])
                if not reader.cancelled():
                    got.append(reader.result())
                await sending
                got += await self.fenced(there, channel, sender)
            assert numbers(got) == list(range(240))

    @clause
    async def test_a_thousand_direct_sends_to_a_hundred_channels_all_arrive(self) -> None:
        """Usual cause: the send side and the receive side compute the broker's place of a channel
        differently."""
        sender, *nodes = [await self.node() for _ in range(3)]
        channels = [(node, await node.new_channel()) for node in nodes for _ in range(50)]
        for number in range(10):
            await asyncio.gather(*(sender.send(name, message(number)) for _, name in channels))
        for node, name in channels:
            assert numbers(await self.receive(node, name, 10)) == list(range(10))

    @clause
    async def test_leaving_a_channel_ends_its_memberships(self) -> None:
        """Also by an exception. Usual cause: the block's end forgets the mailbox, and the group
        still has it."""
        here, there = await self.node(linger=0.0), await self.node()
        stable = await self.member(here, "other")
        for error in (None, ZeroDivisionError()):
            before, name = holdings(here), ""
            with suppress(ZeroDivisionError):
                async with here.channel() as channel:
                    name = channel.name
                    await here.group_add("room", name)
                    await there.group_send("room", message(1))
                    assert await self.soon(channel.receive(), "receive") == message(1)
                    if error is not None:
                        raise error
            assert holdings(here) == before
            # Whoever reads that name now has a new channel, which is in no group.
            reader = asyncio.create_task(here.receive(name))
            await asyncio.sleep(0)
            await there.group_send("room", message(2))
            await there.send(name, message(3))
            await self.fenced(here, stable, there)
            reader.cancel()
            await asyncio.wait([reader])
            if not reader.cancelled() and not isinstance(reader.exception(), ChannelNotFound):
                assert reader.result() == message(3)

    @clause
    async def test_a_channel_that_was_left_ends_its_readers(self) -> None:
        """They get ``ChannelNotFound``. Usual cause: a reader waits for a mailbox that nobody
        fills any more."""
        node = await self.node()
        async with node.channel() as channel:
            reader = asyncio.create_task(channel.receive())
            await asyncio.sleep(0)
        with pytest.raises(ChannelNotFound, match=channel.name):
            await self.soon(reader, "receive on a channel that was left")
        with pytest.raises(ChannelNotFound, match=channel.name):
            await self.soon(channel.receive(), "receive on a channel that was left")

    @clause
    async def test_a_channel_of_another_process_cannot_be_received_from(self) -> None:
        """It is refused with ``ChannelNotFound``. Usual cause: the reader waits forever, or takes
        the messages of the channel's owner."""
        here, there = await self.node(), await self.node()
        channel = await there.new_channel()
        with pytest.raises(ChannelNotFound, match=channel):
            await self.soon(here.receive(channel), "receive for a channel of another process")
        await here.send(channel, message(1))
        assert await self.receive(there, channel) == [message(1)]

    @clause
    async def test_a_message_for_a_channel_that_is_gone_disturbs_nobody(self) -> None:
        """It raises nothing, whoever sends it. Usual cause: the client left while the message was
        under way, and the sender, or the reader of the connection, gets a KeyError."""
        here, there, ended = [await self.node() for _ in range(3)]
        gone = [await ended.new_channel()]
        await ended.close()
        for node in (here, there):
            async with node.channel() as channel:
                await node.group_add("room", channel.name)
                gone.append(channel.name)
        stable = await self.member(there, "room")
        for number, name in enumerate(gone):
            for sender in (here, there):
                await self.soon(sender.send(name, message(-1)), f"send to {name!r}, which is gone")
            await here.group_send("room", message(number))
        assert numbers(await self.fenced(there, stable, here)) == [0, 1, 2]
        assert there.stats()["undeliverable"] >= 2

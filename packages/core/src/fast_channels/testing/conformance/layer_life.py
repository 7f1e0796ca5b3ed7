"""Clauses about the life of a layer: opening, closing, opening again, and what it tells."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from fast_channels.exceptions import LayerClosed
from fast_channels.layers import ChannelLayer, ChannelLayerRegistry
from fast_channels.lifespan import lifespan
from fast_channels.testing.conformance.clause import clause
from fast_channels.testing.conformance.holdings import Holdings
from fast_channels.testing.conformance.layer_suite import (
    LayerSuite,
    holdings,
    message,
    messages,
    numbers,
)


class LayerLifeClauses(LayerSuite):
    """``open``, ``close``, ``lifespan`` and ``stats``."""

    @clause
    async def test_a_layer_opens_at_first_use(self) -> None:
        """Whatever the use is. Usual cause: a method that takes the connection for granted."""
        reader = await self.node()
        channel = await self.member(reader, "room")
        await self.unopened().send(channel, message(0))
        await self.unopened().group_send("room", message(1))
        await self.unopened().group_discard("room", channel)
        await self.unopened().group_add("room", channel)
        sender = self.unopened()
        await asyncio.gather(*(sender.group_send("room", each) for each in messages(10, 2)))
        assert numbers(await self.receive(reader, channel, 12)) == list(range(12))
        async with self.unopened().channel() as other:
            await reader.send(other.name, message(12))
            assert await self.soon(other.receive(), "receive") == message(12)
        await self.unopened().flush()

    @clause
    async def test_opening_twice_is_opening_once(self) -> None:
        """Also at the same time. Usual cause: two connections, of which one is
        forgotten with its channels."""
        here, there = self.unopened(), await self.node()
        await asyncio.gather(*(here.open() for _ in range(5)))
        await here.open()
        member = await self.member(here, "room")
        await self.soon(here.open(), "open of an open layer")
        await there.group_send("room", message(1))
        assert await self.fenced(here, member, there) == [message(1)]

    @clause
    async def test_a_closed_layer_refuses_every_call(self) -> None:
        """With ``LayerClosed``. Usual cause: a call opens the layer again, behind the back of who
        closed it."""
        layer, other = await self.node(), await self.node()
        theirs = await other.new_channel()
        mine = await layer.new_channel()
        await layer.close()
        before = dict(layer.stats())
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "send": lambda: layer.send(theirs, message()),
            "send to its own channel": lambda: layer.send(mine, message()),
            "receive": lambda: layer.receive(mine),
            "new_channel": layer.new_channel,
            "group_add": lambda: layer.group_add("room", theirs),
            "group_discard": lambda: layer.group_discard("room", theirs),
            "group_send": lambda: layer.group_send("room", message()),
            "flush": layer.flush,
            "channel": layer.channel().__aenter__,
        }
        for name, call in calls.items():
            with pytest.raises(LayerClosed):
                await self.soon(call(), f"{name} on a closed layer")
        assert dict(layer.stats()) == before

    @clause
    async def test_closing_ends_those_who_wait(self) -> None:
        """They get ``LayerClosed``. Usual cause: a reader waits for a mailbox that nobody fills
        any more, and the server hangs at its shutdown."""
        node = await self.node()
        channel = await node.new_channel()
        readers = [asyncio.create_task(node.receive(channel)) for _ in range(2)]
        if "queues" in self.capabilities:
            readers.append(asyncio.create_task(node.receive("jobs")))
        async with node.channel() as own:
            readers.append(asyncio.create_task(own.receive()))
            await self.fenced(node, await node.new_channel())
            await node.close()
            for reader in readers:
                with pytest.raises(LayerClosed):
                    await self.soon(reader, "receive on a layer that was closed")

    @clause
    async def test_what_was_accepted_before_close_is_sent(self) -> None:
        """In order; those who wait for it are told. Usual cause: what was gathered for the next
        batch is dropped."""
        here, there = await self.node(), await self.node(capacity=1_000)
        member = await self.member(there, "room")
        for each in messages(10):
            await here.group_send("room", each)
        sends = [asyncio.create_task(here.group_send("room", each)) for each in messages(200, 10)]
        await asyncio.sleep(0)
        await self.soon(here.close(), "close")
        await self.soon(asyncio.gather(*sends), "sends that were waiting at close")
        assert numbers(await self.receive(there, member, 210)) == list(range(210))

    @clause
    async def test_a_closed_layer_can_be_opened_again(self) -> None:
        """It starts with nothing: its old channels and memberships are gone. Usual cause: close
        leaves half of the old session behind."""
        layer, other = await self.node(), await self.node()
        old = await self.member(layer, "room")
        for number in range(3):
            await layer.close()
            await layer.open()
            assert set(holdings(layer).values()) == {0}
            new = await self.member(layer, "room")
            await self.soon(other.send(old, message(-1)), "send to a channel that has ended")
            await other.group_send("room", message(number))
            assert await self.fenced(layer, new, other) == [message(number)]

    @clause
    async def test_close_is_safe_at_any_time(self) -> None:
        """Never opened, twice, by two at once, while it opens. Usual cause: close takes for
        granted what open makes last."""
        for _ in range(2):
            layer = self.unopened()
            await self.soon(layer.close(), "close of a layer that was never opened")
            await self.soon(layer.close(), "the second close")
            await layer.open()
            closing = asyncio.gather(layer.close(), layer.close())
            await self.soon(closing, "two closes at once")
            for turns in range(12):
                opening = asyncio.create_task(layer.open())
                for _ in range(turns):
                    await asyncio.sleep(0)
                await self.soon(layer.close(), "close while it opens")
                (result,) = await asyncio.gather(opening, return_exceptions=True)
                assert result is None or isinstance(result, LayerClosed)

    @clause
    async def test_closing_a_layer_leaves_no_task_thread_or_socket(self) -> None:
        """Usual cause: a reader task is cancelled and not awaited, or a pool is not closed."""
        before = Holdings.now()
        for _ in range(3):
            layers = [await self.node(linger=0.0) for _ in range(3)]
            member = await self.member(layers[0], "room")
            for layer in layers:
                await layer.group_send("room", message(1))
            await self.receive(layers[0], member, 3)
            await layers[0].group_discard("room", member)
            for layer in layers:
                await self.soon(layer.close(), "close")
        await self.let_go(before)

    @clause
    async def test_lifespan_opens_the_layer_and_closes_it(self) -> None:
        """Usual cause: the layer has no ``open`` or ``close`` that can be awaited."""
        registry = ChannelLayerRegistry()
        layer = registry.register("default", self.unopened())
        reader = await self.node()
        member = await self.member(reader, "room")
        async with lifespan(registry=registry):
            await layer.group_send("room", message(1))
            assert await self.receive(reader, member) == [message(1)]
        with pytest.raises(LayerClosed):
            await self.soon(layer.group_send("room", message(2)), "group_send")

    @clause
    async def test_stats_tell_what_happened_and_what_is_held(self) -> None:
        """Ints by name, before opening and after closing too. Usual cause: the counters are the
        session's, and end with it."""
        layer: ChannelLayer = self.unopened()
        assert set(COUNTED) <= layer.stats().keys()
        assert {type(value) for value in layer.stats().values()} == {int}
        assert not any(layer.stats().values())
        members = [await self.member(layer, "room") for _ in range(2)]
        await layer.send(members[0], message(1))
        await layer.group_send("room", message(2))
        await self.receive(layer, members[0], 2)
        stats = layer.stats()
        assert (stats["sent"], stats["delivered"]) == (2, 3)
        assert (stats["channels"], stats["groups"], stats["unread"]) == (2, 1, 1)
        assert not any(stats[name] for name in LOSSES)
        await layer.close()
        stats = layer.stats()
        assert (stats["sent"], stats["delivered"]) == (2, 3)
        assert (stats["channels"], stats["groups"], stats["unread"]) == (0, 0, 0)

    @clause
    async def test_flush_ends_this_nodes_messages_and_memberships_only(self) -> None:
        """Usual cause: it clears everything that the broker has, other nodes' memberships too."""
        here, there = await self.node(), await self.node()
        mine, theirs = await self.member(here, "room"), await self.member(there, "room")
        await there.group_send("room", message(1))
        await self.fenced(here, mine, there)
        await there.group_send("room", message(2))
        await there.send(mine, message(3))
        await self.fenced(here, await here.new_channel(), there)
        await self.soon(here.flush(), "flush")
        assert (here.stats()["groups"], here.stats()["unread"]) == (0, 0)
        await there.group_send("room", message(4))
        assert await self.fenced(here, mine, there) == []
        assert numbers(await self.fenced(there, theirs)) == [1, 2, 4]


LOSSES = ("overflowed", "expired", "undeliverable", "malformed", "gaps", "failed")
COUNTED = ("sent", "delivered", *LOSSES, "channels", "groups", "unread")

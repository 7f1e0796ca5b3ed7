"""Clauses about cancellation: a call may be cancelled wherever it waits."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from fast_channels.layers import ChannelLayer
from fast_channels.testing.conformance.cancelling import cancelled_calls
from fast_channels.testing.conformance.clause import clause, clause_unless
from fast_channels.testing.conformance.layer_suite import (
    LayerSuite,
    Message,
    holdings,
    message,
    messages,
    no_backend,
    numbers,
)


class CancellingClauses(LayerSuite):
    """A cancelled call leaves nothing behind, and a layer that works."""

    @clause
    async def test_a_cancelled_join_leaves_no_member(self) -> None:
        """Wherever it is cancelled; the next join works. Usual cause: the member is noted before
        an await, and nobody takes it back."""
        here, there = await self.node(linger=0.0), await self.node()
        member = await here.new_channel()
        empty = holdings(here)

        def join(attempt: int) -> Coroutine[Any, Any, None]:
            return here.group_add(f"room.{attempt}", member)

        async for attempt, cancelled, _ in cancelled_calls(join, self.patience):
            if cancelled:
                assert holdings(here) == empty
                await there.group_send(f"room.{attempt}", message(-1))
                assert await self.fenced(here, member, there) == []
                await self._joins(here, there, f"room.{attempt}", member)
            await here.group_discard(f"room.{attempt}", member)

    @clause_unless(no_backend)
    async def test_a_cancelled_join_leaves_nothing_subscribed(self) -> None:
        """After the linger time nothing of the group comes to this process. Usual cause: the
        subscription was under way, and nobody ends it when it is there."""
        here, there = await self.node(linger=0.0), await self.node()
        member = await here.new_channel()
        groups: list[str] = []

        def join(attempt: int) -> Coroutine[Any, Any, None]:
            groups.append(f"room.{attempt}")
            return here.group_add(groups[-1], member)

        async for _ in cancelled_calls(join, self.patience):
            pass
        await here.group_discard(groups[-1], member)
        limit = time.monotonic() + self.patience
        while True:
            before = self.received(here)
            for group in groups:
                await there.group_send(group, message(1))
            assert await self.fenced(here, member, there) == []
            if (came := self.received(here) - before) == 1:  # the marker
                return
            assert time.monotonic() < limit, f"{came - 1} of {len(groups)} groups still come"

    @clause
    async def test_a_cancelled_join_does_not_end_another_one(self) -> None:
        """Of the same channel, or of another in the same group. Usual cause: who is cancelled
        takes back what both wait for."""
        here, there = await self.node(linger=0.0), await self.node()
        first, second = await here.new_channel(), await here.new_channel()
        for turns in range(12):
            room = f"room.{turns}"
            joins = [
                asyncio.create_task(here.group_add(room, each)) for each in (first, first, second)
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
            joins[0].cancel()
            await self.soon(asyncio.wait(joins), "three joins")
            await joins[1]
            await joins[2]
            await there.group_send(room, message(turns))
            for channel in (first, second):
                assert await self.fenced(here, channel, there) == [message(turns)]
                await here.group_discard(room, channel)

    @clause
    async def test_a_cancelled_join_of_another_processs_channel_can_be_discarded(self) -> None:
        """Perhaps it was done, for it was asked for; a discard then ends it, and the layer works.
        Usual cause: the answer to a cancelled request is taken for the next one's."""
        here, there = await self.node(), await self.node(linger=0.0)
        member = await there.new_channel()

        def join(attempt: int) -> Coroutine[Any, Any, None]:
            return here.group_add(f"room.{attempt}", member)

        async for attempt, _, _ in cancelled_calls(join, self.patience):
            room = f"room.{attempt}"
            await self.soon(here.group_discard(room, member), "group_discard")
            await here.group_send(room, message(-1))
            assert await self.fenced(there, member, here) == []
            await self._joins(there, here, room, member)
            await here.group_discard(room, member)

    @clause
    async def test_a_cancelled_discard_is_done_by_the_next_one(self) -> None:
        """Usual cause: the first one has forgotten the member, and the subscription stays."""
        here, there = await self.node(), await self.node(linger=0.0)
        for owner in (here, there):
            member = await self.member(owner, "room")

            def discard(_: int, member: str = member) -> Coroutine[Any, Any, None]:
                return here.group_discard("room", member)

            async for _ in cancelled_calls(discard, self.patience):
                await self.soon(here.group_discard("room", member), "group_discard")
                await here.group_send("room", message(-1))
                assert await self.fenced(owner, member, here) == []
                await self._joins(owner, here, "room", member)

    @clause
    async def test_a_cancelled_send_arrives_once_or_not_at_all(self) -> None:
        """Alone and among others; the others arrive in order, and full capacity comes back. Usual
        cause: a cancelled publish leaves a connection in the middle of an answer, or takes the
        others of its batch along."""
        here, there = await self.node(capacity=20), await self.node()
        for owner in (here, there):
            member = await self.member(owner, "room")
            ways = [partial(here.group_send, "room")]
            if self.order_across_topics:
                ways.append(partial(here.send, member))
            for to in ways:

                def send(
                    attempt: int, to: Callable[[Message], Coroutine[Any, Any, None]] = to
                ) -> Coroutine[Any, Any, None]:
                    return to(message(attempt))

                async for attempt, cancelled, _ in cancelled_calls(send, self.patience):
                    others = (here.group_send("room", message(-n)) for n in (1, 2, 3))
                    await self.soon(asyncio.gather(*others), "sends beside a cancelled one")
                    got = numbers(await self.fenced(owner, member, here))
                    assert got[-3:] == [-1, -2, -3]
                    assert got[:-3] in (([attempt], []) if cancelled else ([attempt],))
            for each in messages(19):
                await here.send(member, each)
            assert numbers(await self.fenced(owner, member, here)) == list(range(19))

    @clause
    async def test_a_cancelled_channel_block_leaves_nothing(self) -> None:
        """Wherever it is cancelled: entering, joining, waiting. Usual cause: the block's end
        awaits something, and is cancelled there."""
        here, there = await self.node(linger=0.0), await self.node()
        stable = await self.member(here)
        empty = holdings(here)

        async def live(_: int) -> None:
            async with here.channel() as channel:
                await here.group_add("room", channel.name)
                await here.send(channel.name, message(1))
                await channel.receive()

        async for _ in cancelled_calls(live, self.patience):
            assert holdings(here) == empty
            await there.group_send("room", message(-1))
            await self.fenced(here, stable, there)
            assert holdings(here) == empty

    @clause
    async def test_a_cancelled_first_use_leaves_a_layer_that_works(self) -> None:
        """Also while another first use goes on. Usual cause: opening belongs to the first caller,
        and the others wait for it forever."""
        reader = await self.node()
        member = await self.member(reader, "room")
        for turns in range(12):
            layer = self.unopened()
            uses = [asyncio.create_task(layer.group_send("room", message(n))) for n in (0, 1)]
            for _ in range(turns):
                await asyncio.sleep(0)
            uses[0].cancel()
            await self.soon(asyncio.wait(uses), "two first uses, of which one is cancelled")
            await uses[1]
            await layer.group_send("room", message(2))
            got = numbers(await self.fenced(reader, member, layer))
            assert got in ([0, 1, 2], [1, 2])
            await layer.close()

    async def _joins(
        self, owner: ChannelLayer, other: ChannelLayer, group: str, member: str
    ) -> None:
        """The channel can join, and gets what the group gets."""
        await self.soon(owner.group_add(group, member), "group_add")
        await other.group_send(group, message(7))
        assert await self.fenced(owner, member, other) == [message(7)]

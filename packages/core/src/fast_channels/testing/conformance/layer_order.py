"""Clauses about order, and about clocks, which decide nothing."""

import asyncio
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from fast_channels.testing.conformance.broker import no_order_across
from fast_channels.testing.conformance.clause import clause, clause_unless
from fast_channels.testing.conformance.layer_suite import (
    LayerSuite,
    message,
    messages,
    no_queues,
    numbers,
)


class LayerOrderClauses(LayerSuite):
    """What one sender sends, one receiver gets in that order."""

    @clause_unless(no_order_across)
    async def test_direct_and_group_messages_of_one_sender_keep_their_order(self) -> None:
        """Usual cause: a group and a channel travel on different connections, or one of them
        takes a shortcut inside the process."""
        here, there = await self.node(capacity=1_000), await self.node(capacity=1_000)
        readers = [(node, await self.member(node, "room", "hall")) for node in (here, there)]
        for number in range(0, 300, 3):
            await here.group_send("room", message(number))
            for _, channel in readers:
                await here.send(channel, message(number + 1))
            await here.group_send("hall", message(number + 2))
        for node, channel in readers:
            assert numbers(await self.receive(node, channel, 300)) == list(range(300))

    @clause
    async def test_concurrent_sends_keep_their_order_per_channel_and_group(self) -> None:
        """Usual cause: each send takes a connection of its own from a pool."""
        here, there = await self.node(), await self.node(capacity=1_000)
        direct, member = await there.new_channel(), await self.member(there, "room")
        for first in range(0, 300, 100):
            await asyncio.gather(
                *(here.send(direct, each) for each in messages(100, first)),
                *(here.group_send("room", each) for each in messages(100, first)),
            )
        for channel in (direct, member):
            assert numbers(await self.receive(there, channel, 300)) == list(range(300))

    @clause
    async def test_senders_with_wrong_clocks_lose_and_reorder_nothing(self) -> None:
        """Ten minutes fast or slow. Usual cause: the sender's time is in the message, and decides
        about order or expiry."""
        ahead, behind, reader = [await self.node() for _ in range(3)]
        direct, member = await reader.new_channel(), await self.member(reader, "room")
        for number in range(40):
            sender, shift = (ahead, 600.0) if number % 2 else (behind, -600.0)
            with wall_clock(shift):
                await sender.send(direct, message(number))
                await ahead.group_send("room", message(number))  # its clock was set back
        got = numbers(await self.receive(reader, direct, 40))
        assert [n for n in got if n % 2] == list(range(1, 40, 2))
        assert [n for n in got if not n % 2] == list(range(0, 40, 2))
        assert numbers(await self.receive(reader, member, 40)) == list(range(40))
        assert reader.stats()["expired"] == 0

    @clause_unless(no_queues)
    async def test_a_worker_with_another_clock_gets_every_job(self) -> None:
        """Ten minutes fast or slow. Usual cause: the sender's clock says until when a job is
        good, and the worker's clock whether that is over."""
        sender, worker = await self.node(), await self.node()
        for number in range(10):
            with wall_clock(600.0 if number % 2 else -600.0):
                await sender.send("jobs", message(number))
        assert numbers(await self.receive(worker, "jobs", 10)) == list(range(10))


@contextmanager
def wall_clock(shift: float) -> Generator[None]:
    """``time.time()`` is wrong by ``shift`` seconds inside."""
    clock: Any = time
    right = time.time
    clock.time = lambda: right() + shift
    try:
        yield
    finally:
        clock.time = right

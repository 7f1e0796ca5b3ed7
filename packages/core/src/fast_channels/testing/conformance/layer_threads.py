"""Clauses about event loops and threads: one layer object works from all of them."""

import asyncio
import gc
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync

from fast_channels.exceptions import LayerClosed
from fast_channels.layers import ChannelLayer
from fast_channels.testing.conformance.clause import clause, clause_unless
from fast_channels.testing.conformance.holdings import Holdings
from fast_channels.testing.conformance.layer_suite import LayerSuite, message, no_sync, numbers


class ThreadClauses(LayerSuite):
    """Each loop has a session of its own, which ends with it."""

    @clause
    async def test_one_layer_works_from_three_loops_in_three_threads(self) -> None:
        """Each sends to the group, and each gets all. Usual cause: a lock, a future or a
        connection that belongs to the loop that came first."""
        layer = await self.node()
        mine = await self.member(layer, "room")
        joined: list[str] = []

        async def one(number: int) -> list[int]:
            async with layer.channel() as channel:
                await layer.group_add("room", channel.name)
                joined.append(channel.name)
                await self.until(lambda: len(joined) == 3, "the join of every thread")
                await layer.group_send("room", message(number))
                for name in (mine, *joined):
                    await layer.send(name, message(10 + number))
                return sorted(numbers(await self.receive(layer, channel.name, 6)))

        threads = [self.elsewhere(partial(one, number)) for number in range(3)]
        expected = [0, 1, 2, 10, 11, 12]
        assert await self.soon(asyncio.gather(*threads), "three loops") == [expected] * 3
        assert sorted(numbers(await self.fenced(layer, mine))) == expected

    @clause
    async def test_one_layer_works_in_one_asyncio_run_after_another(self) -> None:
        """And nothing is left of the ended ones: no socket, no warning. Usual cause: the
        connection of the first loop is used in the second."""
        reader = await self.node()
        member = await self.member(reader, "room")
        layer = self.unopened()
        before = Holdings.now()

        async def one(number: int) -> None:
            own = await self.member(layer, "hall")
            await layer.group_send("hall", message(number))
            assert await self.receive(layer, own) == [message(number)]
            await layer.group_send("room", message(number))

        with _no_warning():
            for number in range(5):
                await self.elsewhere(partial(one, number))
            await self.let_go(before)
        assert numbers(await self.receive(reader, member, 5)) == list(range(5))

    @clause
    async def test_a_thread_without_a_loop_sends_with_async_to_sync(self) -> None:
        """Any number of times, leaving nothing behind. Usual cause: each call opens a connection
        and nobody closes it when its loop ends."""
        layer, reader = self.unopened(), await self.node()
        member = await self.member(reader, "room")
        before = Holdings.now()

        def send() -> None:
            for number in range(10):
                async_to_sync(layer.group_send)("room", message(number))
                async_to_sync(layer.send)(member, message(number))

        with _no_warning():
            thread = threading.Thread(target=send)
            thread.start()
            got = numbers(await self.receive(reader, member, 20))
            await self.until(lambda: not thread.is_alive(), "the end of the sending thread")
            await self.let_go(before)
        assert got == [number // 2 for number in range(20)]

    @clause_unless(no_sync)
    async def test_a_thread_without_a_loop_sends_with_sync(self) -> None:
        """Each message is delivered at once, with no further call, and no call leaves a loop, a
        thread or a connection of its own. Usual cause: ``sync`` runs a loop for each call, or
        hands the message to a loop that is not woken."""
        layer, reader = self.unopened(), await self.node()
        member = await self.member(reader, "room")
        sync = _sync(layer)

        async def send(number: int) -> None:
            work = asyncio.to_thread(sync.group_send, "room", message(number))
            await self.soon(work, "sync.group_send in a thread")
            assert await self.receive(reader, member) == [message(number)]

        with _no_warning():
            await send(0)  # what all calls share may be started, and stay
            await asyncio.to_thread(sync.send, member, message(0))
            await self.receive(reader, member)
            before = Holdings.now()
            for number in range(1, 11):
                await send(number)
            await asyncio.gather(
                *(asyncio.to_thread(sync.send, member, message(11 + n)) for n in range(5))
            )
            got = numbers(await self.receive(reader, member, 5))
            assert sorted(got) == list(range(11, 16))
            await self.let_go(before)

    @clause
    async def test_a_layer_in_use_by_another_loop_can_be_closed_here(self) -> None:
        """Who waits there is woken. Usual cause: close ends the session of its own loop only."""
        layer = await self.node()
        waiting = threading.Event()

        async def wait() -> BaseException | None:
            async with layer.channel() as channel:
                receiving = asyncio.create_task(channel.receive())
                await asyncio.sleep(0)
                waiting.set()
                done, _waiting = await asyncio.wait([receiving], timeout=self.patience)
                receiving.cancel()
                return receiving.exception() if done else None

        there = asyncio.create_task(self.elsewhere(wait))
        await self.until(waiting.is_set, "a reader in another thread")
        await self.soon(layer.close(), "close")
        assert isinstance(await there, LayerClosed)


def _sync(layer: ChannelLayer) -> Any:
    """Return ``layer.sync``, which is no part of the protocol."""
    sync: Any = getattr(layer, "sync", None)
    assert sync is not None, (
        f'{type(layer).__name__} has no sync; if it needs none, write: no_sync = "the reason"'
    )
    return sync


@contextmanager
def _no_warning() -> Generator[None]:
    """No socket, loop or coroutine inside is left to the garbage collector."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    left = [each for each in caught if issubclass(each.category, ResourceWarning | RuntimeWarning)]
    assert not left, f"warnings: {[str(each.message) for each in left]}"

"""Clauses about event loops and threads: one layer object works from all of them."""

import asyncio
import gc
import threading
import warnings
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from asgiref.sync import async_to_sync

from fast_channels.exceptions import LayerClosed
from fast_channels.testing.conformance.clause import clause
from fast_channels.testing.conformance.layer_suite import (
    LayerSuite,
    message,
    numbers,
    sockets,
)

T = TypeVar("T")


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

        threads = [asyncio.to_thread(self._run, one, number) for number in range(3)]
        expected = [0, 1, 2, 10, 11, 12]
        assert await self.soon(asyncio.gather(*threads), "three loops") == [expected] * 3
        assert sorted(numbers(await self.fence(layer, mine))) == expected

    @clause
    async def test_one_layer_works_in_one_asyncio_run_after_another(self) -> None:
        """And nothing is left of the ended ones: no socket, no warning. Usual cause: the
        connection of the first loop is used in the second."""
        reader = await self.node()
        member = await self.member(reader, "room")
        layer = self.layer()
        before = sockets()

        async def one(number: int) -> None:
            own = await self.member(layer, "hall")
            await layer.group_send("hall", message(number))
            assert await self.receive(layer, own) == [message(number)]
            await layer.group_send("room", message(number))

        with _no_warning():
            for number in range(5):
                await asyncio.to_thread(self._run, one, number)
            await self.until(lambda: len(sockets() - before) == 0, "the end of every socket")
        assert numbers(await self.receive(reader, member, 5)) == list(range(5))

    @clause
    async def test_a_thread_without_a_loop_sends_with_async_to_sync(self) -> None:
        """Any number of times, leaving nothing behind. Usual cause: each call opens a connection
        and nobody closes it when its loop ends."""
        layer, reader = self.layer(), await self.node()
        member = await self.member(reader, "room")
        before = sockets()

        def send() -> None:
            for number in range(10):
                async_to_sync(layer.group_send)("room", message(number))
                async_to_sync(layer.send)(member, message(number))

        with _no_warning():
            thread = threading.Thread(target=send)
            thread.start()
            got = numbers(await self.receive(reader, member, 20))
            await self.until(lambda: not thread.is_alive(), "the end of the sending thread")
            await self.until(lambda: len(sockets() - before) == 0, "the end of every socket")
        assert got == [number // 2 for number in range(20)]

    @clause
    async def test_a_layer_in_use_by_another_loop_can_be_closed_here(self) -> None:
        """Who waits there is woken. Usual cause: close ends the session of its own loop only."""
        layer = await self.node()
        waiting = threading.Event()

        async def wait(_: int) -> BaseException | None:
            async with layer.channel() as channel:
                receiving = asyncio.create_task(channel.receive())
                await asyncio.sleep(0)
                waiting.set()
                done, _waiting = await asyncio.wait([receiving], timeout=self.patience)
                receiving.cancel()
                return receiving.exception() if done else None

        there = asyncio.create_task(asyncio.to_thread(self._run, wait, 0))
        await self.until(waiting.is_set, "a reader in another thread")
        await self.soon(layer.close(), "close")
        assert isinstance(await there, LayerClosed)

    def _run(self, work: Callable[[int], Awaitable[T]], number: int) -> T:
        async def run() -> T:
            return await work(number)

        with asyncio.Runner(loop_factory=self.loop_factory) as runner:
            return runner.run(run())


@contextmanager
def _no_warning() -> Generator[None]:
    """No socket, loop or coroutine inside is left to the garbage collector."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    left = [each for each in caught if issubclass(each.category, ResourceWarning | RuntimeWarning)]
    assert not left, f"warnings: {[str(each.message) for each in left]}"

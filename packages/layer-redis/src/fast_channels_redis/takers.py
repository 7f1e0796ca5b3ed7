"""Who waits for jobs, and the one connection that waits for them at the server.

The server is asked for all queues that anyone here waits for, by one blocking command at a time. A
list of this process's own is among them: what is pushed there ends the command when other queues
are wanted, with no race, for what was pushed stays until it is read.
"""

import asyncio
import itertools
import logging
import math
import os
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final, Protocol

import hiredis

from fast_channels.exceptions import BackendUnavailable
from fast_channels_redis.connection import Connection, ConnectionLost, Reply, explained, pack
from fast_channels_redis.link import Locate, link_to

logger = logging.getLogger("fast_channels.redis")

BLOCK_SECONDS: Final = 0.4
"""How long the server holds one blocking command: less than the time between two looks at a
connection, so that an idle one speaks often enough to be told from a dead one."""

CLOSING_SECONDS: Final = 1.0
"""How long closing waits for a job that is on its way here, and then for its way back."""

PASSING: Final = ("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "MOVED", "UNBLOCKED")
"""Errors of a server that is, for now, not the one to ask."""

WAKE: Final = """
redis.call('RPUSH', KEYS[1], '')
redis.call('PEXPIRE', KEYS[1], 60000)
"""
"""End the blocking command that waits for this list, too."""


class Call(Protocol):
    """Sends single commands to the server that holds a key."""

    async def call(self, key: bytes, *args: bytes | str | int) -> Reply:
        """Return the reply; raises ``BackendUnavailable``, or the server's ``ReplyError``."""
        ...


class Takers:
    """Those of one session who wait for jobs of queues in one slot."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        head: str,
        commands: Call,
        locate: Locate,
        put_back: Callable[[str, bytes], Awaitable[None]],
        expired: Callable[[str, int], None],
    ) -> None:
        self._loop = loop
        self._commands = commands
        self._put_back = put_back
        self._expired = expired
        self._link = link_to(loop, "take", locate, Connection)
        self._wake_key = f"w{{{head}:q.}}{os.urandom(8).hex()}".encode()
        self._takers: dict[str, deque[asyncio.Future[bytes]]] = {}
        self._keys: dict[str, bytes] = {}
        self._pump: asyncio.Task[None] | None = None
        self._armed: set[str] = set()
        """The queues that the server was told of."""
        self._blocked: asyncio.Future[list[Reply]] | None = None
        """The replies to the blocking command under way: a job may be among them."""
        self._turns = itertools.count()
        self._waking = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def take(self, queue: str, key: bytes) -> bytes:
        """Wait for the first job of the queue, which is at ``key``."""
        taker: asyncio.Future[bytes] = self._loop.create_future()
        self._keys[queue] = key
        self._takers.setdefault(queue, deque()).append(taker)
        self._changed()
        try:
            return await taker
        except asyncio.CancelledError:
            if taker.cancelled():
                self._leave(queue, taker)
                self._changed()
            elif taker.exception() is None:
                self._hand(queue, taker.result())
            raise

    async def close(self) -> None:
        """Nobody waits any more; a job that is on its way here goes back."""
        self._closed = True
        for taker in itertools.chain.from_iterable(self._takers.values()):
            if not taker.done():
                taker.set_exception(BackendUnavailable("the layer was closed"))
        self._takers.clear()
        if self._blocked is not None and not self._blocked.done():
            self._wake()
            await asyncio.wait([self._blocked], timeout=CLOSING_SECONDS)
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait([self._pump])
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSING_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        await self._link.close()

    def _leave(self, queue: str, taker: "asyncio.Future[bytes]") -> None:
        takers = self._takers.get(queue)
        if takers is not None and taker in takers:
            takers.remove(taker)
            if not takers:
                del self._takers[queue]

    def _hand(self, queue: str, item: bytes) -> None:
        """The job is the next taker's; with none here, it goes back."""
        takers = self._takers.get(queue, ())
        while takers:
            taker = takers[0]
            self._leave(queue, taker)
            if not taker.done():
                taker.set_result(item)
                return
        self._run_task(self._return(queue, item))

    async def _return(self, queue: str, item: bytes) -> None:
        try:
            await self._put_back(queue, item)
        except BackendUnavailable as error:
            logger.warning("queue %r lost a job that could not be put back: %s", queue, error)

    def _changed(self) -> None:
        """The queues that someone waits for may be others than the server was told."""
        if self._takers and self._pump is None and not self._closed:
            self._pump = self._loop.create_task(self._run(), name="fast-channels-redis-take")
            self._pump.add_done_callback(self._pumped)
        elif self._armed and self._armed != self._takers.keys():
            self._wake()

    def _wake(self) -> None:
        """The blocking command under way ends."""
        if not self._waking and self._armed:
            self._waking = True
            self._run_task(self._send_wake())

    async def _send_wake(self) -> None:
        key = self._wake_key
        try:
            await self._commands.call(key, "EVAL", WAKE, 1, key)
        except (BackendUnavailable, hiredis.ReplyError) as error:
            self._waking = False  # the command ends soon by itself
            logger.debug("waking a taker failed: %s", error)

    def _run_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- the blocking connection --------------------------------------------------------------

    def _pumped(self, pump: "asyncio.Task[None]") -> None:
        self._pump = None
        if not pump.cancelled():
            pump.result()
        self._changed()

    async def _run(self) -> None:
        """Take jobs while anyone waits for one."""
        self._link.start()
        while self._takers:
            connection = await self._link.ready(math.inf)
            queues = self._next_queues()
            if not queues:
                return
            keys = [self._wake_key, *(self._keys[queue] for queue in queues)]
            self._armed = set(queues)
            command = pack("BLPOP", *keys, BLOCK_SECONDS) + pack("TIME")
            self._blocked = connection.send(command, 2)
            self._blocked.add_done_callback(partial(self._popped, queues, keys))
            try:
                # Shielded: who cancels this task does not lose what was popped.
                popped, _ = await asyncio.shield(self._blocked)
            except ConnectionLost:
                continue
            if isinstance(popped, hiredis.ReplyError):
                await self._refused(popped)

    def _next_queues(self) -> list[str]:
        """Return the queues to wait for, each first in its turn."""
        queues = list(self._takers)
        turn = next(self._turns) % len(queues) if queues else 0
        return queues[turn:] + queues[:turn]

    def _popped(
        self, queues: list[str], keys: list[bytes], blocked: "asyncio.Future[list[Reply]]"
    ) -> None:
        self._armed = set()
        if blocked.cancelled() or blocked.exception() is not None:
            return
        popped, now = blocked.result()
        if popped is None or isinstance(popped, hiredis.ReplyError):
            return
        key, item = popped
        if key == keys[0]:
            self._waking = False
            return
        queue = queues[keys.index(key) - 1]
        deadline, _ = split(item)
        if deadline is not None and deadline <= int(now[0]) * 1000 + int(now[1]) // 1000:
            self._expired(queue, 1)
        else:
            self._hand(queue, item)

    async def _refused(self, error: hiredis.ReplyError) -> None:
        if str(error).startswith(PASSING):
            self._link.renew(BackendUnavailable(explained(error)))
            await asyncio.sleep(BLOCK_SECONDS)
            return
        for queue, takers in list(self._takers.items()):
            for taker in list(takers):
                self._leave(queue, taker)
                if not taker.done():
                    taker.set_exception(BackendUnavailable(explained(error)))


def split(item: bytes) -> tuple[int | None, bytes]:
    """Return a job's deadline and payload; None, and all of it, for what others pushed."""
    deadline, mark, payload = item.partition(b":")
    return (int(deadline), payload) if mark and deadline.isdigit() else (None, item)

"""Worker queues: one Redis list each, oldest job first.

All queues of one prefix share a hash tag, so that in a Cluster they live in one slot and one
blocking connection serves every taker of the process. A job is ``<deadline>:<payload>``; the
deadline is in milliseconds of the server's clock, which alone decides what has expired. A job
leaves Redis when it is taken: a process that dies with one in hand loses it.
"""

import asyncio
import itertools
import logging
import math
import os
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Final, Protocol

import hiredis

from fast_channels.exceptions import BackendUnavailable, ChannelFull
from fast_channels_redis.connection import Connection, ConnectionLost, Reply, pack
from fast_channels_redis.link import Link, Locate

logger = logging.getLogger("fast_channels.redis")

BLOCK_SECONDS: Final = 0.4
"""How long the server holds one blocking command: shorter than two looks at a connection, so that
an idle one speaks often enough to be told from a dead one."""

CLEAR_COUNT: Final = 500
CLOSING_SECONDS: Final = 1.0
PASSING: Final = ("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "MOVED", "UNBLOCKED")
"""Errors of a server that is, for now, not the one to ask."""

PUT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local expired = 0
while true do
  local first = redis.call('LINDEX', KEYS[1], 0)
  local deadline = first and tonumber(string.match(first, '^(%d+):'))
  if not deadline or deadline > now then break end
  redis.call('LPOP', KEYS[1])
  expired = expired + 1
end
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[3]) then return {expired, 0} end
redis.call('RPUSH', KEYS[1], string.format('%.0f:', now + ARGV[2]) .. ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {expired, 1}
"""
"""Drop what has expired at the head, then add the job unless the queue is full. The key lives as
long as its last job may."""

PUT_BACK: Final = """
redis.call('LPUSH', KEYS[1], ARGV[1])
local deadline = tonumber(string.match(ARGV[1], '^(%d+):'))
if deadline then
  local time = redis.call('TIME')
  local left = deadline - time[1] * 1000 - math.floor(time[2] / 1000)
  if redis.call('PTTL', KEYS[1]) < left then redis.call('PEXPIRE', KEYS[1], left) end
end
"""


WAKE: Final = """
redis.call('RPUSH', KEYS[1], '')
redis.call('PEXPIRE', KEYS[1], 60000)
"""
"""End the blocking command that waits for this list, too."""


class Commands(Protocol):
    """Sends single commands to the server that holds a key."""

    async def call(self, key: bytes, *args: bytes | str | int) -> Reply:
        """Return the reply; raises ``BackendUnavailable``, or the server's ``ReplyError``."""
        ...

    def everywhere(self) -> Iterable[Callable[..., Awaitable[Reply]]]:
        """Return what sends a command to each of the servers."""
        ...


class RedisJob:
    """A job that was taken."""

    __slots__ = ("_item", "_queue", "_queues")

    def __init__(self, queues: "RedisQueues", queue: str, item: bytes) -> None:
        self._queues: RedisQueues | None = queues
        self._queue = queue
        self._item = item

    @property
    def payload(self) -> bytes:
        """What was put."""
        return split(self._item)[1]

    async def done(self) -> None:
        """The job is finished; it left Redis when it was taken."""
        self._queues = None

    async def release(self) -> None:
        """The job is first in its queue again, unless it was finished or released already."""
        queues, self._queues = self._queues, None
        if queues is not None:
            await queues.put_back(self._queue, self._item)


class RedisQueues:
    """The worker queues on one host."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        commands: Commands,
        locate: Locate,
        capacity_of: Callable[[str], int],
    ) -> None:
        self.expired = 0
        """Jobs that nobody took in time."""
        self._loop = loop
        self._commands = commands
        self._capacity_of = capacity_of
        self._link = Link(loop, "take", locate, Connection)
        self._takers: dict[str, deque[asyncio.Future[bytes]]] = {}
        self._pump: asyncio.Task[None] | None = None
        self._armed: set[str] = set()
        self._blocked: asyncio.Future[list[Reply]] | None = None
        """The replies to the blocking command under way: a job may be among them."""
        self._id = os.urandom(8).hex()
        self._turns = itertools.count()
        self._waking = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        """The job is last in the queue."""
        key, capacity = key_of(queue), self._capacity_of(queue.rpartition(":q.")[2])
        milliseconds = max(1, round(expires_in * 1000))
        put = await self._ask(key, "EVAL", PUT, 1, key, payload, milliseconds, capacity)
        expired, added = put
        self._count_expired(queue, expired)
        if not added:
            raise ChannelFull(f"queue {queue!r} holds {capacity} jobs, its capacity")

    async def take(self, queue: str, /) -> RedisJob:
        """Wait for the first job."""
        if self._closed:
            raise BackendUnavailable("the layer was closed")
        taker: asyncio.Future[bytes] = self._loop.create_future()
        self._takers.setdefault(queue, deque()).append(taker)
        self._changed()
        try:
            return RedisJob(self, queue, await taker)
        except asyncio.CancelledError:
            if taker.cancelled():
                self._leave(queue, taker)
                self._changed()
            elif taker.exception() is None:
                self._hand(queue, taker.result())
            raise

    async def put_back(self, queue: str, item: bytes) -> None:
        """The job is first in the queue."""
        key = key_of(queue)
        await self._ask(key, "EVAL", PUT_BACK, 1, key, item)

    async def clear(self, prefix: str, /) -> None:
        """Every job in every queue whose name begins with ``prefix`` is gone."""
        pattern = key_of(prefix) + b"*" if ":q." in prefix else b"{%b*" % prefix.encode()
        for call in self._commands.everywhere():
            cursor: Reply = b"0"
            while True:
                cursor, keys = await call("SCAN", cursor, "MATCH", pattern, "COUNT", CLEAR_COUNT)
                for key in keys:
                    await call("UNLINK", key)
                if cursor == b"0":
                    break

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
        await self._link.close()

    async def _ask(self, key: bytes, *args: bytes | str | int) -> Reply:
        try:
            return await self._commands.call(key, *args)
        except hiredis.ReplyError as error:
            raise BackendUnavailable(explained(error)) from error

    # --- takers -------------------------------------------------------------------------------

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
            await self.put_back(queue, item)
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
            self._run_task(self._send_wake(self._wake_key(next(iter(self._armed)))))

    async def _send_wake(self, key: bytes) -> None:
        try:
            await self._commands.call(key, "EVAL", WAKE, 1, key)
        except (BackendUnavailable, hiredis.ReplyError) as error:
            self._waking = False  # the command ends soon by itself
            logger.debug("waking a taker failed: %s", error)

    def _wake_key(self, queue: str) -> bytes:
        head, mark, _ = queue.rpartition(":q.")
        return b"w{%b}%b" % ((head + mark).encode(), self._id.encode())

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
            wake = self._wake_key(queues[0])
            keys = [wake, *map(key_of, queues)]
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
        """Return the queues to wait for, each first in its turn; all in one slot."""
        queues = list(self._takers)
        turn = next(self._turns) % len(queues) if queues else 0
        queues = queues[turn:] + queues[:turn]
        return [q for q in queues if q.rpartition(":q.")[0] == queues[0].rpartition(":q.")[0]]

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
            self._count_expired(queue, 1)
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

    def _count_expired(self, queue: str, count: int) -> None:
        if count:
            self.expired += count
            logger.warning("queue %r lost %d jobs that nobody took in time", queue, count)


def key_of(queue: str) -> bytes:
    """Return the list that holds the queue; what is before its own name is the hash tag."""
    head, mark, name = queue.rpartition(":q.")
    return f"{{{head}{mark}}}{name}".encode() if mark else f"{{{queue}}}".encode()


def split(item: bytes) -> tuple[int | None, bytes]:
    """Return a job's deadline and payload; None, and all of it, for what others pushed."""
    deadline, mark, payload = item.partition(b":")
    return (int(deadline), payload) if mark and deadline.isdigit() else (None, item)


def explained(error: hiredis.ReplyError) -> str:
    """Return the server's error as a sentence."""
    text = str(error)
    if "OOM" in text.split(" ")[0:4] or "OOM command not allowed" in text:
        return f"redis is out of memory and took nothing: {text}"
    return f"redis refused: {text}"

"""Worker queues: one Redis list each, oldest job first.

All queues of one prefix share a hash tag, so that in a Cluster they live in one slot and one
blocking connection serves every taker of the process. A job is ``<deadline>:<payload>``; the
deadline is in milliseconds of the server's clock, which alone decides what has expired. A job
leaves Redis when it is taken: a process that dies with one in hand loses it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

import hiredis

from fast_channels.exceptions import BackendUnavailable, ChannelFull
from fast_channels_redis.connection import Reply, explained
from fast_channels_redis.history import belongs_to_history
from fast_channels_redis.link import Locate
from fast_channels_redis.routes import unlink
from fast_channels_redis.takers import Takers, split

logger = logging.getLogger("fast_channels.redis")

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
    """The worker queues on one host, or on one Cluster."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        commands: Commands,
        locate: Callable[[bytes], Locate],
        capacity_of: Callable[[str], int],
    ) -> None:
        self.expired = 0
        """Jobs that nobody took in time."""
        self._loop = loop
        self._commands = commands
        self._locate = locate
        self._capacity_of = capacity_of
        self._takers: dict[str, Takers] = {}
        """Who waits, by what their queues' names begin with: all of one are in one slot."""
        self._closed = False

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        """The job is last in the queue."""
        key, capacity = key_of(queue), self._capacity_of(queue.rpartition(":q.")[2])
        milliseconds = max(1, round(expires_in * 1000))
        expired, added = await self._ask(key, "EVAL", PUT, 1, key, payload, milliseconds, capacity)
        self._expired(queue, expired)
        if not added:
            raise ChannelFull(f"queue {queue!r} holds {capacity} jobs, its capacity")

    async def take(self, queue: str, /) -> RedisJob:
        """Wait for the first job."""
        if self._closed:
            raise BackendUnavailable("the layer was closed")
        head = queue.rpartition(":q.")[0]
        takers = self._takers.get(head)
        if takers is None:
            locate = self._locate(key_of(queue))
            takers = Takers(self._loop, head, self._commands, locate, self.put_back, self._expired)
            self._takers[head] = takers
        return RedisJob(self, queue, await takers.take(queue, key_of(queue)))

    async def put_back(self, queue: str, item: bytes) -> None:
        """The job is first in the queue."""
        key = key_of(queue)
        await self._ask(key, "EVAL", PUT_BACK, 1, key, item)

    async def clear(self, prefix: str, /) -> None:
        """Every job in every queue whose name begins with ``prefix`` is gone."""
        pattern = key_of(prefix) + b"*" if ":q." in prefix else b"{%b*" % prefix.encode()
        await unlink(self._commands.everywhere(), pattern, lambda key: not belongs_to_history(key))

    async def close(self) -> None:
        """Nobody waits any more; a job that is on its way here goes back."""
        self._closed = True
        await asyncio.gather(*(takers.close() for takers in self._takers.values()))

    async def _ask(self, key: bytes, *args: bytes | str | int) -> Reply:
        try:
            return await self._commands.call(key, *args)
        except hiredis.ReplyError as error:
            raise BackendUnavailable(explained(error)) from error

    def _expired(self, queue: str, count: int) -> None:
        if count:
            self.expired += count
            logger.warning("queue %r lost %d jobs that nobody took in time", queue, count)


def key_of(queue: str) -> bytes:
    """Return the list that holds the queue; what is before its own name is the hash tag."""
    head, mark, name = queue.rpartition(":q.")
    return f"{{{head}{mark}}}{name}".encode() if mark else f"{{{queue}}}".encode()

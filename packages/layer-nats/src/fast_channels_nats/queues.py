"""Worker queues: a JetStream stream each. A job stays there until it is done.

A worker that is closed gives back what it has taken; what one takes along when it dies, another
gets after ``ACK_SECONDS``. So a job may be worked on twice, and none is lost.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fast_channels.exceptions import BackendUnavailable
from fast_channels_nats.connection import Connection, Message
from fast_channels_nats.link import logger
from fast_channels_nats.refusals import NO_MESSAGE, NO_STREAM
from fast_channels_nats.requests import Refused, Requests, packed
from fast_channels_nats.stream import ACK_SECONDS, QueueStream
from fast_channels_nats.subjects import stream_of
from fast_channels_nats.takers import Takers

DONE: Final = b"+ACK"
BACK: Final = b"-NAK"
WORKING: Final = b"+WPI"
CLOSING_SECONDS: Final = 1.0
MADE_AT_ONCE: Final = 16
"""Queues for whose takers this process makes at once what they need. In a cluster each takes
elections, and while it holds those of fifty, it answers nobody for seconds."""


class NatsJob:
    """A job that was taken."""

    def __init__(self, queues: "NatsQueues", takers: Takers, message: Message) -> None:
        self.message = message
        self.payload = message.payload
        self._queues = queues
        self.takers = takers
        self._ended = False

    async def done(self) -> None:
        """The job is finished, and gone from JetStream when the server has read it.

        Raises ``BackendUnavailable`` when there is no connection: the job will come again.
        """
        if await self._tell(DONE):
            self._queues.forget_pieces(self)

    async def release(self) -> None:
        """The job is first in its queue again, unless it was finished or released already.

        Raises ``BackendUnavailable`` when there is no connection: it is when there is one.
        """
        await self._tell(BACK)

    def give_back(self) -> None:
        """As ``release``, without waiting for a connection."""
        if self._end():
            self._queues.back(self.message)

    async def _tell(self, word: bytes) -> bool:
        # The server is not waited for: who is cancelled while it waits could not take it back.
        if self._ended:
            return False
        try:
            link = self._queues.requests.link
            connection = link.connection or await link.ready()
        except BackendUnavailable:
            if self._end() and word == BACK:
                self._queues.back(self.message)
            raise
        if not self._end():
            return False
        answer = self._queues.requests.post(connection, self.message.reply, word)
        self.takers.stream.ending(answer)
        return True

    def _end(self) -> bool:
        ended, self._ended = self._ended, True
        self._queues.held.discard(self)
        return not ended


class NatsQueues:
    """The worker queues of one process."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        requests: Requests,
        capacity_of: Callable[[str], int],
        replicas: int | None,
        max_payload: int,
    ) -> None:
        self.requests = requests
        self.held: set[NatsJob] = set()
        """What was taken and is not finished."""
        self._loop = loop
        self._capacity_of = capacity_of
        self._replicas = replicas
        self._max_payload = max_payload
        self._queues: dict[str, Takers] = {}
        self._turns = asyncio.Semaphore(MADE_AT_ONCE)
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._owed: list[bytes] = []
        """Where to tell, when there is a connection, that somebody else shall have a job."""
        self._closed = False

    @property
    def expired(self) -> int:
        """Jobs that nobody took in time, as far as this process noticed."""
        return sum(takers.stream.expired for takers in self._queues.values())

    async def put(self, queue: str, payload: bytes, expires_in: float) -> None:
        """The job is last in the queue."""
        await self._at(queue).stream.put(payload, expires_in)

    async def take(self, queue: str) -> NatsJob:
        """Wait for the first job of the queue."""
        if self._closed:
            raise BackendUnavailable("the layer was closed")
        return await self._at(queue).take()

    async def clear(self, prefix: str) -> None:
        """Every job in every queue whose name begins with ``prefix`` is gone."""
        offset, start = 0, stream_of(prefix)
        while True:
            listed = await self.requests.call("STREAM.NAMES", offset=offset)
            names: list[str] = listed.get("streams") or []
            for name in names:
                if name.startswith(start):
                    try:
                        await self.requests.call(f"STREAM.PURGE.{name}")
                    except Refused as error:
                        if error.code != NO_STREAM:  # deleted meanwhile
                            raise
            offset += len(names)
            if not names or offset >= listed.get("total", 0):
                return

    def lost(self) -> None:
        """What the server was asked for does not come any more."""
        for takers in self._queues.values():
            takers.lost()

    async def close(self) -> None:
        """Nobody waits any more; what was taken and not finished is back in its queue."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for takers in self._queues.values():
            await takers.close(BackendUnavailable("the layer was closed"))
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for job in list(self.held):
            job.give_back()
        if self._queues:
            await self.requests.close(CLOSING_SECONDS)

    def back(self, message: Message) -> None:
        """Tell the server, as soon as there is one, that somebody else shall have the job."""
        connection = self.requests.link.connection
        if connection is not None:
            connection.write(packed(message.reply, BACK))
        else:
            self._owed.append(message.reply)

    def came_back(self, connection: Connection) -> None:
        """Tell the server what could not be told without a connection."""
        owed, self._owed = self._owed, []
        connection.write(b"".join(packed(reply, BACK) for reply in owed))

    def forget_pieces(self, job: NatsJob) -> None:
        """The pieces of a finished job go, too, when the server comes to it."""
        if job.payload is not job.message.payload:
            self._run(job.takers.stream.forget_pieces(job.message))

    def _at(self, queue: str) -> Takers:
        takers = self._queues.get(queue)
        if takers is None:
            capacity = self._capacity_of(queue.rpartition(":q.")[2])
            stream = QueueStream(
                *(queue, self.requests, capacity, self._replicas, self._max_payload, self._turns)
            )
            takers = self._queues[queue] = Takers(self._loop, stream, self.requests, self._came)
        return takers

    def _came(self, takers: Takers, message: Message) -> None:
        """A job came for some taker."""
        delivered, stamped = _told(message.reply)
        if delivered == 1 and not takers.stream.lasts(message, stamped):
            takers.stream.expired += 1
            logger.warning("queue %r lost a job that nobody took in time", takers.stream.queue)
            connection = self.requests.link.connection
            if connection is not None:
                connection.write(packed(message.reply, DONE))
            self._run(takers.stream.forget_pieces(message))
            return
        job = NatsJob(self, takers, message)
        self.held.add(job)
        if self._timer is None:
            self._timer = self._loop.call_later(ACK_SECONDS / 3, self._keep)
        if message.payload or not message.head:
            takers.hand(job)
        else:
            self._run(self._load(takers, job))

    async def _load(self, takers: Takers, job: NatsJob) -> None:
        """Hand on a job that lies in pieces."""
        try:
            job.payload = await takers.stream.payload_of(job.message)
        except BackendUnavailable as error:
            if isinstance(error, Refused) and error.code == NO_MESSAGE:
                logger.warning("queue %r lost a job: a piece of it is gone", takers.stream.queue)
                await job.done()
            else:
                job.give_back()
        else:
            takers.hand(job)

    def _keep(self) -> None:
        """Tell the server that what was taken is being worked on."""
        self._timer = None
        if self.held:
            connection = self.requests.link.connection
            if connection is not None:
                signs = (packed(job.message.reply, WORKING) for job in self.held)
                connection.write(b"".join(signs))
            self._timer = self._loop.call_later(ACK_SECONDS / 3, self._keep)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(self._quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _quietly(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except BackendUnavailable as error:
            logger.debug("a queue's pieces stay until they expire: %s", error)


def _told(reply: bytes) -> tuple[int, float]:
    """Return how often a job was delivered, and when it was put, by the server's clock."""
    words = reply.split(b".")
    first = 4 if len(words) <= 9 else 6  # newer servers name the domain and the account, too
    try:
        return int(words[first]), int(words[first + 3]) / 1e9
    except (IndexError, ValueError):
        raise BackendUnavailable(f"JetStream delivered a job with the reply {reply!r}") from None

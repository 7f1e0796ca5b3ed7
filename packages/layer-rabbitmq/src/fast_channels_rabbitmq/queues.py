"""Worker queues: a durable queue each, jobs acknowledged when they are done.

For each waiting taker the server is asked for one job: by a consumer that may have one, and that
ends when it has it. So a busy worker holds what it works on and nothing else.
"""

import asyncio
import itertools
import logging
import math
import time
from collections.abc import Callable
from typing import Final

from pamqp import commands
from pamqp.encode import short_string

from fast_channels.exceptions import BackendUnavailable, ChannelFull, MessageTooLarge
from fast_channels.layers import Link, reconnect_delays
from fast_channels_rabbitmq.channel import ACCESS_REFUSED, Channel, Delivery, Refused, copy_of
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.publisher import Publisher, address_of
from fast_channels_rabbitmq.registry import Registry

logger = logging.getLogger("fast_channels.rabbitmq")

LONGEST_DELAY: Final = 0.5
LONGEST_EXPIRY: Final = 4_294_967_295
"""Milliseconds; the server refuses more."""

PUT_SECONDS: Final = 4.0
PATIENCE: Final = 2.0
"""Seconds for which a job is offered to a queue that refuses it though it has room."""

CLOSED: Final = "the layer was closed"


class RabbitMQJob:
    """A job that was taken."""

    def __init__(self, channel: Channel, delivery: Delivery) -> None:
        self.payload = delivery.body
        self._channel = channel
        self._tag = delivery.tag
        self._ended = False

    async def done(self) -> None:
        """The job is finished, and gone from the server when it has read that.

        Raises ``BackendUnavailable`` when the connection that took it was lost: it comes again.
        """
        self._end(commands.Basic.Ack(self._tag))

    async def release(self) -> None:
        """The job is back in its queue, where it was, unless it was finished already."""
        self._end(commands.Basic.Nack(self._tag, requeue=True))

    def give_back(self) -> None:
        """As ``release``; with the connection gone the server has done so already."""
        if not self._ended and self._channel.ended is None:
            self._end(commands.Basic.Nack(self._tag, requeue=True))

    def _end(self, method: commands.Basic.Ack | commands.Basic.Nack) -> None:
        if self._ended:
            return
        self._ended = True
        if self._channel.ended is not None:
            raise BackendUnavailable(f"{self._channel.ended}; the job comes again")
        self._channel.tell(method)


class Takers:
    """The takers of this process, on one channel of the connection that listens."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.known: set[str] = set()
        """Queues that exist."""
        self._waiting: dict[str, tuple[str, asyncio.Future[RabbitMQJob]]] = {}
        self._tags = itertools.count(1)
        channel.on_delivery = self._came
        channel.on_cancelled = self._cancelled
        channel.on_ended = self.fail
        channel.order(commands.Basic.Qos(prefetch_count=1))

    async def take(self, queue: str) -> RabbitMQJob:
        """Wait for a job; raises ``BackendUnavailable`` when it is not to be had here."""
        if self.channel.ended is not None:
            raise BackendUnavailable(f"{self.channel.ended}")
        taker: asyncio.Future[RabbitMQJob] = asyncio.get_running_loop().create_future()
        tag = f"take.{next(self._tags)}"
        self._waiting[tag] = queue, taker
        self.channel.order(commands.Basic.Consume(0, queue, tag))
        try:
            return await taker
        except asyncio.CancelledError:
            if not taker.cancelled() and taker.exception() is None:
                taker.result().give_back()
            elif self._waiting.pop(tag, None) is not None:
                self.channel.tell(commands.Basic.Cancel(tag, nowait=True))
            raise

    def fail(self, cause: Exception) -> None:
        """Nobody gets anything from here any more."""
        waiting, self._waiting = self._waiting, {}
        for queue, taker in waiting.values():
            if not taker.done():
                # One that may not read its queue ends the channel for all of them.
                own = isinstance(cause, Refused) and f"'{queue}'" in str(cause)
                taker.set_exception(copy_of(cause) if own else BackendUnavailable(f"{cause}"))

    def _came(self, delivery: Delivery) -> None:
        job = RabbitMQJob(self.channel, delivery)
        _, taker = self._waiting.pop(delivery.consumer, (None, None))
        if taker is not None:
            self.channel.tell(commands.Basic.Cancel(delivery.consumer, nowait=True))
        if taker is None or taker.done():
            job.give_back()
        else:
            taker.set_result(job)

    def _cancelled(self, tag: str) -> None:
        """The queue is gone."""
        queue, taker = self._waiting.pop(tag, (None, None))
        if queue is not None and taker is not None:
            self.known.discard(queue)
            if not taker.done():
                taker.set_exception(BackendUnavailable(f"queue {queue!r} was deleted"))


class RabbitMQQueues:
    """The worker queues of one process."""

    def __init__(
        self,
        link: Link[Connection],
        publisher: Publisher,
        registry: Registry,
        capacity_of: Callable[[str], int],
        max_payload: int,
    ) -> None:
        self._link = link
        self._publisher = publisher
        self._registry = registry
        self._capacity_of = capacity_of
        self._max_payload = max_payload
        self._takers: Takers | None = None
        self._puts: Channel | None = None
        self._known: set[str] = set()
        """Queues that exist, by what the connection that puts has heard."""
        self._marks = itertools.count(1)
        self._closed = False

    @property
    def expired(self) -> int:
        """Jobs that nobody took in time, of any process, of which this one was told."""
        return self._registry.expired.count

    async def put(self, queue: str, payload: bytes, expires_in: float) -> None:
        """The job is last in the queue."""
        if len(payload) > self._max_payload:
            raise MessageTooLarge(
                f"{len(payload)} bytes were put, and max_payload is {self._max_payload}"
            )
        try:
            async with asyncio.timeout(PUT_SECONDS):
                await self._put(queue, payload, expires_in)
        except TimeoutError:
            raise BackendUnavailable(
                f"queue {queue!r} did not take a job within {PUT_SECONDS:g} s; it was perhaps sent"
            ) from None

    async def _put(self, queue: str, payload: bytes, expires_in: float) -> None:
        lasts = min(max(1, math.ceil(expires_in * 1_000)), LONGEST_EXPIRY)
        mark = short_string(str(next(self._marks)))
        properties = b"\x11\x80\x02" + short_string(str(lasts)) + mark
        address = address_of("", queue, mandatory=True)
        delays = reconnect_delays(most=LONGEST_DELAY)
        until = time.monotonic() + PATIENCE
        while True:
            connection = await self._publisher.ready()
            channel = self._putting(connection)
            if queue not in self._known:
                await self._registry.make(connection, queue, self._capacity(queue))
                self._known.add(queue)
                if self._link.connection is not None:
                    self._registry.expired.listen(self._link.connection)
            publishing = channel.publishing(mark)
            if channel.ended is None:
                message = channel.message(publishing, address, properties, payload)[1]
                connection.write(message)
            await publishing.done
            if publishing.nacked:
                await self._check_room(connection, queue, until)
            elif not publishing.returned:
                return
            else:
                self._known.discard(queue)  # it was deleted meanwhile
            await asyncio.sleep(next(delays))

    async def take(self, queue: str) -> RabbitMQJob:
        """Wait for the first job of the queue."""
        delays = reconnect_delays(most=LONGEST_DELAY)
        while not self._closed:
            try:
                connection = await self._link.ready(math.inf)
                takers = self._taking(connection)
                if queue not in takers.known:
                    if not await self._registry.exists(connection, queue):
                        # Not here: who publishes may be held up, and who listens with it.
                        there = await self._publisher.ready()
                        await self._registry.make(there, queue, self._capacity(queue))
                    takers.known.add(queue)
                    self._registry.expired.listen(connection)
                return await takers.take(queue)
            except Refused as error:
                if error.code == ACCESS_REFUSED:
                    raise
                logger.debug("waiting at queue %r: %s", queue, error)
            except BackendUnavailable as error:
                logger.debug("waiting at queue %r: %s", queue, error)
            if not self._closed:
                await asyncio.sleep(next(delays))
        raise BackendUnavailable(CLOSED)

    async def clear(self, prefix: str) -> None:
        """Every job in every queue whose name begins with ``prefix`` is gone."""
        connection = self._link.connection or await self._link.ready()
        await self._registry.clear(connection, prefix)

    def close(self) -> None:
        """Nobody waits any more; what was taken and not finished goes back to its queue."""
        self._closed = True
        takers = self._takers
        if takers is not None:
            takers.fail(BackendUnavailable(CLOSED))
            takers.channel.close()

    async def _check_room(self, connection: Connection, queue: str, until: float) -> None:
        """Return when a job that was refused may be tried again: not for lack of room."""
        capacity = self._capacity(queue)
        waiting = await self._registry.waiting(connection, queue)
        if waiting >= capacity:
            raise ChannelFull(
                f"queue {queue!r} holds {waiting} jobs, and its capacity is {capacity}"
            )
        if time.monotonic() > until:  # a quorum queue has no leader for a moment
            raise BackendUnavailable(f"{connection.name} could not take a job for queue {queue!r}")

    def _capacity(self, queue: str) -> int:
        return self._capacity_of(queue.rpartition(":q.")[2])

    def _taking(self, connection: Connection) -> Takers:
        takers = self._takers
        if takers is None or takers.channel.ended is not None:
            takers = self._takers = Takers(connection.channel())
        return takers

    def _putting(self, connection: Connection) -> Channel:
        channel = self._puts
        if channel is None or channel.ended is not None:
            channel = self._puts = connection.channel()
            channel.order(commands.Confirm.Select())
            self._known.clear()
        return channel

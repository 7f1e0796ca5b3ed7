"""One stream as one process follows it: what comes live, and where it ends.

The stream is followed from the first use on, by one consumer. After an outage it goes on with the
message that came last: if that is not there any more, the stream was set back or cut.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Final

from fast_channels.exceptions import BackendUnavailable, HistoryLost, InvalidChannelLayerError
from fast_channels.layers import Inbox, Link, reconnect_delays
from fast_channels_rabbitmq.channel import ACCESS_REFUSED, Channel, Delivery, Refused
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.history.ids import Ids
from fast_channels_rabbitmq.history.live import Live
from fast_channels_rabbitmq.history.making import Maker
from fast_channels_rabbitmq.history.marks import Marks
from fast_channels_rabbitmq.history.records import CLEARED, ENTRIES, MARK, kind_of, text_of
from fast_channels_rabbitmq.history.streams import (
    Acknowledging,
    consume,
    delete,
    is_missing,
    offset_of,
)
from fast_channels_rabbitmq.publisher import Publisher

logger = logging.getLogger("fast_channels.rabbitmq")

CREDIT: Final = 256
"""Messages that the server sends before the first is acknowledged."""

READY_SECONDS: Final = 3.0
LONGEST_DELAY: Final = 0.5
RESUME_SECONDS: Final = 1.0
"""How long the message that came last may take to come again."""

IDLE_SECONDS: Final = 30.0
"""For how long a stream is followed of which nobody is subscribed to anything."""


class Shard:
    """Follows a stream over the link that listens."""

    def __init__(
        self,
        name: str,
        link: Link[Connection],
        publisher: Publisher,
        inbox: Inbox,
        maker: Maker,
        begin: str = "last",
    ) -> None:
        self.name = name
        self.epoch = ""
        """Which history it is; empty while it is not known."""
        self.offset = -1
        """Of the message that came last."""
        self.live = Live(inbox)
        self.on_cleared: Callable[[bytes, int], None] | None = None
        """Called with what a note says by which topics were cleared, and its offset."""
        self.read_ids: Callable[[Shard, int], Awaitable[Ids]] | None = None
        """Reads the ids from an offset up to where ``ids`` begins."""
        self._link = link
        self._publisher = publisher
        self._maker = maker
        self._begin = begin
        self._first = begin
        """Where it is followed from when nothing has come yet."""
        self._marks = Marks(name, publisher)
        self._channel: Channel | None = None
        self._acknowledge: Acknowledging | None = None
        self._body = b""
        self._held: list[Delivery] | None = None
        """What waits until the ids before it are known."""
        self._looking: asyncio.Task[None] | None = None
        self._attaching: asyncio.Task[None] | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._problem: Exception = BackendUnavailable(f"stream {name!r} is not followed")
        self._used = 0.0
        self._idle: asyncio.TimerHandle | None = None
        self._closed = False

    # --- use ----------------------------------------------------------------------------------

    @property
    def deaf(self) -> Exception | None:
        """Why nothing comes now of what is subscribed to."""
        return self._problem if self.live.topics and self._channel is None else None

    async def ready(self) -> None:
        """The stream is followed; raises ``BackendUnavailable`` when that cannot be in time."""
        loop = asyncio.get_running_loop()
        unused, self._used = loop.time() - self._used, loop.time()
        if self._channel is not None:
            return
        if self._closed:
            raise BackendUnavailable(f"{self._problem}")
        if unused > IDLE_SECONDS and not self._wanted:
            self._forget()
        await self._link.ready()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.add(waiter)
        try:
            self._start()
            async with asyncio.timeout(READY_SECONDS):
                await waiter
        except TimeoutError:
            raise BackendUnavailable(f"{self._problem}; nothing was sent") from None
        finally:
            self._waiters.discard(waiter)

    async def end(self) -> int:
        """Return an offset before which all is that was published before the call.

        What came live is handed on up to there.
        """
        await self.ready()
        return await self._marks.end()

    async def say(self, kind: bytes, text: bytes) -> int:
        """Return the offset of a note that says this."""
        await self.ready()
        return await self._marks.say(kind, text)

    def renew(self, cause: Exception) -> None:
        """The stream is looked for anew before its next use."""
        if self._channel is not None:
            self._lost(cause)

    async def close(self) -> None:
        """No task and no timer is left; who waits is told."""
        self._closed = True
        self._problem = BackendUnavailable("the layer was closed")
        tasks = [task for task in (self._attaching, self._looking) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._leave(self._problem)
        self._fail(self._problem)

    # --- following ----------------------------------------------------------------------------

    def _start(self) -> None:
        if self._attaching is None and self._channel is None and not self._closed:
            self._attaching = asyncio.get_running_loop().create_task(
                self._follow(), name=f"fast-channels-rabbitmq {self.name}"
            )
            self._attaching.add_done_callback(self._followed)

    def _followed(self, task: "asyncio.Task[None]") -> None:
        self._attaching = None
        if not task.cancelled():
            task.result()
            if self._wanted:
                self._start()

    @property
    def _wanted(self) -> bool:
        return bool(self.live.topics or self._waiters)

    async def _follow(self) -> None:
        """Try until the stream is followed, or nobody wants it."""
        delays = reconnect_delays(most=LONGEST_DELAY)
        while self._wanted and self._channel is None:
            try:
                connection = await self._link.ready(math.inf)
                await self._attach(connection)
            except Exception as error:  # whatever it is: giving up would be deafness for good
                self._problem = error
                refused = isinstance(error, Refused) and error.code == ACCESS_REFUSED
                if refused or isinstance(error, InvalidChannelLayerError):
                    self._fail(error)
                logger.debug("following stream %r: %s", self.name, error)
                await asyncio.sleep(next(delays))
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _attach(self, connection: Connection) -> None:
        came: list[Delivery] = []
        while True:
            await self._maker.ensure()
            start = self.offset if self.offset >= 0 else self._first
            try:
                channel = await consume(connection, self.name, start, CREDIT, came.append)
            except Refused as error:
                if not is_missing(error):
                    await self._maker.epoch(connection, self.name)  # or it is no stream of ours
                    raise
                self._maker.doubt()
                continue
            try:
                epoch = await self._maker.epoch(connection, self.name)
                if self.epoch and epoch != self.epoch:
                    self._is(epoch)
                elif await self._resumes(connection, channel, came):
                    self._begin_with(channel, came, epoch)
                    return
                elif await self._maker.epoch(connection, self.name) == epoch:
                    await self._delete(connection)
            except BaseException:
                channel.close()
                raise
            channel.close()
            came.clear()

    async def _delete(self, connection: Connection) -> None:
        """The stream, which has lost what it had, is gone; members are told."""
        logger.error("stream %r has lost what it had confirmed, and is deleted", self.name)
        self._maker.doubt()
        await delete(connection, self.name)
        lost = HistoryLost(f"stream {self.name!r} has lost what it had confirmed")
        self.live.inbox.gap(lost, list(self.live.topics))

    def _is(self, epoch: str) -> None:
        """It is another history, if another one was known: all of it is new."""
        if self.epoch and self.epoch != epoch:
            logger.warning("stream %r was made anew; its history begins", self.name)
            self._forget()
            self.epoch, self._first = epoch, "first"

    def _forget(self) -> None:
        self.epoch, self.offset, self._body, self._held = "", -1, b"", None
        self._first = self._begin
        self.live.begin(0)

    async def _resumes(
        self, connection: Connection, channel: Channel, came: list[Delivery]
    ) -> bool:
        """Return whether the stream still has the message that came last, or something later."""
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def take(delivery: Delivery) -> None:
            came.append(delivery)
            if not first.done():
                first.set_result(None)

        channel.on_delivery = take
        if came:
            first.set_result(None)
        if self.offset < 0:
            await self._begun(first)
            return True
        try:
            async with asyncio.timeout(RESUME_SECONDS):
                await first
        except TimeoutError:
            return not await self._is_set_back(connection)
        offset, body = offset_of(came[0]), came[0].body
        if offset == self.offset and body != self._body:
            return False
        if offset > self.offset:
            self.live.begin(offset)
            cause = HistoryLost(f"stream {self.name!r} has dropped entries that did not come yet")
            self.live.inbox.gap(cause, list(self.live.topics))
        return True

    async def _begun(self, first: "asyncio.Future[None]") -> None:
        """A message came; one is sent where who made the stream could not."""
        try:
            async with asyncio.timeout(RESUME_SECONDS):
                await asyncio.shield(first)
        except TimeoutError:
            await self._maker.begin(self.name)

    async def _is_set_back(self, connection: Connection) -> bool:
        """Return whether the stream ends before the message that came last."""
        channel = await consume(connection, self.name, "next", CREDIT, _ignore)
        try:
            marks, acknowledge = Marks(self.name, self._publisher), Acknowledging(channel)

            def take(delivery: Delivery) -> None:
                marks.came(text_of(delivery.body), offset_of(delivery))
                acknowledge(delivery.tag)

            channel.on_delivery = take
            if await marks.end() > self.offset:
                raise BackendUnavailable(f"{connection.name} is slow with stream {self.name!r}")
        finally:
            channel.close()
        return True

    def _begin_with(self, channel: Channel, came: list[Delivery], epoch: str) -> None:
        """Take what came, and what comes."""
        if channel.ended is not None:
            raise channel.ended
        if self.offset < 0 and self._first != "first":
            self.live.begin(offset_of(came[0]))
        self.epoch = epoch
        self._acknowledge = Acknowledging(channel)
        channel.on_delivery, channel.on_ended = self._came, self._lost
        self._channel = channel
        self._look()
        for delivery in came:
            self._came(delivery)

    def _lost(self, cause: Exception) -> None:
        """The stream is not followed any more; it will be, if anybody wants it."""
        self._maker.doubt()
        self._leave(cause)
        if self._wanted:
            self._start()

    def _leave(self, cause: Exception) -> None:
        channel, self._channel = self._channel, None
        self._problem = cause
        self._held = None
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if self._idle is not None:
            self._idle.cancel()
        if channel is not None:
            channel.on_ended = None
            channel.close()
        self._marks.fail(cause)

    def _look(self) -> None:
        """Let go of the stream when it was not used for a while."""
        loop = asyncio.get_running_loop()
        if not self.live.topics and loop.time() > self._used + IDLE_SECONDS:
            self._leave(BackendUnavailable(f"stream {self.name!r} was not used"))
            self._forget()
        else:
            self._idle = loop.call_later(IDLE_SECONDS, self._look)

    def _fail(self, cause: Exception) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(type(cause)(*cause.args))

    # --- what comes ---------------------------------------------------------------------------

    def _came(self, delivery: Delivery) -> None:
        if self._held is not None:
            self._held.append(delivery)
            return
        offset = offset_of(delivery)
        if offset > self.offset:
            kind = kind_of(delivery.body)
            if kind == ENTRIES:
                seen = self.live.take(offset, delivery.body, self.epoch)
                if seen is not None:
                    self._wait(delivery, seen)
                    return
            elif kind in (MARK, CLEARED):
                text = self._marks.came(text_of(delivery.body), offset)
                if kind == CLEARED and self.on_cleared is not None:
                    self.on_cleared(text, offset)
            self.offset, self._body = offset, delivery.body
        if self._acknowledge is not None:
            self._acknowledge(delivery.tag)

    def _wait(self, delivery: Delivery, seen: int) -> None:
        """Hold what comes until the ids are known that the publisher could not know of."""
        self._held = [delivery]
        self._looking = asyncio.get_running_loop().create_task(self._look_up(seen))

    async def _look_up(self, seen: int) -> None:
        assert self.read_ids is not None
        try:
            earlier = await self.read_ids(self, seen)
        except Exception as error:
            self._held = None
            self._looking = None
            self._lost(error)  # it goes on before what is held
            return
        self.live.ids.add(earlier)
        self._looking = None
        held, self._held = self._held, None
        for delivery in held or ():
            self._came(delivery)


def _ignore(_: Delivery) -> None:
    """What comes before the note that is waited for."""

"""Making streams, one process at a time.

A server ends the whole connection of who publishes to a stream that is just being made, and of who
consumes one that it has not started again after a crash. So a process looks for the streams, makes
those that are missing, and tries each, over a connection for this alone; and it does so while that
has a queue that is exclusive to it, which is AMQP's lock. Each stream begins with a message, for a
place in an empty one cannot be told.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from pamqp import commands

from fast_channels.layers import Link, reconnect_delays
from fast_channels_rabbitmq.channel import Delivery, Refused
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.history.records import MARK, note
from fast_channels_rabbitmq.history.streams import (
    STEP_SECONDS,
    consume,
    delete,
    epoch_of,
    is_missing,
)
from fast_channels_rabbitmq.publisher import Publisher, address_of, answered, asked

RESOURCE_LOCKED: Final = 405
CLASSIC: Final[dict[str, Any]] = {"x-queue-type": "classic"}
"""Exclusive queues are, whatever is the default of the virtual host."""

ALONE_SECONDS: Final = 1.5
"""How long another process may take to make streams, before it is taken for dead."""

LONGEST_DELAY: Final = 0.1


class Maker:
    """Makes the streams of one prefix; ``lock`` is the name of a queue that nothing else uses."""

    def __init__(
        self,
        link: Link[Connection],
        connect: Callable[[Connection], Awaitable[Connection]],
        publisher: Publisher,
        lock: str,
        names: Sequence[str],
        seconds: float,
    ) -> None:
        self._link = link
        self._connect = connect
        """Makes another connection to the same server."""
        self._publisher = publisher
        self._lock = lock
        self._names = names
        self._seconds = seconds
        self._made = False
        self._making = asyncio.Lock()

    def doubt(self) -> None:
        """A stream is perhaps not there any more."""
        self._made = False

    async def ensure(self) -> None:
        """The streams are there."""
        if self._made:
            return
        async with self._making:
            if self._made:
                return
            async with self._alone() as connection:
                await asyncio.gather(*(self._look(connection, name) for name in self._names))
            self._made = True

    async def make_anew(self, names: Sequence[str]) -> None:
        """Those streams are other ones, and empty."""
        async with self._making, self._alone() as connection:
            for name in names:
                await delete(connection, name)
            await asyncio.gather(*(self.epoch(connection, name) for name in names))

    async def epoch(self, connection: Connection, name: str) -> str:
        """Return the epoch of the stream, which is there from now on."""
        epoch, made = await epoch_of(connection, name, self._seconds)
        if made:
            await self.begin(name)
        return epoch

    async def begin(self, name: str) -> None:
        """The stream has a message."""
        connection = await self._publisher.ready()
        channel = connection.first
        publishing = channel.publishing()
        if channel.ended is None:
            body = note(MARK, b"")
            connection.write(channel.message(publishing, address_of("", name), b"\0\0", body)[1])
        await answered(publishing.done, connection, STEP_SECONDS)

    async def _look(self, connection: Connection, name: str) -> None:
        try:
            look = commands.Queue.Declare(0, name, passive=True)
            await asked(connection, look, seconds=STEP_SECONDS)
        except Refused as error:
            if not is_missing(error):
                raise
            await self.epoch(connection, name)
        try:
            (await consume(connection, name, "last", 1, _ignore)).close()
        except Refused:
            await self.epoch(connection, name)  # or it is no stream of ours
            raise

    @asynccontextmanager
    async def _alone(self) -> AsyncGenerator[Connection]:
        """Give a connection; no other process has one, unless it is not to be waited for."""
        connection = await self._connect(await self._link.ready())
        try:
            until = time.monotonic() + ALONE_SECONDS
            for delay in reconnect_delays(most=LONGEST_DELAY):
                if await self._declared(connection) or time.monotonic() > until:
                    break
                await asyncio.sleep(delay)
            yield connection
        finally:
            await connection.close()

    async def _declared(self, connection: Connection) -> bool:
        declare = commands.Queue.Declare(
            0, self._lock, exclusive=True, auto_delete=True, arguments=CLASSIC
        )
        try:
            await asked(connection, declare, seconds=STEP_SECONDS)
        except Refused as error:
            if error.code != RESOURCE_LOCKED:
                raise
            return False
        return True


def _ignore(_: Delivery) -> None:
    """What comes tells nothing; that the server can send it does."""

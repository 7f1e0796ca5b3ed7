"""A connection that comes back by itself, for as long as it is wanted."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import reconnect_delays
from fast_channels_postgres.connection import Connection
from fast_channels_postgres.driver import PostgresError

logger = logging.getLogger("fast_channels.postgres")

PING_SECONDS: Final = 2.0
"""An idle connection is asked for a sign of life that often: a peer that is gone without a word is
noticed within this and ``PING_LIMIT``."""

PING_LIMIT: Final = 3.0

PATIENCE: Final = 2.0
"""Seconds from the loss of a connection during which its users wait for it to come back; after
that they wait for one attempt."""

GRACE: Final = 1.0
LONGEST_DELAY: Final = 0.5
"""Seconds between two attempts, at most."""

UNSENT: Final = "; nothing was sent"

QUIET: Final = 30.0
"""Seconds between two lines in the log about one outage."""


class Connects(Protocol):
    """Makes connections to one server."""

    async def connect(self) -> Connection:
        """Return a new one; raises ``BackendUnavailable``."""
        ...


class Link:
    """The one connection of its kind."""

    def __init__(self, loop: asyncio.AbstractEventLoop, purpose: str, source: Connects) -> None:
        self.connection: Connection | None = None
        """The connection, while there is one."""
        self.prepare: Callable[[Connection], Awaitable[None]] | None = None
        """Makes a new connection ready for use."""
        self.ping: Callable[[Connection], Awaitable[None]] = ping
        """Asks for a sign of life."""
        self.came_back: Callable[[Exception | None], None] | None = None
        """Told that there is a connection; why the last one ended, None for the first."""
        self._loop = loop
        self._purpose = purpose
        self._source = source
        self._task: asyncio.Task[None] | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._lost = asyncio.Event()
        self._closed = False
        self._problem: Exception = BackendUnavailable("not connected yet")
        """Why there is no connection now."""
        self._cause: Exception | None = None
        """Why the last one ended."""
        self._down_since = 0.0
        self._begun = self._failed = 0
        """The numbers of the attempt that began last, and of the one that failed last."""

    async def open(self) -> None:
        """Connected; raises ``BackendUnavailable``, and then it is not tried again."""
        self._adopt(await self._attempt())
        self.start()

    def start(self) -> None:
        """It connects from now on; does nothing when it does already."""
        if self._task is None and not self._closed:
            if self.connection is None:
                self._down_since = time.monotonic()
            name = f"fast-channels-postgres-{self._purpose}"
            self._task = self._loop.create_task(self._run(), name=name)

    async def close(self) -> None:
        """The connection is gone, and no task is left."""
        self._closed = True
        self._problem = BackendUnavailable("the layer was closed")
        self._wake()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self.connection is not None:
            await self.connection.close()
            self.connection = None

    async def ready(self) -> Connection:
        """Return the connection, as soon as there is one.

        Raises ``BackendUnavailable`` when it has been gone for longer than ``PATIENCE`` and one
        more attempt has failed, or lasts longer than ``GRACE``.
        """
        seen = self._begun
        last = max(self._down_since + PATIENCE, time.monotonic() + GRACE)
        while (connection := self.connection) is None or connection.lost is not None:
            now = time.monotonic()
            tried = self._failed > seen and now >= self._down_since + PATIENCE
            if self._closed or tried or now >= last:
                raise BackendUnavailable(f"{str(self._problem).removesuffix(UNSENT)}{UNSENT}")
            waiter = self._loop.create_future()
            self._waiters.add(waiter)
            timer = self._loop.call_later(last - now + 0.001, _resolve, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiters.discard(waiter)
        return connection

    async def _attempt(self) -> Connection:
        connection = await self._source.connect()
        try:
            if self.prepare is not None:
                await self.prepare(connection)
            connection.check()
        except BaseException:
            await connection.close()
            raise
        return connection

    def _adopt(self, connection: Connection) -> None:
        self.connection = connection
        self._lost.clear()
        connection.on_lost = self._gone
        if self.came_back is not None:
            self.came_back(self._cause)
        self._wake()

    def _gone(self, cause: Exception) -> None:
        self.connection = None
        self._cause = self._problem = cause
        self._down_since = time.monotonic()
        self._lost.set()
        if not self._closed:
            logger.warning("%s (%s); connecting again", cause, self._purpose)

    async def _run(self) -> None:
        while True:
            if self.connection is None:
                self._adopt(await self._connect_again())
            else:
                await self._watch(self.connection)

    async def _watch(self, connection: Connection) -> None:
        """Return when the connection is lost, or was asked for a sign of life."""
        idle = self._loop.time() - connection.last_used
        if idle >= PING_SECONDS:
            try:
                await self.ping(connection)
            except (BackendUnavailable, PostgresError) as error:
                logger.debug("a sign of life was refused (%s): %s", self._purpose, error)
            idle = 0
        timer = self._loop.call_later(PING_SECONDS - idle, self._lost.set)
        try:
            await self._lost.wait()
        finally:
            timer.cancel()
            self._lost.clear()

    async def _connect_again(self) -> Connection:
        delays = reconnect_delays(most=LONGEST_DELAY)
        began, told = time.monotonic(), time.monotonic()
        while True:
            self._begun += 1
            try:
                connection = await self._attempt()
            except Exception as error:  # whatever it is: giving up would be deafness for good
                self._problem = error
                self._failed = self._begun
                self._wake()
            else:
                if (down := time.monotonic() - began) > 0.1:
                    logger.warning(
                        "%s (%s) came after %.1f s", connection.name, self._purpose, down
                    )
                return connection
            if time.monotonic() - told > QUIET:
                told = time.monotonic()
                logger.warning("still no connection (%s): %s", self._purpose, self._problem)
            await asyncio.sleep(next(delays))

    def _wake(self) -> None:
        for waiter in self._waiters:
            _resolve(waiter)


async def ping(connection: Connection) -> None:
    """The server has answered; raises ``BackendUnavailable``."""
    await connection.run(lambda raw: raw.execute("SELECT 1"), PING_LIMIT)


def _resolve(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)

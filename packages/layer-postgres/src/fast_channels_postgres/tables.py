"""The few connections for what needs tables: made when there is work, gone when there is none."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import reconnect_delays
from fast_channels_postgres.connection import Connection
from fast_channels_postgres.driver import PostgresError, Raw
from fast_channels_postgres.hosts import Connects
from fast_channels_postgres.schema import JOBS_SINCE, ensure, unfit

T = TypeVar("T")

MOST: Final = 4
"""Connections at once; more statements wait for one of them."""

IDLE_SECONDS: Final = 10.0
"""How long a connection stays that nobody needs."""

PATIENCE: Final = 2.0
"""Seconds for which a server that has just gone is tried again."""

GRACE: Final = 0.75
"""Seconds for which one is that was gone for longer."""

ATTEMPT_SECONDS: Final = 1.0


class Tables:
    """Runs statements on the schema ``fast_channels``, several at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, source: Connects) -> None:
        self._loop = loop
        self._source = source
        self._idle: deque[tuple[Connection, float]] = deque()
        self._live: set[Connection] = set()
        self._room = asyncio.Semaphore(MOST)
        self._timer: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        self._down_since: float | None = None
        """Since when the server cannot be reached."""

    async def run(self, call: Callable[[Raw], Awaitable[T]], since: int = JOBS_SINCE) -> T:
        """Return what the statement returns, the tables of that version of the schema being there.

        Raises ``BackendUnavailable``, and ``InvalidChannelLayerError`` where the role may not. For
        tasks of the backend: who cancels it ends the connection.
        """
        async with self._room:
            connection = self._take() or await self._connect()
            try:
                await ensure(connection, since)
                return await connection.run(call)
            except PostgresError as error:
                connection.schema = 0  # perhaps somebody dropped them
                raise unfit(error, connection.name) from None
            finally:
                self._put(connection)

    async def close(self) -> None:
        """Every connection is gone; statements under way have failed."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self._live):
            self._end(connection)
        if self._closing:
            await asyncio.wait(self._closing)

    def tidy(self, older_than: float = IDLE_SECONDS) -> None:
        """Those go that were idle for so many seconds, or have ended by themselves."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        old = self._loop.time() - older_than + 0.01
        while self._idle and (self._idle[0][1] <= old or self._idle[0][0].lost is not None):
            self._end(self._idle.popleft()[0])
        if self._idle:
            self._timer = self._loop.call_at(self._idle[0][1] + IDLE_SECONDS, self.tidy)

    def _take(self) -> Connection | None:
        while self._idle:
            connection, _ = self._idle.pop()
            if connection.lost is None:
                return connection
            self._end(connection)
        return None

    def _put(self, connection: Connection) -> None:
        if self._closed or connection.lost is not None:
            self._end(connection)
            return
        self._idle.append((connection, self._loop.time()))
        if self._timer is None:
            self._timer = self._loop.call_later(IDLE_SECONDS, self.tidy)

    async def _connect(self) -> Connection:
        delays, began = reconnect_delays(), time.monotonic()
        while True:
            if self._closed:
                raise BackendUnavailable("the layer was closed")
            try:
                connection = await self._source.connect(ATTEMPT_SECONDS)
            except BackendUnavailable as error:
                if self._down_since is None:
                    self._down_since = began
                if time.monotonic() > max(self._down_since + PATIENCE, began + GRACE):
                    raise BackendUnavailable(f"{error}; nothing was sent") from None
            else:
                self._down_since = None
                self._live.add(connection)
                return connection
            await asyncio.sleep(next(delays))

    def _end(self, connection: Connection) -> None:
        if connection not in self._live:  # the layer was closed in the middle of a statement
            return
        self._live.remove(connection)
        closing = self._loop.create_task(connection.close(), name="fast-channels-postgres-close")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

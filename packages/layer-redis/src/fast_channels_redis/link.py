"""A connection that comes back by itself, for as long as it is wanted.

It is asked for a sign of life when it is silent: a peer that is gone without a word (a dropped
route, a frozen machine) is noticed as fast as one that says goodbye. Where the answer does not
come, a second connection is tried beside the first, and the one that answers first is kept: a
server that only stalls costs no message.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Protocol, TypeVar

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import reconnect_delays
from fast_channels_redis.connection import Connection
from fast_channels_redis.server import STEP_SECONDS, Server, connect

logger = logging.getLogger("fast_channels.redis")

TICK: Final = 0.45
"""Seconds between two looks at a connection."""

PING_AFTER, PROBE_AFTER, DROP_AFTER = 1, 3, 7
"""Silent looks after which it is asked for a sign of life, replaced if that can be, given up."""

LONGEST_DELAY: Final = 0.5
"""Seconds between two attempts, at most. With what one attempt may take, a server that is back is
found within two."""

PATIENCE: Final = 2.0
"""Seconds from the loss of a connection during which its users wait for it to come back."""

GRACE: Final = 0.75
"""Seconds that they wait at least: a server that is back is found within this."""

OPENING_SECONDS: Final = 4.0
"""How long a server may take to answer the first time, when it is not tried again."""

QUIET: Final = 30.0
"""Seconds between two lines in the log about one outage."""

C = TypeVar("C", bound=Connection)


class Locate(Protocol):
    """Finds the server to connect to, which may be another one each time."""

    def __call__(self) -> Awaitable[Server]:
        """Return the server; raises ``BackendUnavailable``."""
        ...


class Fixed:
    """Finds a server that is always the same."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self) -> Server:
        """Return the server."""
        return self._server


class Link(Generic[C]):
    """The one connection of its kind to one host."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        purpose: str,
        locate: Locate,
        make: Callable[[asyncio.AbstractEventLoop, str], C],
    ) -> None:
        self.connection: C | None = None
        """The connection, while there is one."""
        self.prepare: Callable[[C], Awaitable[None]] | None = None
        """Makes a new connection ready for use."""
        self.came_back: Callable[[C, Exception], None] | None = None
        """Told of the connection that replaces one that ended for this reason."""
        self.went: Callable[[], None] | None = None
        """Told that the connection has ended by itself."""
        self.failed: Callable[[], None] | None = None
        """Told of an attempt that failed."""
        self._loop = loop
        self._purpose = purpose
        self._locate = locate
        self._make = make
        self._repair: asyncio.Task[None] | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._silent = 0
        self._closed = False
        self._cause: Exception = BackendUnavailable("not connected yet")
        """Why the last connection ended."""
        self._problem: Exception = self._cause
        """Why there is none now."""
        self._down_since = 0.0

    async def open(self) -> None:
        """Connected; raises ``BackendUnavailable``, and then it is not tried again."""
        self._adopt(await self._attempt(OPENING_SECONDS))
        self._timer = self._loop.call_later(TICK, self._look)

    def start(self) -> None:
        """It connects from now on; does nothing when it does already."""
        if self._timer is None and not self._closed:
            self._down_since = time.monotonic()
            self._timer = self._loop.call_later(TICK, self._look)
            self._start_repair()

    async def close(self) -> None:
        """The connection is gone, and no task or timer is left."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._repair is not None:
            self._repair.cancel()
            await asyncio.wait([self._repair])
            for _ in range(3):  # the loop closes the socket of an attempt in its next turns
                await asyncio.sleep(0)
        connection, self.connection = self.connection, None
        self._problem = BackendUnavailable("the layer was closed")
        self._wake()
        if connection is not None:
            await connection.close()

    async def ready(self, patience: float = PATIENCE) -> C:
        """Return the connection, as soon as there is one.

        Raises ``BackendUnavailable`` when it has been gone for longer than ``patience`` seconds,
        and did not come back within ``GRACE``.
        """
        until = max(self._down_since + patience, time.monotonic() + GRACE)
        while self.connection is None:
            left = until - time.monotonic()
            if self._closed or left <= 0:
                raise BackendUnavailable(f"{self._problem}; nothing was sent")
            waiter = self._loop.create_future()
            self._waiters.add(waiter)
            timer = self._loop.call_later(min(left, 60.0) + 0.001, _resolve, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiters.discard(waiter)
        return self.connection

    def renew(self, cause: Exception) -> None:
        """The connection is dropped, and made anew."""
        if self.connection is not None:
            self.connection.abort(cause)

    # --- repair -------------------------------------------------------------------------------

    async def _attempt(self, patience: float = STEP_SECONDS) -> C:
        connection = await connect(await self._locate(), self._make, patience)
        try:
            if self.prepare is not None:
                await self.prepare(connection)
        except BaseException:
            await connection.close()
            raise
        return connection

    def _adopt(self, connection: C) -> None:
        self.connection = connection
        self._silent = 0
        connection.on_lost = self._lost
        if connection.lost is not None:  # between its last reply and now
            self._lost(connection.lost)
            return
        self._wake()

    def _lost(self, cause: Exception) -> None:
        self.connection = None
        self._cause = self._problem = cause
        self._down_since = time.monotonic()
        if not self._closed:
            logger.warning("%s (%s); connecting again", cause, self._purpose)
            self._start_repair()
            if self.went is not None:
                self.went()

    def _start_repair(self) -> None:
        if self._repair is None:
            name = f"fast-channels-redis-{self._purpose}"
            self._repair = self._loop.create_task(self._run(), name=name)
            self._repair.add_done_callback(self._repaired)

    def _repaired(self, task: "asyncio.Task[None]") -> None:
        self._repair = None
        if not self._closed and not task.cancelled():
            task.result()
            if self.connection is None:
                self._start_repair()

    async def _run(self) -> None:
        """Try until there is a connection that answers."""
        fresh = await self._connect()
        old = self.connection
        if fresh is None or self._answers():
            if fresh is not None:
                await fresh.close()
            return
        if old is not None:
            old.on_lost = None
            self._cause = BackendUnavailable(f"{old.name} gave no sign of life")
            logger.warning("%s (%s); replaced", self._cause, self._purpose)
            old.abort(self._cause)
        elif (down := time.monotonic() - self._down_since) > 0.1:
            logger.warning("%s (%s) is back after %.1f s", fresh.name, self._purpose, down)
        self._adopt(fresh)
        if self.came_back is not None and self.connection is fresh:
            self.came_back(fresh, self._cause)

    async def _connect(self) -> C | None:
        """Return a fresh connection; None when the one that was silent has spoken meanwhile."""
        delays, told = reconnect_delays(most=LONGEST_DELAY), time.monotonic()
        while not self._answers():
            try:
                return await self._attempt()
            except Exception as error:  # whatever it is: giving up would be deafness for good
                self._problem = error
            if self.failed is not None:
                self.failed()
            if time.monotonic() - told > QUIET:
                told = time.monotonic()
                logger.warning("still no connection (%s): %s", self._purpose, self._problem)
            await asyncio.sleep(next(delays))
        return None

    def _answers(self) -> bool:
        """True when the connection that was silent has spoken."""
        return self.connection is not None and self.connection.heard

    # --- signs of life ------------------------------------------------------------------------

    def _look(self) -> None:
        # Looks are counted, not seconds: between two of them the loop has read what came, however
        # long it was busy.
        self._timer = self._loop.call_later(TICK, self._look)
        connection = self.connection
        if connection is None:
            return
        if connection.heard:
            connection.heard = False
            self._silent = 0
            return
        self._silent += 1
        if self._silent == PING_AFTER:
            connection.ping()
        elif self._silent == PROBE_AFTER:
            self._start_repair()
        elif self._silent >= DROP_AFTER:
            seconds = self._silent * TICK
            connection.abort(
                BackendUnavailable(f"{connection.name} gave no sign of life for {seconds:.1f} s")
            )

    def _wake(self) -> None:
        for waiter in self._waiters:
            _resolve(waiter)


def _resolve(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)

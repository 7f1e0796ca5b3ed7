"""The connection of a process, which comes back by itself, to whichever server lets it in.

It is asked for a sign of life when it is silent: a peer that is gone without a word (a dropped
route, a frozen machine) is noticed as fast as one that says goodbye. Where the answer does not
come, a second connection is tried beside the first, and the one that answers first is kept: a
server that only stalls costs no message. A server that says that it will shut down (lame duck mode)
is left for another one before it does.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import reconnect_delays
from fast_channels_nats.connection import Connection, Message, retrieve
from fast_channels_nats.pool import Pool
from fast_channels_nats.server import STEP_SECONDS, connect

logger = logging.getLogger("fast_channels.nats")

TICK: Final = 0.45
"""Seconds between two looks at a connection."""

PING_AFTER, PROBE_AFTER, DROP_AFTER = 1, 3, 7
"""Silent looks after which it is asked for a sign of life, replaced if that can be, given up."""

LONGEST_DELAY: Final = 0.5
"""Seconds between two attempts, at most. With what one attempt may take, a server that is back is
found within two."""

PATIENCE: Final = 2.0
"""Seconds from the loss of a connection during which its users wait for it to come back; after
that they fail at once."""

OPENING_SECONDS: Final = 4.0
"""How long a server may take to answer the first time, when it is not tried again."""

QUIET: Final = 30.0
"""Seconds between two lines in the log about one outage."""

LEAVING_SECONDS: Final = 1.0
"""How long a connection that is left may take to answer what it was asked."""


class Link:
    """The one connection of a process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool) -> None:
        self.connection: Connection | None = None
        """The connection, while there is one."""
        self.prepare: Callable[[Connection], Awaitable[None]] | None = None
        """Makes a new connection ready for use."""
        self.came_back: Callable[[Connection, Exception], None] | None = None
        """Told of the connection that replaces one that ended for this reason."""
        self.gone: Callable[[Exception], None] | None = None
        """Told that what the connection was asked is not answered any more."""
        self.refused: Callable[[str], None] | None = None
        """Told of what the server refuses."""
        self._loop = loop
        self._pool = pool
        self._leaving = False
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
        problems: list[BackendUnavailable] = []
        for _ in range(len(self._pool)):
            try:
                connection = await self._attempt(OPENING_SECONDS)
            except BackendUnavailable as error:
                problems.append(error)
            else:
                self._adopt(connection)
                self._timer = self._loop.call_later(TICK, self._look)
                return
        raise (
            problems[0]
            if len(problems) == 1
            else BackendUnavailable(f"no server could be used: {'; '.join(map(str, problems))}")
        )

    async def close(self) -> None:
        """The connection is gone, and no task or timer is left."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._repair is not None:
            self._repair.cancel()
            await asyncio.wait([self._repair])
        connection, self.connection = self.connection, None
        self._problem = BackendUnavailable("the layer was closed")
        self._wake()
        if connection is not None:
            await connection.close()

    async def ready(self, patience: float = PATIENCE) -> Connection:
        """Return the connection, as soon as there is one.

        Raises ``BackendUnavailable`` when it has been gone for longer than ``patience`` seconds.
        """
        while self.connection is None:
            left = self._down_since + patience - time.monotonic()
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

    # --- repair -------------------------------------------------------------------------------

    async def _attempt(self, patience: float = STEP_SECONDS) -> Connection:
        connection = await connect(self._pool.next(), patience)
        try:
            if self.prepare is not None:
                await self.prepare(connection)
        except BaseException:
            await connection.close()
            raise
        return connection

    def _adopt(self, connection: Connection) -> None:
        self.connection = connection
        self._silent = 0
        self._leaving = False
        self._pool.learn(connection.info)
        connection.on_lost = self._lost
        connection.on_info = self._informed
        connection.on_error = self.refused
        if connection.lost is not None:  # between its last reply and now
            self._lost(connection.lost)
            return
        self._wake()

    def _lost(self, cause: Exception) -> None:
        self.connection = None
        self._cause = self._problem = cause
        self._down_since = time.monotonic()
        if not self._closed:
            logger.warning("%s; connecting again", cause)
            if self.gone is not None:
                self.gone(cause)
            self._start_repair()

    def _informed(self, info: dict[str, Any]) -> None:
        self._pool.learn(info)
        if info.get("ldm") and not self._closed:
            self._leaving = True
            self._start_repair()

    def _start_repair(self) -> None:
        if self._repair is None:
            self._repair = self._loop.create_task(self._run(), name="fast-channels-nats")
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
        leaving = self._leaving
        if old is not None:
            old.on_lost = old.on_info = old.on_error = None
            why = "will shut down" if leaving else "gave no sign of life"
            self._cause = BackendUnavailable(f"{old.name} {why}")
            logger.warning("%s; replaced by %s", self._cause, fresh.name)
            old.message = _drop
            if not leaving:
                old.abort(self._cause)
            if self.gone is not None:
                self.gone(self._cause)
        elif (down := time.monotonic() - self._down_since) > 0.1:
            logger.warning("%s is back after %.1f s", fresh.name, down)
        self._adopt(fresh)
        if self.came_back is not None and self.connection is fresh:
            self.came_back(fresh, self._cause)
        if old is not None and old.lost is None:
            try:
                answered = old.flush(b"")
                answered.add_done_callback(retrieve)
                await asyncio.wait([answered], timeout=LEAVING_SECONDS)
            finally:
                await old.close()

    async def _connect(self) -> Connection | None:
        """Return a fresh connection; None when the one that was silent has spoken meanwhile."""
        delays, told = reconnect_delays(most=LONGEST_DELAY), time.monotonic()
        failures = 0
        while not self._answers():
            try:
                return await self._attempt()
            except Exception as error:  # whatever it is: giving up would be deafness for good
                self._problem = error
            failures += 1
            if time.monotonic() - told > QUIET:
                told = time.monotonic()
                logger.warning("still no connection: %s", self._problem)
            if failures % len(self._pool) == 0:
                await asyncio.sleep(next(delays))
        return None

    def _answers(self) -> bool:
        """True when the connection that was silent has spoken."""
        return self.connection is not None and self.connection.heard and not self._leaving

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


def _drop(_: Message) -> None:
    """What comes on a connection that is left comes on the new one, too."""


def _resolve(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)

"""A connection to a broker that comes back by itself, for as long as it is wanted.

What a backend needs for the fourth law. The link asks a silent connection for a sign of life: a
peer that is gone without a word (a dropped route, a frozen machine) is noticed as fast as one that
says goodbye. Where the answer does not come, a second connection is tried beside the first, and
the one that answers first is kept: a broker that only stalls costs no message.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Protocol, TypeVar

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers.backoff import reconnect_delays
from fast_channels.layers.loops import EARLY

TICK: Final = 0.4
"""Seconds between two looks at a connection."""

PING_AFTER, PROBE_AFTER, DROP_AFTER = 1, 3, 7
"""Silent looks after which it is asked for a sign of life, replaced if that can be, given up."""

LONGEST_DELAY: Final = 0.5
"""Seconds between two attempts, at most. With what one attempt may take, a broker that is back is
found within two."""

ATTEMPT_SECONDS: Final = 1.0
"""How long one attempt to come back may take at first."""

LONG_OUTAGE: Final = 30.0
"""Seconds after which an attempt gets ``OPENING_SECONDS``: a broker to which a thousand processes
come back at once may be slow to answer each."""

OPENING_SECONDS: Final = 4.0
"""How long the first attempt may take, when it is not repeated."""

PATIENCE: Final = 2.0
"""Seconds from the loss of a connection during which its users wait for it to come back."""

GRACE: Final = 0.75
"""Seconds that they wait at least: a broker that is back is found within this."""

QUIET: Final = 30.0
"""Seconds between two lines in the log about one outage."""


class LinkConnection(Protocol):
    """What a link keeps: one connection to a broker."""

    name: str
    """What it is connected to, for the log and for errors; without a password."""
    lost: Exception | None
    """Why it has ended; None while it lives."""
    heard: bool
    """Something came since this was last set to False."""
    on_lost: Callable[[Exception], None] | None
    """To be called once, when the connection has ended: by itself, or by ``abort``."""

    def ping(self) -> None:
        """Set ``heard`` to False and ask the broker for a sign of life, without waiting."""
        ...

    def abort(self, cause: Exception, /) -> None:
        """The connection has ended at once, for this reason, and ``on_lost`` was told."""
        ...

    async def close(self) -> None:
        """Its socket is closed; ``on_lost`` is not called any more."""
        ...


C = TypeVar("C", bound=LinkConnection)


class Link(Generic[C]):
    """The one connection of its kind, and its repair.

    ``connect`` returns a new connection within the seconds that it gets, or raises; where there
    are several servers, it tries another one each time. ``purpose`` tells this link from others of
    the same backend, in the log.

    Hooks, set before ``open`` or ``start``; all but the coroutines are called on the event loop,
    do not block and do not raise:

    * ``prepare(connection)``: a coroutine that makes a new connection ready for use, before
      anybody gets it (restores subscriptions). It limits its own time; when it raises, the attempt
      has failed.
    * ``went(cause)``: there is no connection now, or the one that was is left.
    * ``came_back(connection, cause)``: this one replaces the one that ended for this reason.
    * ``failed()``: an attempt to come back has failed.
    * ``retire(connection)``: a coroutine that closes a connection that was left though it worked.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connect: Callable[[float], Awaitable[C]],
        *,
        logger: logging.Logger,
        purpose: str = "",
    ) -> None:
        self.connection: C | None = None
        """The connection, while there is one."""
        self.prepare: Callable[[C], Awaitable[None]] | None = None
        self.went: Callable[[Exception], None] | None = None
        self.came_back: Callable[[C, Exception], None] | None = None
        self.failed: Callable[[], None] | None = None
        self.retire: Callable[[C], Awaitable[None]] = _close
        self._loop = loop
        self._make = connect
        self._logger = logger
        self._purpose = f" ({purpose})" if purpose else ""
        self._repair: asyncio.Task[None] | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._silent = 0
        self._closed = False
        self._leaving: Exception | None = None
        """Why the connection is replaced though it answers."""
        self._cause: Exception = BackendUnavailable("not connected yet")
        """Why the last connection ended."""
        self._problem: Exception = self._cause
        """Why there is none now."""
        self._down_since = 0.0

    async def open(self) -> None:
        """Connected; raises ``BackendUnavailable``, and then it is not tried again."""
        self._adopt(await self._attempt(OPENING_SECONDS))
        self._watch()

    def start(self) -> None:
        """It connects from now on; does nothing when it does already."""
        if self._timer is None and not self._closed:
            self._down_since = time.monotonic()
            self._watch()
            self._start_repair()

    async def close(self) -> None:
        """The connection is gone, and no task or timer is left; who waits for one is told."""
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
            timer = self._loop.call_later(min(left, 60.0) + EARLY, _resolve, waiter)
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

    def leave(self, cause: Exception) -> None:
        """The connection stays in use until another one is there; then it is retired.

        For a broker that says that it is about to go.
        """
        if self.connection is not None and not self._closed:
            self._leaving = cause
            self._start_repair()

    # --- repair -------------------------------------------------------------------------------

    async def _attempt(self, seconds: float) -> C:
        connection = await self._make(seconds)
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
        self._leaving = None
        connection.on_lost = self._lost
        if connection.lost is not None:  # between its last sign of life and now
            self._lost(connection.lost)
            return
        self._wake()

    def _lost(self, cause: Exception) -> None:
        self.connection = None
        self._cause = self._problem = cause
        self._down_since = time.monotonic()
        if not self._closed:
            self._logger.warning("%s%s; connecting again", cause, self._purpose)
            self._start_repair()
            self._tell_gone()

    def _start_repair(self) -> None:
        if self._repair is None:
            name = f"{self._logger.name}{self._purpose} repair"
            self._repair = self._loop.create_task(self._run(), name=name)
            self._repair.add_done_callback(self._repaired)

    def _repaired(self, task: "asyncio.Task[None]") -> None:
        self._repair = None
        if not self._closed and not task.cancelled():
            task.result()
            if self.connection is None or self._leaving is not None:
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
            self._replace(old)
        elif (down := time.monotonic() - self._down_since) > 0.1:
            self._logger.warning("%s%s is back after %.1f s", fresh.name, self._purpose, down)
        self._adopt(fresh)
        if self.came_back is not None and self.connection is fresh:
            self.came_back(fresh, self._cause)
        if old is not None and old.lost is None:
            await self.retire(old)

    def _replace(self, old: C) -> None:
        old.on_lost = None
        silent = BackendUnavailable(f"{old.name} gave no sign of life")
        self._cause = self._leaving or silent
        self._logger.warning("%s%s; replaced", self._cause, self._purpose)
        if self._leaving is None:
            old.abort(silent)
        self._tell_gone()

    async def _connect(self) -> C | None:
        """Return a fresh connection; None when the one that was silent has spoken meanwhile."""
        delays, began = reconnect_delays(most=LONGEST_DELAY), time.monotonic()
        told = began
        while not self._answers():
            long = time.monotonic() - began > LONG_OUTAGE
            try:
                return await self._attempt(OPENING_SECONDS if long else ATTEMPT_SECONDS)
            except Exception as error:  # whatever it is: giving up would be deafness for good
                self._problem = error
            if self.failed is not None:
                self.failed()
            if time.monotonic() - told > QUIET:
                told = time.monotonic()
                self._logger.warning("still no connection%s: %s", self._purpose, self._problem)
            await asyncio.sleep(next(delays))
        return None

    def _answers(self) -> bool:
        """True when the connection that was silent has spoken."""
        return self.connection is not None and self.connection.heard and self._leaving is None

    def _tell_gone(self) -> None:
        if self.went is not None:
            self.went(self._cause)

    # --- signs of life ------------------------------------------------------------------------

    def _watch(self) -> None:
        # Looks are counted, not seconds: between two of them the loop has read what came, however
        # long it was busy.
        self._timer = self._loop.call_later(TICK, self._watch)
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


async def _close(connection: LinkConnection) -> None:
    await connection.close()


def _resolve(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)

"""One connection to a server: its statements run one after another, each in bounded time."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from fast_channels.exceptions import BackendUnavailable
from fast_channels_postgres.driver import (
    FATAL_STATES,
    InterfaceError,
    InternalClientError,
    PostgresError,
    Raw,
    sqlstate,
)
from fast_channels_postgres.steps import Steps

logger = logging.getLogger("fast_channels.postgres")
T = TypeVar("T")

STATEMENT_SECONDS: Final = 4.0
"""How long the server may take for one statement; then the connection is given up."""

CLOSING_SECONDS: Final = 1.0


class Connection:
    """A connection that knows when it has ended, and why."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        raw: Raw,
        name: str,
        give_back: Callable[[Raw], Awaitable[None]] | None = None,
    ) -> None:
        self.name = name
        self.lost: Exception | None = None
        """Why it has ended; None while it lives."""
        self.on_lost: Callable[[Exception], None] | None = None
        self.heard = True
        """The server has said something since this was last set to False."""
        self.sign_of_life: Callable[[Raw], Awaitable[object]] = _one
        """What the server is asked, to hear something."""
        self.schema = 0
        """The version of the schema that was seen here."""
        self._loop = loop
        self._raw = raw
        self._give_back = give_back
        self._lock = asyncio.Lock()
        self._deadline = math.inf
        """When the statement under way has to be done."""
        self._seconds = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = 0.0
        raw.add_termination_listener(self._terminated)

    async def run(
        self, call: Callable[[Raw], Awaitable[T]], seconds: float = STATEMENT_SECONDS
    ) -> T:
        """Return what the call returns, when its turn has come.

        Raises ``BackendUnavailable`` when the connection ends, or ended because of the time; the
        server's own errors come through. For tasks of the backend: who cancels it ends the
        connection.
        """
        async with self._lock:
            self.check()
            self._seconds = seconds
            self._deadline = self._loop.time() + seconds
            if self._timer is None or self._fires_at > self._deadline:
                self._arm()
            try:
                return await call(self._raw)
            except asyncio.CancelledError:
                self.abort(BackendUnavailable(f"a statement on {self.name} was cancelled"))
                raise
            except Exception as error:  # asyncpg's own, too, where it ended between two steps
                if not self._ended(error):
                    raise
                self.abort(BackendUnavailable(f"{self.name} went away: {error}"))
                raise BackendUnavailable(f"{self.lost}; perhaps it was done") from None
            finally:
                self._deadline = math.inf
                self.heard = True

    def ping(self) -> None:
        """The server is asked for a sign of life; a statement under way has a limit of its own."""
        if self._lock.locked():
            self.heard = True
        else:
            self.heard = False
            Steps(self._loop, self._ping(), lambda _: None).start()

    async def _ping(self) -> None:
        try:
            await self.run(self.sign_of_life)
        except PostgresError as error:
            logger.debug("%s refused a sign of life: %s", self.name, error)
        except BackendUnavailable:
            pass  # and its owner was told

    def check(self) -> None:
        """Raise ``BackendUnavailable`` if it has ended."""
        if self.lost is not None:
            raise BackendUnavailable(str(self.lost))

    def abort(self, cause: Exception) -> None:
        """It is gone at once; statements under way fail."""
        if self.lost is None:
            self.lost = cause
            self._disarm()
            self._raw.terminate()
            if self.on_lost is not None:
                self.on_lost(cause)

    async def close(self) -> None:
        """It is gone, and its socket, too."""
        self.on_lost = None
        busy = self._lock.locked()
        self._disarm()
        if self.lost is None:
            self.lost = BackendUnavailable("the layer was closed")
            try:
                self._raw.remove_termination_listener(self._terminated)
                if busy:
                    self._raw.terminate()
                else:
                    await self._raw.close(timeout=CLOSING_SECONDS)
            except (PostgresError, InterfaceError, InternalClientError, OSError, TimeoutError):
                self._raw.terminate()
        async with self._lock:  # who was in the middle of a statement has seen its end
            pass
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            try:
                await give_back(self._raw)
            except (PostgresError, InterfaceError, OSError):
                pass  # the pool makes another one when it is needed
        await asyncio.sleep(0)  # a transport closes its socket in the next turn of the loop

    def _ended(self, error: Exception) -> bool:
        if (
            self.lost is not None
            or self._raw.is_closed()
            or isinstance(error, OSError | InterfaceError | InternalClientError)
        ):
            return True
        return sqlstate(error).startswith(FATAL_STATES)

    def _arm(self) -> None:
        """One timer stays for many statements: it looks whether one takes too long."""
        self._disarm()
        self._fires_at = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._look)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._deadline == math.inf or self.lost is not None:
            return
        if self._loop.time() < self._deadline - 0.001:  # loops round their clocks
            self._arm()
        else:
            text = f"{self.name} did not answer within {self._seconds:g} s"
            self.abort(BackendUnavailable(text))

    def _terminated(self, _: Any) -> None:
        if self.lost is None:
            self.abort(BackendUnavailable(f"{self.name} closed the connection"))


async def _one(raw: Raw) -> object:
    return await raw.execute("SELECT 1")

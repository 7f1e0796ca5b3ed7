"""The end of a server's connections when it is told to stop: a few at a time, none in mid-handler.

Servers close everything at once, and then every client comes back at once, to fewer processes. A
drain takes their SIGTERM, ends the connections over some time, and hands the signal on after that.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

from fast_channels.consumer.farewell import HANG_UP_SECONDS, RESTART, ended
from fast_channels.layers import events

if TYPE_CHECKING:
    from fast_channels.consumer.base import AsyncConsumer
    from fast_channels.consumer.connection import Connection

logger = logging.getLogger("fast_channels.consumer")

LATE_SECONDS: Final = 1.0
"""What an HTTP request gets that comes while the server drains."""

_draining: "set[Drain]" = set()


class Drain:
    """Ends the connections of one event loop, to be given to ``lifespan``.

    They get the close code 1012 (service restart), spread evenly over ``spread`` seconds, each when
    its handler has finished and what it had received is handled. Handlers that still run ``grace``
    seconds after the last one's turn are cancelled. New WebSockets are refused (503) meanwhile.
    """

    def __init__(self, spread: float = 10.0, grace: float = 10.0) -> None:
        for name, seconds in (("spread", spread), ("grace", grace)):
            if not 0 <= seconds < float("inf"):
                raise ValueError(f"{name} must be seconds from 0, got {seconds!r}")
        self.spread = spread
        self.grace = grace
        self._open: dict[AsyncConsumer, Connection] = {}
        self._empty = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._then: Callable[[], object] | None = None

    @property
    def draining(self) -> bool:
        """It has begun: this process wants no new connections."""
        return self in _draining

    def begin(self) -> None:
        """The connections begin to end; does nothing if they do, or outside of ``lifespan``."""
        if self._loop is not None and self._task is None:
            _draining.add(self)
            self._task = self._loop.create_task(self._run(), name="fast-channels-drain")

    async def wait(self) -> None:
        """Return when the drain that has begun is over."""
        if self._task is not None:
            await asyncio.wait([self._task])

    @asynccontextmanager
    async def armed(self) -> AsyncGenerator[None]:
        """Inside, SIGTERM begins the drain, and is the server's when that is over.

        A second SIGTERM is the server's at once. Outside of the main thread call ``begin()``.
        """
        if self._loop is not None:
            raise RuntimeError("a Drain is for one lifespan at a time; make another one")
        self._loop = asyncio.get_running_loop()
        events.connect(self._listen)
        try:
            with self._signal():
                yield
        finally:
            events.disconnect(self._listen)
            _draining.discard(self)
            task, self._task, self._loop = self._task, None, None
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
            self._open.clear()

    # --- inside -------------------------------------------------------------------------------

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        began, doomed = loop.time(), list(self._open.values())
        logger.info("drains: ends %d connections within %g s", len(doomed), self.spread)
        for number, connection in enumerate(doomed):
            due = began + self.spread * number / len(doomed)
            await asyncio.sleep(max(0.0, due - loop.time()))
            connection.tell(ended(RESTART))
        if not await self._gone(self.grace):
            logger.warning("drains: cuts %d connections off", len(self._open))
            for connection in list(self._open.values()):
                connection.cut_off(RESTART)
            await self._gone(2 * HANG_UP_SECONDS)
        if self._then is not None:
            self._then()

    async def _gone(self, seconds: float) -> bool:
        """Return whether every connection has ended within that time."""
        try:
            async with asyncio.timeout(seconds):
                while self._open:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            return False
        return True

    def _listen(self, event: str, **facts: Any) -> None:
        if event == "consumer_started":
            consumer: AsyncConsumer = facts["consumer"]
            connection = consumer._served_connection  # pyright: ignore[reportPrivateUsage]  # ours
            if connection.loop is self._loop and consumer.scope["type"] != "channel":
                self._open[consumer] = connection
                if self.draining:
                    connection.loop.call_later(LATE_SECONDS, connection.tell, ended(RESTART))
        elif event == "consumer_finished" and self._open:
            self._open.pop(facts["consumer"], None)
            if not self._open:
                self._empty.set()

    @contextmanager
    def _signal(self) -> Generator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL

        def hand_on() -> None:
            """Do what was done about the signal before."""
            self._then = None
            signal.signal(signal.SIGTERM, before)
            signal.raise_signal(signal.SIGTERM)

        def take(number: int, frame: object) -> None:
            loop = self._loop
            if self._then is None and loop is not None:
                self._then = hand_on
                loop.call_soon_threadsafe(self.begin)
            else:
                hand_on()

        signal.signal(signal.SIGTERM, take)
        try:
            yield
        finally:
            self._then = None
            if signal.getsignal(signal.SIGTERM) is take:
                signal.signal(signal.SIGTERM, before)


def refuses() -> bool:
    """Return whether a new WebSocket is to be refused."""
    return bool(_draining)

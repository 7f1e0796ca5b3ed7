"""One process of a backend's users, and what was delivered to it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import TypeVar, cast

from fast_channels.layers import Backend, Kept, Position, Publication, is_history_topic

T = TypeVar("T")


class Process:
    """A backend with its inbox: plays one process. Is the inbox, and remembers everything."""

    def __init__(self, backend: Backend, patience: float) -> None:
        self.backend = backend
        self.received: list[Publication] = []
        """What was delivered, in that order."""
        self.kept: list[tuple[str, Kept]] = []
        """What was delivered on history topics, in that order."""
        self.events: list[str] = []
        """``"deliver <topic>"`` and ``"gap"``, in the order in which they came."""
        self.gaps: list[tuple[Exception, frozenset[str] | None]] = []
        self.wrong: list[str] = []
        """Calls that no backend may make."""
        self._patience = patience
        self._thread = threading.get_ident()
        self._publishing: set[asyncio.Task[object] | None] = set()
        self._changed = asyncio.Event()

    # --- the inbox ----------------------------------------------------------------------------

    def deliver(self, topic: str, payload: bytes, position: Position | None = None, /) -> None:
        """Remember the payload."""
        self._check("deliver")
        if type(payload) is not bytes:
            self.wrong.append(f"deliver got a {type(payload).__name__}, not bytes")
        if is_history_topic(topic) is (position is None):
            self.wrong.append(f"deliver on {topic!r} got the position {position}")
        if position is not None:
            self.kept.append((topic, Kept(position, bytes(payload))))
        self.received.append(Publication(topic, bytes(payload)))
        self.events.append(f"deliver {topic}")
        self._changed.set()

    def gap(self, cause: Exception, topics: Collection[str] | None = None, /) -> None:
        """Remember the loss."""
        self._check("gap")
        if not isinstance(cast("object", cause), Exception):
            self.wrong.append(f"gap got a {type(cause).__name__}, not an exception")
        self.gaps.append((cause, None if topics is None else frozenset(topics)))
        self.events.append("gap")
        self._changed.set()

    def _check(self, call: str) -> None:
        if threading.get_ident() != self._thread:
            self.wrong.append(f"{call} was called in another thread than the event loop's")
        elif self._publishing and asyncio.current_task() in self._publishing:
            self.wrong.append(f"{call} was called inside publish, by the task that publishes")

    # --- the backend --------------------------------------------------------------------------

    async def subscribe(self, *topics: str) -> None:
        """The backend is subscribed to the topics."""
        await self.soon(self.backend.subscribe(topics), "subscribe")

    async def unsubscribe(self, *topics: str) -> None:
        """The backend is not subscribed to the topics."""
        await self.soon(self.backend.unsubscribe(topics), "unsubscribe")

    async def publish(self, topic: str, *payloads: bytes) -> None:
        """The broker has the payloads, which went in one call."""
        await self.publish_all([Publication(topic, payload) for payload in payloads])

    async def publish_all(self, publications: Iterable[Publication]) -> None:
        """The broker has the publications, which went in one call."""
        task = asyncio.current_task()
        self._publishing.add(task)
        try:
            await self.soon(self.backend.publish(list(publications)), "publish")
        finally:
            self._publishing.discard(task)

    async def close(self) -> None:
        """The backend is closed."""
        await self.soon(self.backend.close(), "close")

    # --- waiting ------------------------------------------------------------------------------

    async def soon(self, call: Awaitable[T], what: str, within: float | None = None) -> T:
        """Await what has to end within ``within`` seconds (None: patience); fail otherwise."""
        return await soon(call, what, within or self._patience)

    def payloads(self, topic: str) -> list[bytes]:
        """Return what came on the topic until now."""
        return [publication.payload for publication in self.received if publication.topic == topic]

    async def until(
        self, condition: Callable[[], object], what: str, within: float | None = None
    ) -> None:
        """Return when the condition is true; fail, naming ``what``, when patience ends."""
        within = within or self._patience
        try:
            async with asyncio.timeout(within):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"{what} did not come within {within:g} s; "
                f"came: {len(self.received)} payloads, {len(self.gaps)} gaps; "
                f"the last: {self.events[-5:]}"
            ) from None

    async def expect(self, topic: str, count: int = 1) -> list[bytes]:
        """Wait for ``count`` payloads of the topic; return all that have come on it."""
        await self.until(
            lambda: len(self.payloads(topic)) >= count, f"payload {count} of topic {topic!r}"
        )
        return self.payloads(topic)

    async def gap_after(self, gaps: int, within: float) -> None:
        """Wait until there were more gaps than that."""
        await self.until(lambda: len(self.gaps) > gaps, "the gap after an outage", within)


async def soon(call: Awaitable[T], what: str, within: float) -> T:
    """Await what has to end within that many seconds; fail, naming ``what``, otherwise."""
    limit = asyncio.timeout(within)
    try:
        async with limit:
            return await call
    except TimeoutError:
        if not limit.expired():
            raise
        raise AssertionError(f"{what} did not end within {within:g} s") from None

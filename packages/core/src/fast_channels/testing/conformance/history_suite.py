"""What the suite for history shares: topics of the clause's own, and who publishes and reads."""

import asyncio
import time

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Append, Entry, History, Kept
from fast_channels.testing.conformance.process import Process
from fast_channels.testing.conformance.sealed import sealed
from fast_channels.testing.conformance.suite import BackendSuite


class Keeper:
    """A process that publishes to history topics and reads them; every wait is bounded."""

    def __init__(self, process: Process) -> None:
        self.process = process

    @property
    def history(self) -> History:
        """The backend's history."""
        history = self.process.backend.history
        assert history is not None, "the backend's history is None"
        return history

    async def publish(
        self, topic: str, *payloads: bytes, keep: int = 100_000, ttl: float = 60.0
    ) -> None:
        """The broker keeps the payloads, which went in one call."""
        append = Append(topic, [Entry(payload) for payload in payloads], keep, ttl)
        await self.process.soon(self.history.publish([append]), "publish")

    async def all(self, topic: str) -> list[Kept]:
        """Return all that is kept, page by page."""
        page = await self.process.soon(self.history.read(topic, None, 100), "read")
        kept = list(page.entries)
        while page.more:
            page = await self.process.soon(self.history.read(topic, page.position, 100), "read")
            kept += page.entries
        return kept

    def delivered(self, topic: str) -> list[Kept]:
        """Return what was delivered on the topic until now."""
        return [kept for name, kept in self.process.kept if name == topic]


class HistorySuite(BackendSuite):
    """A suite over histories."""

    short_ttl: float = 0.5
    """Seconds: the shortest time after which your broker can drop an entry."""

    @sealed
    async def keeper(self) -> Keeper:
        """Return a keeper with a backend of its own, open until the clause ends."""
        return Keeper(await self.process())

    @sealed
    def kept(self, name: str = "room") -> str:
        """Return a history topic that no other clause uses; the same name, the same topic."""
        return f"{self.prefix()}:h.{name}"

    @sealed
    def append(self, topic: str, *payloads: bytes) -> Append:
        """Return what puts the payloads at the end of the topic's history."""
        return Append(topic, [Entry(payload) for payload in payloads], 1_000, 60.0)

    @sealed
    async def gone(self, keeper: Keeper, topic: str, left: int, moment: float) -> None:
        """Return when no more entries are left; fail where they are, long after that moment."""
        while len(await keeper.all(topic)) > left:
            assert time.monotonic() < moment + self.patience, "old entries are still there"
            await asyncio.sleep(self.short_ttl / 20)
        assert time.monotonic() > moment - self.short_ttl / 2, "entries were gone too early"

    @sealed
    async def works(self, keeper: Keeper) -> None:
        """Return when the keeper's backend reaches the broker again."""
        limit = time.monotonic() + self.recovers_within
        while True:
            try:
                await keeper.process.soon(
                    keeper.history.last(self.kept("works"), 0), "last", self.unavailable_within
                )
                await keeper.publish(self.kept("works"), b"works")
                return
            except BackendUnavailable:
                assert time.monotonic() < limit, "history is not back after an outage"
                await asyncio.sleep(0.02)

"""The memory layer's history: what a broker would keep, in this process."""

import asyncio
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from fast_channels.exceptions import HistoryLost
from fast_channels.layers.backend import Append, Entry, Kept, Page, Position

if TYPE_CHECKING:
    from fast_channels.layers.in_memory import MemoryBroker

UNUSED: Final = 3_600.0
"""Seconds for which the end of a topic is known that nobody publishes to."""


class Delivery(NamedTuple):
    """An entry on its way to a subscriber."""

    topic: str
    payload: bytes
    position: Position


class _Stored(NamedTuple):
    kept: Kept
    expires: float
    id: str | None


class MemoryStream:
    """The history of one topic."""

    def __init__(self, now: float) -> None:
        self.epoch = secrets.token_hex(8)
        self.end = 0
        """The offset of the newest entry."""
        self.gone = 0
        """The offset of the newest entry that was dropped."""
        self.known_until = now + UNUSED
        self._entries: deque[_Stored] = deque()
        self._ids: set[str] = set()

    def append(self, entry: Entry, keep: int, ttl: float, now: float) -> Position | None:
        """Return where the entry is; None: one of its id is there already."""
        self.drop(now, keep)
        self.known_until = max(self.known_until, now + 2 * ttl)
        if entry.id is not None:
            if entry.id in self._ids:
                return None
            self._ids.add(entry.id)
        self.end += 1
        position = Position(self.epoch, self.end)
        self._entries.append(_Stored(Kept(position, entry.payload), now + ttl, entry.id))
        self.drop(now, keep)
        return position

    def drop(self, now: float, keep: int | None = None) -> None:
        """Entries that are too old, or more than ``keep``, are gone."""
        entries = self._entries
        while entries and (entries[0].expires <= now or (keep is not None and len(entries) > keep)):
            oldest = entries.popleft()
            self.gone = oldest.kept.position.offset
            if oldest.id is not None:
                self._ids.discard(oldest.id)

    def read(self, topic: str, after: Position | None, limit: int) -> Page:
        """Return the entries after the position."""
        if after is not None and after.epoch != self.epoch:
            raise HistoryLost(
                f"the history of {topic} is another one than that of position {after.offset}",
                anew=self.epoch,
            )
        start = self.gone if after is None else after.offset
        if start > self.end:
            raise HistoryLost(f"the history of {topic} ends at {self.end}, before {start}")
        if start < self.gone:
            raise HistoryLost(f"the history of {topic} begins after {self.gone}, not at {start}")
        first = start - self.gone  # offsets are dense here
        found = [self._entries[i].kept for i in range(first, min(first + limit, self.length))]
        position = found[-1].position if found else Position(self.epoch, start)
        return Page(found, position, position.offset < self.end)

    def last(self, count: int) -> Page:
        """Return the newest entries."""
        first = max(0, self.length - count)
        found = [self._entries[i].kept for i in range(first, self.length)]
        return Page(found, Position(self.epoch, self.end), False)

    @property
    def length(self) -> int:
        """How many entries there are."""
        return len(self._entries)


class MemoryStreams:
    """The histories of one broker; used under its lock."""

    def __init__(self) -> None:
        self._streams: OrderedDict[str, MemoryStream] = OrderedDict()

    def append(self, append: Append) -> list[Delivery]:
        """Return what is new, in order."""
        now = time.monotonic()
        stream = self._stream(append.topic, now)
        self._streams.move_to_end(append.topic)
        new: list[Delivery] = []
        for entry in append.entries:
            position = stream.append(entry, append.keep, append.ttl, now)
            if position is not None:
                new.append(Delivery(append.topic, entry.payload, position))
        return new

    def look(self, topic: str) -> MemoryStream:
        """Return the topic's history, without what has expired."""
        now = time.monotonic()
        stream = self._stream(topic, now)
        stream.drop(now)
        return stream

    def clear(self, prefix: str) -> None:
        """Histories of topics whose names begin so are gone."""
        for topic in [topic for topic in self._streams if topic.startswith(prefix)]:
            del self._streams[topic]

    def _stream(self, topic: str, now: float) -> MemoryStream:
        oldest = next(iter(self._streams.values()), None)
        if oldest is not None and oldest.known_until < now:
            self._streams.popitem(last=False)
        stream = self._streams.get(topic)
        if stream is None:
            stream = self._streams[topic] = MemoryStream(now)
        return stream


class MemoryHistory:
    """The history as one backend sees it. Answers after a loop turn, as a broker would."""

    exact = True

    def __init__(self, broker: "MemoryBroker") -> None:
        self._broker = broker

    async def publish(self, appends: Sequence[Append], /) -> None:
        """The entries are kept, and every subscriber has them."""
        self._broker.append(appends)
        await asyncio.sleep(0)

    async def read(self, topic: str, after: Position | None, limit: int, /) -> Page:
        """Return the entries after the position."""
        await asyncio.sleep(0)
        with self._broker.looked_at(topic) as stream:
            return stream.read(topic, after, limit)

    async def last(self, topic: str, count: int, /) -> Page:
        """Return the newest entries."""
        await asyncio.sleep(0)
        with self._broker.looked_at(topic) as stream:
            return stream.last(count)

    async def clear(self, prefix: str, /) -> None:
        """Histories of topics whose names begin so are gone."""
        self._broker.clear_history(prefix)

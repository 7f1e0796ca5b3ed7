"""Reading the topics of a stream, which has others between them.

A read goes over all that the stream has from a place on, and takes what is of its topic. It ends
after so many messages or bytes, and the next one goes on there. One that goes on at once with what
is ahead looks for the end of the stream only when it gets there.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

from fast_channels.exceptions import BackendUnavailable, HistoryLost
from fast_channels.layers import Kept, Link, Page, Position
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.history.ahead import Ahead
from fast_channels_rabbitmq.history.ids import Ids
from fast_channels_rabbitmq.history.records import BITS, WHOLE
from fast_channels_rabbitmq.history.scanning import (
    PAGE_CREDIT,
    SCAN_SECONDS,
    Scan,
    Stored,
    ids_between,
    scan,
    stored,
)
from fast_channels_rabbitmq.history.shard import Shard

MOST_MESSAGES: Final = 5_000
MOST_BYTES: Final = 4_194_304
FAR: Final = 2 * MOST_MESSAGES
"""So many messages before what came last, the end of the stream need not be known."""

SPAN: Final = 256
WIDER: Final = 4


class Reader:
    """Reads streams that are followed."""

    def __init__(self, link: Link[Connection], cleared: Callable[[Shard, str], int]) -> None:
        self._link = link
        self._cleared = cleared
        """Returns at which offset a topic was cleared last; -1: never."""
        self._ahead = Ahead()

    async def read(self, shard: Shard, topic: str, after: Position | None, limit: int) -> Page:
        """Return the next entries; raises ``HistoryLost``."""
        self._check(shard, topic, after)
        here = -1 if after is None else after.offset >> BITS
        scan = None if after is None else self._ahead.resume(shard.name, after)
        goes_on = scan is not None
        far = after is not None and shard.offset - here > FAR
        end = shard.offset
        found = _Found(topic, after, limit)
        start = here
        try:
            if scan is None:
                if not far:
                    end = await shard.end()
                self._check(shard, topic, after)
                if here > end:
                    raise HistoryLost(f"the history of {topic} ends before offset {here}")
                if after is None:
                    start = self._cleared(shard, topic) + 1
                elif not far and shard.live.has_nothing(topic, after.offset):
                    return Page([], after, False)
                connection = await self._link.ready()
                scan = await Scan.begin(connection, shard.name, start or "first", PAGE_CREDIT)
            if await scan.take(found.take, end) and goes_on:
                end = await shard.end()
                await scan.take(found.take, end)
            self._check(shard, topic, after)
            if found.lost:
                raise HistoryLost(f"the history of {topic} does not reach back to offset {here}")
            entries = await self._once(shard, found.entries, start, found.passed)
            if after is None:
                entries = [each for each in entries if each.ends > time.time()]
            more = far or found.full or found.offset < end
            place = self._place(shard, found, after, end, more)
            if more:
                self._ahead.keep(scan, place)
                scan = None
            return Page(_kept(shard, entries), place, more)
        finally:
            if scan is not None:
                scan.close()

    def close(self) -> None:
        """Nothing is read ahead."""
        self._ahead.close()

    async def last(self, shard: Shard, topic: str, count: int) -> Page:
        """Return the newest entries."""
        end = await shard.end()
        latest, before = shard.live.latest(topic), shard.live.before(topic)
        place = Position(shard.epoch, latest or (end << BITS) + WHOLE)
        if not count:
            return Page([], place, False)
        highest = end if before is None else before
        entries = await self._newest(shard, topic, highest, count)
        if entries and latest is None:
            place = Position(shard.epoch, entries[-1].position)
        now = time.time()
        entries = [each for each in entries if each.ends > now]
        if entries:
            entries = entries[-min(count, entries[-1].keep) :]
        return Page(_kept(shard, entries), place, False)

    async def ids(self, shard: Shard, seen: int) -> Ids:
        """Return the ids from an offset up to where those begin that the shard knows."""
        connection = await self._link.ready()
        return await ids_between(connection, shard.name, seen, shard.live.ids.since, SCAN_SECONDS)

    async def _newest(self, shard: Shard, topic: str, high: int, count: int) -> list[Stored]:
        lowest = self._cleared(shard, topic) + 1
        found: list[Stored] = []
        span, epoch = SPAN if count > 1 else 1, shard.epoch
        first = high + 1
        while first > lowest:
            stop, first = first - 1, max(lowest, first - span)
            some: list[Stored] = []
            begins: list[int] = []

            def take(offset: int, body: bytes) -> bool:
                begins.append(offset)  # noqa: B023  (it is called before the next turn)
                some.extend(stored(offset, body, topic))  # noqa: B023
                return True

            connection = await self._link.ready()
            await scan(connection, shard.name, first, stop, take)
            if shard.epoch != epoch:
                raise BackendUnavailable(f"stream {shard.name!r} was made anew; try again")
            found = some + found
            entries = await self._once(shard, found, first)
            if len(entries) >= count or not begins or begins[0] > first:
                return entries
            span *= WIDER
        return await self._once(shard, found, lowest)

    async def _once(
        self, shard: Shard, found: list[Stored], start: int, passed: Sequence[Stored] = ()
    ) -> list[Stored]:
        """Return the entries without those that are the second ones with their ids.

        They are what there is from the message ``start`` on, but for what was ``passed``.
        """
        early = [each.seen for each in found if each.known is not None]
        if not early:
            return found
        ids = Ids(start)
        if min(early) < start:
            connection = await self._link.ready()
            ids = await ids_between(connection, shard.name, min(early), start, SCAN_SECONDS)
        for each in passed:
            if each.known is not None:
                ids.note(each.known, each.position, each.ends, each.seen)
        return [
            each
            for each in found
            if each.known is None or not ids.note(each.known, each.position, each.ends, each.seen)
        ]

    def _check(self, shard: Shard, topic: str, after: Position | None) -> None:
        if after is None:
            return
        if after.epoch != shard.epoch:
            lost = f"the history of {topic} is another one than {after.epoch}"
            raise HistoryLost(lost, anew=shard.epoch)
        if after.offset >> BITS < self._cleared(shard, topic):
            raise HistoryLost(f"the history of {topic} was cleared after {after.offset}")

    def _place(
        self, shard: Shard, found: "_Found", after: Position | None, end: int, more: bool
    ) -> Position:
        if found.full or (found.entries and not more):
            return Position(shard.epoch, found.entries[-1].position)
        if not more and after is not None:
            return after
        return Position(shard.epoch, (max(found.offset, 0 if more else end) << BITS) + WHOLE)


class _Found:
    """What one read has found."""

    def __init__(self, topic: str, after: Position | None, limit: int) -> None:
        self.entries: list[Stored] = []
        self.passed: list[Stored] = []
        """Up to the position, in the message that has it."""
        self.offset = -1
        """The last message that was looked at."""
        self.full = False
        self.lost = False
        """What follows the position directly is gone."""
        self._topic = topic
        self._after = after
        self._limit = limit
        self._messages = 0
        self._bytes = 0

    def take(self, offset: int, body: bytes) -> bool:
        after = self._after
        if self.offset < 0 and after is not None and offset > after.offset >> BITS:
            self.lost = True
            return False
        self.offset = offset
        self._messages += 1
        self._bytes += len(body)
        for each in stored(offset, body, self._topic):
            if after is not None and each.position <= after.offset:
                self.passed.append(each)
            else:
                self.entries.append(each)
                if len(self.entries) == self._limit:
                    self.full = True
                    return False
        return self._messages < MOST_MESSAGES and self._bytes < MOST_BYTES


def _kept(shard: Shard, entries: list[Stored]) -> list[Kept]:
    return [Kept(Position(shard.epoch, each.position), each.payload) for each in entries]

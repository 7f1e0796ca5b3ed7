"""Durable groups: entries are rows, and each is notified in the transaction that inserts it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple, TypeVar

from fast_channels.exceptions import BackendUnavailable, FastChannelsError, HistoryLost
from fast_channels.layers import Append, Kept, Page, Position
from fast_channels_postgres.connection import logger
from fast_channels_postgres.driver import Raw
from fast_channels_postgres.history_sql import (
    APPEND,
    APPEND_ALL,
    CLEAR,
    FORGET,
    LAST,
    MAKE,
    READ,
    SWEEP,
)
from fast_channels_postgres.names import shard_name
from fast_channels_postgres.schema import HISTORY_SINCE
from fast_channels_postgres.tables import Tables

T = TypeVar("T")

MOST: Final = 2**31 - 1
LONGEST: Final = 100 * 365 * 86_400.0
"""Entries that a topic can keep, and seconds for which it can: of more, so many."""

SWEEP_SECONDS: Final = 30.0
"""Between two looks for entries of topics that nobody appends to any more."""

LARGEST: Final = 2**63 - 2
"""The largest number of an entry after which another one can be."""


class Row(NamedTuple):
    """The end of one topic's history, as the function ``append`` takes it."""

    topic: str
    channel: str
    """The name on which subscribers are notified."""
    most: int
    lifetime: timedelta
    payloads: list[bytes]
    ids: list[bytes | None] | None

    @classmethod
    def of(cls, append: Append) -> "Row":
        """Return what the append means; of what is too much for the tables, the most they take."""
        topic, entries, keep, ttl = append
        lifetime = timedelta(seconds=min(ttl, LONGEST))
        payloads = [entry.payload for entry in entries]
        ids = [_encoded(entry.id) for entry in entries]
        some = ids if ids.count(None) < len(ids) else None
        return cls(topic, shard_name(topic), min(keep, MOST), lifetime, payloads, some)


class PostgresHistory:
    """The history of one session."""

    exact = True

    def __init__(self) -> None:
        self._tables: Tables | None = None
        self._order = asyncio.Lock()
        """One statement appends at a time: else a later one could be the first to commit."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._swept = 0.0

    def open(self, tables: Tables) -> None:
        """From now on it uses these connections."""
        self._tables = tables

    async def close(self) -> None:
        """No task is left; what was under way is perhaps done."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def publish(self, appends: Sequence[Append], /) -> None:
        """The entries are kept, and every subscriber is notified: all in one transaction."""
        rows = [Row.of(append) for append in sorted(appends)]  # as everybody locks topics
        await self._owned(self._append(rows))
        self._sweep_now_and_then()

    async def read(self, topic: str, after: Position | None, limit: int, /) -> Page:
        """Return the entries after the position."""
        start = -1 if after is None else min(after.offset, LARGEST)
        rows = await self._owned(self._rows(READ, topic, start, limit))
        head = rows[0]
        if after is not None:
            _check(topic, after, head)
        kept = _kept(rows)
        end = Position(head["epoch"], head["last"])
        position = kept[-1].position if kept else after or end
        return Page(kept, position, position.offset < end.offset)

    async def last(self, topic: str, count: int, /) -> Page:
        """Return the newest entries."""
        rows = await self._owned(self._rows(LAST, topic, count))
        return Page(_kept(rows), Position(rows[0]["epoch"], rows[0]["last"]), False)

    async def clear(self, prefix: str, /) -> None:
        """Histories of topics whose names begin so are gone."""
        await self._owned(self._run(lambda raw: raw.fetch(CLEAR, prefix)))

    # --- statements ---------------------------------------------------------------------------

    async def _append(self, rows: Sequence[Row]) -> None:
        async with self._order:
            if len(rows) == 1:
                await self._run(lambda raw: raw.fetch(APPEND, *rows[0]))
            elif len({row.topic for row in rows}) == len(rows):
                await self._run(lambda raw: raw.fetch(APPEND_ALL, *_together(rows)))
            else:
                await self._run(lambda raw: raw.executemany(APPEND, rows))

    async def _rows(self, query: str, topic: str, *arguments: object) -> list[Any]:
        """Return what the query finds, at least a row about the topic."""
        while not (rows := await self._run(lambda raw: raw.fetch(query, topic, *arguments))):
            await self._run(lambda raw: raw.execute(MAKE, topic))
        return rows

    async def _run(self, call: Callable[[Raw], Awaitable[T]]) -> T:
        if self._tables is None:
            raise BackendUnavailable("the postgres backend is not open")
        return await self._tables.run(call, HISTORY_SINCE)

    async def _owned(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what the work returns; it goes on when the caller is cancelled."""
        task = asyncio.get_running_loop().create_task(work, name="fast-channels-postgres-history")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for it raises it

    # --- what expired -------------------------------------------------------------------------

    def _sweep_now_and_then(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - self._swept >= SWEEP_SECONDS:
            self._swept = loop.time()
            sweeping = loop.create_task(self.sweep(), name="fast-channels-postgres-sweep")
            self._tasks.add(sweeping)
            sweeping.add_done_callback(self._done)

    async def sweep(self) -> None:
        """What has expired is gone, of topics that nobody appends to, too, and these themselves."""
        try:
            while await self._run(lambda raw: raw.fetch(SWEEP)):
                pass
            await self._run(lambda raw: raw.execute(FORGET))
        except FastChannelsError as error:
            logger.debug("old entries stay for now: %s", error)


def _together(rows: Sequence[Row]) -> Sequence[object]:
    """Return the rows as the function ``append_all`` takes them."""
    topics, channels, most, lifetimes, payloads, ids = zip(*rows, strict=True)
    counts = [len(each) for each in payloads]
    owners = [number for number, count in enumerate(counts, 1) for _ in range(count)]
    some: list[bytes | None] | None = None
    if any(ids):
        some = [id for row in rows for id in row.ids or [None] * len(row.payloads)]
    flat = [payload for each in payloads for payload in each]
    return topics, channels, most, lifetimes, counts, owners, flat, some


def _encoded(id: str | None) -> bytes | None:
    """Return the id as the tables have it: text there cannot hold every character."""
    return None if id is None else id.encode("utf-8", "surrogatepass")


def _check(topic: str, after: Position, head: Any) -> None:
    """Raise ``HistoryLost`` unless the topic has everything that came after the position."""
    here = after.offset
    if after.epoch != head["epoch"]:
        problem = f"is another one than that of position {here}"
    elif here > head["last"]:
        problem = f"ends at {head['last']}, before {here}"
    elif here < head["gone"] or head["expired"]:
        problem = f"does not reach back to {here} any more"
    elif not head["known"]:
        problem = f"has nothing at {here}; it was rolled back"
    else:
        return
    raise HistoryLost(f"the history of {topic} {problem}")


def _kept(rows: Sequence[Any]) -> list[Kept]:
    return [
        Kept(Position(row["epoch"], row["number"]), row["payload"])
        for row in rows
        if row["number"] is not None
    ]

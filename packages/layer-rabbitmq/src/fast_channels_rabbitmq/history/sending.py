"""Appending to streams, with confirms, over the connection that publishes."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from fast_channels.exceptions import (
    BackendUnavailable,
    InvalidChannelLayerError,
    MessageTooLarge,
)
from fast_channels.layers import Append, Link
from fast_channels_rabbitmq.channel import Publishing
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.history.ids import Ids
from fast_channels_rabbitmq.history.making import Maker
from fast_channels_rabbitmq.history.marks import properties
from fast_channels_rabbitmq.history.records import MOST_ENTRIES, id_of, message, pack
from fast_channels_rabbitmq.history.scanning import ids_between
from fast_channels_rabbitmq.history.shard import Shard
from fast_channels_rabbitmq.publisher import Publisher, address_of

SEND_SECONDS: Final = 4.0
IDS_SECONDS: Final = 60.0
"""How long reading the ids of a stream may take, before the first send with one."""

IDS_WAIT: Final = 3.0
"""How much of that a send waits for."""

CLOCKS: Final = 60.0
"""Seconds by which clocks may differ."""

LONGEST: Final = 1e9
"""Seconds before now that the server is asked for, at most."""

ENTRY_BYTES: Final = 64
"""More than an entry takes besides its payload."""


class Sending:
    """Appends entries to streams."""

    def __init__(
        self, link: Link[Connection], publisher: Publisher, maker: Maker, max_payload: int
    ) -> None:
        self._link = link
        self._publisher = publisher
        self._maker = maker
        self._max_payload = max_payload
        self._numbers = itertools.count(1)
        self._reading: dict[Ids, asyncio.Task[Ids]] = {}
        self._known: dict[Shard, tuple[Ids, float]] = {}
        """Since when, in seconds since 1970, a stream's ids are known."""

    async def close(self) -> None:
        """No task is left."""
        tasks = list(self._reading.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def send(
        self, shard: Shard, appends: dict[int, Append], errors: dict[int, Exception]
    ) -> None:
        """The stream has the entries, but for those whose indices are in ``errors`` now."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send(shard, appends, errors)
        except TimeoutError:
            late = f"stream {shard.name!r} did not confirm within {SEND_SECONDS:g} s"
            late += "; what was sent last was perhaps done"
            errors.update({index: BackendUnavailable(late) for index in appends})
        except (BackendUnavailable, InvalidChannelLayerError) as error:
            errors.update(dict.fromkeys(appends, error))

    async def _send(
        self, shard: Shard, appends: dict[int, Append], errors: dict[int, Exception]
    ) -> None:
        ttls = [
            append.ttl
            for append in appends.values()
            if any(entry.id is not None for entry in append.entries)
        ]
        if ttls:
            await self._know(shard, max(ttls))
        bodies: list[tuple[bytes, list[int]]] = list(self._bodies(shard, appends, errors))
        while bodies:
            await self._maker.ensure()
            connection = await self._publisher.ready()
            channel = connection.first
            under_way: list[tuple[bytes, list[int], Publishing]] = []
            data: list[bytes] = []
            address = address_of("", shard.name, mandatory=True)
            for body, indices in bodies:
                head, mark = properties(next(self._numbers))
                publishing = channel.publishing(mark)
                if channel.ended is None:
                    data.append(channel.message(publishing, address, head, body)[1])
                under_way.append((body, indices, publishing))
            connection.write(b"".join(data))
            bodies = []
            for body, indices, publishing in under_way:
                try:
                    await publishing.done
                except BackendUnavailable as error:
                    errors.update(dict.fromkeys(indices, error))
                    continue
                if publishing.returned:
                    self._maker.doubt()
                    bodies.append((body, indices))
                elif publishing.nacked:
                    text = f"{connection.name} could not take entries for stream {shard.name!r}"
                    errors.update({index: BackendUnavailable(text) for index in indices})

    def _bodies(
        self, shard: Shard, appends: dict[int, Append], errors: dict[int, Exception]
    ) -> Iterator[tuple[bytes, list[int]]]:
        """Yield messages, and whose entries are in each."""
        sections: list[bytes] = []
        some: list[tuple[bytes | None, bytes]] = []
        indices: list[int] = []
        seen, size, count = shard.offset + 1, 0, 0
        for index, append in appends.items():
            largest = max([len(entry.payload) for entry in append.entries], default=0)
            extra = len(append.topic) + ENTRY_BYTES
            if largest + extra > self._max_payload:
                text = f"{largest} bytes were published, and max_payload is {self._max_payload}"
                errors[index] = MessageTooLarge(text)
                continue
            some = []
            for entry in append.entries:
                length = len(entry.payload) + extra
                known = None if entry.id is None else id_of(append.topic, entry.id)
                if known is not None and shard.live.ids.kept(known):
                    continue
                if size + length > self._max_payload or count == MOST_ENTRIES:
                    if some:
                        sections.append(pack(append, some))
                        indices.append(index)
                    yield message(sections, seen), indices
                    sections, indices, size, count = [], [], 0, 0
                    some = []
                some.append((known, entry.payload))
                size, count = size + length, count + 1
            if some:
                sections.append(pack(append, some))
                indices.append(index)
        if sections:
            yield message(sections, seen), indices

    async def _know(self, shard: Shard, ttl: float) -> None:
        """The ids that the stream keeps are known."""
        await shard.ready()
        ids, since = shard.live.ids, time.time() - ttl - CLOCKS
        known, begins = self._known.get(shard, (None, 0.0))
        if known is ids and begins <= since:
            return
        task = self._reading.get(ids)
        if task is None:
            connection = await self._link.ready()
            moment = datetime.now(UTC) - timedelta(seconds=min(ttl + CLOCKS, LONGEST))
            reading = ids_between(connection, shard.name, moment, ids.since, IDS_SECONDS)
            task = self._reading[ids] = asyncio.create_task(reading)
            task.add_done_callback(lambda _: self._reading.pop(ids, None))
        try:
            async with asyncio.timeout(IDS_WAIT):
                earlier = await asyncio.shield(task)
        except TimeoutError:
            raise BackendUnavailable(
                f"the ids that stream {shard.name!r} keeps are still being read; nothing was sent"
            ) from None
        if shard.live.ids is not ids:
            raise BackendUnavailable(f"stream {shard.name!r} was lost; nothing was sent")
        ids.add(earlier)
        self._known[shard] = ids, since

"""Reading a part of a stream, by a consumer of its own."""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple

from fast_channels.exceptions import BackendUnavailable
from fast_channels_rabbitmq.channel import Channel, Delivery
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.history.ids import Ids
from fast_channels_rabbitmq.history.marks import Gone
from fast_channels_rabbitmq.history.records import BITS, sections
from fast_channels_rabbitmq.history.streams import Acknowledging, consume, offset_of

PAGE_CREDIT: Final = 32
"""Messages that the server sends ahead for a page, which a few may fill."""

WIDE_CREDIT: Final = 500
SCAN_SECONDS: Final = 4.0


class Stored(NamedTuple):
    """An entry of a topic in its stream, perhaps the second one with its id."""

    position: int
    payload: bytes
    known: bytes | None
    keep: int
    ends: float
    seen: int


class Scan:
    """A consumer of a stream, and what came of it and was not taken yet; made by ``begin``.

    The server sends as many messages ahead as the credit says, and more as they are taken.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self.name = name
        self.ended: Exception | None = None
        """Why nothing comes any more."""
        self.waiting = 0
        """Bytes that came and were not taken yet."""
        self.most = math.inf
        """With more of them waiting it ends."""
        self._connection = connection
        self._came: deque[Delivery] = deque()
        self._wakes: asyncio.Future[None] | None = None
        self._channel: Channel | None = None
        self._acknowledge: Callable[[int], None] = _nothing

    @classmethod
    async def begin(
        cls, connection: Connection, name: str, start: "int | str | datetime", credit: int
    ) -> "Scan":
        """Return a scan from an offset or time on."""
        scan = cls(connection, name)
        channel = await consume(connection, name, start, credit, scan._arrived)
        if channel.ended is not None:
            raise Gone(f"{channel.ended}")
        channel.on_ended = scan._end
        scan._channel, scan._acknowledge = channel, Acknowledging(channel)
        return scan

    async def take(
        self, take: Callable[[int, bytes], bool], end: int, seconds: float = SCAN_SECONDS
    ) -> bool:
        """Call ``take`` with the offset and body of each message up to ``end``, which is there.

        Returns False when ``take`` did; the message then comes again, as the next one.
        """
        came = self._came
        try:
            async with asyncio.timeout(seconds):
                while True:
                    while came:
                        delivery = came[0]
                        offset = offset_of(delivery)
                        if offset > end:
                            return True
                        if not take(offset, delivery.body):
                            return False
                        came.popleft()
                        self.waiting -= len(delivery.body)
                        self._acknowledge(delivery.tag)
                        if offset == end:
                            return True
                    await self._more()
        except TimeoutError:
            raise BackendUnavailable(
                f"{self._connection.name} did not send all of stream {self.name!r} within "
                f"{seconds:g} s"
            ) from None

    def close(self) -> None:
        """Nothing comes any more."""
        self._end(Gone(f"the reading of stream {self.name!r} has ended"))
        if self._channel is not None:
            self._channel.on_ended = None
            self._channel.close()

    async def _more(self) -> None:
        if self.ended is not None:
            raise Gone(f"{self.ended}")
        self._wakes = asyncio.get_running_loop().create_future()
        await self._wakes

    def _arrived(self, delivery: Delivery) -> None:
        self._came.append(delivery)
        self.waiting += len(delivery.body)
        if self.waiting > self.most:
            self.close()
        self._wake()

    def _end(self, cause: Exception) -> None:
        if self.ended is None:
            self.ended = cause
            self._came.clear()
            self._wake()

    def _wake(self) -> None:
        if self._wakes is not None and not self._wakes.done():
            self._wakes.set_result(None)


def _nothing(_: int) -> None:
    """There is no channel yet."""


async def scan(
    connection: Connection,
    name: str,
    start: "int | datetime",
    end: int,
    take: Callable[[int, bytes], bool],
    seconds: float = SCAN_SECONDS,
) -> None:
    """Call ``take`` with the offset and body of each message from ``start`` to ``end``, which is
    there; until it returns False."""
    if isinstance(start, int) and start > end:
        return
    reading = await Scan.begin(connection, name, start, WIDE_CREDIT)
    try:
        await reading.take(take, end, seconds)
    finally:
        reading.close()


async def ids_between(
    connection: Connection, name: str, start: "int | datetime", stop: int, seconds: float
) -> Ids:
    """Return the ids in the messages from ``start`` to before ``stop``."""
    found = Ids(start if isinstance(start, int) else stop)

    def take(offset: int, body: bytes) -> bool:
        if offset >= stop:
            return False
        found.since = min(found.since, offset)
        for section in sections(body):
            if section.has_ids:
                for place, known, _ in section.entries():
                    if known:
                        position = (offset << BITS) + place + 1
                        found.note(known, position, section.ends, section.seen)
        return True

    await scan(connection, name, start, stop, take, seconds)
    return found


def stored(offset: int, body: bytes, topic: str) -> list[Stored]:
    """Return what a message has of the topic."""
    return [
        Stored(
            (offset << BITS) + place + 1, payload, known, section.keep, section.ends, section.seen
        )
        for section in sections(body)
        if section.topic == topic
        for place, known, payload in section.entries()
    ]

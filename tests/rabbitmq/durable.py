"""What the tests of durable groups share: a backend with its inbox, and ways to use it."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from pamqp import commands
from tests.waiting import soon

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Append, Entry, History, HistoryPolicy, Kept, Position
from fast_channels_rabbitmq import RabbitMQBackend, RabbitMQChannelLayer
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.publisher import address_of

KEPT = {"kept*": HistoryPolicy(keep=1_000, ttl=600.0)}
GAP = {"type": "channels.gap", "group": "kept"}
LAST = {"type": "last"}


class Process:
    """A backend and its inbox."""

    def __init__(self, backend: RabbitMQBackend) -> None:
        self.backend = backend
        self.kept: list[Kept] = []
        self.gaps: list[Collection[str] | None] = []

    @property
    def history(self) -> History:
        assert self.backend.history is not None
        return self.backend.history

    def deliver(self, topic: str, payload: bytes, position: Position | None = None, /) -> None:
        assert position is not None
        self.kept.append(Kept(position, payload))

    def gap(self, cause: Exception, topics: Collection[str] | None = None, /) -> None:
        self.gaps.append(topics)

    async def publish(self, topic: str, payload: bytes, known: str | None = None) -> None:
        await self.publish_all(topic, Entry(payload, known))

    async def publish_all(self, topic: str, *entries: Entry) -> None:
        """They are in one message of the stream."""
        await soon(self.history.publish([Append(topic, list(entries), 100, 60.0)]))

    async def all(self, topic: str, after: Position | None = None) -> list[Kept]:
        return (await self.pages(topic, after, 100))[0]

    async def pages(
        self, topic: str, place: Position | None, limit: int
    ) -> tuple[list[Kept], Position]:
        """Return all that is after the place, read in pages, and the place after it."""
        found: list[Kept] = []
        more = True
        while more:
            page = await soon(self.history.read(topic, place, limit))
            found += page.entries
            place, more = page.position, page.more
        assert place is not None
        return found, place

    async def last(self, topic: str, count: int) -> list[bytes]:
        return payloads((await soon(self.history.last(topic, count))).entries)


Processes = Callable[..., Awaitable[Process]]
"""What the fixture ``process`` is."""


def payloads(entries: Collection[Kept]) -> list[bytes]:
    """Return what was published."""
    return [each.payload for each in entries]


async def publish(connection: Connection, queue: str, *bodies: bytes) -> None:
    """The queue has the messages."""
    channel = connection.channel()
    await soon(channel.ask(commands.Confirm.Select()))
    publishing = channel.publishing()
    address = address_of("", queue)
    for body in bodies:
        connection.write(channel.message(publishing, address, b"\0\0", body)[1])
    await soon(publishing.done)
    channel.close()


async def sent_once(
    layer: RabbitMQChannelLayer, message: dict[str, Any], known: str, seconds: float = 20.0
) -> None:
    """The durable group has the message, however often that had to be tried."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                await layer.group_send("kept", message, id=known)
                return
            except BackendUnavailable:
                await asyncio.sleep(0.02)

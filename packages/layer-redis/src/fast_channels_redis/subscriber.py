"""The connection that listens: what is subscribed to, and what comes of it."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

import hiredis

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Inbox
from fast_channels_redis.connection import Connection, ConnectionLost, Reply, pack, retrieve
from fast_channels_redis.link import PATIENCE, Link, Locate
from fast_channels_redis.server import STEP_SECONDS

CHUNK: Final = 500
"""Topics in one command, so that a server is not kept from others for long."""


class Listening(Connection):
    """A connection in which messages come between replies."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        super().__init__(loop, name)
        self.held: list[tuple[bytes, bytes]] = []
        """What came before the connection was in use."""
        self.restored: set[bytes] = set()
        self.message: Callable[[bytes, bytes], None] = self._hold

    async def ask(self, command: bytes, channels: Sequence[bytes]) -> None:
        """The server has confirmed the command for every channel."""
        replies = await self.send(pack(command, *channels), len(channels))
        if isinstance(replies[0], hiredis.ReplyError):
            name = command.decode()
            raise BackendUnavailable(f"{self.name} refused {name}: {replies[0]}")

    def _hold(self, channel: bytes, payload: bytes) -> None:
        self.held.append((channel, payload))

    def _take(self, reply: Reply) -> None:
        if reply.__class__ is list and reply[0] == b"message":
            self.message(reply[1], reply[2])
        elif isinstance(reply, hiredis.ReplyError) and self._calls:
            self.answer([reply])  # one error for a command, however many channels it names
        else:
            super()._take(reply)


class Subscriber:
    """Listens to topics on one server."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        locate: Locate,
        inbox: Inbox,
        space: bytes = b"",
        *,
        alone: bool = True,
    ) -> None:
        self.link = Link(loop, "subscribe", locate, Listening)
        self.link.prepare = self._restore
        self.link.came_back = self._came_back
        self._inbox = inbox
        self._space = space
        self._alone = alone
        """There is no other server: a loss here is a loss on any topic."""
        self._topics: dict[bytes, str] = {}
        """What is subscribed to, or about to be, by the server's name for it."""
        self._claims: dict[bytes, object] = {}
        """The calls that wait for the first confirmation of a topic."""

    async def open(self) -> None:
        """Connected, and ready to subscribe."""
        await self.link.open()
        if self.link.connection is not None:
            self.link.connection.message = self._deliver

    async def subscribe(self, topics: Collection[str]) -> None:
        """The server will deliver; raises ``BackendUnavailable``, and then none is subscribed."""
        claim = object()
        fresh: list[bytes] = []
        for topic in topics:
            channel = self._space + topic.encode()
            if channel not in self._topics or channel in self._claims:
                self._topics[channel] = topic
                self._claims[channel] = claim
                fresh.append(channel)
        try:
            await self._confirmed(fresh)
        except BaseException:
            # Unless another call has asked for it, or has it, meanwhile.
            mine = [channel for channel in fresh if self._claims.get(channel) is claim]
            for channel in mine:
                del self._topics[channel], self._claims[channel]
            self._forget(mine)
            raise
        for channel in fresh:
            self._claims.pop(channel, None)

    async def unsubscribe(self, topics: Collection[str]) -> None:
        """Nothing of the topics is delivered any more."""
        channels = [self._space + topic.encode() for topic in topics]
        gone = [channel for channel in channels if self._topics.pop(channel, None) is not None]
        for channel in gone:
            self._claims.pop(channel, None)
        connection = self.link.connection
        if connection is None:
            return
        try:
            for chunk in _chunks(gone):
                await connection.ask(b"UNSUBSCRIBE", chunk)
        except ConnectionLost:
            pass  # and with it the subscription

    async def _confirmed(self, channels: Sequence[bytes]) -> None:
        began = time.monotonic()
        while True:
            connection = await self.link.ready()
            try:
                for chunk in _chunks(channels):
                    await connection.ask(b"SUBSCRIBE", chunk)
                return
            except ConnectionLost:
                if time.monotonic() - began > PATIENCE:
                    raise

    def _forget(self, channels: Sequence[bytes]) -> None:
        """Unsubscribe without waiting: what still comes is dropped here."""
        connection = self.link.connection
        if connection is not None:
            for chunk in _chunks(channels):
                command = pack(b"UNSUBSCRIBE", *chunk)
                connection.send(command, len(chunk)).add_done_callback(retrieve)

    # --- repair -------------------------------------------------------------------------------

    async def _restore(self, connection: Listening) -> None:
        """The fresh connection is subscribed to every topic of this moment."""
        while missing := self._topics.keys() - connection.restored:
            for chunk in _chunks(list(missing)):
                try:
                    async with asyncio.timeout(STEP_SECONDS):
                        await connection.ask(b"SUBSCRIBE", chunk)
                except TimeoutError:
                    raise BackendUnavailable(f"{connection.name} does not answer") from None
                connection.restored.update(chunk)

    def _came_back(self, connection: Listening, cause: Exception) -> None:
        self._forget(list(connection.restored - self._topics.keys()))
        connection.restored.clear()
        self._inbox.gap(cause, None if self._alone else list(self._topics.values()))
        held, connection.held = connection.held, []
        for channel, payload in held:
            self._deliver(channel, payload)
        connection.message = self._deliver

    def _deliver(self, channel: bytes, payload: bytes) -> None:
        topic = self._topics.get(channel)
        if topic is not None:
            self._inbox.deliver(topic, payload)


def _chunks(channels: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (channels[start : start + CHUNK] for start in range(0, len(channels), CHUNK))

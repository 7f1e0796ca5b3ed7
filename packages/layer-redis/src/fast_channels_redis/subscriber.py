"""The connection that listens: what is subscribed to, and what comes of it."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

import hiredis

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Inbox, is_history_topic
from fast_channels_redis.connection import Connection, ConnectionLost, Reply, pack, retrieve
from fast_channels_redis.history import published
from fast_channels_redis.link import PATIENCE, Locate, link_to
from fast_channels_redis.recovery import Recovery
from fast_channels_redis.server import STEP_SECONDS

logger = logging.getLogger("fast_channels.redis")

CHUNK: Final = 500
"""Topics that are confirmed before more are asked for: the server is not kept from others, and is
known to be there."""


class Refused(BackendUnavailable):
    """The server refused to subscribe; ``errors`` tells why, by channel."""

    def __init__(self, name: str, errors: dict[bytes, str]) -> None:
        super().__init__(f"{name} refused SUBSCRIBE: {next(iter(errors.values()))}")
        self.errors = errors


class Listening(Connection):
    """A connection in which messages come between replies."""

    message_kind: bytes = b"message"
    subscribe: bytes = b"SUBSCRIBE"
    unsubscribe: bytes = b"UNSUBSCRIBE"

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        super().__init__(loop, name)
        self.held: list[tuple[bytes, bytes]] = []
        """What came before the connection was in use."""
        self.restored: set[bytes] = set()
        self.message: Callable[[bytes, bytes], None] = self._hold

    async def ask(self, command: bytes, channels: Sequence[bytes]) -> dict[bytes, str]:
        """The server has answered the command for every channel; return the errors."""
        replies = await self.tell(command, channels)
        return {
            channel: str(reply)
            for channel, reply in zip(channels, replies, strict=True)
            if isinstance(reply, hiredis.ReplyError)
        }

    def tell(self, command: bytes, channels: Sequence[bytes]) -> "asyncio.Future[list[Reply]]":
        """Send the command for every channel: one each, so one reply each, error or not."""
        data = b"".join([pack(command, channel) for channel in channels])
        return self.send(data, len(channels), channels)

    def _hold(self, channel: bytes, payload: bytes) -> None:
        self.held.append((channel, payload))

    def _take(self, reply: Reply) -> None:
        if reply.__class__ is list and reply[0] == self.message_kind:
            self.message(reply[1], reply[2])
        else:
            super()._take(reply)


class Subscriber:
    """Listens to topics on one server."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        locate: Locate,
        inbox: Inbox,
        recovery: Recovery,
        space: bytes = b"",
        make: Callable[[asyncio.AbstractEventLoop, str], Listening] = Listening,
    ) -> None:
        self.link = link_to(loop, "subscribe", locate, make)
        self.link.prepare = self._restore
        self.link.came_back = self._came_back
        self.link.went = lambda _: recovery.lost(self._topics.values())
        self.moved: Callable[[list[str]], None] | None = None
        """Told of topics that are another server's now; they are forgotten here."""
        self._inbox = inbox
        self._recovery = recovery
        self._space = space
        self._connected = False
        self._topics: dict[bytes, str] = {}
        """What is subscribed to, or about to be, by the server's name for it."""
        self._claims: dict[bytes, object] = {}
        """The calls that wait for the first confirmation of a topic."""
        self._arriving: dict[bytes, list[bytes]] = {}
        """What came of topics that come from another server, until the gap is told."""

    async def open(self) -> None:
        """Connected, and ready to subscribe."""
        await self.link.open()
        self._connected = True
        if self.link.connection is not None:
            self.link.connection.message = self.deliver

    @property
    def subscribed(self) -> int:
        """How many topics are here."""
        return len(self._topics)

    @property
    def down(self) -> bool:
        """True while topics are not delivered."""
        return self.link.connection is None and bool(self._topics or self._arriving)

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
        if not fresh:
            await self.link.ready()
            await asyncio.sleep(0)  # a caller that only repeats itself lets others run
            return
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
        gone = self.drop(topics)
        connection = self.link.connection
        if connection is None:
            return
        try:
            for chunk in _chunks(gone):
                await connection.ask(connection.unsubscribe, chunk)
        except ConnectionLost:
            pass  # and with it the subscription

    def drop(self, topics: Iterable[str]) -> list[bytes]:
        """Forget the topics; return the server's names of those that were known."""
        gone: list[bytes] = []
        for topic in topics:
            channel = self._space + topic.encode()
            known = self._topics.pop(channel, None) is not None
            self._claims.pop(channel, None)
            if self._arriving.pop(channel, None) is not None or known:
                gone.append(channel)
        return gone

    async def adopt(self, topics: Collection[str]) -> Callable[[], None]:
        """The server will deliver topics that were another's; what comes of them is held.

        Call what is returned when the gap was told.
        """
        channels = {self._space + topic.encode(): topic for topic in topics}
        for channel in channels:
            self._arriving.setdefault(channel, [])
        try:
            await self._confirmed(list(channels))
        except BaseException:
            self.abandon(topics)
            raise
        return partial(self._arrived, channels)

    def abandon(self, topics: Iterable[str]) -> None:
        """Forget the topics at once; the server is told, and not waited for."""
        self._forget(self.drop(topics))

    def _arrived(self, channels: dict[bytes, str]) -> None:
        for channel, topic in channels.items():
            held = self._arriving.pop(channel, None)
            if held is not None:  # else it was unsubscribed meanwhile
                self._topics[channel] = topic
                for payload in held:
                    self._hand_on(topic, payload)

    async def _confirmed(self, channels: Sequence[bytes]) -> None:
        began = time.monotonic()
        while True:
            connection = await self.link.ready()
            errors: dict[bytes, str] = {}
            try:
                for chunk in _chunks(channels):
                    errors |= await connection.ask(connection.subscribe, chunk)
            except ConnectionLost:
                if time.monotonic() - began > PATIENCE:
                    raise
            else:
                if errors:
                    raise Refused(connection.name, errors)
                return

    def _forget(self, channels: Sequence[bytes]) -> None:
        """Unsubscribe without waiting: what still comes is dropped here."""
        connection = self.link.connection
        if connection is not None and channels:
            connection.tell(connection.unsubscribe, channels).add_done_callback(retrieve)

    # --- repair -------------------------------------------------------------------------------

    async def _restore(self, connection: Listening) -> None:
        """The fresh connection is subscribed to every topic of this moment."""
        while missing := (self._topics.keys() | self._arriving.keys()) - connection.restored:
            for chunk in _chunks(list(missing)):
                try:
                    async with asyncio.timeout(STEP_SECONDS):
                        errors = await connection.ask(connection.subscribe, chunk)
                except TimeoutError:
                    raise BackendUnavailable(f"{connection.name} does not answer") from None
                self._left(errors, connection)
                connection.restored.update(chunk)

    def _left(self, errors: dict[bytes, str], connection: Listening) -> None:
        """Let go of topics that the server says are another's."""
        if not errors:
            return
        if self.moved is None or not all(text.startswith("MOVED") for text in errors.values()):
            raise Refused(connection.name, errors)
        self.lose(errors)

    def lose(self, channels: Iterable[bytes]) -> None:
        """Forget topics that are another server's now, and tell who places them."""
        topics = [topic for channel in channels if (topic := self._topics.pop(channel, None))]
        for topic in topics:
            self._claims.pop(self._space + topic.encode(), None)
        if topics and self.moved is not None:
            self.moved(topics)

    def _came_back(self, connection: Listening, cause: Exception) -> None:
        if not self._connected:
            self._connected = True  # for the first time: nothing was lost
            self._release(connection)
            return
        self._forget(list(connection.restored - self._topics.keys() - self._arriving.keys()))
        connection.restored.clear()
        self._recovery.back(cause, self._topics.values(), partial(self._release, connection))

    def _release(self, connection: Listening) -> None:
        held, connection.held = connection.held, []
        for channel, payload in held:
            self.deliver(channel, payload)
        connection.message = self.deliver

    def deliver(self, channel: bytes, payload: bytes) -> None:
        """Hand on one message, unless its topic was left."""
        topic = self._topics.get(channel)
        if topic is not None:
            self._hand_on(topic, payload)
        elif channel in self._arriving:
            self._arriving[channel].append(payload)

    def _hand_on(self, topic: str, payload: bytes) -> None:
        if not is_history_topic(topic):
            self._inbox.deliver(topic, payload)
            return
        try:
            entry, position = published(payload)
        except ValueError:
            logger.warning("what came on %s is no entry of its history; skipped", topic)
            return
        self._inbox.deliver(topic, entry, position)


def _chunks(channels: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (channels[start : start + CHUNK] for start in range(0, len(channels), CHUNK))

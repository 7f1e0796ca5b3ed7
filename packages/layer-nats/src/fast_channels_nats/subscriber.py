"""What is subscribed to, and what comes of it: one subscription for each topic.

nats-py runs a task for each of its subscriptions, which takes 4.6 KiB and loses the order across
topics; here a subscription is two entries in tables, and all that comes is handed on in its order.
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import Final

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Inbox, is_history_topic
from fast_channels_nats.connection import Connection, ConnectionLost, Message, retrieve
from fast_channels_nats.everywhere import Everywhere
from fast_channels_nats.kept_live import KeptLive
from fast_channels_nats.kept_stream import prefix_of
from fast_channels_nats.link import NatsLink, logger
from fast_channels_nats.server import STEP_SECONDS
from fast_channels_nats.subjects import refused_subject, stream_of, subject_of

PATIENCE: Final = 2.0
"""Seconds for which a subscription that a lost connection did not confirm is made again."""

CHUNK: Final = 1_000
"""Subscriptions restored with one write, so that a server is not kept from others for long."""

ELECTED: Final = b"$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.*"
LEADERS: Final = b"l"
"""Where the servers of a cluster tell that a stream has another leader, and the subscription."""


class Subscriber:
    """Listens to topics over a link."""

    def __init__(self, link: NatsLink, inbox: Inbox, others: Callable[[Message], None]) -> None:
        self._everywhere = Everywhere()
        self._others = others
        """Told of what came for another subscription."""
        self._link = link
        self._inbox = inbox
        self.kept = KeptLive(inbox)
        self._ids = itertools.count(1)
        self.fence: Callable[[Collection[str]], Awaitable[None]] | None = None
        """Waits until the servers from which kept entries come know of what was subscribed to."""
        self.known: Callable[[str], bool] | None = None
        """Tells whether a stream has been there for a while."""
        self._watched: Connection | None = None
        self._topics: dict[str, bytes] = {}
        """The id of the subscription to each topic, made or about to be."""
        self._by_sid: dict[bytes, str] = {}
        self._claims: dict[str, object] = {}
        """The calls that wait for the first confirmation of a topic."""

    async def subscribe(self, topics: Collection[str]) -> None:
        """The server will deliver; raises ``BackendUnavailable``, and then none is subscribed."""
        claim = object()
        fresh: dict[str, bytes] = {}
        for topic in topics:
            if topic not in self._topics or topic in self._claims:
                sid = self._topics.get(topic)
                if sid is None:
                    kind = b"h%d" if is_history_topic(topic) else b"%d"
                    sid = self._topics[topic] = kind % next(self._ids)
                    self._by_sid[sid] = topic
                self._claims[topic] = claim
                fresh[topic] = sid
        try:
            if fresh:
                await self._confirmed(fresh)
        except BaseException:
            # Unless another call has asked for it, or has it, meanwhile.
            mine = [topic for topic in fresh if self._claims.get(topic) is claim]
            self._drop(mine)
            raise
        for topic in fresh:
            self._claims.pop(topic, None)

    async def _watch(self, connection: Connection) -> None:
        """Hear of it when another server leads a stream: the last one perhaps told only itself."""
        if self._watched is not connection:
            self._watched = connection
            await connection.flush(b"SUB %b %b\r\n" % (ELECTED, LEADERS))

    def _elected(self, stream: str) -> None:
        """Members read what the last leader perhaps kept and did not send.

        A stream that is new to us has its first leader, and lost nothing.
        """
        if stream == self.kept.latest or (self.known is not None and self.known(stream)):
            base = stream.rpartition("+")[0]
            topics = [
                topic
                for topic in self._topics
                if is_history_topic(topic) and stream_of(prefix_of(topic)) == base
            ]
            if topics:
                self._inbox.gap(BackendUnavailable(f"another server leads {stream} now"), topics)

    async def unsubscribe(self, topics: Collection[str]) -> None:
        """Nothing of the topics is delivered any more."""
        done = self._drop(topics)
        if done is not None:
            try:
                await done
            except ConnectionLost:
                pass  # and with it the subscriptions

    def _drop(self, topics: Collection[str]) -> "asyncio.Future[list[str]] | None":
        """Forget the topics, and tell the server; what still comes is dropped here."""
        commands: list[bytes] = []
        self.kept.forget(topics)
        for topic in topics:
            sid = self._topics.pop(topic, None)
            self._claims.pop(topic, None)
            if sid is not None:
                del self._by_sid[sid]
                commands.append(b"UNSUB %b\r\n" % sid)
        connection = self._link.connection
        if not commands or connection is None:
            return None
        done = connection.flush(b"".join(commands))
        done.add_done_callback(retrieve)
        return done

    async def _confirmed(self, fresh: dict[str, bytes]) -> None:
        commands = b"".join(_command(topic, sid) for topic, sid in fresh.items())
        began = time.monotonic()
        while True:
            connection = self._link.connection or await self._link.ready()
            try:
                refusals = await connection.flush(commands)
            except ConnectionLost:
                if time.monotonic() - began > PATIENCE:
                    raise
            else:
                if refusals:
                    mine = {subject_of(topic).decode() for topic in fresh}
                    for text in refusals:
                        if refused_subject(text) in mine:
                            raise BackendUnavailable(f"{connection.name} refused: {text}")
                if "cluster" in connection.info:
                    await self._everywhere.confirm(connection)
                    kept = [topic for topic in fresh if is_history_topic(topic)]
                    if kept and self.fence is not None:
                        await self._watch(connection)
                        await self.fence(kept)
                if connection.lost is None:
                    return

    def ended(self, topic: str, stream: str, sequence: int) -> None:
        """Note where a topic was read to, which tells whether what comes first was overtaken."""
        if topic in self._topics:
            self.kept.order.begins(topic, stream, sequence)

    def refused(self, text: str) -> None:
        """Tell of a topic that the server has allowed and does not allow any more."""
        subject = refused_subject(text)
        if subject is None or "Subscription" not in text:
            return
        for topic in self._topics.keys() - self._claims.keys():
            if subject_of(topic).decode() == subject:
                logger.error("the server took back what it had allowed: %s", text)
                self._inbox.gap(BackendUnavailable(text), [topic])

    # --- repair -------------------------------------------------------------------------------

    async def restore(self, connection: Connection) -> None:
        """The fresh connection is subscribed to every topic of this moment.

        A topic that the server refuses by now stays deaf, and the log says so: the others live.
        """
        while missing := [
            (topic, sid) for sid, topic in self._by_sid.items() if sid not in connection.subscribed
        ]:
            for chunk in _chunks(missing):
                commands = b"".join(_command(topic, sid) for topic, sid in chunk)
                try:
                    async with asyncio.timeout(STEP_SECONDS):
                        refusals = await connection.flush(commands)
                except TimeoutError:
                    raise BackendUnavailable(f"{connection.name} does not answer") from None
                for text in refusals:
                    logger.error("%s refused what it had allowed before: %s", connection.name, text)
                connection.subscribed.update(sid for _, sid in chunk)
        if not connection.prepared:
            connection.prepared = True
            if self._watched is not None:
                await self._watch(connection)
            await self._everywhere.prepare(connection)
            await self.restore(connection)  # what was subscribed to meanwhile

    def came_back(self, connection: Connection, cause: Exception) -> None:
        """Tell of the gap, then of what came meanwhile."""
        gone = connection.subscribed - self._by_sid.keys()
        if gone:
            connection.flush(b"".join(b"UNSUB %b\r\n" % sid for sid in gone)).add_done_callback(
                retrieve
            )
        connection.subscribed.clear()
        self.kept.clear()
        self._inbox.gap(cause)
        held = connection.held[:]
        connection.held.clear()
        for message in held:
            self.deliver(message)

    def deliver(self, message: Message) -> None:
        """Hand on what came, if it is still wanted."""
        topic = self._by_sid.get(message.sid)
        if topic is not None:
            if message.sid[0] == 104:  # "h"
                self.kept.take(topic, message)
            else:
                self._inbox.deliver(topic, message.payload)
        elif message.sid == LEADERS:
            self._elected(message.subject.rpartition(b".")[2].decode())
        elif not self._everywhere.take(message, self._link.connection):
            self._others(message)


def _command(topic: str, sid: bytes) -> bytes:
    return b"SUB %b %b\r\n" % (subject_of(topic), sid)


def _chunks(pairs: Sequence[tuple[str, bytes]]) -> Iterator[Sequence[tuple[str, bytes]]]:
    return (pairs[start : start + CHUNK] for start in range(0, len(pairs), CHUNK))

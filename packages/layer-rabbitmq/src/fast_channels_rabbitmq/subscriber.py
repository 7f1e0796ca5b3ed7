"""What is subscribed to, and what comes of it: one queue, bound once for each topic.

The queue is exclusive to the connection and gone with it: a fresh connection has a fresh queue,
which is bound to everything before anything is taken from it.
"""

import asyncio
import os
import time
from collections.abc import Collection, Iterable
from typing import Any, Final

from pamqp import commands
from pamqp.encode import short_string

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Inbox, Link
from fast_channels_rabbitmq.batches import MARK, unpack
from fast_channels_rabbitmq.channel import (
    ACCESS_REFUSED,
    HEAD,
    Channel,
    ConnectionLost,
    Delivery,
    Refused,
    retrieve,
)
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.publisher import STEP_SECONDS, answered, declare_exchange

SYNC: Final = 500
"""Bindings of which only the last is answered: some 0.1 s of a server's work, so that its answers
come often enough to be signs of life."""

PATIENCE: Final = 2.0
"""Seconds for which a subscription is tried again when connections end over it."""

BIND: Final = b"\x00\x32\x00\x14\x00\x00"
NOWAIT: Final = b"\x01\x00\x00\x00\x00"
ANSWERED: Final = bytes(5)
"""The flag, and no arguments."""

BINDERS: Final = 2
"""Channels that the bindings are spread over: a server carries out what each says beside what the
others say."""

BINDING_SECONDS: Final = 0.001
"""What a binding may take, some seven times what it costs a server that has nothing else to do."""


class Subscriber:
    """Listens to topics over a link."""

    def __init__(
        self, link: Link[Connection], inbox: Inbox, exchange: str, queue_arguments: dict[str, Any]
    ) -> None:
        self.link = link
        self._inbox = inbox
        self._exchange = exchange
        self._arguments = queue_arguments
        self._topics: dict[str, None] = {}
        """What is subscribed to, or about to be."""
        self._claims: dict[str, object] = {}
        """The calls that wait for the first confirmation of a topic."""
        self._queues: dict[Connection, _Queue] = {}
        """Several while one connection is tried beside another."""
        self.follows = False
        """Streams are followed, which go on where they were: a gap names our topics alone."""
        link.prepare = self._prepare
        link.came_back = self._came_back

    @property
    def queue(self) -> str | None:
        """Our queue, while there is one: as a routing key it leads to this process alone."""
        connection = self.link.connection
        queue = None if connection is None else self._queues.get(connection)
        return None if queue is None else queue.name

    def start(self, connection: Connection) -> None:
        """What comes is delivered from now on, beginning with what was held."""
        queue = self._queues.get(connection)
        if queue is not None:
            queue.flow(self._deliver)

    async def subscribe(self, topics: Collection[str]) -> None:
        """The queue is bound; raises ``BackendUnavailable``, and then it counts as not bound."""
        claim = object()
        fresh = [
            topic
            for topic in dict.fromkeys(topics)
            if topic not in self._topics or topic in self._claims
        ]
        for topic in fresh:
            self._topics[topic] = None
            self._claims[topic] = claim
        try:
            if fresh:
                await self._confirmed(fresh)
        except BaseException:
            # Unless another call has asked for it, or has it, meanwhile.
            self._drop([topic for topic in fresh if self._claims.get(topic) is claim])
            raise
        for topic in fresh:
            self._claims.pop(topic, None)

    async def unsubscribe(self, topics: Collection[str]) -> None:
        """Nothing of the topics is delivered any more; the server is told, and not waited for."""
        self._drop(topics)

    def _drop(self, topics: Iterable[str]) -> None:
        known = [topic for topic in dict.fromkeys(topics) if topic in self._topics]
        for topic in known:
            del self._topics[topic]
            self._claims.pop(topic, None)
        for queue in self._queues.values():
            queue.unbind(known)

    async def _confirmed(self, topics: list[str]) -> None:
        began = time.monotonic()
        while True:
            connection = await self.link.ready()
            # What is being prepared beside it has to know of them, too.
            bindings = {here: queue.bind(topics) for here, queue in self._queues.items()}
            try:
                if connection not in bindings:
                    raise ConnectionLost(f"{connection.name} has no queue of ours")
                await bindings[connection]
            except ConnectionLost:
                if time.monotonic() - began > PATIENCE:
                    raise
                await asyncio.sleep(0)
            except Refused as error:
                if error.code == ACCESS_REFUSED or time.monotonic() - began > PATIENCE:
                    raise
                await asyncio.sleep(0)
            else:
                if connection is self.link.connection:
                    return

    # --- repair -------------------------------------------------------------------------------

    async def _prepare(self, connection: Connection) -> None:
        """The connection has a queue that is bound to every topic."""
        self._queues = {here: queue for here, queue in self._queues.items() if here.lost is None}
        name = f"{self._exchange}.{os.urandom(9).hex()}"
        queue = _Queue(connection, self._exchange, name)
        await answered(queue.declare(self._arguments), connection)
        self._queues[connection] = queue
        bound = queue.bind(list(self._topics))  # those that come later are bound as they come
        await answered(bound, connection, STEP_SECONDS + len(self._topics) * BINDING_SECONDS)
        await answered(queue.consume(), connection)
        gone = BackendUnavailable(f"{connection.name} has no queue of ours any more")
        queue.channel.on_cancelled = lambda _: connection.abort(gone)

    def _came_back(self, connection: Connection, cause: Exception) -> None:
        """Tell of the gap, then of what came meanwhile."""
        self._inbox.gap(cause, list(self._topics) if self.follows else None)
        self.start(connection)

    # --- what comes ---------------------------------------------------------------------------

    def _deliver(self, delivery: Delivery) -> None:
        topics, body = self._topics, delivery.body
        if body.startswith(MARK):
            publications = unpack(body)
            if publications is not None:
                deliver = self._inbox.deliver
                for topic, payload in publications:
                    if topic in topics:
                        deliver(topic, payload)
                return
            # Core counts it, like everything that it cannot read.
        if delivery.key in topics:
            self._inbox.deliver(delivery.key, body)


class _Queue:
    """The queue of one connection."""

    def __init__(self, connection: Connection, exchange: str, name: str) -> None:
        self.channel = connection.channel()
        self._binders = [connection.channel() for _ in range(BINDERS)]
        self._exchange = exchange
        self.name = name
        self._address = BIND + short_string(name) + short_string(exchange)
        self._held: list[Delivery] = []
        self.channel.on_delivery = self._held.append
        for channel in (self.channel, *self._binders):
            channel.on_ended = connection.abort

    def flow(self, deliver: Any) -> None:
        """Hand on what came so far, and from now on."""
        self.channel.on_delivery = deliver
        held, self._held = self._held, []
        for delivery in held:
            deliver(delivery)

    def declare(self, arguments: dict[str, Any]) -> "asyncio.Future[Any]":
        """The exchange leads to the queue by its own name when the future is done."""
        return self.channel.ask(
            declare_exchange(self._exchange),
            commands.Queue.Declare(
                0, self.name, exclusive=True, auto_delete=True, arguments=arguments
            ),
            commands.Queue.Bind(0, self.name, self._exchange, self.name),
        )

    def consume(self) -> "asyncio.Future[Any]":
        """What is in the queue comes; nothing is acknowledged: who is gone has lost it anyway."""
        return self.channel.ask(commands.Basic.Consume(0, self.name, "groups", no_ack=True))

    def bind(self, topics: Collection[str]) -> "asyncio.Future[Any]":
        """What is published to the topics comes into the queue when the future is done."""
        asked = [self._bind(channel, some) for channel, some in self._shares(topics)]
        bound: asyncio.Future[Any] = asked[0] if len(asked) == 1 else asyncio.gather(*asked)
        bound.add_done_callback(retrieve)
        return bound

    def unbind(self, topics: Collection[str]) -> None:
        """What is published to the topics does not come into the queue any more, soon."""
        for channel, some in self._shares(topics):
            channel.order(
                *(commands.Queue.Unbind(0, self.name, self._exchange, topic) for topic in some)
            )

    def _shares(self, topics: Collection[str]) -> Iterable[tuple[Channel, list[str]]]:
        """Return the topics by channel; one topic always has the same, which keeps the order."""
        shares: dict[Channel, list[str]] = {}
        for topic in topics:
            shares.setdefault(self._binders[hash(topic) % BINDERS], []).append(topic)
        return shares.items()

    def _bind(self, channel: Channel, topics: list[str]) -> "asyncio.Future[Any]":
        """Bind on that channel; at least one topic.

        Only one binding in ``SYNC`` is answered, and all are written at once: what makes one after
        another slow is the waiting. They are put together here, for the codec takes ten times as
        long as all the rest.
        """
        reply: asyncio.Future[Any] | None = None
        pack, number, start = HEAD.pack, channel.number, self._address
        for first in range(0, len(topics), SYNC):
            keys = [topic.encode() for topic in topics[first : first + SYNC]]
            calls = [b"%b%c%b%b" % (start, len(key), key, NOWAIT) for key in keys]
            calls[-1] = b"%b%c%b%b" % (start, len(keys[-1]), keys[-1], ANSWERED)
            frames = [b"%b%b\xce" % (pack(1, number, len(call)), call) for call in calls]
            reply = channel.ask_raw(b"".join(frames))
        assert reply is not None
        return reply

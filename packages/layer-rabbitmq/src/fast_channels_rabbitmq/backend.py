"""Topics as routing keys of one direct exchange, over two connections: one publishes, one listens.

See ``publisher`` for why there are two.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import (
    Backend,
    History,
    Inbox,
    Link,
    Publication,
    WorkerQueues,
    is_history_topic,
)
from fast_channels_rabbitmq.clock import WITHIN, clock_of
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.history import Kept, RabbitMQHistory
from fast_channels_rabbitmq.probe import Probe
from fast_channels_rabbitmq.publisher import Publisher, logger
from fast_channels_rabbitmq.queues import RabbitMQJob, RabbitMQQueues
from fast_channels_rabbitmq.registry import Registry
from fast_channels_rabbitmq.server import Hosts, Server, connect
from fast_channels_rabbitmq.subscriber import Subscriber

MAX_PAYLOAD: Final = 8_388_608
"""Half of what a server of 4.0 takes when nobody configured it, in bytes."""

QUEUE_LENGTH: Final = 10_000
QUEUE_BYTES: Final = 67_108_864
PATIENCE: Final = 2.0
HISTORY_SECONDS: Final = 3_600.0
ANOTHER_SECONDS: Final = 1.5
CLOSED: Final = "the rabbitmq backend is not open"


class RabbitMQBackend(Backend):
    """A backend over one server, or over any node of a cluster.

    ``exchange`` carries the topics and begins the names of what else is declared; ``capacity_of``
    tells how many jobs a worker queue holds, ``queue_type`` of which type it is. ``queue_length``
    and ``queue_bytes`` are what a process that is slow may leave at the server before the oldest is
    dropped. ``patience`` is for how many seconds a send waits for a server that takes no messages,
    ``history_seconds`` how long streams that are not there yet keep what is sent to durable groups.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        capacity_of: Callable[[str], int] = lambda _: 100,
        *,
        exchange: str = "fc",
        queue_type: str = "classic",
        queue_length: int = QUEUE_LENGTH,
        queue_bytes: int = QUEUE_BYTES,
        max_payload: int = MAX_PAYLOAD,
        patience: float = PATIENCE,
        history_seconds: float = HISTORY_SECONDS,
    ) -> None:
        self.max_payload = self._limit = max_payload
        self.queues: WorkerQueues | None = Queues(self)
        self.history: History | None = Kept(self._opened_history)
        self._servers = list(servers)
        self._capacity_of = capacity_of
        self._exchange = exchange
        self._queue_type = queue_type
        self._arguments: dict[str, Any] = {
            "x-queue-type": "classic",
            "x-max-length": queue_length,
            "x-max-length-bytes": queue_bytes,
            "x-overflow": "drop-head",
        }
        self._patience = patience
        self._history_seconds = history_seconds
        self._kept: RabbitMQHistory | None = None
        self._links: list[Link[Connection]] = []
        self._publisher: Publisher | None = None
        self._subscriber: Subscriber | None = None
        self._probe: Probe | None = None
        self._jobs: RabbitMQQueues | None = None
        self._closing = asyncio.Lock()

    async def open(self, inbox: Inbox, /) -> None:
        """Connected twice, and a queue of ours is bound to nothing yet."""
        loop = asyncio.get_running_loop()
        publishing, listening = [
            Link(loop, Hosts(self._servers).connect, logger=logger, purpose=purpose)
            for purpose in ("publishing", "listening")
        ]
        self._links = [publishing, listening]
        publisher = self._publisher = Publisher(
            loop, publishing, self._exchange, self._limit, self._patience
        )
        publisher.exchange_gone = listening.renew
        subscriber = Subscriber(listening, inbox, self._exchange, self._arguments)
        self._jobs = RabbitMQQueues(
            listening,
            publisher,
            Registry(self._exchange, self._queue_type),
            self._capacity_of,
            self._limit,
        )
        self._kept = RabbitMQHistory(
            listening,
            self._another,
            publisher,
            inbox,
            self._exchange,
            self._history_seconds,
            self._limit,
        )
        await publishing.open()
        await listening.open()
        if listening.connection is not None:
            subscriber.start(listening.connection)
        self._subscriber = subscriber
        self._probe = Probe(loop, self._exchange, publisher, subscriber)

    async def close(self) -> None:
        """The connections are gone; jobs that were taken and not finished are back."""
        async with self._closing:  # whoever else closes waits for it
            if self._jobs is not None:
                self._jobs.close()
            if self._kept is not None:
                await self._kept.close()
            if self._publisher is not None:
                self._publisher.close()
            if self._probe is not None:
                self._probe.close()
            for link in self._links:
                await link.close()
            self._links = []
            self._publisher = self._subscriber = self._probe = self._jobs = self._kept = None

    async def subscribe(self, topics: Collection[str], /) -> None:
        """The server puts what is published to the topics into our queue."""
        if self._subscriber is None:
            raise BackendUnavailable(CLOSED)
        kept = [topic for topic in topics if is_history_topic(topic)]
        if kept:
            self._subscriber.follows = True
            await self._opened_history().subscribe(kept)
        await self._subscriber.subscribe([each for each in topics if not is_history_topic(each)])

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        """The topics are not delivered any more."""
        if self._subscriber is not None:
            self._opened_history().unsubscribe(filter(is_history_topic, topics))
            await self._subscriber.unsubscribe(topics)

    async def publish(self, publications: Sequence[Publication], /) -> None:
        """The server has the publications; ``PublishFailed`` names those that it refuses."""
        publisher = self._publisher
        if publisher is None:
            raise BackendUnavailable(CLOSED)
        await publisher.publish(publications)

    async def describe(self) -> Mapping[str, str | int | float]:
        """Return what the server told of itself; AMQP asks for no limit.

        ``time`` is missing where the user may not do what finds it out.
        """
        if not self._links:
            raise BackendUnavailable(CLOSED)
        connection = await self._links[0].ready()
        names = {"server": "product", "version": "version", "cluster": "cluster_name"}
        told: dict[str, str | int | float] = {
            ours: str(connection.info[name])
            for ours, name in names.items()
            if name in connection.info
        }
        now = await clock_of(connection, self._exchange)
        return told if now is None else {**told, "time": now, "time_within": WITHIN}

    @property
    def deaf(self) -> Exception | None:
        """Why nothing comes now of some durable groups."""
        return None if self._kept is None else self._kept.deaf

    @property
    def jobs(self) -> RabbitMQQueues:
        """The worker queues while the backend is open; raises ``BackendUnavailable`` otherwise."""
        if self._jobs is None:
            raise BackendUnavailable(CLOSED)
        return self._jobs

    async def _another(self, connection: Connection) -> Connection:
        """Return one more connection to the same server."""
        same = next(each for each in self._servers if each.name == connection.name)
        return await connect(same, ANOTHER_SECONDS)

    def _opened_history(self) -> RabbitMQHistory:
        if self._kept is None:
            raise BackendUnavailable(CLOSED)
        return self._kept


class Queues:
    """The power to have worker queues, which a backend has before it is open."""

    def __init__(self, backend: RabbitMQBackend) -> None:
        self._backend = backend

    @property
    def expired(self) -> int:
        """Jobs that nobody took in time, as far as this process was told."""
        try:
            return self._backend.jobs.expired
        except BackendUnavailable:
            return 0

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        """The job is last in its queue."""
        await self._backend.jobs.put(queue, payload, expires_in)

    async def take(self, queue: str, /) -> RabbitMQJob:
        """Wait for the first job of the queue."""
        return await self._backend.jobs.take(queue)

    async def clear(self, prefix: str, /) -> None:
        """Every job in every queue whose name begins with ``prefix`` is gone."""
        await self._backend.jobs.clear(prefix)

"""Topics as NATS subjects, over one connection."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from fast_channels.exceptions import BackendUnavailable, MessageTooLarge, PublishFailed
from fast_channels.layers import (
    Backend,
    History,
    Inbox,
    Publication,
    WorkerQueues,
)
from fast_channels_nats.connection import Connection
from fast_channels_nats.kept_history import Kept, NatsHistory
from fast_channels_nats.link import NatsLink
from fast_channels_nats.queues import NatsJob, NatsQueues
from fast_channels_nats.requests import ANSWER_SECONDS, Requests
from fast_channels_nats.server import Server
from fast_channels_nats.silence import Silence
from fast_channels_nats.subjects import refused_subject, subject_of
from fast_channels_nats.subscriber import Subscriber

MOST_HEADS: Final = 16_384
"""Topics whose command is kept half packed."""


class NatsBackend(Backend):
    """A backend over one server, or over any of a cluster's.

    ``capacity_of`` tells how many jobs a queue holds, ``replicas`` on how many servers a stream
    lives (None: on three where the server is in a cluster, else on one), ``patience`` for how many
    seconds is tried again what JetStream cannot do yet.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        capacity_of: Callable[[str], int] = lambda _: 100,
        *,
        replicas: int | None = None,
        inbox_prefix: str = "_INBOX",
        patience: float = ANSWER_SECONDS,
    ) -> None:
        self.max_payload = self._limit = servers[0].max_payload
        self.queues: WorkerQueues | None = Queues(self)
        self.history: History | None = Kept(self._opened_history)
        self._servers = list(servers)
        self._capacity_of = capacity_of
        self._replicas = replicas
        self._inbox_prefix = inbox_prefix
        self._patience = patience
        self._link: NatsLink | None = None
        self._silence: Silence | None = None
        self._subscriber: Subscriber | None = None
        self._jobs: NatsQueues | None = None
        self._kept: NatsHistory | None = None
        self._heads: dict[str, bytes] = {}
        self._closing = asyncio.Lock()

    async def open(self, inbox: Inbox, /) -> None:
        """Connected to one of the servers."""
        loop = asyncio.get_running_loop()
        link = self._link = NatsLink(loop, self._servers)
        requests = Requests(link, self._inbox_prefix, self._patience)
        silence = self._silence = Silence(link, requests)
        requests.unanswered = silence.note
        subscriber = self._subscriber = Subscriber(link, inbox, requests.take)
        jobs = self._jobs = NatsQueues(
            loop, requests, self._capacity_of, self._replicas, self._servers[0].max_payload
        )
        kept = self._kept = NatsHistory(requests, self._replicas, self._servers[0].max_payload)
        subscriber.kept.whole = kept.reader.whole
        kept.reader.ended = subscriber.ended
        subscriber.fence, subscriber.known = kept.fence, kept.known

        def came_back(connection: Connection, cause: Exception) -> None:
            live = subscriber.kept
            if live.latest:
                kept.came_back(live.latest, live.offset)
            subscriber.came_back(connection, cause)
            link.use(connection, subscriber.deliver)
            jobs.came_back(connection)

        def went(cause: Exception) -> None:
            requests.lost(cause)
            jobs.lost()
            kept.lost(cause)

        link.prepare = subscriber.restore
        link.came_back = came_back
        link.went = went
        link.refused = subscriber.refused
        await link.open()
        if link.connection is not None:
            link.use(link.connection, subscriber.deliver)

    async def close(self) -> None:
        """The connection is gone; jobs that were taken and not finished are back."""
        async with self._closing:  # whoever else closes waits for it
            link, jobs = self._link, self._jobs
            if link is not None and jobs is not None:
                try:
                    if self._silence is not None:
                        await self._silence.close()
                    if self._subscriber is not None:
                        await self._subscriber.kept.close()
                    if self._kept is not None:
                        await self._kept.close()
                    await jobs.close()
                finally:
                    await link.close()
                self._link = self._subscriber = None

    async def subscribe(self, topics: Collection[str], /) -> None:
        """The server that this process is connected to delivers the topics."""
        if self._subscriber is None:
            raise BackendUnavailable(CLOSED)
        await self._subscriber.subscribe(topics)

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        """The topics are not delivered any more."""
        if self._subscriber is not None:
            await self._subscriber.unsubscribe(topics)

    async def publish(self, publications: Sequence[Publication], /) -> None:
        """The server has the publications; ``PublishFailed`` names those that it refuses."""
        link, limit = self._link, self._limit
        if link is None:
            raise BackendUnavailable(CLOSED)
        if not publications:
            return
        connection = link.connection or await link.ready()
        errors: dict[int, Exception] = {}
        heads, make, commands = self._heads, self._head, list[bytes]()
        for index, (topic, payload) in enumerate(publications):
            size = len(payload)
            if size > limit:
                errors[index] = MessageTooLarge(
                    f"{size} bytes were published, and {connection.name} takes at most {limit}"
                )
            else:
                head = heads.get(topic) or make(topic)
                commands.append(b"%b%d\r\n%b\r\n" % (head, size, payload))
        refusals = await connection.flush(b"".join(commands))
        if refusals:
            texts = {refused_subject(text): text for text in refusals}
            for index, (topic, _) in enumerate(publications):
                text = texts.get(subject_of(topic).decode())
                if text is not None:
                    errors[index] = BackendUnavailable(f"{connection.name} refused: {text}")
        if errors:
            raise PublishFailed(errors)

    async def describe(self) -> Mapping[str, str | int | float]:
        """Return what the server told of itself; it does not tell its clock."""
        if self._link is None:
            raise BackendUnavailable(CLOSED)
        info = (await self._link.ready()).info
        told: dict[str, str | int | float] = {"server": "nats-server"}
        told |= {name: info[name] for name in ("version", "max_payload", "cluster") if name in info}
        return {**told, "jetstream": "yes" if info.get("jetstream") else "no"}

    @property
    def jobs(self) -> NatsQueues:
        """The worker queues while the backend is open; raises ``BackendUnavailable`` otherwise."""
        if self._link is None or self._jobs is None:
            raise BackendUnavailable(CLOSED)
        return self._jobs

    def _opened_history(self) -> NatsHistory:
        if self._link is None or self._kept is None:
            raise BackendUnavailable(CLOSED)
        return self._kept

    def _head(self, topic: str) -> bytes:
        """Return the command up to the payload's length; kept, for topics come again and again."""
        if len(self._heads) >= MOST_HEADS:
            self._heads.clear()
        head = self._heads[topic] = b"PUB %b " % subject_of(topic)
        return head


class Queues:
    """The power to have worker queues, which a backend has before it is open."""

    def __init__(self, backend: NatsBackend) -> None:
        self._backend = backend

    @property
    def expired(self) -> int:
        """Jobs that nobody took in time, as far as this process noticed."""
        try:
            return self._backend.jobs.expired
        except BackendUnavailable:
            return 0

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        """The job is last in its queue."""
        await self._backend.jobs.put(queue, payload, expires_in)

    async def take(self, queue: str, /) -> NatsJob:
        """Wait for the first job of the queue."""
        return await self._backend.jobs.take(queue)

    async def clear(self, prefix: str, /) -> None:
        """Every job in every queue whose name begins with ``prefix`` is gone."""
        await self._backend.jobs.clear(prefix)


CLOSED: Final = "the nats backend is not open"

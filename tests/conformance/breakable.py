"""The memory backend with a connection that can break, so that the outage clauses have a subject.

Every call takes a round trip (a few loop turns), at any of which it may be cancelled.
"""

import asyncio
import logging
import random
from collections.abc import Collection, Sequence
from typing import ClassVar

from fast_channels.exceptions import BackendUnavailable, MessageTooLarge, PublishFailed
from fast_channels.layers import Append, Inbox, InMemoryChannelLayer, Page, Position, Publication
from fast_channels.layers.in_memory import MemoryBackend, MemoryBroker, MemoryJob, MemoryQueues
from fast_channels.layers.in_memory.history import MemoryHistory

logger = logging.getLogger(__name__)

CAPACITY = 100
PASSWORD = "hunter2-and-more"


class BreakableBroker(MemoryBroker):
    """A broker that its backends lose, and find again."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.connections: set[BreakableBackend] = set()

    def stop(self) -> None:
        """No backend of this event loop reaches the broker, which forgets them."""
        self.down = True
        for backend in tuple(self.connections):
            backend.lost()

    def start(self) -> None:
        """The broker can be reached."""
        self.down = False


class Gate:
    """An inbox that holds what comes while a connection is restored."""

    def __init__(self, inbox: Inbox, backend: MemoryBackend) -> None:
        self.shut = False
        self._inbox = inbox
        self._backend = backend
        self.held: list[tuple[str, bytes, Position | None]] = []

    def deliver(self, topic: str, payload: bytes, position: Position | None = None, /) -> None:
        if self.shut:
            self.held.append((topic, payload, position))
        else:
            self._inbox.deliver(topic, payload, position)

    def gap(self, cause: Exception, topics: Collection[str] | None = None, /) -> None:
        """Tell the gap, then deliver what was held."""
        self._inbox.gap(cause, topics)
        self.shut = False
        held, self.held = self.held, []
        for topic, payload, position in held:
            if topic in self._backend.topics:
                self._inbox.deliver(topic, payload, position)

    def forget(self) -> None:
        self.held.clear()


class BreakableBackend(MemoryBackend):
    """Raises ``BackendUnavailable`` while its broker is down, and comes back by itself."""

    max_payload = 300_000
    make_queues: ClassVar[type["BreakableQueues"]]
    make_history: ClassVar[type["BreakableHistory"]]

    def __init__(self, broker: BreakableBroker) -> None:
        self.broker = broker
        self.url = f"memory://user:{PASSWORD}@broker"
        self.jobs = self.make_queues(self)
        super().__init__(broker, self.jobs, self.make_history(self))
        self.connected = False
        self.gate: Gate | None = None
        self.repairing: asyncio.Task[None] | None = None

    async def open(self, inbox: Inbox, /) -> None:
        await asyncio.sleep(0)
        if self.broker.down:
            raise BackendUnavailable("the broker is down")
        self.gate = Gate(inbox, self)
        await super().open(self.gate)
        self.connected = True
        self.broker.connections.add(self)

    async def close(self) -> None:
        self.broker.connections.discard(self)
        self.connected = False
        if self.repairing is not None:
            self.repairing.cancel()
            await asyncio.wait([self.repairing])
            self.repairing = None
        for job in self.jobs.taken:
            await job.release()
        await super().close()

    async def subscribe(self, topics: Collection[str], /) -> None:
        await self.round_trip()
        await super().subscribe(topics)
        await asyncio.sleep(0)

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        await asyncio.sleep(0)
        await super().unsubscribe(topics)
        await asyncio.sleep(0)

    async def publish(self, publications: Sequence[Publication], /) -> None:
        await self.round_trip()
        errors: dict[int, Exception] = {
            index: MessageTooLarge(f"{len(payload)} bytes are more than {self.max_payload}")
            for index, (_, payload) in enumerate(publications)
            if len(payload) > self.max_payload
        }
        await super().publish([each for i, each in enumerate(publications) if i not in errors])
        if errors:
            raise PublishFailed(errors)

    async def round_trip(self) -> None:
        """The broker was there and still is."""
        if self.connected:
            await asyncio.sleep(0)
        if not self.connected:
            raise BackendUnavailable("the broker is down; the call was perhaps carried out")

    def lost(self) -> None:
        """The connection is broken; called on the event loop."""
        if self.connected:
            self.connected = False
            assert self.gate is not None
            self.gate.shut = True
            self.forgotten()
            logger.warning("lost the connection to %s", self.url.replace(PASSWORD, "***"))
            self.repairing = asyncio.create_task(self.repair())

    def forgotten(self) -> None:
        """The broker does not know this backend's subscriptions any more."""
        self.broker.unsubscribe(self, tuple(self.topics))
        self.take_arrived()

    async def repair(self) -> None:
        """Connected again, everything restored, and the gap told."""
        assert self.gate is not None
        pause = 0.001
        while True:
            while self.broker.down:
                await asyncio.sleep(pause * random.uniform(0.5, 1))
                pause = min(pause * 2, 0.02)
            self.gate.forget()
            await self.restore()
            if not self.broker.down:
                break
            self.forgotten()
        self.connected = True
        self.tell()
        self.jobs.wake()

    async def restore(self) -> None:
        """The broker has confirmed every subscription, one after another."""
        for topic in tuple(self.topics):
            if topic in self.topics:  # else it was unsubscribed meanwhile
                self.broker.subscribe(self, [topic])
                await asyncio.sleep(0)

    def tell(self) -> None:
        """Core knows of the gap, and gets what came since."""
        assert self.gate is not None
        self.gate.gap(BackendUnavailable("the connection was lost"))


class BreakableHistory(MemoryHistory):
    """History over the connection of a breakable backend."""

    def __init__(self, backend: BreakableBackend) -> None:
        super().__init__(backend.broker)
        self.backend = backend

    async def publish(self, appends: Sequence[Append], /) -> None:
        await self.backend.round_trip()
        await super().publish(appends)

    async def read(self, topic: str, after: Position | None, limit: int, /) -> Page:
        await self.backend.round_trip()
        return await super().read(topic, after, limit)

    async def last(self, topic: str, count: int, /) -> Page:
        await self.backend.round_trip()
        return await super().last(topic, count)

    async def clear(self, prefix: str, /) -> None:
        await self.backend.round_trip()
        await super().clear(prefix)


class BreakableQueues(MemoryQueues):
    """Worker queues over the connection of a breakable backend."""

    def __init__(self, backend: BreakableBackend) -> None:
        super().__init__(InMemoryChannelLayer(queue_capacity=CAPACITY), backend.broker)
        self.backend = backend
        self.asleep: set[asyncio.Future[None]] = set()
        self.taken: list[MemoryJob] = []
        """Who is closed gives back what was not finished."""

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        await self.backend.round_trip()
        await super().put(queue, payload, expires_in)
        await asyncio.sleep(0)

    async def take(self, queue: str, /) -> MemoryJob:
        while not self.backend.connected:
            repaired = asyncio.get_running_loop().create_future()
            self.asleep.add(repaired)
            try:
                await repaired
            finally:
                self.asleep.discard(repaired)
        job = await self.next_job(queue)
        self.taken.append(job)
        return job

    async def next_job(self, queue: str) -> MemoryJob:
        """Wait for the first job of the queue."""
        return await super().take(queue)

    def wake(self) -> None:
        """Takes that waited for the connection go on."""
        for repaired in self.asleep:
            if not repaired.done():
                repaired.set_result(None)

    def close(self) -> None:
        super().close()
        for repaired in self.asleep:
            if not repaired.done():
                repaired.set_exception(BackendUnavailable("the backend was closed"))


BreakableBackend.make_queues = BreakableQueues
BreakableBackend.make_history = BreakableHistory

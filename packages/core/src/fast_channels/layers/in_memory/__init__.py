"""The memory layer: groups, channels and worker queues inside one process.

It goes through the same sessions, frames and bounds as every other layer, so what works on it in a
test works on a broker. Layers with the same URL speak to each other, so a test can play several
nodes; event loops in other threads are reached, too.
"""

import asyncio
import logging
import threading
import time
import weakref
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final, Unpack

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers.backend import Append, Backend, Inbox, Publication
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.layers.in_memory.history import (
    Delivery,
    MemoryHistory,
    MemoryStream,
    MemoryStreams,
)
from fast_channels.layers.in_memory.queue import MemoryJob, MemoryQueue
from fast_channels.layers.mailbox import Mailbox
from fast_channels.layers.options import OptionKeywords, Patterns

logger = logging.getLogger("fast_channels.layers")


class MemoryBroker:
    """What the memory backends with one URL share: subscriptions and queues."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: dict[str, tuple[MemoryBackend, ...]] = {}
        self._backends: list[MemoryBackend] = []
        self.queues: dict[str, MemoryQueue] = {}
        self._streams = MemoryStreams()

    def disown(self) -> None:
        """This forked child's broker is empty: what there was belongs to the parent process."""
        self._lock = threading.Lock()  # another thread of the parent may have held it
        self._subscribers = {}
        self._backends = []
        self.queues = {}
        self._streams = MemoryStreams()

    def enter(self, backend: "MemoryBackend") -> None:
        """The backend takes part; those whose loop was closed under them do not any more."""
        with self._lock:
            gone = [each for each in self._backends if each.ended]
            self._backends = [each for each in self._backends if not each.ended] + [backend]
        for each in gone:
            self.unsubscribe(each, tuple(each.topics))

    def subscribe(self, backend: "MemoryBackend", topics: Collection[str]) -> None:
        """The backend gets what is published to the topics from now on."""
        with self._lock:
            for topic in topics:
                there = self._subscribers.get(topic, ())
                if backend not in there:
                    self._subscribers[topic] = (*there, backend) if there else backend.alone

    def unsubscribe(self, backend: "MemoryBackend", topics: Collection[str]) -> None:
        """The backend gets nothing of the topics any more."""
        with self._lock:
            for topic in topics:
                left = tuple(b for b in self._subscribers.get(topic, ()) if b is not backend)
                if left:
                    self._subscribers[topic] = left
                else:
                    self._subscribers.pop(topic, None)

    def publish(self, publications: Sequence[Publication]) -> None:
        """Every subscriber has the publications, in this order, in its next loop turn."""
        with self._lock:
            for publication in publications:
                for backend in self._subscribers.get(publication.topic, ()):
                    backend.arrive(publication)

    def append(self, appends: Sequence[Append]) -> None:
        """The entries are kept, and every subscriber has them in its next loop turn."""
        with self._lock:
            for append in appends:
                for delivery in self._streams.append(append):
                    for backend in self._subscribers.get(append.topic, ()):
                        backend.arrive(delivery)

    @contextmanager
    def looked_at(self, topic: str) -> Generator[MemoryStream]:
        """Hold the lock, and give the topic's history."""
        with self._lock:
            yield self._streams.look(topic)

    def clear_history(self, prefix: str) -> None:
        """Histories of topics whose names begin so are gone."""
        with self._lock:
            self._streams.clear(prefix)

    def collect(self, backend: "MemoryBackend") -> list[Publication | Delivery]:
        """Return what arrived for the backend and was not collected yet."""
        with self._lock:
            return backend.take_arrived()

    def queue(self, name: str) -> MemoryQueue:
        """Return the queue of that name."""
        with self._lock:
            return self.queues.setdefault(name, MemoryQueue(name))

    def clear(self, prefix: str) -> None:
        """Queues whose names begin with ``prefix`` are empty."""
        with self._lock:
            queues = [queue for name, queue in self.queues.items() if name.startswith(prefix)]
        for queue in queues:
            queue.jobs.clear()


class MemoryQueues:
    """The worker queues of a memory layer."""

    def __init__(self, layer: "InMemoryChannelLayer", broker: MemoryBroker) -> None:
        self._layer = layer
        self._broker = broker
        self._waiting: set[asyncio.Future[None]] = set()

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        """The job is last in the queue."""
        capacity = self._layer.options.queue_capacity_of(queue.partition(":q.")[2])
        self._broker.queue(queue).put(payload, expires_in, capacity, self._layer)

    async def take(self, queue: str, /) -> MemoryJob:
        """Wait for the first job."""
        return await self._broker.queue(queue).take(self._waiting, self._layer)

    def close(self) -> None:
        """Nobody waits any more."""
        for taker in self._waiting:
            if not taker.done():
                taker.set_exception(BackendUnavailable("the memory backend was closed"))

    async def clear(self, prefix: str, /) -> None:
        """Queues whose names begin with ``prefix`` are empty."""
        self._broker.clear(prefix)


class MemoryBackend(Backend):
    """Topics inside one process."""

    def __init__(
        self,
        broker: MemoryBroker,
        queues: MemoryQueues | None = None,
        history: MemoryHistory | None = None,
    ) -> None:
        self.queues = self._queues = queues
        self.history = history
        self._broker = broker
        self.alone = (self,)
        """The subscribers of most topics."""
        self.topics: set[str] = set()
        self._inbox: Inbox | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arrived: list[Publication | Delivery] = []

    async def open(self, inbox: Inbox, /) -> None:
        """Ready; there is nothing to connect to."""
        self._inbox = inbox
        self._loop = asyncio.get_running_loop()
        self._broker.enter(self)

    async def close(self) -> None:
        """Nothing is delivered any more, and nobody waits for a job."""
        if self._queues is not None:
            self._queues.close()
        self._broker.unsubscribe(self, tuple(self.topics))
        self.topics.clear()
        self._arrived.clear()
        self._inbox = None

    async def subscribe(self, topics: Collection[str], /) -> None:
        """Publications to the topics are delivered."""
        self.topics.update(topics)
        self._broker.subscribe(self, topics)

    def subscribe_at_once(self, topic: str, /) -> bool:
        """True, unless a subclass does something else to subscribe."""
        if type(self).subscribe is not MemoryBackend.subscribe:
            return False
        self.topics.add(topic)
        self._broker.subscribe(self, (topic,))
        return True

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        """Publications to the topics are not delivered."""
        self.topics.difference_update(topics)
        self._broker.unsubscribe(self, topics)

    async def publish(self, publications: Sequence[Publication], /) -> None:
        """Every subscriber has the publications.

        A broker answers after a round trip; so does this one, after a loop turn. A sender that
        never waits would keep the receivers from running until their mailboxes overflow.
        """
        self._broker.publish(publications)
        await asyncio.sleep(0)

    async def describe(self) -> Mapping[str, str | int | float]:
        """Return the clock, which is this machine's."""
        return {"server": "memory", "time": time.time()}

    def arrive(self, publication: Publication | Delivery) -> None:
        """The publication is delivered in the loop's next turn; called under the broker's lock."""
        self._arrived.append(publication)
        loop = self._loop
        if len(self._arrived) > 1 or loop is None:
            return
        if loop is asyncio.get_running_loop():
            loop.call_soon(self._deliver)
            return
        try:
            loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            self._arrived.clear()  # the loop was closed without ending its session

    def _deliver(self) -> None:
        arrived = self._broker.collect(self)
        for each in arrived:
            if self._inbox is None or each.topic not in self.topics:
                continue
            if isinstance(each, Delivery):
                self._inbox.deliver(each.topic, each.payload, each.position)
            else:
                self._inbox.deliver(each.topic, each.payload)

    @property
    def ended(self) -> bool:
        """True when nothing can be delivered any more: it, or the loop under it, was closed."""
        return self._inbox is None or self._loop is None or self._loop.is_closed()

    def take_arrived(self) -> list[Publication | Delivery]:
        """Return what arrived since the last time; called under the broker's lock."""
        arrived, self._arrived = self._arrived, []
        return arrived


class InMemoryChannelLayer(BaseChannelLayer):
    """A layer for one process: development, tests, and applications that need no more.

    Without a ``url`` it speaks to nobody but itself (from any number of loops and threads).
    """

    def __init__(
        self,
        expiry: float = 60.0,
        group_expiry: float = 86_400.0,
        capacity: int = 100,
        channel_capacity: Patterns[int] | None = None,
        *,
        url: str | None = None,
        **options: Unpack[OptionKeywords],
    ) -> None:
        super().__init__(expiry, capacity, channel_capacity, group_expiry=group_expiry, **options)
        self._url = url
        self._broker = MemoryBroker() if url is None else _shared_broker(url)

    def create_backend(self) -> MemoryBackend:
        """Return a backend on this layer's broker."""
        history = MemoryHistory(self._broker)
        return MemoryBackend(self._broker, MemoryQueues(self, self._broker), history)

    def __repr__(self) -> str:
        return f"<InMemoryChannelLayer {self._url or 'of its own'}>"

    def disown(self) -> None:
        """The sessions and the broker's content are the parent process's."""
        super().disown()
        self._broker.disown()

    def stats(self) -> dict[str, int]:
        """Counters since the layer was made, and what it holds now.

        ``expired`` has the jobs of its queues, too, which layers with one URL and prefix share.
        """
        stats = super().stats()
        stats["expired"] += sum(queue.expired for queue in self._queues().values())
        return stats

    def _queues(self) -> dict[str, MemoryQueue]:
        head = f"{self.options.prefix}:q."
        queues = list(self._broker.queues.items())
        return {name.removeprefix(head): queue for name, queue in queues if name.startswith(head)}

    @property
    def channels(self) -> Mapping[str, Collection[Any]]:
        """Unread messages by channel, in all sessions and queues; read-only."""
        unread: dict[str, Collection[Any]] = {}
        for session in self._sessions.live:
            unread |= {name: box.unread for name, box in session.hub.mailboxes.items()}
        unread |= {name: tuple(queue.jobs) for name, queue in self._queues().items() if queue.jobs}
        return MappingProxyType(unread)

    @property
    def groups(self) -> Mapping[str, Mapping[str, Mailbox]]:
        """Members by group, in all sessions of this layer; read-only."""
        groups: dict[str, dict[str, Mailbox]] = {}
        for session in self._sessions.live:
            for topic in session.hub.topics.values():
                if topic.group is not None and topic.members:
                    groups.setdefault(topic.group, {}).update(topic.members)
        return MappingProxyType({g: MappingProxyType(members) for g, members in groups.items()})


def memory_layer(url: str = "memory://", **options: Any) -> InMemoryChannelLayer:
    """Return the layer for ``memory://`` or ``memory://name``: the entry point ``memory``."""
    scheme, mark, name = url.partition("://")
    if scheme.lower() != "memory" or not mark or "/" in name or "?" in name:
        shown = f"{scheme}://***@{url.rpartition('@')[2]}" if "@" in url else url
        raise ValueError(f"the memory layer's URL is memory:// or memory://name, got {shown!r}")
    return InMemoryChannelLayer(url=url, **options)


_brokers: Final["weakref.WeakValueDictionary[str, MemoryBroker]"] = weakref.WeakValueDictionary()


def _shared_broker(url: str) -> MemoryBroker:
    return _brokers.setdefault(url, MemoryBroker())

"""Layers to run the kit on: each is the memory layer with one thing different."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from typing import Any

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import (
    Append,
    BaseChannelLayer,
    Channel,
    ChannelLayer,
    Inbox,
    Page,
    Position,
    Publication,
)
from fast_channels.layers.in_memory import (
    InMemoryChannelLayer,
    MemoryBackend,
    MemoryBroker,
    MemoryQueues,
)
from fast_channels.layers.in_memory.history import MemoryHistory
from fast_channels.testing import LayerTests, PresenceTests


class Wire:
    """A broker that can be cut off from everybody."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.backends: set[CutBackend] = set()
        self.down = False

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        """Nobody reaches the broker inside."""
        self.down = True
        for backend in self.backends:
            backend.cut()
        try:
            yield
        finally:
            self.down = False
            for backend in tuple(self.backends):
                backend.repaired()

    def check(self) -> None:
        """Raise where nobody can be reached."""
        if self.down:
            raise BackendUnavailable("the wire is cut")


class CutQueues(MemoryQueues):
    """Worker queues at the end of a wire."""

    def __init__(self, layer: Any, wire: Wire) -> None:
        super().__init__(layer, wire.broker)
        self.wire = wire

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        self.wire.check()
        await super().put(queue, payload, expires_in)


class CutHistory(MemoryHistory):
    """History at the end of a wire."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire.broker)
        self.wire = wire

    async def publish(self, appends: Sequence[Append], /) -> None:
        self.wire.check()
        await super().publish(appends)

    async def read(self, topic: str, after: Position | None, limit: int, /) -> Page:
        self.wire.check()
        return await super().read(topic, after, limit)

    async def last(self, topic: str, count: int, /) -> Page:
        self.wire.check()
        return await super().last(topic, count)


class CutBackend(MemoryBackend):
    """A memory backend at the end of a wire."""

    def __init__(
        self, wire: Wire, queues: CutQueues | None = None, history: "CutHistory | None" = None
    ) -> None:
        super().__init__(wire.broker, queues, history)
        self.wire = wire

    async def open(self, inbox: Inbox, /) -> None:
        self.wire.check()
        await super().open(inbox)
        self.inbox = inbox
        self.wire.backends.add(self)

    async def close(self) -> None:
        self.wire.backends.discard(self)
        await super().close()

    async def subscribe(self, topics: Collection[str], /) -> None:
        self.wire.check()
        await super().subscribe(topics)

    async def publish(self, publications: Sequence[Publication], /) -> None:
        self.wire.check()
        await super().publish(publications)

    def cut(self) -> None:
        """What was under way is lost."""
        self.take_arrived()

    def repaired(self) -> None:
        """Connected again, and some may have been missed."""
        self.inbox.gap(OSError("the wire was cut"))


class CutLayer(BaseChannelLayer):
    """A layer at the end of a wire."""

    backend_class: type[CutBackend] = CutBackend
    history_class: type[CutHistory] = CutHistory

    def __init__(self, wire: Wire, **options: Any) -> None:
        super().__init__(**options)
        self.wire = wire

    def create_backend(self) -> CutBackend:
        history = self.history_class(self.wire)
        return self.backend_class(self.wire, CutQueues(self, self.wire), history)


class CutLayerTests(LayerTests, PresenceTests):
    """The suite for layers at the end of a wire."""

    capabilities = frozenset({"queues", "history"})
    quiet = 0.02
    layer_class: type[CutLayer] = CutLayer

    @cached_property
    def wire(self) -> Wire:
        return Wire()

    def build_layer(self, **options: Any) -> ChannelLayer:
        return self.layer_class(self.wire, **options)

    def outage(self) -> AbstractAsyncContextManager[None]:
        return self.wire.outage()


class SmallBackend(MemoryBackend):
    """Carries no more than 2,000 bytes at once, and has no queues."""

    max_payload = 2_000

    async def publish(self, publications: Sequence[Publication], /) -> None:
        assert all(len(payload) <= 2_000 for _, payload in publications)
        await super().publish(publications)


class SmallLayer(BaseChannelLayer):
    """A layer whose broker takes small payloads only."""

    def __init__(self, broker: MemoryBroker, **options: Any) -> None:
        super().__init__(**options)
        self.broker = broker

    def create_backend(self) -> SmallBackend:
        return SmallBackend(self.broker)


class TwoLayers:
    """A channel layer that forwards to two: one for channels and groups, one for queues."""

    def __init__(self, live: ChannelLayer, queues: ChannelLayer) -> None:
        self.live = live
        self.queues = queues

    def _of(self, channel: object) -> ChannelLayer:
        return self.queues if isinstance(channel, str) and "!" not in channel else self.live

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        await self._of(channel).send(channel, message)

    async def receive(self, channel: str) -> dict[str, Any]:
        return await self._of(channel).receive(channel)

    async def new_channel(self, prefix: str = "specific.") -> str:
        return await self.live.new_channel(prefix)

    async def group_add(self, group: str, channel: str, **role: Any) -> None:
        await self.live.group_add(group, channel, **role)

    async def presence(self, group: str) -> dict[str, dict[str, Any]]:
        return await self.live.presence(group)

    async def group_channels(self, group: str) -> list[str]:
        return await self.live.group_channels(group)

    async def group_count(self, group: str) -> int:
        return await self.live.group_count(group)

    async def group_discard(self, group: str, channel: str) -> None:
        await self.live.group_discard(group, channel)

    async def group_send(
        self, group: str, message: dict[str, Any], *, exclude: str | None = None
    ) -> None:
        await self.live.group_send(group, message, exclude=exclude)

    async def flush(self) -> None:
        await asyncio.gather(self.live.flush(), self.queues.flush())

    async def open(self) -> None:
        await asyncio.gather(self.live.open(), self.queues.open())

    async def close(self) -> None:
        await asyncio.gather(self.live.close(), self.queues.close())

    def channel(self, prefix: str = "specific.") -> AbstractAsyncContextManager[Channel]:
        return self.live.channel(prefix)

    def stats(self) -> dict[str, int]:
        sums = Counter(self.live.stats())
        sums.update(self.queues.stats())
        return dict(sums)


class MemoryLayerTests(LayerTests, PresenceTests):
    """The suite for memory layers; mutants replace ``layer_class``."""

    capabilities = frozenset({"queues", "history"})
    no_outage = "the broker is this process"
    layer_class: type[InMemoryChannelLayer] = InMemoryChannelLayer

    def build_layer(self, **options: Any) -> ChannelLayer:
        return self.layer_class(url="memory://conformance", **options)

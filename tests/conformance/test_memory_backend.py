"""The memory backend keeps every clause of the kit, and so does one whose broker goes down."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import ClassVar

import uvloop

from fast_channels.layers import Backend, InMemoryChannelLayer
from fast_channels.testing import BackendTests, HistoryTests, QueueTests

from .breakable import CAPACITY, PASSWORD, BreakableBackend, BreakableBroker


class TestMemory(BackendTests, QueueTests, HistoryTests):
    capabilities = frozenset({"queues", "history"})
    no_outage = "the memory broker lives in this process and cannot be unreachable"
    queue_capacity = CAPACITY
    short_expiry = 0.05
    short_ttl = 0.1
    quiet = 0.02
    layer: ClassVar = InMemoryChannelLayer(queue_capacity=CAPACITY)

    def build(self) -> Backend:
        return self.layer.create_backend()


class TestMemoryOnUvloop(TestMemory):
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = staticmethod(uvloop.new_event_loop)


class TestBreakable(BackendTests, QueueTests, HistoryTests):
    capabilities = frozenset({"queues", "history"})
    queue_capacity = CAPACITY
    redelivers = True
    secret = PASSWORD
    short_expiry = 0.05
    short_ttl = 0.1
    quiet = 0.02
    broker: ClassVar = BreakableBroker()

    def build(self) -> Backend:
        return BreakableBackend(self.broker)

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        self.broker.stop()
        try:
            yield
        finally:
            self.broker.start()


class TestBreakableOnUvloop(TestBreakable):
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = staticmethod(uvloop.new_event_loop)

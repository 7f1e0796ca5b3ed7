"""The conformance kit over one Redis server, its outages included."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
import uvloop

from fast_channels.testing import BackendTests, HistoryTests, LayerTests, PresenceTests, QueueTests
from fast_channels_redis import RedisBackend, RedisChannelLayer
from fast_channels_redis.hosts import parse_hosts

from .servers import Server


class Breakable:
    """The server of a suite, and its outage."""

    capabilities = frozenset({"queues", "history"})
    unavailable_within = 6.0
    recovers_within = 5.0
    secret: ClassVar[str | None] = "kit-secret"
    server: Server

    @pytest.fixture(autouse=True)
    def _server(self, guarded: Server) -> None:
        self.server = guarded

    @property
    def url(self) -> str:
        return f"redis://:{self.secret}@127.0.0.1:{self.server.port}"

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        await asyncio.to_thread(self.server.kill)
        try:
            yield
        finally:
            await asyncio.to_thread(self.server.start)


class TestSingle(Breakable, BackendTests, QueueTests, HistoryTests):
    queue_capacity = 100

    def build(self) -> RedisBackend:
        return RedisBackend(parse_hosts([self.url]))


@pytest.mark.long
class TestSingleOnUvloop(TestSingle):
    loop_factory = staticmethod(uvloop.new_event_loop)


class TestSingleLayer(Breakable, LayerTests, PresenceTests):
    def build_layer(self, **options: Any) -> RedisChannelLayer:
        return RedisChannelLayer([self.url], **options)


@pytest.mark.long
class TestSingleLayerOnUvloop(TestSingleLayer):
    loop_factory = staticmethod(uvloop.new_event_loop)

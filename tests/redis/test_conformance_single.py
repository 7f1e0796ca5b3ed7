"""The conformance kit over one Redis server, its outages included."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from fast_channels.testing.conformance import BackendTests, QueueTests
from fast_channels_redis import RedisBackend
from fast_channels_redis.hosts import parse_hosts

from .servers import Server


class TestSingle(BackendTests, QueueTests):
    capabilities = frozenset({"queues"})
    queue_capacity = 100
    unavailable_within = 5.0
    recovers_within = 5.0
    secret = "kit-secret"
    server: Server

    @pytest.fixture(autouse=True)
    def _server(self, guarded: Server) -> None:
        self.server = guarded

    def build(self) -> RedisBackend:
        return RedisBackend(parse_hosts([f"redis://:{self.secret}@127.0.0.1:{self.server.port}"]))

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        await asyncio.to_thread(self.server.kill)
        try:
            yield
        finally:
            await asyncio.to_thread(self.server.start)

"""The conformance kit over one NATS server, its outages included."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import uvloop

from fast_channels.testing.conformance import BackendTests, HistoryTests, QueueTests
from fast_channels_nats import NatsBackend
from fast_channels_nats.urls import parse_servers

from .servers import Server


class TestSingle(BackendTests, QueueTests, HistoryTests):
    capabilities = frozenset({"queues", "history"})
    queue_capacity = 100
    redelivers = True
    unavailable_within = 5.0
    recovers_within = 5.0
    secret = "kit-secret"
    server: Server

    @pytest.fixture(autouse=True)
    def _server(self, guarded: Server) -> None:
        self.server = guarded

    def build(self) -> NatsBackend:
        return NatsBackend(parse_servers(f"nats://kit:{self.secret}@{self.server.address}"))

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        await asyncio.to_thread(self.server.kill)
        try:
            yield
        finally:
            await asyncio.to_thread(self.server.start)


@pytest.mark.long
class TestSingleOnUvloop(TestSingle):
    loop_factory = staticmethod(uvloop.new_event_loop)

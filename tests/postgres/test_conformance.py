"""The conformance kit's clauses about backends, over one server, its outages included."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from fast_channels.testing.conformance import BackendTests, HistoryTests, QueueTests
from fast_channels_postgres import PostgresBackend
from fast_channels_postgres.hosts import Source

from .servers import Server


class Broken:
    """What all suites share: a server that dies and comes back."""

    unavailable_within = 5.0
    recovers_within = 8.0
    server: Server

    @pytest.fixture(autouse=True)
    def _server(self, fragile: Server) -> None:
        self.server = fragile

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        await asyncio.to_thread(self.server.kill)
        try:
            yield
        finally:
            await asyncio.to_thread(self.server.start)


class TestBackend(Broken, BackendTests, QueueTests, HistoryTests):
    capabilities = frozenset({"queues", "history"})
    queue_capacity = 100
    redelivers = True
    secret = Server.password

    def build(self) -> PostgresBackend:
        return PostgresBackend(Source(self.server.url))

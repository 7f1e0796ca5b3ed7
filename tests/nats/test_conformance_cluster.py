"""The conformance kit over three NATS servers; each backend sits on one of them by chance."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from fast_channels.testing.conformance import BackendTests
from fast_channels_nats import NatsBackend
from fast_channels_nats.urls import parse_servers

from .servers import Cluster


@pytest.mark.long
class TestCluster(BackendTests):
    """Without queues: when all servers were killed, JetStream's need longer to elect their leaders
    than a clause waits. What queues do when one is lost is in test_cluster.py."""

    unavailable_within = 6.0
    recovers_within = 6.0
    cluster: Cluster

    @pytest.fixture(autouse=True)
    def _cluster(self, cluster: Cluster) -> None:
        cluster.start()
        self.cluster = cluster

    def build(self) -> NatsBackend:
        backend = NatsBackend(parse_servers(self.cluster.urls))
        backend.queues = None
        return backend

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        await asyncio.to_thread(self.cluster.kill)
        try:
            yield
        finally:
            await asyncio.to_thread(self.cluster.start)

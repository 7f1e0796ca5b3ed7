"""The conformance kit over three NATS servers; each backend sits on one of them by chance.

An outage kills all three. For queues it ends when JetStream has leaders again, which takes its
servers some 13 seconds. What happens when one server of three is lost is in test_cluster.py.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import nats
import pytest

from fast_channels.testing.conformance import BackendTests, HistoryTests, LayerTests, QueueTests
from fast_channels_nats import NatsBackend, NatsChannelLayer
from fast_channels_nats.urls import parse_servers

from .servers import Cluster

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]


class TestCluster(BackendTests):
    unavailable_within = 6.0
    recovers_within = 6.0
    secret = Cluster.password
    cluster: Cluster

    @pytest.fixture(autouse=True)
    def _cluster(self, cluster: Cluster) -> None:
        cluster.start()
        self.cluster = cluster

    def build(self) -> NatsBackend:
        backend = NatsBackend(parse_servers(self.cluster.urls))
        backend.queues = backend.history = None
        return backend

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        await asyncio.to_thread(self.cluster.kill)
        try:
            yield
        finally:
            await asyncio.to_thread(self.cluster.start)


class WithJetStream:
    """JetStream is up when a clause begins, and after an outage."""

    unavailable_within = 6.0
    recovers_within = 10.0
    limit = 170.0
    patience = 20.0  # fifty queues are fifty elections
    election = 12.0
    """Seconds: the first one for a new stream takes as long where a busy server came late to it."""
    cluster: Cluster

    @pytest.fixture(autouse=True)
    def _cluster(self, cluster: Cluster) -> None:
        cluster.elect()
        asyncio.run(_forget_streams(cluster))
        self.cluster = cluster

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        await asyncio.to_thread(self.cluster.kill)
        try:
            yield
        finally:
            await asyncio.to_thread(self.cluster.elect)


class TestClusterQueues(WithJetStream, QueueTests):
    capabilities = frozenset({"queues"})
    queue_capacity = 100
    short_expiry = 2.0  # three servers need a while to make what the first taker needs
    redelivers = True

    def build(self) -> NatsBackend:
        backend = NatsBackend(parse_servers(self.cluster.urls), patience=self.election)
        backend.history = None
        return backend


class TestClusterHistory(WithJetStream, HistoryTests):
    capabilities = frozenset({"history"})
    short_ttl = 2.0  # making the stream is an election, too

    def build(self) -> NatsBackend:
        backend = NatsBackend(parse_servers(self.cluster.urls), patience=self.election)
        backend.queues = None
        return backend


class TestClusterLayer(WithJetStream, LayerTests):
    capabilities = frozenset({"queues", "history"})

    def build_layer(self, **options: Any) -> NatsChannelLayer:
        options = {"send_timeout": 1.25 * self.election, **options}
        return NatsChannelLayer(self.cluster.urls, **options)


async def _forget_streams(cluster: Cluster) -> None:
    """Elections take the longer, the more streams earlier clauses have left."""
    client = await nats.connect(cluster.urls[0])
    jetstream = client.jetstream()
    for stream in await jetstream.streams_info():
        await jetstream.delete_stream(stream.config.name or "")
    await client.close()

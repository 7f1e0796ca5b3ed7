"""The conformance kit over one RabbitMQ node, its outages included.

A node takes seconds to start. So in most runs the node breaks all connections and takes none in an
outage; ``make test-all`` kills it with -9 in each one. ``test_outages`` kills it in all runs.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from fast_channels.testing.conformance import BackendTests, HistoryTests, QueueTests
from fast_channels_rabbitmq import RabbitMQBackend
from fast_channels_rabbitmq.urls import parse_servers

from .servers import PASSWORD, Node


class Single(BackendTests, QueueTests, HistoryTests):
    capabilities = frozenset({"queues", "history"})
    exact_history = False
    queue_capacity = 100
    redelivers = True
    unavailable_within = 5.0
    recovers_within = 5.0
    secret = PASSWORD
    node: Node

    @pytest.fixture(autouse=True)
    def _node(self, node: Node) -> None:
        self.node = node

    def build(self) -> RabbitMQBackend:
        return RabbitMQBackend(parse_servers(self.node.url))


class TestCutOff(Single):
    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        await asyncio.to_thread(self.node.cut_off)
        try:
            yield
        finally:
            await asyncio.to_thread(self.node.let_in)


@pytest.mark.long
@pytest.mark.timeout(240)
class TestKilled(Single):
    limit = 200.0  # some clauses start the node five times, which takes 20 s on a busy machine

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        await asyncio.to_thread(self.node.settle)
        await asyncio.to_thread(self.node.kill)
        try:
            yield
        finally:
            await asyncio.to_thread(self.node.start)


@pytest.mark.long
class TestQuorum(TestCutOff):
    """Connections are cut: of a quorum queue that a clause has just made, a server that is killed
    (3.10.8 and 4.0.5) has no leader or no jobs when it is started again."""

    patience = 20.0  # fifty of them, made one after another on a busy machine
    limit = 60.0
    queue_capacity = None  # a quorum queue takes a few more before it notices

    def build(self) -> RabbitMQBackend:
        return RabbitMQBackend(parse_servers(self.node.url), exchange="q", queue_type="quorum")

"""The conformance kit over the layer that applications use, on one RabbitMQ node."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fast_channels.testing import LayerTests
from fast_channels_rabbitmq import RabbitMQChannelLayer

from .servers import Node


class TestLayer(LayerTests):
    capabilities = frozenset({"queues", "history"})
    exact_history = False
    unavailable_within = 8.0
    recovers_within = 5.0
    server: Node

    @pytest.fixture(autouse=True)
    def _server(self, node: Node) -> None:
        self.server = node

    def build_layer(self, **options: Any) -> RabbitMQChannelLayer:
        return RabbitMQChannelLayer(self.server.url, **options)

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        await asyncio.to_thread(self.server.cut_off)
        try:
            yield
        finally:
            await asyncio.to_thread(self.server.let_in)

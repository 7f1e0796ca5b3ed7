"""The conformance kit over the layer that applications use, on one NATS server."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from fast_channels.testing import LayerTests, PresenceTests
from fast_channels_nats import NatsChannelLayer

from .servers import Server


class TestLayer(LayerTests, PresenceTests):
    capabilities = frozenset({"queues", "history"})
    unavailable_within = 8.0
    recovers_within = 5.0
    server: Server

    @pytest.fixture(autouse=True)
    def _server(self, guarded: Server) -> None:
        self.server = guarded

    def build_layer(self, **options: Any) -> NatsChannelLayer:
        return NatsChannelLayer(f"nats://kit:kit-secret@{self.server.address}", **options)

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        await asyncio.to_thread(self.server.kill)
        try:
            yield
        finally:
            await asyncio.to_thread(self.server.start)


@pytest.mark.long
class TestLayerOnUvloop(TestLayer):
    loop_factory = staticmethod(uvloop.new_event_loop)

"""The conformance kit of Fast Channels, over a Mosquitto that it kills and starts again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from broker import PASSWORD, Mosquitto
from fast_channels.testing import BackendTests, LayerTests, PresenceTests

from fast_channels_mqtt import MqttBackend, MqttChannelLayer


class OverMosquitto:
    """What both suites need."""

    secret: ClassVar[str | None] = PASSWORD
    patience = 15.0  # a thousand confirmed messages, on a busy machine
    mosquitto: Mosquitto

    @pytest.fixture(autouse=True)
    def _mosquitto(self, mosquitto: Mosquitto) -> None:
        self.mosquitto = mosquitto

    def build(self) -> MqttBackend:
        return self.build_layer().create_backend()

    def build_layer(self, **options: Any) -> MqttChannelLayer:
        return MqttChannelLayer(self.mosquitto.url, **options)

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        await asyncio.to_thread(self.mosquitto.kill)
        try:
            yield
        finally:
            await asyncio.to_thread(self.mosquitto.start)


class TestBackend(OverMosquitto, BackendTests): ...


class TestLayer(OverMosquitto, LayerTests): ...


class TestPresence(OverMosquitto, PresenceTests): ...

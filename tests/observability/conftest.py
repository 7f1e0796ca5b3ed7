"""Fixtures of the tests of metrics, traces, health and drain."""

from collections.abc import AsyncGenerator, Generator

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry
from tests.tcp_broker import TCPBroker

from fast_channels.layers import BaseChannelLayer, ChannelLayerRegistry, InMemoryChannelLayer
from fast_channels_tools import otel
from fast_channels_tools.prometheus import LayerCollector, install

from .spans import Spans


@pytest.fixture
async def layer() -> AsyncGenerator[BaseChannelLayer]:
    """An open memory layer."""
    made = InMemoryChannelLayer(gaps=True)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def layers(layer: BaseChannelLayer) -> ChannelLayerRegistry:
    """A registry with that layer as its default."""
    registry = ChannelLayerRegistry()
    registry.register("default", layer)
    return registry


@pytest.fixture
async def exposed(layers: ChannelLayerRegistry) -> AsyncGenerator[CollectorRegistry]:
    """A registry of Prometheus with the metrics of those layers."""
    registry = CollectorRegistry()
    collector: LayerCollector = install(registry, layers)
    yield registry
    collector.close()


@pytest.fixture
def spans() -> Generator[Spans]:
    """Spans of an instrumented process; layers that open now are traced."""
    made = Spans()
    instrumentation = otel.instrument(made.provider, MeterProvider(), ChannelLayerRegistry())
    yield made
    instrumentation.uninstrument()
    made.provider.shutdown()


@pytest.fixture
def broker() -> Generator[TCPBroker]:
    """A broker that layers reach by TCP."""
    with TCPBroker() as made:
        yield made

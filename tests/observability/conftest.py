"""Fixtures of the tests of metrics, traces, health and drain."""

from collections.abc import AsyncGenerator

import pytest
from prometheus_client import CollectorRegistry

from fast_channels.layers import BaseChannelLayer, ChannelLayerRegistry, InMemoryChannelLayer
from fast_channels_tools.prometheus import LayerCollector, install


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

"""What the tests of the inspector share: a memory layer, and the browser."""

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.demo.conftest import browser as browser

from fast_channels.layers import (
    BaseChannelLayer,
    ChannelLayerRegistry,
    InMemoryChannelLayer,
    channel_layers,
)


@pytest.fixture
async def layer() -> AsyncIterator[BaseChannelLayer]:
    """A memory layer of its own."""
    layer = InMemoryChannelLayer()
    yield layer
    await layer.close()


@pytest.fixture
def layers(layer: BaseChannelLayer) -> Iterator[ChannelLayerRegistry]:
    """The registry, in which the layer is "default" and nothing else is registered."""
    channel_layers.clear()
    channel_layers.register("default", layer)
    yield channel_layers
    channel_layers.clear()

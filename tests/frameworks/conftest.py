"""What the tests under real servers share: uvicorn on a free port, in this process."""

from collections.abc import AsyncIterator

import pytest
from tests.both_ways import in_place as in_place
from tests.both_ways import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories
from tests.serving import Serve, serving
from tests.serving import server_log as server_log

from fast_channels.layers import InMemoryChannelLayer
from fast_channels.layers.registry import channel_layers


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves an application until the test ends; returns ``host:port``."""
    async with serving(log_level="warning") as serve:
        yield serve


@pytest.fixture
async def layer() -> AsyncIterator[InMemoryChannelLayer]:
    """A memory layer, registered as "default"."""
    layer = InMemoryChannelLayer()
    channel_layers.register("default", layer)
    yield layer
    await layer.close()
    channel_layers.clear()

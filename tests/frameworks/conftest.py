"""What the tests under real servers share: uvicorn on a free port, in this process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvloop
from tests.serving import Serve, serving
from tests.serving import server_log as server_log

from fast_channels.layers import InMemoryChannelLayer
from fast_channels.layers.registry import channel_layers


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Callable[[], Any]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True, params=[True, False], ids=["in-place", "woken"])
def in_place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether handlers are started in place."""
    monkeypatch.setenv("FAST_CHANNELS_IN_PLACE", "1" if request.param else "0")
    return bool(request.param)


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

"""What the tests of workers share: both ways to start handlers, and a layer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.journal import Journal

from fast_channels.layers import InMemoryChannelLayer
from fast_channels.layers.registry import channel_layers

from .jobs import Jobs


@pytest.fixture(autouse=True, params=[True, False], ids=["in-place", "woken"])
def in_place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether handlers are started in place."""
    monkeypatch.setenv("FAST_CHANNELS_IN_PLACE", "1" if request.param else "0")
    return bool(request.param)


@pytest.fixture
async def layer() -> AsyncIterator[InMemoryChannelLayer]:
    """A memory layer, registered as "default"."""
    layer = InMemoryChannelLayer(queue_capacity=1_000)
    channel_layers.register("default", layer)
    yield layer
    await layer.close()
    channel_layers.clear()


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def jobs(journal: Journal) -> Any:
    """An application of ``Jobs`` with a journal and an event of its own."""
    return Jobs.as_asgi(journal=journal, may_end=asyncio.Event())


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., asyncio.Task[None]]]:
    """Runs a worker until the test ends."""
    running: list[tuple[Any, asyncio.Task[None]]] = []

    def start(worker: Any) -> asyncio.Task[None]:
        task = asyncio.create_task(worker.run())
        running.append((worker, task))
        return task

    yield start
    for worker, task in running:
        worker.stop(now=True)
        await asyncio.wait([task])

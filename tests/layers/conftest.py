"""Fixtures of the layer tests."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from fast_channels.layers import InMemoryChannelLayer

from .backends import Make, MakeMemory, layers


@pytest.fixture
async def make() -> AsyncGenerator[Make]:
    """What makes layers for this test; leaving one open, or a task behind, is a failure."""
    async with layers() as make_layer:
        yield make_layer


@pytest.fixture
async def memory() -> AsyncGenerator[MakeMemory]:
    """What makes memory layers that are closed when the test ends."""
    made: list[InMemoryChannelLayer] = []

    def make(**options: Any) -> InMemoryChannelLayer:
        made.append(InMemoryChannelLayer(**options))
        return made[-1]

    yield make
    for layer in made:
        await layer.close()

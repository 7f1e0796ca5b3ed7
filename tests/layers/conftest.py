"""Fixtures of the layer tests."""

from collections.abc import AsyncGenerator

import pytest

from .backends import Make, layers


@pytest.fixture
async def make() -> AsyncGenerator[Make]:
    """What makes layers for this test; leaving one open, or a task behind, is a failure."""
    async with layers() as make_layer:
        yield make_layer

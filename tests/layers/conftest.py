"""Fixtures of the layer tests."""

from collections.abc import AsyncGenerator

import pytest
from hypothesis import HealthCheck, settings

from .backends import Make, layers

# The same examples every time, and no verdict that depends on how busy the machine is.
settings.register_profile(
    "steady",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")


@pytest.fixture
async def make() -> AsyncGenerator[Make]:
    """What makes layers for this test; leaving one open, or a task behind, is a failure."""
    async with layers() as make_layer:
        yield make_layer

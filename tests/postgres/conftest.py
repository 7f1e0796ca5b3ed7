"""Fixtures of the PostgreSQL tests: one server that nobody breaks, and one to break."""

import os
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from fast_channels_postgres import PostgresChannelLayer

from .servers import Server, running

Make = Callable[..., PostgresChannelLayer]


@pytest.fixture(scope="session")
def server() -> Generator[Server]:
    """A server that tests share, each with a prefix of its own."""
    with running() as shared:
        yield shared


@pytest.fixture(scope="module")
def fragile() -> Generator[Server]:
    """A server that the tests of a module may kill and freeze; they leave it running."""
    with running() as own:
        yield own


@pytest.fixture
def prefix() -> str:
    """A prefix that no other test uses."""
    return f"t{os.urandom(6).hex()}"


@pytest.fixture
async def make(prefix: str) -> AsyncGenerator[Make]:
    """Makes layers with the test's prefix, closed at its end; each plays one process."""
    async with AsyncExitStack() as stack:

        def layer(url: str | None = None, **options: Any) -> PostgresChannelLayer:
            made = PostgresChannelLayer(url, **{"prefix": prefix, **options})
            made.enable_gaps()
            stack.push_async_callback(made.close)
            return made

        yield layer

"""Fixtures of the Redis tests: one server that nobody breaks, and one to break."""

import os
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from fast_channels_redis import RedisChannelLayer

from .servers import SAVING, Server, running

Make = Callable[..., RedisChannelLayer]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server that tests share, each with a prefix of its own."""
    with running(tmp_path_factory.mktemp("redis")) as shared:
        yield shared


@pytest.fixture
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server that the test may kill, freeze and reconfigure."""
    with running(tmp_path_factory.mktemp("fragile")) as own:
        yield own


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server that wants a password, and has its data on disk: the kit restarts it."""
    with running(
        tmp_path_factory.mktemp("guarded"),
        *("--requirepass", "kit-secret", *SAVING),
        password="kit-secret",
    ) as own:
        yield own


@pytest.fixture
def prefix() -> str:
    """A prefix that no other test uses."""
    return f"t{os.urandom(6).hex()}"


@pytest.fixture
async def make(prefix: str) -> AsyncGenerator[Make]:
    """Makes open layers with the test's prefix, closed at its end; each plays one process."""
    async with AsyncExitStack() as stack:

        def layer(*hosts: Any, **options: Any) -> RedisChannelLayer:
            made = RedisChannelLayer(list(hosts), **{"prefix": prefix, **options})
            made.enable_gaps()
            stack.push_async_callback(made.close)
            return made

        yield layer

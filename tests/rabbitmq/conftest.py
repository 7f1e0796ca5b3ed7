"""Fixtures of the RabbitMQ tests: one node for all of them, which starts in seconds."""

import os
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from fast_channels_rabbitmq import RabbitMQChannelLayer

from .servers import Node, running

Make = Callable[..., RabbitMQChannelLayer]


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Generator[Node]:
    """A node that tests share, each with a prefix of its own; who kills it starts it again."""
    with running(tmp_path_factory.mktemp("rabbitmq")) as shared:
        yield shared


@pytest.fixture
def prefix() -> str:
    """A prefix that no other test uses."""
    return f"t{os.urandom(6).hex()}"


@pytest.fixture
async def make(prefix: str) -> AsyncGenerator[Make]:
    """Makes open layers with the test's prefix, closed at its end; each plays one process."""
    async with AsyncExitStack() as stack:

        def layer(hosts: Any, **options: Any) -> RabbitMQChannelLayer:
            made = RabbitMQChannelLayer(hosts, **{"prefix": prefix, **options})
            made.enable_gaps()
            stack.push_async_callback(made.close)
            return made

        yield layer

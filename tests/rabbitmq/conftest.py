"""Fixtures of the RabbitMQ tests: one node for all of them, which starts in seconds."""

import os
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from fast_channels_rabbitmq import RabbitMQBackend, RabbitMQChannelLayer
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.server import connect
from fast_channels_rabbitmq.urls import parse_servers

from .durable import Process, Processes
from .servers import Node, running

Make = Callable[..., RabbitMQChannelLayer]


LONG = {
    "TestLayer": {
        "test_a_member_loses_nothing_while_others_come_and_go",
        "test_sending_and_joining_fail_in_time_during_an_outage",
    },
    "TestCutOff": {"test_no_password_is_shown_in_an_outage"},
}
"""Clauses of the kit that take seconds, and show what a shorter test shows as well."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the slow ones out of the normal run, and wait long enough for a node to start."""
    for item in items:
        if isinstance(item, pytest.Function) and item.path.parent == Path(__file__).parent:
            name = item.cls.__name__ if item.cls is not None else ""
            if item.originalname in LONG.get(name, ()):
                item.add_marker(pytest.mark.long)
            if item.get_closest_marker("timeout") is None:  # the first one waits for the node
                item.add_marker(pytest.mark.timeout(90))


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


@pytest.fixture
async def process(node: Node, prefix: str) -> AsyncGenerator[Processes]:
    """Makes open backends that share an exchange and its streams, by the node's URL or another."""
    async with AsyncExitStack() as stack:

        async def opened(url: str | None = None) -> Process:
            servers = parse_servers(url or node.url)
            made = Process(RabbitMQBackend(servers, exchange=prefix))
            stack.push_async_callback(made.backend.close)
            await made.backend.open(made)
            return made

        yield opened


@pytest.fixture
async def connection(node: Node) -> AsyncGenerator[Connection]:
    """A connection of somebody else."""
    made = await connect(parse_servers(node.url)[0], 4.0)
    yield made
    await made.close()

"""Fixtures of the RabbitMQ tests: one node for all of them, which starts in seconds."""

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from fast_channels_rabbitmq import RabbitMQBackend, RabbitMQChannelLayer
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.history.streams import name_of, shard_of
from fast_channels_rabbitmq.server import connect
from fast_channels_rabbitmq.urls import parse_servers

from .durable import Process, Processes
from .servers import Node, running

Make = Callable[..., RabbitMQChannelLayer]
"""What the fixture ``make`` is."""

Pair = Callable[..., Awaitable[tuple[RabbitMQChannelLayer, RabbitMQChannelLayer, str]]]
"""What the fixture ``pair`` is."""

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


async def member(layer: RabbitMQChannelLayer, group: str = "room") -> str:
    """Return a channel of the layer that is in the group."""
    channel = await layer.new_channel()
    await layer.group_add(group, channel)
    return channel


@pytest.fixture
def pair(node: Node, make: Make) -> Pair:
    """Makes two open layers on the node, and a channel of the second that is in the group."""

    async def made(
        group: str = "room", **options: Any
    ) -> tuple[RabbitMQChannelLayer, RabbitMQChannelLayer, str]:
        here, there = (make(node.url, **options) for _ in range(2))
        await here.open()
        return here, there, await member(there, group)

    return made


@asynccontextmanager
async def overhearing(
    node: Node, prefix: str, rooms: int
) -> AsyncGenerator[Callable[[], Awaitable[int]]]:
    """Give what tells how many messages were sent to ``room-0`` and so on since it began."""
    async with await aio_pika.connect(node.url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        for number in range(rooms):
            await queue.bind(prefix, f"{prefix}:g.room-{number}")

        async def count() -> int:
            told = await channel.declare_queue(queue.name, passive=True)
            return told.declaration_result.message_count or 0

        yield count


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
async def one(process: Processes) -> Process:
    """A process of the test's."""
    return await process()


@pytest.fixture
def topic(prefix: str) -> str:
    """A durable topic."""
    return f"{prefix}:h.room"


@pytest.fixture
def stream(prefix: str, topic: str) -> str:
    """The name of the stream that has the topic."""
    return name_of(prefix, shard_of(topic))


@pytest.fixture
async def connection(node: Node) -> AsyncGenerator[Connection]:
    """A connection of somebody else."""
    made = await connect(parse_servers(node.url)[0], 4.0)
    yield made
    await made.close()

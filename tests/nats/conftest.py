"""Fixtures of the NATS tests: one server that nobody breaks, and one to break."""

import os
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from tests.proxy import Proxy, proxied

from fast_channels_nats import NatsChannelLayer

from .servers import Cluster, Server, running

Make = Callable[..., NatsChannelLayer]

LONG = {
    "TestSingle": {
        "test_publish_and_subscribe_fail_in_time_during_an_outage",
        "test_put_fails_in_time_during_an_outage",
        "test_a_subscribe_that_failed_in_an_outage_works_after_it",
        "test_no_password_is_shown_in_an_outage",
        "test_several_outages_in_a_row_are_repaired",
        "test_history_fails_in_time_during_an_outage",
    },
    "TestLayer": {
        "test_presence_costs_nothing_for_each_member",
        "test_members_of_a_node_that_beats_stay",
        "test_members_of_a_layer_that_is_closed_leave_soon",
        "test_an_outage_of_the_broker_makes_nobody_leave",
        "test_a_rejoin_soon_after_a_leave_makes_no_leave",
        "test_plain_json_makes_nobody_present",
        "test_who_does_not_watch_is_told_nothing",
        "test_another_presence_of_a_member_replaces_the_former",
        "test_a_member_without_a_presence_is_not_present",
        "test_a_channel_that_ends_is_not_present",
    },
}
"""Clauses of the kit that take seconds, and show what a shorter test, or one of presence on the
memory layer, shows as well."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the slow ones out of the normal run."""
    for item in items:
        if isinstance(item, pytest.Function) and item.path.parent == Path(__file__).parent:
            name = item.cls.__name__ if item.cls is not None else ""
            if item.originalname in LONG.get(name, ()):
                item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server that tests share, each with a prefix of its own."""
    with running(tmp_path_factory.mktemp("nats")) as shared:
        yield shared


@pytest.fixture
async def operator(server: Server) -> AsyncGenerator[Client]:
    """Somebody else at the shared server, who does there what an operator may."""
    client = await nats.connect(server.url)
    yield client
    await client.close()


@pytest.fixture
async def proxy(server: Server) -> AsyncGenerator[Proxy]:
    """A road to the shared server; named before ``make``, it outlives the layers on it."""
    async with proxied(server.port, "nats") as road:
        yield road


@pytest.fixture
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server that the test may kill, freeze and reconfigure."""
    with running(tmp_path_factory.mktemp("fragile")) as own:
        yield own


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server that wants a password, for the kit, which restarts it."""
    config = 'authorization { user: kit, password: "kit-secret" }'
    with running(tmp_path_factory.mktemp("guarded"), config) as own:
        yield own


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    """Three servers, for tests that kill some and start them again."""
    three = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        three.start()
        yield three
    finally:
        three.kill()


@pytest.fixture
def prefix() -> str:
    """A prefix that no other test uses."""
    return f"t{os.urandom(6).hex()}"


@pytest.fixture
async def make(prefix: str) -> AsyncGenerator[Make]:
    """Makes open layers with the test's prefix, closed at its end; each plays one process."""
    async with AsyncExitStack() as stack:

        def layer(servers: Any, **options: Any) -> NatsChannelLayer:
            made = NatsChannelLayer(servers, **{"prefix": prefix, **options})
            made.enable_gaps()
            stack.push_async_callback(made.close)
            return made

        yield layer

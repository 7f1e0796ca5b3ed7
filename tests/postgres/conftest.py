"""Fixtures of the PostgreSQL tests: one server that nobody breaks, and one to break."""

import os
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from fast_channels_postgres import PostgresChannelLayer

from .servers import Server, running

Make = Callable[..., PostgresChannelLayer]

COVERED = {
    "test_publish_and_subscribe_fail_in_time_during_an_outage",
    "test_a_subscribe_that_failed_in_an_outage_works_after_it",
    "test_several_outages_in_a_row_are_repaired",
}
"""Slow clauses about the backend of which the same is tried through a layer: by
``test_sending_and_joining_fail_in_time_during_an_outage`` and
``test_messages_flow_again_after_every_outage``."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave what is covered twice to the long run; a test may have to make a server first, which
    took 30 seconds on a machine with ten times the work that it can do."""
    for item in items:
        if "tests/postgres/" in item.nodeid and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(90))
        if item.name in COVERED and "postgres/test_conformance.py::TestBackend" in item.nodeid:
            item.add_marker("long")


@pytest.fixture(scope="session")
def server() -> Generator[Server]:
    """A server that tests share, each with a prefix of its own."""
    with running("md5") as shared:  # its log-in takes a third of the other's time
        yield shared


@pytest.fixture(scope="module")
def fragile() -> Generator[Server]:
    """A server that the tests of a module may kill and freeze; they leave it running."""
    with running("md5") as own:
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

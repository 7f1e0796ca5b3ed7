"""Two nodes of a cluster: what one takes arrives at the other, and one may go."""

import asyncio
from collections.abc import Generator

import pytest
from tests.waiting import read_until, send_when_back, soon

from .conftest import Make
from .servers import Cluster

GAP = {"type": "channels.gap", "group": "room"}
LAST = {"type": "last"}
pytestmark = [pytest.mark.long, pytest.mark.timeout(200)]  # two nodes take long to start


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    """Two nodes, for tests that kill one and start it again."""
    two = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        two.start()
        yield two
    finally:
        two.kill()


async def test_joining_at_one_node_is_complete_for_senders_at_the_other(
    cluster: Cluster, make: Make
) -> None:
    one, other = (make(node.url) for node in cluster.nodes)
    await other.open()
    channel = await one.new_channel()
    for number in range(50):
        await one.group_add(f"room-{number}", channel)
        await other.group_send(f"room-{number}", {"type": "hello", "n": number})
        assert await soon(one.receive(channel)) == {"type": "hello", "n": number}
    await other.send("jobs", {"type": "job"})
    assert await soon(one.receive("jobs")) == {"type": "job"}


async def test_a_node_that_goes_away_costs_its_processes_one_gap(
    cluster: Cluster, make: Make
) -> None:
    first, second = cluster.nodes
    here, there = make(second.url), make([first.url, second.url])
    await there.open()
    while first.connections() != 2:  # it begins at any of the two
        await there.close()
        there = make([first.url, second.url])
        await there.open()
    channel = await there.new_channel()
    await there.group_add("room", channel)
    await here.open()
    first.kill()
    try:
        assert await soon(there.receive(channel)) == GAP
        await here.group_send("room", {"type": "hello"})
        assert await soon(there.receive(channel)) == {"type": "hello"}
        await send_when_back(there, "room", LAST)
        assert await read_until(there, channel, LAST) == []
    finally:
        await asyncio.to_thread(first.start)
    await here.group_send("room", LAST)
    assert await read_until(there, channel, LAST) == []

"""Nodes of a cluster: what one takes arrives at the others, and one may go."""

import asyncio
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.waiting import read_until, send_when_back, soon

from fast_channels.exceptions import BackendUnavailable

from .conftest import Make
from .durable import KEPT, LAST, sent_once
from .servers import Cluster

GAP = {"type": "channels.gap", "group": "room"}
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


@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [2, 3])
async def test_a_durable_group_misses_nothing_when_the_node_with_its_leader_goes(
    tmp_path: Path, make: Make, prefix: str, count: int
) -> None:
    """Of two nodes one is no majority: nothing is kept until the other one is back."""
    cluster = Cluster(tmp_path, count)
    try:
        await asyncio.to_thread(cluster.start)
        first, second = cluster.nodes[:2]
        await make(first.url, history=KEPT).group_send("kept", {"type": "first"})
        assert await asyncio.to_thread(first.leads, f"{prefix}:h."), "it leads what it made"
        here = make(second.url, history=KEPT)
        members = [here, make([node.url for node in cluster.nodes], history=KEPT)]
        channels = [await layer.new_channel() for layer in members]
        for layer, channel in zip(members, channels, strict=True):
            await layer.group_add("kept", channel)
        sent = 0

        async def send(many: int) -> None:
            nonlocal sent
            for _ in range(many):
                await sent_once(here, {"type": "n", "n": sent}, f"{sent}", 60.0)
                sent += 1

        await send(10)
        await asyncio.to_thread(first.settle)
        first.kill()
        if count == 3:
            await send(10)
        else:
            with pytest.raises(BackendUnavailable, match="perhaps"):
                await soon(here.group_send("kept", {"type": "n", "n": sent}, id=f"{sent}"))
        await asyncio.to_thread(first.start)
        await send(10)
        await here.group_send("kept", LAST)
        for layer, channel in zip(members, channels, strict=True):
            came = await read_until(layer, channel, LAST)
            assert came == [{"type": "n", "n": number} for number in range(sent)]
    finally:
        cluster.kill()

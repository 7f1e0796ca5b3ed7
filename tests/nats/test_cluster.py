"""Three servers with JetStream: one may go, and nobody is deaf, and no job is lost."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import pytest
from tests.recovery import heard_again, recovery, without_ticks
from tests.waiting import read_until, soon

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import HistoryPolicy

from .conftest import Make
from .rooms import GAP, LAST, member
from .servers import Cluster

T = TypeVar("T")
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
async def _whole(cluster: Cluster) -> None:
    """Every server runs when the test begins."""
    await asyncio.to_thread(cluster.start)


async def when_elected(call: Callable[[], Awaitable[T]]) -> T:
    """Return what the call returns when JetStream's servers have agreed on a leader."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await call()
            except BackendUnavailable:
                await asyncio.sleep(0.1)


async def test_a_member_hears_of_every_server(cluster: Cluster, make: Make) -> None:
    layers = [make(url) for url in cluster.urls]
    for number in range(50):
        for there in layers:
            group = f"room-{number}"
            channel = await there.new_channel()
            await there.group_add(group, channel)
            for here in layers:
                await here.group_send(group, {"type": "hello"})
                assert await soon(there.receive(channel)) == {"type": "hello"}
            await there.group_discard(group, channel)


async def test_who_sat_on_a_killed_server_moves_to_another(cluster: Cluster, make: Make) -> None:
    here, there = make(cluster.servers[1].url), make(cluster.servers[0].url)
    await here.open()
    channel = await member(there)
    cluster.servers[0].kill()
    async with recovery():  # the others would let us in at once
        assert await heard_again(here, there, channel) == [GAP]
    await here.group_send("room", LAST)
    assert without_ticks(await read_until(there, channel, LAST)) == []


async def test_a_server_that_will_shut_down_is_left_before_it_does(
    cluster: Cluster, make: Make
) -> None:
    leaving = cluster.servers[2]
    layer = make(leaving.url)
    channel = await member(layer)
    leaving.signal(signal.SIGUSR2)  # lame duck mode
    async with recovery():
        assert await soon(layer.receive(channel)) == GAP
    assert leaving.process is not None
    assert leaving.process.poll() is None
    leaving.kill()
    await layer.group_send("room", LAST)
    assert await read_until(layer, channel, LAST) == []
    assert layer.stats()["gaps"] == 1


@pytest.mark.long
async def test_jobs_survive_the_loss_of_a_server(cluster: Cluster, make: Make) -> None:
    layers = [make(url) for url in cluster.urls]
    for number in range(9):
        job = {"type": "job", "number": number}
        await when_elected(partial(layers[number % 3].send, "jobs", job))
    cluster.servers[0].kill()
    numbers: set[int] = set()
    while len(numbers) < 9:  # one that was perhaps sent, and then sent again, comes twice
        numbers.add((await soon(layers[1].receive("jobs")))["number"])
    waiting = asyncio.create_task(read_until(layers[2], "jobs", LAST))
    await when_elected(partial(layers[1].send, "jobs", LAST))
    await soon(waiting)


@pytest.mark.long
async def test_a_durable_group_survives_the_loss_of_its_leader(
    cluster: Cluster, make: Make
) -> None:
    kept = {"room": HistoryPolicy(keep=1_000, ttl=60.0)}
    layers = [make(url, history=kept) for url in cluster.urls]
    for layer in layers:
        await when_elected(layer.open)
    channels = [await when_elected(partial(member, layer)) for layer in layers]
    for number in range(30):
        if number in (7, 14, 21):  # one of them leads
            cluster.servers[number // 7 - 1].kill()
        await when_elected(
            partial(layers[0].group_send, "room", {"type": "n", "n": number}, id=f"id-{number}")
        )
        if number in (10, 17, 24):
            await asyncio.to_thread(cluster.elect)
    await layers[0].group_send("room", LAST)
    for layer, channel in zip(layers, channels, strict=True):
        came = await read_until(layer, channel, LAST)
        assert [each.get("n") for each in came] == list(range(30)), "all, once, and no gap"

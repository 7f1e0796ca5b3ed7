"""A server at which JetStream is silent is left for one at which it answers."""

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest
from nats.aio.client import Client
from tests.proxy import Proxy, proxied
from tests.waiting import read_until, send_when_back, soon, until

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import HistoryPolicy
from fast_channels_nats import NatsChannelLayer

from .conftest import Make
from .rooms import GAP, LAST, member
from .servers import Server


def deafened(data: bytes) -> bytes:
    """Send what is for JetStream to where somebody listens and never answers."""
    return data.replace(b" $JS.API.", b" $NO.API.").replace(b".h-log.", b".h-hog.")


@pytest.fixture
async def roads(server: Server, operator: Client) -> AsyncGenerator[list[Proxy]]:
    """Two roads to the server, as if there were two; at each JetStream may be deaf."""
    await operator.subscribe("$NO.API.>")
    await operator.subscribe("*.h-hog.>")
    await operator.flush()
    async with proxied(server.port, "nats") as one, proxied(server.port, "nats") as other:
        yield [one, other]


@pytest.fixture
def layer(roads: list[Proxy], make: Make) -> NatsChannelLayer:
    """A layer that may go either way, and keeps what the group ``kept`` is sent."""
    history = {"kept": HistoryPolicy(keep=10, ttl=60.0)}
    return make([road.url for road in roads], history=history)


async def test_who_sits_where_jetstream_is_silent_moves_to_where_it_answers(
    roads: list[Proxy], layer: NatsChannelLayer
) -> None:
    channel = await member(layer)
    here, there = sorted(roads, key=lambda road: -road.connections)
    assert (here.connections, there.connections) == (1, 0)
    here.rewrite = deafened
    await soon(layer.send("jobs", {"type": "job"}))  # within its 5 seconds
    assert there.connections >= 1
    assert await soon(layer.receive("jobs")) == {"type": "job"}
    await layer.group_send("room", LAST)
    assert await read_until(layer, channel, LAST) == [GAP]


@pytest.mark.long
async def test_a_worker_that_waits_where_jetstream_is_silent_moves(
    roads: list[Proxy], layer: NatsChannelLayer, server: Server, make: Make
) -> None:
    other = make(server.url)
    await layer.open()
    waiting = asyncio.create_task(layer.receive("jobs"))
    await other.send("else", {"type": "job"})
    here = max(roads, key=lambda road: road.connections)
    here.rewrite = deafened
    await other.send("jobs", {"type": "job"})
    assert await soon(waiting) == {"type": "job"}
    await layer.send("more", {"type": "job"})


@pytest.mark.long
async def test_a_durable_group_moves_from_where_jetstream_is_silent(
    roads: list[Proxy], layer: NatsChannelLayer
) -> None:
    channel = await member(layer, "kept")
    await layer.group_send("kept", {"type": "first"})
    max(roads, key=lambda road: road.connections).rewrite = deafened
    with pytest.raises(BackendUnavailable, match="did not answer"):
        await soon(layer.group_send("kept", {"type": "perhaps"}))
    await until(lambda: min(road.connections for road in roads) >= 1)
    await send_when_back(layer, "kept", LAST)
    assert await read_until(layer, channel, LAST) == [{"type": "first"}], "and no gap"


@pytest.mark.long
async def test_where_no_jetstream_answers_groups_go_on_and_nobody_moves(
    roads: list[Proxy], layer: NatsChannelLayer
) -> None:
    channel = await member(layer)
    for road in roads:
        road.rewrite = deafened
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(BackendUnavailable, match="did not answer within 4 s"):
            await layer.send("jobs", {"type": "job"})
        assert time.monotonic() - began < 8
    assert min(road.connections for road in roads) >= 1, "it has looked elsewhere"
    await layer.group_send("room", LAST)
    assert await read_until(layer, channel, LAST) == []
    for road in roads:
        road.rewrite = bytes
    await soon(layer.send("jobs", {"type": "job"}))
    assert await soon(layer.receive("jobs")) == {"type": "job"}
    assert layer.stats()["gaps"] == 0

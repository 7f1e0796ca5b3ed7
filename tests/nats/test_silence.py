"""A server at which JetStream is silent is left for one at which it answers."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import nats
import pytest
from tests.proxy import Proxy, proxied
from tests.waiting import read_until, send_when_back, soon, until

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import HistoryPolicy
from fast_channels_nats import NatsChannelLayer

from .conftest import Make
from .servers import Server

GAP = {"type": "channels.gap", "group": "room"}
LAST = {"type": "last"}


def deafened(data: bytes) -> bytes:
    """Send what is for JetStream to where somebody listens and never answers."""
    return data.replace(b" $JS.API.", b" $NO.API.").replace(b".h-log.", b".h-hog.")


@asynccontextmanager
async def two_roads(server: Server) -> AsyncGenerator[list[Proxy]]:
    """Two roads to the server, as if there were two; at each JetStream may be deaf."""
    listener = await nats.connect(server.url)
    await listener.subscribe("$NO.API.>")
    await listener.subscribe("*.h-hog.>")
    await listener.flush()
    async with proxied(server.port, "nats") as one, proxied(server.port, "nats") as other:
        yield [one, other]
    await listener.close()


async def member(layer: NatsChannelLayer) -> str:
    """Return a channel of the layer that is in the group."""
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    return channel


async def test_who_sits_where_jetstream_is_silent_moves_to_where_it_answers(
    server: Server, make: Make
) -> None:
    async with two_roads(server) as roads:
        layer = make([road.url for road in roads])
        channel = await member(layer)
        here, there = sorted(roads, key=lambda road: -road.connections)
        assert (here.connections, there.connections) == (1, 0)
        here.rewrite = deafened
        await soon(layer.send("jobs", {"type": "job"}))  # within its 5 seconds
        assert there.connections >= 1
        assert await soon(layer.receive("jobs")) == {"type": "job"}
        await layer.group_send("room", LAST)
        assert await read_until(layer, channel, LAST) == [GAP]
        await layer.close()


@pytest.mark.long
async def test_a_worker_that_waits_where_jetstream_is_silent_moves(
    server: Server, make: Make
) -> None:
    async with two_roads(server) as roads:
        layer, other = make([road.url for road in roads]), make(server.url)
        await layer.open()
        waiting = asyncio.create_task(layer.receive("jobs"))
        await other.send("else", {"type": "job"})
        here = max(roads, key=lambda road: road.connections)
        here.rewrite = deafened
        await other.send("jobs", {"type": "job"})
        assert await soon(waiting) == {"type": "job"}
        await layer.send("more", {"type": "job"})
        await layer.close()


@pytest.mark.long
async def test_a_durable_group_moves_from_where_jetstream_is_silent(
    server: Server, make: Make
) -> None:
    kept = {"room": HistoryPolicy(keep=10, ttl=60.0)}
    async with two_roads(server) as roads:
        layer = make([road.url for road in roads], history=kept)
        channel = await member(layer)
        await layer.group_send("room", {"type": "first"})
        max(roads, key=lambda road: road.connections).rewrite = deafened
        with pytest.raises(BackendUnavailable, match="did not answer"):
            await soon(layer.group_send("room", {"type": "perhaps"}))
        await until(lambda: min(road.connections for road in roads) >= 1)
        await send_when_back(layer, "room", LAST)
        assert await read_until(layer, channel, LAST) == [{"type": "first"}], "and no gap"
        await layer.close()


@pytest.mark.long
async def test_where_no_jetstream_answers_groups_go_on_and_nobody_moves(
    server: Server, make: Make
) -> None:
    async with two_roads(server) as roads:
        layer = make([road.url for road in roads])
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
        await layer.close()

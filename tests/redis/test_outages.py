"""Whatever happens to the server or the road to it: the listener comes back and tells the gap once.

Every test ends with a message that arrives, so what it shows is that nobody is deaf.
"""

import asyncio
import gc
import time
from typing import Any, ClassVar

import pytest
from tests.proxy import proxied
from tests.recovery import heard_again, recovery, without_ticks
from tests.waiting import read_until, send_when_back, soon, until

from fast_channels.consumer import AsyncJsonWebsocketConsumer
from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import register_channel_layer, unregister_channel_layer
from fast_channels.testing import WebsocketCommunicator
from fast_channels_redis import RedisChannelLayer

from .conftest import Make
from .servers import Server

GAP = {"type": "channels.gap", "group": "room"}
LAST = {"type": "last"}


async def member(layer: RedisChannelLayer) -> str:
    """Return a channel of the layer that is in the group."""
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    return channel


async def gap_number(layer: RedisChannelLayer, number: int) -> None:
    """Return when the layer has noticed so many losses."""
    await until(lambda: layer.stats()["gaps"] >= number)
    assert layer.stats()["gaps"] == number


async def test_a_killed_and_restarted_server_costs_one_gap(fragile: Server, make: Make) -> None:
    here, there = make(fragile.url), make(fragile.url)
    await here.open()
    channel = await member(there)
    reading = asyncio.create_task(there.receive(channel))
    fragile.kill()
    began = time.monotonic()
    while time.monotonic() - began < 2.5:  # nothing hangs, and every failure says so
        with pytest.raises(BackendUnavailable, match=str(fragile.port)):
            await here.group_send("room", {"type": "lost"})
        await asyncio.sleep(0.1)  # between tries
    with pytest.raises(BackendUnavailable, match="nothing was sent"):
        await here.group_send("room", {"type": "lost"})
    assert not reading.done()
    await asyncio.to_thread(fragile.start)
    async with recovery():
        assert await soon(reading) == GAP
        assert await heard_again(here, there, channel) == []
    await here.group_send("room", LAST)
    assert without_ticks(await read_until(there, channel, LAST)) == []


async def test_killed_connections_come_back_with_every_subscription(
    server: Server, make: Make, prefix: str
) -> None:
    here, there = make(server.url), make(f"{server.url}?client_name={prefix}")
    channel = await member(there)
    for number in range(1_200):  # more than one command's worth
        await there.group_add(f"more-{number}", channel)
    with server.client() as client:
        for gaps in (1, 2, 3):
            for each in client.client_list():
                if each["name"] == prefix:
                    client.client_kill_filter(_id=each["id"])
            async with recovery():
                await gap_number(there, gaps)
                assert (await heard_again(here, there, channel)).count(GAP) == 1
        [(_, subscribers)] = client.pubsub_numsub(f"{prefix}:g.more-1199")
    assert subscribers == 1
    await here.group_send("room", LAST)
    assert without_ticks(await read_until(there, channel, LAST)) == []


async def test_what_comes_while_subscriptions_are_restored_comes_after_the_gap(
    server: Server, make: Make, prefix: str
) -> None:
    here, there = make(server.url), make(f"{server.url}?client_name={prefix}")
    channel = await member(there)
    sending = True

    async def send() -> None:
        while sending:
            await here.group_send("room", {"type": "stream"})

    stream = asyncio.create_task(send())
    reading = asyncio.create_task(read_until(there, channel, LAST))
    with server.client() as client:
        for gaps in range(1, 11):
            for each in client.client_list(_type="pubsub"):
                if each["name"] == prefix:
                    client.client_kill_filter(_id=each["id"])
            await gap_number(there, gaps)
    sending = False
    await soon(stream)
    await here.group_send("room", LAST)
    came = await soon(reading)
    assert came.count(GAP) == 10
    # No loss without a gap: a layer whose frames are missing counts one gap more.
    assert there.stats()["gaps"] == 10


async def test_a_connection_that_went_dead_without_a_word_is_replaced(
    server: Server, make: Make
) -> None:
    async with proxied(server.port) as proxy:
        here, there = make(server.url), make(proxy.url)
        channel = await member(there)
        proxy.forget()
        async with recovery():  # a new connection would be let in at once
            assert await heard_again(here, there, channel) == [GAP]
        await there.group_send("room", LAST)
        assert without_ticks(await read_until(there, channel, LAST)) == []
        await here.close()
        await there.close()


async def test_a_road_that_is_dead_for_a_while_costs_one_gap(server: Server, make: Make) -> None:
    async with proxied(server.port) as proxy:
        layer = make(proxy.url)
        channel = await member(layer)
        proxy.dead = True
        began = time.monotonic()
        with pytest.raises(BackendUnavailable):
            await layer.group_send("room", {"type": "lost"})
        assert time.monotonic() - began < 5.5
        proxy.dead = False
        proxy.forget()
        async with recovery():
            assert await heard_again(layer, layer, channel) == [GAP]
        await layer.group_send("room", LAST)
        assert without_ticks(await read_until(layer, channel, LAST)) == []
        await layer.close()


async def test_a_server_that_only_stalls_costs_nothing(fragile: Server, make: Make) -> None:
    here, there = make(fragile.url), make(fragile.url)
    await here.open()
    channel = await member(there)
    fragile.freeze()
    sending = asyncio.create_task(here.group_send("room", {"type": "late"}))
    await asyncio.sleep(1.8)  # it is time that has to pass: longer than a sign of life may take
    fragile.thaw()
    await soon(sending)
    await here.group_send("room", LAST)
    assert await read_until(there, channel, LAST) == [{"type": "late"}]


async def test_a_frozen_server_fails_sends_in_time_and_comes_back(
    fragile: Server, make: Make
) -> None:
    here, there = make(fragile.url), make(fragile.url)
    await here.open()
    channel = await member(there)
    fragile.freeze()
    began = time.monotonic()
    with pytest.raises(BackendUnavailable, match=r"no sign of life .* perhaps"):
        await here.group_send("room", {"type": "perhaps"})
    assert time.monotonic() - began < 5.5
    await asyncio.sleep(1)  # it is time that has to pass: every connection is given up by now
    fragile.thaw()
    async with recovery():
        assert (await heard_again(here, there, channel)).count(GAP) == 1


async def test_a_listener_that_the_server_disconnected_for_its_backlog_comes_back(
    fragile: Server, make: Make
) -> None:
    fragile.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0")
    here, there = make(fragile.url), make(fragile.url, capacity_bytes=100_000_000)
    channel = await member(there)
    with fragile.client() as client:
        topic = f"{there.options.prefix}:g.room"
        while client.pubsub_numsub(topic)[0][1]:  # this process, which would read, is kept busy
            client.publish(topic, b'{"type": "flood", "data": "%b"}' % (b"x" * 100_000))
    async with recovery():
        await gap_number(there, 1)
        assert (await heard_again(here, there, channel)).count(GAP) == 1


async def test_an_idle_listener_outlives_the_drivers_timeout(server: Server, make: Make) -> None:
    here, there = make(server.url), make(f"{server.url}?socket_timeout=0.1")
    channel = await member(there)
    reading = asyncio.create_task(there.receive(channel))
    taking = asyncio.create_task(there.receive("jobs"))
    await asyncio.sleep(1.5)  # it is time that has to pass
    assert not reading.done()
    assert not taking.done()
    await here.group_send("room", LAST)
    await here.send("jobs", LAST)
    assert await soon(reading) == LAST
    assert await soon(taking) == LAST
    assert there.stats()["gaps"] == 0


async def test_a_worker_waits_through_an_outage(fragile: Server, make: Make) -> None:
    here, there = make(fragile.url), make(fragile.url)
    taking = asyncio.create_task(there.receive("jobs"))
    await here.send("other", {"type": "job"})
    fragile.kill()
    fragile.start()
    async with asyncio.timeout(10):
        while True:
            try:
                await here.send("jobs", LAST)
                break
            except BackendUnavailable:
                await asyncio.sleep(0.02)
    assert await soon(taking) == LAST


class Room(AsyncJsonWebsocketConsumer):
    groups: ClassVar[list[str]] = ["room"]

    async def hello(self, event: dict[str, Any]) -> None:
        await self.send_json(event)

    async def channels_gap(self, event: dict[str, Any]) -> None:
        await self.send_json(event)


async def test_a_consumer_lives_through_an_outage_and_is_told(fragile: Server, make: Make) -> None:
    layer = make(fragile.url)
    register_channel_layer("default", layer)
    try:
        socket = WebsocketCommunicator(Room.as_asgi(), "/room")
        assert (await socket.connect())[0]
        fragile.kill()
        with pytest.raises(BackendUnavailable):
            await layer.group_send("room", {"type": "hello"})
        await asyncio.to_thread(fragile.start)
        assert await socket.receive_json_from(timeout=5) == GAP
        await send_when_back(layer, "room", {"type": "hello"})
        assert await socket.receive_json_from(timeout=5) == {"type": "hello"}
        await socket.disconnect()
    finally:
        unregister_channel_layer("default")


async def test_an_unreachable_server_is_told_at_opening_and_leaves_nothing(
    fragile: Server, make: Make
) -> None:
    layer = make(fragile.url)
    fragile.kill()
    with pytest.raises(BackendUnavailable, match=f"redis at 127.0.0.1:{fragile.port} cannot be"):
        await layer.open()
    gc.collect()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.long
async def test_an_outage_is_not_met_with_a_storm_of_attempts(server: Server, make: Make) -> None:
    async with proxied(server.port) as proxy:
        layer = make(proxy.url)
        await member(layer)
        proxy.connections = 0
        proxy.dead = True
        proxy.forget()
        await asyncio.sleep(3)  # it is time that has to pass
        assert proxy.connections < 30
        await layer.close()


async def test_members_get_the_messages_that_channels_redis_sends(
    fragile: Server, make: Make
) -> None:
    layer = make(fragile.url, on_disconnect="redis.down", on_reconnect="redis.up")
    channel = await member(layer)
    fragile.kill()
    assert await soon(layer.receive(channel)) == {"type": "redis.down"}
    fragile.start()
    assert await soon(layer.receive(channel)) == GAP
    assert await soon(layer.receive(channel)) == {"type": "redis.up"}

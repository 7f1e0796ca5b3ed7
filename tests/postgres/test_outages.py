"""Whatever happens to the server: the listener comes back and tells the gap once.

Every test ends with a message that arrives, so what it shows is that nobody is deaf.
"""

import asyncio
import socket
import time

import pytest
from tests.proxy import proxied
from tests.waiting import hears, read_until, send_when_back, soon, until

from fast_channels.exceptions import BackendUnavailable
from fast_channels_postgres import PostgresChannelLayer

from .conftest import Make
from .servers import Server, running, terminate

GAP = {"type": "channels.gap", "group": "room"}
LAST = {"type": "last"}


async def member(layer: PostgresChannelLayer) -> str:
    """Return a channel of the layer that is in the group."""
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    return channel


@pytest.mark.long  # the kit's clauses about outages try most of it
async def test_a_killed_and_restarted_server_costs_one_gap(fragile: Server, make: Make) -> None:
    here, there = make(fragile.url), make(fragile.url)
    await here.open()
    channel = await member(there)
    reading = asyncio.create_task(there.receive(channel))
    await asyncio.to_thread(fragile.kill)
    began = time.monotonic()
    while time.monotonic() - began < 2.5:  # nothing hangs, and every failure says so
        with pytest.raises(BackendUnavailable, match=str(fragile.port)):
            await here.group_send("room", {"type": "lost"})
        await asyncio.sleep(0.1)  # between tries
    assert not reading.done()
    await asyncio.to_thread(fragile.start)
    assert await soon(reading) == GAP
    await hears(there)
    await send_when_back(here, "room", LAST)
    assert await read_until(there, channel, LAST) == []


async def test_terminated_connections_come_back_with_every_subscription(
    server: Server, make: Make, prefix: str
) -> None:
    here, there = make(server.url), make(f"{server.url}?application_name={prefix}", capacity=1_000)
    channel = await member(there)
    for number in range(300):
        await there.group_add(f"more-{number}", channel)
    for gaps in (1, 2, 3):
        await terminate(server, prefix)
        await until(lambda gaps=gaps: there.stats()["gaps"] >= gaps)
    for number in range(300):
        await here.group_send(f"more-{number}", {"type": "hello"})
    await here.group_send("room", LAST)
    came = await read_until(there, channel, LAST)
    assert came.count(GAP) == 3
    assert came.count({"type": "hello"}) == 300
    assert there.stats()["gaps"] == 3


async def test_a_publisher_that_was_terminated_comes_back(
    server: Server, make: Make, prefix: str
) -> None:
    here, there = make(f"{server.url}?application_name={prefix}"), make(server.url)
    channel = await member(there)
    await here.group_send("room", {"type": "first"})
    for _ in range(3):
        await terminate(server, prefix)
        await send_when_back(here, "room", {"type": "again"})
    await hears(there)
    await send_when_back(here, "room", LAST)
    came = await read_until(there, channel, LAST)
    # What it could not send, and said so, members are told of as a gap, like any other loss.
    assert [message for message in came if message != GAP] == [
        {"type": "first"},
        *([{"type": "again"}] * 3),
    ]


async def test_a_frozen_server_is_told_in_time_and_found_again(fragile: Server, make: Make) -> None:
    here, there = make(fragile.url), make(fragile.url)
    await here.open()
    channel = await member(there)
    fragile.freeze()
    try:
        began = time.monotonic()
        with pytest.raises(BackendUnavailable):
            await here.group_send("room", {"type": "lost"})
        assert time.monotonic() - began < 8
    finally:
        fragile.thaw()
    await until(lambda: there.stats()["gaps"] >= 1)
    await hears(there)
    await send_when_back(here, "room", LAST)
    await soon(read_until(there, channel, LAST))


async def test_a_connection_that_went_dead_without_a_word_is_replaced(
    server: Server, make: Make
) -> None:
    async with proxied(server.port, "postgresql") as proxy:
        here = make(server.url)
        there = make(server.url.replace(f":{server.port}/", f":{proxy.port}/"))
        channel = await member(there)
        proxy.forget()
        assert await soon(there.receive(channel)) == GAP  # 5 s on a machine of its own
        await here.group_send("room", LAST)
        assert await read_until(there, channel, LAST) == []
        await there.close()


async def test_a_fail_over_to_another_host_of_the_url_is_followed(
    server: Server, make: Make
) -> None:
    with running() as first:
        hosts = f"127.0.0.1:{first.port},127.0.0.1:{server.port}"
        url = f"postgresql://kit:{server.password}@{hosts}/postgres"
        here, there = make(url), make(url)
        await here.open()
        channel = await member(there)
        await here.group_send("room", {"type": "first"})
        assert await soon(there.receive(channel)) == {"type": "first"}
        await asyncio.to_thread(first.kill)
        assert await soon(there.receive(channel)) == GAP
        await hears(there)
        await send_when_back(here, "room", LAST)
        assert await read_until(there, channel, LAST) == []


@pytest.mark.long  # test_history.py promotes one, too
async def test_a_replica_that_is_promoted_takes_over_with_the_jobs(make: Make) -> None:
    with running() as primary:
        replica = Server()
        try:
            await asyncio.to_thread(replica.copy, primary)
            await asyncio.to_thread(replica.start)
            hosts = f"127.0.0.1:{replica.port},127.0.0.1:{primary.port}"
            url = f"postgresql://kit:{Server.password}@{hosts}/postgres"
            here, there = make(url), make(url)
            await here.send("jobs", {"type": "job"})
            channel = await member(there)
            await here.group_send("room", {"type": "first"})
            assert await soon(there.receive(channel)) == {"type": "first"}
            copied = "SELECT FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()"
            while not await primary.run(copied):  # noqa: ASYNC110  # the server's
                await asyncio.sleep(0.02)
            await asyncio.to_thread(primary.kill)
            for _ in range(2):  # the first may have been under way
                with pytest.raises(BackendUnavailable) as caught:
                    await here.group_send("room", {"type": "lost"})
            assert "read-only replica" in str(caught.value)
            await replica.run("SELECT pg_promote()")
            assert await soon(there.receive(channel)) == GAP
            await hears(there)
            await send_when_back(here, "room", LAST)
            assert await read_until(there, channel, LAST) == []
            assert await soon(there.receive("jobs")) == {"type": "job"}
            await asyncio.gather(here.close(), there.close())
        finally:
            await asyncio.to_thread(replica.remove)


async def test_a_host_that_swallows_everything_is_passed_over(server: Server, make: Make) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()  # takes connections and says nothing
        hosts = f"127.0.0.1:{deaf.getsockname()[1]},127.0.0.1:{server.port}"
        layer = make(f"postgresql://kit:{server.password}@{hosts}/postgres")
        channel = await member(layer)
        await layer.group_send("room", LAST)
        assert await soon(layer.receive(channel)) == LAST
        await layer.close()


async def test_nothing_is_ever_idle_in_a_transaction(
    server: Server, make: Make, prefix: str
) -> None:
    layer = make(f"{server.url}?application_name={prefix}")
    channel = await member(layer)
    await layer.group_send("room", LAST)
    await soon(layer.receive(channel))
    await layer.send("jobs", {"type": "job"})
    lease = await layer.take("jobs")
    query = "SELECT DISTINCT state FROM pg_stat_activity WHERE application_name = $1"
    assert [row["state"] for row in await server.run(query, prefix)] == ["idle"]
    await lease.done()

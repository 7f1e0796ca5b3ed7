"""Whatever happens to the server: the listener comes back and tells the gap once.

Every test ends with a message that arrives, so what it shows is that nobody is deaf.
"""

import asyncio
import socket
import time
from pathlib import Path

import pytest
from tests.proxy import Proxy
from tests.recovery import heard_again, recovery, without_ticks
from tests.waiting import hears, read_until, send_when_back, soon, until

from fast_channels.exceptions import BackendUnavailable

from .conftest import Make
from .rooms import GAP, LAST, member
from .servers import Server, running


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
        await asyncio.sleep(0.1)
    assert not reading.done()
    await asyncio.to_thread(fragile.start)
    async with recovery():
        assert await soon(reading) == GAP
        assert await heard_again(here, there, channel) == []
    await here.group_send("room", LAST)
    assert without_ticks(await read_until(there, channel, LAST)) == []


async def test_what_was_reported_as_failed_is_not_delivered_later(
    fragile: Server, make: Make
) -> None:
    here, there = make(fragile.url), make(fragile.url)
    await here.open()
    channel = await member(there)
    fragile.kill()
    await until(lambda: there.stats()["gaps"] == 0)
    for number in range(3):
        with pytest.raises(BackendUnavailable):
            await here.group_send("room", {"type": "lost", "number": number})
    fragile.start()
    assert await soon(there.receive(channel)) == GAP
    await hears(there)
    await send_when_back(here, "room", LAST)
    assert await read_until(there, channel, LAST) == []


async def test_many_subscriptions_are_restored(fragile: Server, make: Make) -> None:
    here, there = make(fragile.url), make(fragile.url)
    channel = await member(there)
    for number in range(2_300):  # more than two writes' worth
        await there.group_add(f"more-{number}", channel)
    fragile.kill()
    fragile.start()
    await until(lambda: there.stats()["gaps"] == 1)
    for group in ("more-0", "more-1150", "more-2299"):
        await send_when_back(here, group, {"type": group})
    await here.group_send("room", LAST)
    came = [message["type"] for message in await read_until(there, channel, LAST)]
    assert [kind for kind in came if kind != GAP["type"]] == ["more-0", "more-1150", "more-2299"]


async def test_a_frozen_server_is_noticed_and_found_again(fragile: Server, make: Make) -> None:
    here, there = make(fragile.url), make(fragile.url)
    await here.open()
    channel = await member(there)
    fragile.freeze()
    began = time.monotonic()
    sends = [layer.group_send("room", {"type": "perhaps"}) for layer in (here, there)]
    errors = await asyncio.gather(*sends, return_exceptions=True)
    assert all(isinstance(error, BackendUnavailable) for error in errors), errors
    assert time.monotonic() - began < 6
    await asyncio.sleep(1)  # it is time that has to pass: every connection is given up by now
    fragile.thaw()
    async with recovery():
        came = await heard_again(here, there, channel)
    await here.group_send("room", LAST)
    came += without_ticks(await read_until(there, channel, LAST))
    assert came.count(GAP) == 1
    assert all(message in (GAP, {"type": "perhaps"}) for message in came)


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


async def test_a_connection_that_went_dead_without_a_word_is_replaced(
    proxy: Proxy, server: Server, make: Make
) -> None:
    here, there = make(server.url), make(proxy.url)
    await here.open()
    channel = await member(there)
    proxy.forget()
    async with recovery():  # a new connection would be let in at once
        assert await heard_again(here, there, channel) == [GAP]
    await there.group_send("room", LAST)
    assert without_ticks(await read_until(there, channel, LAST)) == []


async def test_a_road_that_is_dead_for_a_while_costs_one_gap(proxy: Proxy, make: Make) -> None:
    layer = make(proxy.url)
    channel = await member(layer)
    proxy.dead = True
    began = time.monotonic()
    with pytest.raises(BackendUnavailable):
        await layer.group_send("room", {"type": "lost"})
    assert time.monotonic() - began < 8
    proxy.dead = False
    proxy.forget()
    async with recovery():
        assert await heard_again(layer, layer, channel) == [GAP]
    await layer.group_send("room", LAST)
    assert without_ticks(await read_until(layer, channel, LAST)) == []
    assert layer.stats()["gaps"] == 1


async def test_servers_that_swallow_everything_keep_nobody_from_one_that_is_back(
    fragile: Server, make: Make
) -> None:
    with socket.socket() as one, socket.socket() as other:
        for deaf in (one, other):
            deaf.bind(("127.0.0.1", 0))
            deaf.listen()  # takes connections and says nothing
        names = [f"nats://127.0.0.1:{deaf.getsockname()[1]}" for deaf in (one, other)]
        layer = make([*names, fragile.url])
        channel = await member(layer)
        fragile.kill()
        for _ in range(2):  # the second one waits for some attempts
            with pytest.raises(BackendUnavailable):
                await layer.group_send("room", {"type": "lost"})
        await asyncio.to_thread(fragile.start)
        async with recovery():
            assert await heard_again(layer, layer, channel) == [GAP]


async def test_a_send_fails_or_arrives_and_never_both(fragile: Server, make: Make) -> None:
    here, there = make(fragile.url), make(fragile.url)
    await here.open()
    channel = await member(there)
    refused: set[int] = set()  # nothing of these was written, as their errors say
    sent: set[int] = set()
    stop = asyncio.Event()

    async def sender(first: int) -> None:
        for number in range(first, 1_000_000, 4):
            if stop.is_set():
                return
            try:
                await here.group_send("room", {"type": "one", "number": number})
                sent.add(number)
            except BackendUnavailable as error:
                if "nothing was sent" in str(error):
                    refused.add(number)
            await asyncio.sleep(0.002)

    reading = asyncio.create_task(read_until(there, channel, LAST))
    senders = [asyncio.create_task(sender(first)) for first in range(4)]
    for gaps in (1, 2):
        await until(lambda: len(sent) > 20)
        fragile.kill()
        if gaps == 2:
            await until(lambda: refused)
        fragile.start()
        await until(lambda gaps=gaps: there.stats()["gaps"] == gaps)
        sent.clear()
    stop.set()
    await asyncio.gather(*senders)
    await send_when_back(here, "room", LAST)
    came = [message["number"] for message in await soon(reading) if message != GAP]
    assert len(set(came)) == len(came)
    assert not refused.intersection(came)


async def test_who_is_cut_off_for_reading_too_slowly_gets_one_gap(
    tmp_path: Path, make: Make, prefix: str
) -> None:
    with running(tmp_path, "max_pending: 2000000, write_deadline: 1s") as server:
        layer = make(server.url)
        channel = await member(layer)
        # The sender keeps the event loop, so nobody reads what comes.
        flood(
            server, f"{prefix}.g.room", b'{"type": "flood", "text": "%b"}' % (b"x" * 400_000), 100
        )
        await until(lambda: layer.stats()["gaps"] == 1)
        await send_when_back(layer, "room", LAST)
        came = await read_until(layer, channel, LAST)
        assert came.count(GAP) == 1
        assert len(came) < 100


def flood(server: Server, subject: str, payload: bytes, count: int) -> None:
    """The server has the payload so many times; this thread did nothing else meanwhile."""
    with socket.create_connection(("127.0.0.1", server.port)) as sender:
        sender.sendall(b'CONNECT {"verbose": false}\r\n')
        for _ in range(count):
            sender.sendall(b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(payload), payload))
        sender.sendall(b"PING\r\n")
        told = b""
        while b"PONG" not in told:
            told += sender.recv(4_096)

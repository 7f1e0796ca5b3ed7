"""A master that Sentinels know: found, followed through failovers."""

import asyncio
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from tests.ports import free_port
from tests.recovery import heard_again, recovery
from tests.waiting import send_when_back, soon, until

from fast_channels.exceptions import BackendUnavailable, HistoryLost
from fast_channels.layers import HistoryPolicy
from fast_channels.testing import BackendTests, HistoryTests, LayerTests, QueueTests
from fast_channels_redis import RedisBackend, RedisChannelLayer
from fast_channels_redis.hosts import parse_hosts

from .conftest import Make
from .servers import Trio


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Generator[Trio]:
    """Three Sentinels, their master and its replica."""
    trio = Trio(tmp_path_factory.mktemp("trio"))
    try:
        trio.start()
        yield trio
    finally:
        trio.kill()


LAST = {"type": "last"}
GAP = {"type": "channels.gap", "group": "room"}


@pytest.mark.timeout(90)
async def test_a_failover_is_followed_and_told_as_one_gap(trio: Trio, make: Make) -> None:
    await asyncio.to_thread(trio.settle_for_failover)
    here, there = make(trio.url), make(trio.url)
    await here.open()
    channel = await there.new_channel()
    await there.group_add("room", channel)
    taking = asyncio.create_task(there.receive("jobs"))
    master = trio.master()
    master.kill()
    with pytest.raises(BackendUnavailable):
        while True:
            await here.group_send("room", {"type": "lost"})
    await asyncio.to_thread(lambda: _promoted(trio, master.port))
    async with recovery():
        assert await heard_again(here, there, channel) == [GAP]
    await here.send("jobs", LAST)
    assert await soon(taking) == LAST


def _promoted(trio: Trio, old: int) -> None:
    deadline = time.monotonic() + 20
    while trio.master().port == old and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.long
@pytest.mark.timeout(90)
async def test_a_planned_failover_is_followed_by_everyone(trio: Trio, make: Make) -> None:
    await asyncio.to_thread(trio.settle_for_failover)
    here, there = make(trio.url), make(trio.url)
    await here.open()
    channel = await there.new_channel()
    await there.group_add("room", channel)
    old = trio.master().port
    trio.sentinels[0].command("SENTINEL", "FAILOVER", trio.name)
    await asyncio.to_thread(lambda: _promoted(trio, old))
    # Until the Sentinels have made a replica of it, the old master goes on, and nobody leaves it.
    [left] = [server for server in trio.servers if server.port == old]
    await until(lambda: left.command("ROLE")[0] == b"slave")
    async with recovery():
        await until(lambda: there.stats()["gaps"] >= 1)
        assert GAP in await heard_again(here, there, channel)


@pytest.mark.timeout(90)
async def test_one_sentinel_is_enough_and_a_frozen_one_delays_nobody(
    trio: Trio, make: Make
) -> None:
    await asyncio.to_thread(trio.settle)
    first, second, _ = trio.sentinels
    first.freeze()
    second.kill()
    try:
        began = time.monotonic()
        layer = make(trio.url)
        channel = await layer.new_channel()
        assert time.monotonic() - began < 2
        await layer.group_add("room", channel)
        await layer.group_send("room", LAST)
        assert await soon(layer.receive(channel)) == LAST
    finally:
        first.thaw()
        second.start()


async def test_an_unknown_master_and_absent_sentinels_are_told(trio: Trio, make: Make) -> None:
    with pytest.raises(BackendUnavailable, match="no Sentinel knows the master 'other-master'"):
        await make(trio.url.replace(trio.name, "other-master")).open()
    with pytest.raises(BackendUnavailable, match="cannot be reached"):
        await make(f"redis+sentinel://127.0.0.1:{free_port()}/{trio.name}").open()
    port = trio.sentinels[0].port
    with pytest.raises(BackendUnavailable, match="is a Sentinel; write redis"):
        await make(f"redis://127.0.0.1:{port}").open()
    with pytest.raises(BackendUnavailable, match="refused the password"):
        await make(trio.url.replace(trio.password, "wrong")).open()


@pytest.mark.timeout(90)
async def test_a_failover_that_rolled_a_history_back_is_told(trio: Trio, make: Make) -> None:
    """The replica does not get what the master takes last."""
    await asyncio.to_thread(trio.settle_for_failover)
    kept = {"history": {"room": HistoryPolicy()}}
    here, there = make(trio.url, **kept), make(trio.url, **kept)
    channel = await there.new_channel()
    await there.group_add("room", channel)
    await here.group_send("room", {"type": "n", "n": 0})
    position = (await soon(there.receive(channel))).position
    master = trio.master()
    with master.client() as client:
        client.wait(1, 5_000)
        client.config_set("requirepass", "the replica does not know it")
        client.execute_command("CLIENT", "KILL", "TYPE", "replica")
    await here.group_send("room", {"type": "n", "n": 1})
    assert (await soon(there.receive(channel)))["n"] == 1
    master.kill()
    await asyncio.to_thread(lambda: _promoted(trio, master.port))
    assert await soon(there.receive(channel)) == GAP
    await send_when_back(here, "room", LAST)
    assert await soon(there.receive(channel)) == LAST
    with pytest.raises(HistoryLost, match="is another one"):
        await here.group_history("room", since=position)
    numbers = [each.get("n") for each in await here.group_history("room")]
    assert numbers == [0, None]  # what is there can be read


class Breakable:
    """The Sentinels of a suite; its outage takes the servers that they watch.

    Nobody takes over, in an outage or because a busy machine made the master slow: clauses want
    that what was sent arrives, and that a history goes on.
    """

    capabilities = frozenset({"queues", "history"})
    unavailable_within = 6.0
    recovers_within = 10.0
    limit = 60.0
    secret: ClassVar[str | None] = Trio.password
    trio: Trio

    pytestmark = pytest.mark.timeout(90)

    @pytest.fixture(autouse=True)
    def _trio(self, trio: Trio) -> Generator[None]:
        self.trio = trio
        trio.hold()
        yield
        trio.take_over_after(Trio.patience)

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        for server in self.trio.servers:
            server.kill()
        try:
            yield
        finally:
            await asyncio.to_thread(self.trio.settle)


@pytest.mark.long
class TestSentinel(Breakable, BackendTests, QueueTests, HistoryTests):
    queue_capacity = 100

    def build(self) -> RedisBackend:
        return RedisBackend(parse_hosts([self.trio.url]))


@pytest.mark.long
class TestSentinelLayer(Breakable, LayerTests):
    def build_layer(self, **options: Any) -> RedisChannelLayer:
        return RedisChannelLayer([self.trio.url], **options)

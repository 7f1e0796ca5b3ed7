"""A Redis Cluster with sharded pub/sub: topics on every node, moved with their slots."""

import asyncio
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from tests.recovery import heard_again, recovery
from tests.waiting import read_until, soon, until

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Backend, HistoryPolicy
from fast_channels_redis import RedisChannelLayer
from fast_channels_redis.hosts import parse_hosts
from fast_channels_redis.layer import redis_backend

from .conftest import Make
from .servers import Nodes, version
from .spread import SpreadBackendTests, SpreadLayerTests


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Generator[Nodes]:
    """Three masters."""
    if version() < (7, 0):
        pytest.skip("Redis 6 has no sharded pub/sub, and its Clusters are refused")
    nodes = Nodes(tmp_path_factory.mktemp("cluster"))
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.kill()


@pytest.fixture
def cluster(nodes: Nodes) -> Generator[Nodes]:
    """The masters; whichever a test killed runs again for the next."""
    yield nodes
    nodes.settle()


LAST = {"type": "last"}
GAP = {"type": "channels.gap", "group": "room"}


async def test_topics_are_spread_over_the_nodes_and_reach_every_process(
    cluster: Nodes, make: Make, prefix: str
) -> None:
    here, there = make(cluster.url), make(cluster.url)
    channel = await there.new_channel()
    groups = [f"room-{number}" for number in range(60)]
    await asyncio.gather(*(there.group_add(group, channel) for group in groups))
    for group in groups:
        await here.group_send(group, {"type": "hello", "group": group})
    came = [(await soon(there.receive(channel)))["group"] for _ in groups]
    assert sorted(came) == sorted(groups)
    shares = [
        sum(prefix.encode() in name for name in node.command("PUBSUB", "SHARDCHANNELS"))
        for node in cluster.nodes
    ]
    assert min(shares) > 5
    clients = cluster.nodes[0].client().client_list()
    assert sum(each["name"] == "fast-channels" for each in clients) <= 4


async def test_a_master_tells_of_itself_and_how_many_there_are(cluster: Nodes, make: Make) -> None:
    told = await make(cluster.url).describe()
    assert (told["mode"], told["hosts"]) == ("cluster", 3)
    assert told["time"] == pytest.approx(time.time(), abs=60)


@pytest.mark.timeout(60)
async def test_a_slot_that_moves_under_load_is_followed_and_told(
    cluster: Nodes, make: Make, prefix: str
) -> None:
    here, there = make(cluster.url), make(cluster.url)
    channel, topic = await there.new_channel(), f"{prefix}:g.room"
    await there.group_add("room", channel)
    await there.group_add("other", channel)
    sent, moving = 0, True

    async def send() -> None:
        nonlocal sent
        while moving:
            await here.group_send("room", {"type": "n", "n": sent})
            sent += 1

    came: list[dict[str, Any]] = []

    async def read() -> None:
        while (message := await there.receive(channel)) != LAST:
            came.append(message)

    stream, reading = asyncio.create_task(send()), asyncio.create_task(read())
    for gaps in (1, 2, 3):
        source = await asyncio.to_thread(cluster.owner, topic)
        target = next(node for node in cluster.nodes if node is not source)
        await asyncio.to_thread(cluster.migrate, topic, target)
        async with recovery():
            await until(lambda gaps=gaps: there.stats()["gaps"] >= gaps)
            await until(lambda: came[-1].get("n", -1) >= 0)
    moving = False
    await soon(stream)
    await here.group_send("room", LAST)
    await soon(reading)
    numbers = [message["n"] for message in came if message["type"] == "n"]
    assert numbers == sorted(set(numbers))
    assert came.count(GAP) == 3
    assert {"type": "channels.gap", "group": "other"} not in came
    # What is missing is missing just before a gap: the stream has no silent hole.
    previous, excused = -1, False
    for message in came:
        if message == GAP:
            excused = True
        else:
            assert message["n"] == previous + 1 or excused
            previous, excused = message["n"], False


@pytest.mark.timeout(60)
async def test_a_slot_that_moves_takes_its_history_along(
    cluster: Nodes, make: Make, prefix: str
) -> None:
    kept = {"history": {"room": HistoryPolicy(keep=100_000)}}
    here, there = make(cluster.url, **kept), make(cluster.url, **kept)
    channel, topic = await there.new_channel(), f"{prefix}:h.room"
    await there.group_add("room", channel)
    sent, moving = 0, True

    async def send() -> None:
        nonlocal sent
        while moving:
            await here.group_send("room", {"type": "n", "n": sent}, id=str(sent))
            sent += 1

    stream = asyncio.create_task(send())
    for _ in range(3):
        source = await asyncio.to_thread(cluster.owner, topic)
        target = next(node for node in cluster.nodes if node is not source)
        before = sent
        await asyncio.to_thread(cluster.migrate, topic, target)
        await until(lambda before=before: sent > before + 10)
    moving = False
    await soon(stream)
    await here.group_send("room", LAST)
    came = [each for each in await read_until(there, channel, LAST) if each["type"] == "n"]
    assert [each["n"] for each in came] == list(range(sent))


@pytest.mark.timeout(60)
async def test_a_node_that_was_killed_and_restarted_costs_its_topics_one_gap(
    cluster: Nodes, make: Make, prefix: str
) -> None:
    here, there = make(cluster.url), make(cluster.url)
    await here.open()
    channel = await there.new_channel()
    await there.group_add("room", channel)
    node = cluster.owner(f"{prefix}:g.room")
    node.kill()
    with pytest.raises(BackendUnavailable):
        for _ in range(100):
            await here.group_send("room", {"type": "lost"})
    await asyncio.to_thread(cluster.settle)
    async with recovery():
        assert (await heard_again(here, there, channel)).count(GAP) == 1


@pytest.mark.timeout(60)
async def test_a_replica_that_takes_over_takes_the_topics_and_queues(
    cluster: Nodes, make: Make, prefix: str
) -> None:
    here, there = make(cluster.url), make(cluster.url)
    channel = await there.new_channel()
    await there.group_add("room", channel)
    taking = asyncio.create_task(there.receive("jobs"))
    master = cluster.owner(f"{prefix}:g.room")
    replica = await asyncio.to_thread(cluster.add_replica, master)
    await here.group_send("room", {"type": "before"})
    assert (await soon(there.receive(channel)))["type"] == "before"
    master.kill()
    await until(lambda: replica.client().info("replication")["role"] == "master")
    async with recovery():
        assert (await heard_again(here, there, channel)).count(GAP) == 1
    await here.send("jobs", LAST)
    assert await soon(taking) == LAST


async def test_a_node_is_no_single_server_and_no_server_a_node(cluster: Nodes, make: Make) -> None:
    address = f":{Nodes.password}@127.0.0.1:{cluster.nodes[0].port}"
    with pytest.raises(BackendUnavailable, match=r"write redis\+cluster://"):
        await make(f"redis://{address}").open()
    with pytest.raises(BackendUnavailable, match="no node of the Cluster answers"):
        await make("redis+cluster://127.0.0.1:1").open()


class Breakable:
    """The Cluster of a suite; its outage takes all nodes."""

    capabilities = frozenset({"queues", "history"})
    unavailable_within = 6.0
    recovers_within = 10.0
    limit = 60.0
    secret: ClassVar[str | None] = Nodes.password
    cluster: Nodes

    pytestmark = pytest.mark.timeout(90)

    @pytest.fixture(autouse=True)
    def _cluster(self, cluster: Nodes) -> None:
        self.cluster = cluster

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        self.cluster.kill()
        try:
            yield
        finally:
            await asyncio.to_thread(self.cluster.settle)


@pytest.mark.long
class TestCluster(Breakable, SpreadBackendTests):
    queue_capacity = 100

    def build(self) -> Backend:
        return redis_backend(parse_hosts([self.cluster.url]))


@pytest.mark.long
class TestClusterLayer(Breakable, SpreadLayerTests):
    def build_layer(self, **options: Any) -> RedisChannelLayer:
        return RedisChannelLayer([self.cluster.url], **options)

"""Several hosts that know nothing of each other: names are sharded over them."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest
from tests.waiting import soon, until

from fast_channels.exceptions import BackendUnavailable
from fast_channels_redis import RedisBackend, RedisChannelLayer
from fast_channels_redis.hosts import parse_hosts

from .conftest import Make
from .servers import SAVING, Server, running
from .spread import SpreadBackendTests, SpreadLayerTests


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Generator[list[Server]]:
    """Three servers."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("shards")
        yield [stack.enter_context(running(folder, *SAVING)) for _ in range(3)]


async def test_sending_and_receiving_agree_on_the_host(shards: list[Server], make: Make) -> None:
    urls = [shard.url for shard in shards]
    here, there = make(*urls), make(*urls)
    channels = [await there.new_channel() for _ in range(20)]
    for number in range(200):
        await there.group_add(f"room-{number}", channels[number % 20])
    for number in range(200):
        await here.group_send(f"room-{number}", {"type": "group", "n": number})
        await here.send(channels[number % 20], {"type": "direct", "n": number})
        await here.send(f"jobs-{number}", {"type": "job", "n": number})
    for index, channel in enumerate(channels):
        came = [await soon(there.receive(channel)) for _ in range(20)]
        for kind in ("group", "direct"):
            numbers = sorted(message["n"] for message in came if message["type"] == kind)
            assert numbers == list(range(index, 200, 20))
    for number in range(200):
        assert (await soon(there.receive(f"jobs-{number}")))["n"] == number
    topics = [
        len(shard.command("PUBSUB", "CHANNELS", f"{there.options.prefix}:g.*")) for shard in shards
    ]
    assert sum(topics) == 200
    assert min(topics) > 30


async def test_the_first_host_tells_of_itself(shards: list[Server], make: Make) -> None:
    told = await make(*(shard.url for shard in shards)).describe()
    assert told["hosts"] == 3
    assert str(told["version"]).split(".")[0].isdigit()
    shards[0].command("ACL SETUSER timeless on nopass ~* +@all -time", "&*")
    timeless = make(shards[0].url.replace("://", "://timeless:any@"))
    assert (await timeless.describe()).keys() == told.keys() - {"time"}


async def test_a_host_that_is_gone_fails_only_what_is_on_it(
    shards: list[Server], make: Make
) -> None:
    layer = make(*(shard.url for shard in shards))
    channel = await layer.new_channel()
    for number in range(30):
        await layer.group_add(f"room-{number}", channel)
    shards[1].kill()
    results = await asyncio.gather(
        *(layer.group_send(f"room-{number}", {"type": "n", "n": number}) for number in range(30)),
        return_exceptions=True,
    )
    failed = [result for result in results if result is not None]
    assert 0 < len(failed) < 30
    assert {type(error) for error in failed} <= {BackendUnavailable} | set(
        BackendUnavailable.__subclasses__()
    )
    shards[1].start()
    await until(lambda: layer.stats()["gaps"] == 1)
    came = [await soon(layer.receive(channel)) for _ in range(30)]
    kinds = [message["type"] for message in came]
    assert kinds.count("channels.gap") == len(failed)  # one for each group that was there
    assert kinds.count("n") == 30 - len(failed)


class Breakable:
    """The hosts of a suite; its outage takes all of them."""

    capabilities = frozenset({"queues", "history"})
    unavailable_within = 6.0
    recovers_within = 5.0
    shards: list[Server]

    @pytest.fixture(autouse=True)
    def _shards(self, shards: list[Server]) -> None:
        self.shards = shards

    @property
    def urls(self) -> list[str]:
        return [shard.url for shard in self.shards]

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        for shard in self.shards:
            shard.kill()
        try:
            yield
        finally:
            for shard in self.shards:
                await asyncio.to_thread(shard.start)


@pytest.mark.long
class TestShards(Breakable, SpreadBackendTests):
    queue_capacity = 100

    def build(self) -> RedisBackend:
        return RedisBackend(parse_hosts(self.urls))


@pytest.mark.long
class TestShardsLayer(Breakable, SpreadLayerTests):
    def build_layer(self, **options: Any) -> RedisChannelLayer:
        return RedisChannelLayer(self.urls, **options)

"""``layer.health()``: true only when a message of the layer came back to it through the broker."""

import asyncio
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Response
from tests.redis.servers import Server, running
from tests.tcp_broker import TCPBroker, TCPLayer
from tests.waiting import soon, until

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Backend, BaseChannelLayer, Health, InMemoryChannelLayer
from fast_channels.layers.in_memory import MemoryBackend, MemoryBroker
from fast_channels_redis import RedisChannelLayer


@pytest.fixture
def broker() -> Generator[TCPBroker]:
    """A broker to cut off and to freeze."""
    with TCPBroker() as made:
        yield made


@asynccontextmanager
async def opened(layer: BaseChannelLayer) -> AsyncGenerator[BaseChannelLayer]:
    """The layer, closed at the end."""
    try:
        yield layer
    finally:
        await layer.close()


async def healthy_again(layer: BaseChannelLayer) -> None:
    """Return when the layer hears."""
    async with asyncio.timeout(15):
        while not await layer.health():  # noqa: ASYNC110  # the broker's to change
            await asyncio.sleep(0.02)


async def test_a_layer_that_hears_is_healthy_and_tells_how_long_it_took() -> None:
    async with opened(InMemoryChannelLayer()) as layer:
        health = await layer.health()
        assert health
        assert health.reason == ""
        assert 0 < health.seconds < 1
        before = layer.stats()
        assert await layer.health()
        after = layer.stats()
        assert after["received"] == before["received"] + 1
        assert (after["malformed"], after["undeliverable"]) == (0, 0)
        assert (after["sent"], after["delivered"]) == (0, 0)  # which are the application's


async def test_looking_opens_the_layer() -> None:
    async with opened(InMemoryChannelLayer()) as layer:
        assert layer.stats()["sessions"] == 0
        assert await layer.health()
        assert layer.stats()["sessions"] == 1


async def test_a_closed_layer_is_deaf_and_says_so() -> None:
    layer = InMemoryChannelLayer()
    await layer.close()
    health = await layer.health()
    assert not health
    assert "is closed" in health.reason


async def test_a_broker_that_is_not_there_is_told() -> None:
    with TCPBroker() as gone:
        url = gone.url
    async with opened(TCPLayer(url)) as layer:
        health = await layer.health()
        assert not health
        assert f"no broker at {url}" in health.reason


async def test_a_broker_that_takes_messages_and_delivers_none_is_found_out() -> None:
    class Deaf(MemoryBackend):
        async def subscribe(self, topics: object, /) -> None:
            """Nothing of these topics ever comes."""

    class DeafLayer(BaseChannelLayer):
        def create_backend(self) -> Backend:
            return Deaf(MemoryBroker())

    async with opened(DeafLayer()) as layer:
        await layer.group_send("room", {"type": "x"})  # no trouble to be seen here
        health = await layer.health(timeout=0.2)
        assert not health
        assert health.reason == "a message of the layer to itself did not come back within 0.2 s"
        assert health.seconds < 5


async def test_what_a_backend_knows_of_its_deafness_is_told_at_once() -> None:
    class Half(MemoryBackend):
        trouble: Exception | None = BackendUnavailable("the second of two hosts is gone")

        @property
        def deaf(self) -> Exception | None:
            return self.trouble

    backend = Half(MemoryBroker())

    class HalfLayer(BaseChannelLayer):
        def create_backend(self) -> Backend:
            return backend

    async with opened(HalfLayer()) as layer:
        assert (await layer.health()).reason == "the second of two hosts is gone"
        backend.trouble = None
        assert await layer.health()


async def test_a_frozen_broker_makes_it_deaf_for_as_long_as_it_is_frozen(broker: TCPBroker) -> None:
    async with opened(TCPLayer(broker.url)) as layer:
        assert await layer.health()
        broker.freeze()
        health = await layer.health(timeout=0.3)
        assert not health
        assert "did not come back within 0.3 s" in health.reason
        broker.thaw()
        await healthy_again(layer)


async def test_connections_that_break_make_it_deaf_until_they_are_back(broker: TCPBroker) -> None:
    async with opened(TCPLayer(broker.url)) as layer:
        assert await layer.health()
        broker.freeze()  # so that nobody can come back
        broker.cut()
        await until(lambda: broker.held)  # its subscriptions wait to be restored
        health = await layer.health(timeout=0.3)
        assert not health
        assert "is not connected" in health.reason
        broker.thaw()
        await healthy_again(layer)


async def test_many_may_look_at_once_and_be_cancelled(broker: TCPBroker) -> None:
    async with opened(TCPLayer(broker.url)) as layer:
        assert await layer.health()
        broker.freeze()
        looks = [asyncio.create_task(layer.health(timeout=5)) for _ in range(20)]
        await until(lambda: broker.held)
        for look in looks[::2]:
            look.cancel()
        broker.thaw()
        found = await soon(asyncio.gather(*looks, return_exceptions=True))
        assert all(isinstance(each, asyncio.CancelledError) for each in found[::2])
        assert all(isinstance(each, Health) and each for each in found[1::2])


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
async def test_a_time_that_is_none_is_an_error(layer: BaseChannelLayer, timeout: float) -> None:
    with pytest.raises(ValueError, match="above 0 seconds"):
        await layer.health(timeout)


@pytest.fixture
def redis(tmp_path: Path) -> Generator[Server]:
    """A server to kill and to freeze."""
    with running(tmp_path) as server:
        yield server


async def test_a_layer_on_redis_is_deaf_while_its_server_is_gone_or_frozen(redis: Server) -> None:
    async with opened(RedisChannelLayer([redis.url])) as layer:
        assert await layer.health()
        redis.kill()
        began = time.monotonic()
        health = await layer.health(timeout=0.5)
        assert not health
        assert health.reason
        assert time.monotonic() - began < 5  # bounded, however busy the machine is
        redis.start()
        await healthy_again(layer)
        redis.freeze()
        assert not await layer.health(timeout=0.5)
        redis.thaw()
        await healthy_again(layer)


async def test_of_two_redis_hosts_the_one_that_is_gone_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with running(tmp_path / "a") as first, running(tmp_path / "b") as second:
        async with opened(RedisChannelLayer([first.url, second.url])) as layer:
            channel = await layer.new_channel()
            for number in range(20):  # topics on both
                await layer.group_add(f"group-{number}", channel)
            assert await layer.health()
            for number, host in enumerate((first, second), 1):
                host.kill()
                reason = f"redis host {number} of 2 delivers nothing now"
                async with asyncio.timeout(15):
                    while reason not in (await layer.health()).reason:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
                host.start()
                await healthy_again(layer)


async def test_a_readiness_endpoint_follows_the_broker(broker: TCPBroker) -> None:
    app = FastAPI()
    layer = TCPLayer(broker.url)

    @app.get("/ready")
    async def ready(response: Response) -> dict[str, object]:
        health = await layer.health(timeout=0.3)
        response.status_code = 200 if health else 503
        return {"ready": bool(health), "reason": health.reason}

    transport = httpx.ASGITransport(app)
    async with opened(layer), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        assert (await client.get("/ready")).json() == {"ready": True, "reason": ""}
        broker.freeze()
        answer = await client.get("/ready")
        assert answer.status_code == 503
        assert "did not come back" in answer.json()["reason"]
        broker.thaw()
        await healthy_again(layer)
        assert (await client.get("/ready")).status_code == 200

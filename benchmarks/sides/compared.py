"""The sides of the comparisons, by broker: those of the matrix, and a few that only these have.

A side is made of the port where its broker listens.
"""

import asyncio
import hashlib
import importlib
import json
import os
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from benchmarks.sides import broadcaster, drivers, layers, litestar, ours
from benchmarks.sides.side import Hit, Side

PAGE: Final = 200
KEPT: Final = 100_000


class Floor(drivers.Hiredis):
    """Two bare protocols over hiredis, and msgpack: what a layer cannot be much faster than."""

    async def open(self) -> None:
        await super().open()
        msgpack = importlib.import_module("msgspec").msgpack
        self.encode, self.decode = msgpack.encode, msgpack.decode

    def came(self, group: str, payload: Any) -> None:
        message = self.decode(payload)
        for box in self.boxes[group]:
            box.put(message)

    async def send(self, group: str, message: dict[str, Any]) -> None:
        await self.ask("PUBLISH", group, self.encode(message))


class DurableFloor(Floor):
    """The floor with an entry in a stream for each message, appended and published in one call."""

    SCRIPT = """
    redis.call('XADD', KEYS[1], 'MAXLEN', 10000, '*', 'p', ARGV[1])
    redis.call('PUBLISH', KEYS[1], ARGV[1])
    return 1
    """

    async def open(self) -> None:
        await super().open()
        self.sha = hashlib.sha1(self.SCRIPT.encode()).hexdigest()
        await self.ask("SCRIPT", "LOAD", self.SCRIPT)

    async def send(self, group: str, message: dict[str, Any]) -> None:
        await self.ask("EVALSHA", self.sha, "1", group, self.encode(message))


class LitestarBytes(litestar.Redis):
    """Litestar over Redis pub/sub; a message is, as there, what came: JSON in bytes."""

    def read(self, member: Any, hit: Hit) -> None:
        async def forever() -> None:
            async for event in member.iter_events():
                hit(event)

        self.tasks.append(asyncio.get_running_loop().create_task(forever()))


class PostgresHistory(ours.Postgres):
    """Every group keeps its last 100,000 messages."""

    def options(self) -> dict[str, Any]:
        return super().options() | kept()


class PostgresDurableFloor(drivers.AsyncpgBatched):
    """Each batch is inserted and notified by one statement; nothing is trimmed, and nothing sees to
    the order of several processes."""

    async def open(self) -> None:
        await super().open()
        await self.sending.execute(
            "CREATE TABLE IF NOT EXISTS log (id bigserial PRIMARY KEY, topic text, payload text)"
        )
        self.statement = await self.sending.prepare(
            "WITH new AS (INSERT INTO log (topic, payload) "
            "SELECT * FROM unnest($1::text[], $2::text[]) RETURNING *) "
            "SELECT count(pg_notify(topic, payload)) FROM new"
        )


class RabbitMQ(ours.RabbitMQ):
    """With room for 10,000 groups of one channel, and for all messages of a flood."""

    def options(self) -> dict[str, Any]:
        return super().options() | {"capacity": 10_000_000, "max_groups": 20_000}


class RabbitMQHistory(ours.RabbitMQ):
    """Every group keeps its last 100,000 messages."""

    def options(self) -> dict[str, Any]:
        return super().options() | kept()

    async def replay(self, group: str, count: int) -> None:
        """Read so many messages, from the oldest on."""
        since = None
        while count > 0:
            page = await self.layer.group_history(group, since=since, limit=PAGE)
            count -= len(page)
            since = page[-1].position


class Stream(drivers.AioPika):
    """aio-pika on a stream: publish with confirm, consume from an offset with acks."""

    async def open(self) -> None:
        await super().open()
        arguments = {"x-queue-type": "stream"}
        channel = await self.connections[0].channel()
        name = f"plain.stream.{os.getpid()}"
        self.stream = await channel.declare_queue(name, durable=True, arguments=arguments)
        self.exchange = channel.default_exchange

    async def send(self, group: str, message: dict[str, Any]) -> None:
        await super().send(self.stream.name, message)

    async def replay(self, group: str, count: int) -> None:
        """Read so many messages, from the oldest on."""
        channel = await self.connections[1].channel()
        await channel.set_qos(prefetch_count=PAGE)
        queue = await channel.get_queue(self.stream.name)
        done = asyncio.get_running_loop().create_future()

        async def arrived(message: Any) -> None:
            nonlocal count
            json.loads(message.body)
            count -= 1
            if not count:
                done.set_result(None)
            if count % (PAGE // 2) == 0:
                await message.ack(multiple=True)

        await queue.consume(arrived, arguments={"x-stream-offset": "first"})
        await done


def kept() -> dict[str, Any]:
    """Return the option of a layer that keeps more than is measured."""
    from fast_channels.layers import HistoryPolicy

    return {"history": {"*": HistoryPolicy(keep=KEPT)}}


def _at(url: str, kind: type[Side], port: int) -> Side:
    return kind(url.format(port), True)


def _sides(url: str, **kinds: type[Side]) -> dict[str, Callable[[int], Side]]:
    return {name: partial(_at, url, kind) for name, kind in kinds.items()}


REDIS: Final = _sides(
    "redis://127.0.0.1:{}",
    ours=ours.Redis,
    durable=ours.RedisHistory,
    floor=Floor,
    durable_floor=DurableFloor,
    plain=drivers.RedisPy,
    channels=layers.ChannelsRedisPubSub,
    channels_core=layers.ChannelsRedisCore,
    litestar=litestar.Redis,
    litestar_bytes=LitestarBytes,
    fast_channels=layers.FastChannelsRedisPubSub,
    broadcaster=broadcaster.Broker,
) | _sides("nats://127.0.0.1:{}", nats=ours.Nats, channels_nats=layers.ChannelsNats)
"""On Redis, and the two on NATS that are compared with them."""

POSTGRES: Final = _sides(
    "postgresql://kit:kit-secret@127.0.0.1:{}/postgres",
    ours=ours.Postgres,
    durable=PostgresHistory,
    floor=drivers.AsyncpgBatched,
    durable_floor=PostgresDurableFloor,
    plain=drivers.Asyncpg,
    channels=layers.ChannelsPostgres,
    litestar=litestar.Asyncpg,
)
RABBITMQ: Final = _sides(
    "amqp://guest:guest@127.0.0.1:{}",
    ours=RabbitMQ,
    durable=RabbitMQHistory,
    channels=layers.ChannelsRabbitMQ,
    plain=drivers.AioPika,
    stream=Stream,
)

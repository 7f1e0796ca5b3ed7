"""The sides of the comparisons: those of the matrix, and a few that only these have.

``environment`` says where a side runs, ``side`` makes it there.
"""

import asyncio
import hashlib
import importlib
import json
import os
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


class Nats(ours.Nats):
    """One channel is in all groups; what a group costs is not what a channel does."""

    def options(self) -> dict[str, Any]:
        return super().options() | {"max_groups": 20_000}

    async def open(self) -> None:
        await super().open()
        self.channel = await self.layer.new_channel()

    async def join(self, group: str) -> Any:
        await self.layer.group_add(group, self.channel)
        return self.channel


class Kept(ours.Ours):
    """Every group keeps its last 100,000 messages."""

    def options(self) -> dict[str, Any]:
        from fast_channels.layers import HistoryPolicy

        return super().options() | {"history": {"*": HistoryPolicy(keep=KEPT)}}

    async def replay(self, group: str, count: int) -> None:
        """Read so many messages, from the oldest on."""
        since = None
        while count > 0:
            page = await self.layer.group_history(group, since=since, limit=PAGE)
            count -= len(page)
            since = page[-1].position


class PostgresHistory(Kept, ours.Postgres):
    """On PostgreSQL."""


class RabbitMQHistory(Kept, ours.RabbitMQ):
    """On RabbitMQ."""


class NatsHistory(Kept, ours.Nats):
    """On NATS."""


class JetStream(drivers.NatsPy):
    """nats-py's JetStream: publishes that are acknowledged, and a consumer that is pulled."""

    async def open(self) -> None:
        await super().open()
        self.stream = self.client.jetstream()
        limits = {"max_msgs_per_subject": KEPT, "max_age": 3_600}
        await self.stream.add_stream(name="plain", subjects=["plain"], **limits)

    async def send(self, group: str, message: dict[str, Any]) -> None:
        await self.stream.publish("plain", json.dumps(message).encode())

    async def replay(self, group: str, count: int) -> None:
        """Read so many messages, from the oldest on."""
        api: Any = importlib.import_module("nats.js.api")
        config = api.ConsumerConfig(ack_policy=api.AckPolicy.NONE)  # with acks it stops at 1,000
        reader = await self.stream.pull_subscribe("plain", config=config)
        while count > 0:
            count -= len(await reader.fetch(min(PAGE, count)))


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


SIDES: Final[dict[str, tuple[type[Side], str | None]]] = {
    "redis/ours": (ours.Redis, None),
    "redis/durable": (ours.RedisHistory, None),
    "redis/floor": (Floor, None),
    "redis/durable_floor": (DurableFloor, None),
    "redis/plain": (drivers.RedisPy, None),
    "redis/channels": (layers.ChannelsRedisPubSub, "channels"),
    "redis/channels_core": (layers.ChannelsRedisCore, "channels"),
    "redis/litestar": (litestar.Redis, "litestar"),
    "redis/litestar_bytes": (LitestarBytes, "litestar"),
    "redis/fast_channels": (layers.FastChannelsRedisPubSub, "fast-channels"),
    "redis/broadcaster": (broadcaster.Broker, "broadcaster"),
    "postgres/ours": (ours.Postgres, None),
    "postgres/durable": (PostgresHistory, None),
    "postgres/floor": (drivers.AsyncpgBatched, None),
    "postgres/durable_floor": (PostgresDurableFloor, None),
    "postgres/plain": (drivers.Asyncpg, None),
    "postgres/channels": (layers.ChannelsPostgres, "channels-postgres"),
    "postgres/litestar": (litestar.Asyncpg, "litestar"),
    "rabbitmq/ours": (RabbitMQ, None),
    "rabbitmq/durable": (RabbitMQHistory, None),
    "rabbitmq/plain": (drivers.AioPika, None),
    "rabbitmq/stream": (Stream, None),
    "rabbitmq/channels": (layers.ChannelsRabbitMQ, "channels-rabbitmq"),
    "nats/ours": (ours.Nats, None),
    "nats/groups": (Nats, None),
    "nats/durable": (NatsHistory, None),
    "nats/plain": (drivers.NatsPy, None),
    "nats/stream": (JetStream, None),
    "nats/channels_nats": (layers.ChannelsNats, "channels-nats"),
}
"""What is measured, and the environment that has the library; None is where this runs."""


def side(name: str, url: str) -> Side:
    """Return a side with room for all that is sent, not opened."""
    kind, _ = SIDES[name]
    return kind(url, True)


def environment(name: str) -> str | None:
    """Return the name of the environment that a side runs in."""
    return SIDES[name][1]

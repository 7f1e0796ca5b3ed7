"""Sides that only comparisons measure: floors with our frames' work, and what keeps messages."""

import asyncio
import hashlib
import importlib
import json
import os
from typing import Any, Final

from benchmarks.sides import drivers, litestar, ours
from benchmarks.sides.side import Hit

PAGE: Final = 200
KEPT: Final = 100_000


class RedisFloor(drivers.Hiredis):
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


class RedisKeptFloor(RedisFloor):
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


class PostgresKeptFloor(drivers.AsyncpgBatched):
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


class NatsGroups(ours.Nats):
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


class PostgresKept(Kept, ours.Postgres):
    """On PostgreSQL."""


class RabbitMQKept(Kept, ours.RabbitMQ):
    """On RabbitMQ."""


class NatsKept(Kept, ours.Nats):
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


class RabbitMQStream(drivers.AioPika):
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

"""The brokers' drivers without a layer, and floors below them: no reconnect, no bounds.

Messages are JSON, decoded once a process; every member of a group there gets the same dict in a box
of its own.
"""

import asyncio
import importlib
import json
from collections import deque
from collections.abc import Callable
from typing import Any

from benchmarks.sides.bare import Bare


class Driver(Bare):
    """One subscription for each group that has members here."""

    turn = False

    async def join(self, group: str) -> Any:
        first = group not in self.boxes
        box = await super().join(group)
        if first:
            await self.subscribe(group)
        return box

    async def subscribe(self, group: str) -> None:
        """What is published to the group from now on arrives."""
        raise NotImplementedError

    def came(self, group: str, payload: Any) -> None:
        """Put a message into the boxes of its group."""
        message = json.loads(payload)
        for box in self.boxes[group]:
            box.put(message)


class RedisPy(Driver):
    """redis-py: publish, and one task that listens."""

    async def open(self) -> None:
        await super().open()
        self.redis: Any = importlib.import_module("redis.asyncio").Redis.from_url(self.url)
        self.pubsub = self.redis.pubsub()
        self.confirmed: dict[str, asyncio.Future[None]] = {}

    async def subscribe(self, group: str) -> None:
        confirmed = self.confirmed[group] = asyncio.get_running_loop().create_future()
        await self.pubsub.subscribe(group)
        if not self.tasks:
            self.tasks.append(asyncio.get_running_loop().create_task(self.listen()))
        await confirmed

    async def listen(self) -> None:
        """Hand out what comes."""
        async for event in self.pubsub.listen():
            group = event["channel"].decode()
            if event["type"] == "message":
                self.came(group, event["data"])
            elif event["type"] == "subscribe":
                self.confirmed.pop(group).set_result(None)

    async def send(self, group: str, message: dict[str, Any]) -> None:
        await self.redis.publish(group, json.dumps(message))

    async def close(self) -> None:
        await super().close()
        await self.pubsub.aclose()
        await self.redis.aclose()


class Wire(asyncio.Protocol):
    """A connection of ``Hiredis``: what is written in one turn of the loop goes in one piece."""

    def __init__(self, take: Callable[[Any], None]) -> None:
        hiredis = importlib.import_module("hiredis")
        self.reader = hiredis.Reader()
        self.pack = hiredis.pack_command
        self.take = take
        self.waiting: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        while (reply := self.reader.gets()) is not False:
            self.take(reply)

    def command(self, *args: Any) -> None:
        """Send a command, soon."""
        if not self.waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self.waiting.append(self.pack(args))

    def flush(self) -> None:
        """Write what waits."""
        self.transport.write(b"".join(self.waiting))
        self.waiting.clear()


class Hiredis(Driver):
    """Two protocols over hiredis: the least there is over Redis in pure Python."""

    async def open(self) -> None:
        await super().open()
        make = asyncio.get_running_loop().create_connection
        self.replies: deque[asyncio.Future[Any]] = deque()
        self.confirmed: dict[bytes, asyncio.Future[None]] = {}
        _, self.sending = await make(lambda: Wire(self.replied), "127.0.0.1", self.at)
        _, self.listening = await make(lambda: Wire(self.heard), "127.0.0.1", self.at)

    @property
    def at(self) -> int:
        """Its port."""
        return int(self.url.rpartition(":")[2])

    def replied(self, reply: Any) -> None:
        """Wake who sent."""
        self.replies.popleft().set_result(reply)

    def heard(self, reply: Any) -> None:
        """Take a message, or the answer to a subscription."""
        kind, channel, data = reply
        if kind == b"message":
            self.came(channel.decode(), data)
        else:
            self.confirmed.pop(channel).set_result(None)

    async def subscribe(self, group: str) -> None:
        confirmed = self.confirmed[group.encode()] = asyncio.get_running_loop().create_future()
        self.listening.command("SUBSCRIBE", group)
        await confirmed

    async def send(self, group: str, message: dict[str, Any]) -> None:
        await self.ask("PUBLISH", group, json.dumps(message))

    async def ask(self, *command: Any) -> None:
        """The server has answered the command."""
        reply = asyncio.get_running_loop().create_future()
        self.replies.append(reply)
        self.sending.command(*command)
        await reply


class Asyncpg(Driver):
    """asyncpg: pg_notify on one connection, listeners on another; senders take turns."""

    async def open(self) -> None:
        await super().open()
        asyncpg: Any = importlib.import_module("asyncpg")
        self.sending = await asyncpg.connect(self.url)
        self.listening = await asyncpg.connect(self.url)
        # A connection does one thing at a time.
        self.free, self.still = asyncio.Lock(), asyncio.Lock()

    async def subscribe(self, group: str) -> None:
        async with self.still:
            await self.listening.add_listener(
                group, lambda _c, _p, name, text: self.came(name, text)
            )

    async def send(self, group: str, message: dict[str, Any]) -> None:
        async with self.free:
            await self.sending.execute("SELECT pg_notify($1, $2)", group, json.dumps(message))

    async def close(self) -> None:
        await super().close()
        await self.sending.close()
        await self.listening.close()


class AsyncpgBatched(Asyncpg):
    """One prepared statement for all that gathered; a send waits for the batch's end."""

    async def open(self) -> None:
        await super().open()
        self.waiting: list[tuple[str, str]] = []
        self.batch: asyncio.Future[None] | None = None
        self.number = 0
        self.statement = await self.sending.prepare(
            "SELECT count(pg_notify(c, p)) FROM unnest($1::text[], $2::text[]) AS t (c, p)"
        )

    async def flush(self, done: "asyncio.Future[None]") -> None:
        """Send all that gathered."""
        async with self.free:
            waiting, self.waiting, self.batch = self.waiting, [], None
            await self.statement.fetchval([c for c, _ in waiting], [p for _, p in waiting])
        done.set_result(None)

    async def send(self, group: str, message: dict[str, Any]) -> None:
        self.number += 1  # equal notifications of one transaction would be one
        self.waiting.append((group, json.dumps({**message, "n": self.number})))
        if self.batch is None:
            loop = asyncio.get_running_loop()
            self.batch = loop.create_future()
            self.flushing = loop.create_task(self.flush(self.batch))
        await self.batch


class AioPika(Driver):
    """aio-pika: publish with confirms to a direct exchange, consume one queue without acks."""

    async def open(self) -> None:
        await super().open()
        self.pika: Any = importlib.import_module("aio_pika")
        self.connections = [await self.pika.connect(self.url) for _ in range(2)]
        publishing, listening = [await each.channel() for each in self.connections]
        self.exchange = await publishing.declare_exchange("plain")
        self.queue = await listening.declare_queue(exclusive=True)
        await self.queue.consume(self.arrived, no_ack=True)

    async def arrived(self, message: Any) -> None:
        """Hand out what came."""
        self.came(message.routing_key, message.body)

    async def subscribe(self, group: str) -> None:
        await self.queue.bind("plain", group)

    async def send(self, group: str, message: dict[str, Any]) -> None:
        await self.exchange.publish(self.pika.Message(json.dumps(message).encode()), group)

    async def close(self) -> None:
        await super().close()
        for connection in self.connections:
            await connection.close()


class NatsPy(Driver):
    """nats-py: publish, flushed where somebody waits for it, and a subscription for each group.

    A lone send is not flushed: the client writes it by itself, soon.
    """

    async def open(self) -> None:
        await super().open()
        nats: Any = importlib.import_module("nats")
        self.client = await nats.connect(self.url)
        self.sends = 0

    async def subscribe(self, group: str) -> None:
        async def arrived(message: Any) -> None:
            self.came(message.subject, message.data)

        limits = {"pending_msgs_limit": 1 << 20, "pending_bytes_limit": 1 << 30}
        await self.client.subscribe(group, cb=arrived, **limits)
        await self.client.flush()

    async def send(self, group: str, message: dict[str, Any]) -> None:
        await self.client.publish(group, json.dumps(message).encode())
        self.sends += 1
        if not self.sends % 64:
            await self.client.flush()

    async def close(self) -> None:
        await super().close()
        await self.client.close()

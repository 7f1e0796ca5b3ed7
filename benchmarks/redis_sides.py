"""What is compared over Redis, each behind the same few methods.

It runs in every environment, so it imports a library only where its side is measured.
"""

import asyncio
import hashlib
import importlib
import json
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import Any

Hit = Callable[[dict[str, Any]], None]


class Side:
    """One library: groups with members, each of which calls ``hit`` for every message."""

    def __init__(self, port: int) -> None:
        self.url = f"redis://127.0.0.1:{port}"
        self.tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Ready to send."""

    async def member(self, group: str, hit: Hit) -> None:
        """One member more."""
        raise NotImplementedError

    async def send(self, group: str, message: dict[str, Any]) -> None:
        """The message is sent to the group."""
        raise NotImplementedError

    async def settled(self) -> None:
        """The broker has all that was sent, where a send does not wait for that."""

    async def close(self) -> None:
        """No task is left."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def read(self, receive: Callable[[], Awaitable[dict[str, Any]]], hit: Hit) -> None:
        """Read messages in a task of their own."""

        async def loop() -> None:
            while True:
                hit(await receive())

        self.tasks.append(asyncio.get_running_loop().create_task(loop()))


class Ours(Side):
    """fast-channels-redis."""

    async def open(self) -> None:
        from fast_channels_redis import RedisChannelLayer

        self.layer: Any = RedisChannelLayer([self.url], capacity=100_000)
        await self.layer.open()
        self.send = self.layer.group_send  # type: ignore[method-assign]  # no call in between

    async def member(self, group: str, hit: Hit) -> None:
        channel = await self.layer.new_channel()
        await self.layer.group_add(group, channel)
        self.read(lambda: self.layer.receive(channel), hit)

    async def close(self) -> None:
        await super().close()
        await self.layer.close()


class Durable(Ours):
    """fast-channels-redis, where every group is durable."""

    async def open(self) -> None:
        from fast_channels.layers import HistoryPolicy
        from fast_channels_redis import RedisChannelLayer

        kept = {"*": HistoryPolicy(keep=10_000)}
        self.layer = RedisChannelLayer([self.url], capacity=100_000, history=kept)
        await self.layer.open()
        self.send = self.layer.group_send  # type: ignore[method-assign]  # no call in between


class Channels(Ours):
    """channels_redis' pub/sub layer."""

    async def open(self) -> None:
        layers = importlib.import_module("channels_redis.pubsub")
        self.layer = layers.RedisPubSubChannelLayer(hosts=[self.url])
        self.send = self.layer.group_send  # type: ignore[method-assign]  # no call in between

    async def close(self) -> None:
        await Side.close(self)
        await self.layer.flush()


class ChannelsCore(Channels):
    """channels_redis' layer over lists and sorted sets."""

    async def open(self) -> None:
        layers = importlib.import_module("channels_redis.core")
        self.layer = layers.RedisChannelLayer(hosts=[self.url], capacity=100_000)
        self.send = self.layer.group_send  # type: ignore[method-assign]  # no call in between

    async def close(self) -> None:
        await Side.close(self)
        await self.layer.close_pools()


class FastChannels(Channels):
    """The pub/sub layer of the last release of Fast Channels that had one."""

    async def open(self) -> None:
        layers = importlib.import_module("fast_channels.layers.redis")
        self.layer = layers.RedisPubSubChannelLayer(hosts=[self.url])
        self.send = self.layer.group_send  # type: ignore[method-assign]  # no call in between


class Broadcaster(Side):
    """broadcaster over Redis pub/sub; a message is a dict to its reader."""

    async def open(self) -> None:
        self.broadcast = importlib.import_module("broadcaster").Broadcast(self.url)
        await self.broadcast.connect()

    async def member(self, group: str, hit: Hit) -> None:
        ready = asyncio.Event()

        async def listen() -> None:
            async with self.broadcast.subscribe(group) as subscriber:
                ready.set()
                async for event in subscriber:
                    hit(json.loads(event.message))

        self.tasks.append(asyncio.get_running_loop().create_task(listen()))
        await ready.wait()

    async def send(self, group: str, message: dict[str, Any]) -> None:
        await self.broadcast.publish(group, json.dumps(message))

    async def close(self) -> None:
        await super().close()
        await self.broadcast.disconnect()


class Nats(Ours):
    """fast-channels-nats; the port is that of a nats-server."""

    async def open(self) -> None:
        from fast_channels_nats import NatsChannelLayer

        port = self.url.rpartition(":")[2]
        room = {"capacity": 100_000, "capacity_bytes": 1 << 34}
        self.layer = NatsChannelLayer(f"nats://127.0.0.1:{port}", **room)
        await self.layer.open()
        self.send = self.layer.group_send  # type: ignore[method-assign]  # no call in between


class ChannelsNats(Ours):
    """channels-nats; the port is that of a nats-server. A send ends in a buffer of this process."""

    async def open(self) -> None:
        port = self.url.rpartition(":")[2]
        layers = importlib.import_module("channels_nats")
        self.layer = layers.NatsChannelLayer(f"nats://127.0.0.1:{port}", capacity=100_000)
        self.send = self.layer.group_send  # type: ignore[method-assign]  # no call in between

    async def settled(self) -> None:
        await (await self.layer._client()).flush(60)


class Litestar(Side):
    """Litestar's channels over its Redis pub/sub backend; a message is a dict to its reader."""

    async def open(self) -> None:
        redis = importlib.import_module("redis.asyncio")
        channels = importlib.import_module("litestar.channels")
        backends = importlib.import_module("litestar.channels.backends.redis")
        backend = backends.RedisChannelsPubSubBackend(redis=redis.Redis.from_url(self.url))
        self.plugin = channels.ChannelsPlugin(backend, arbitrary_channels_allowed=True)
        await self.plugin.__aenter__()

    async def member(self, group: str, hit: Hit) -> None:
        events = (await self.plugin.subscribe(group)).iter_events()

        async def receive() -> dict[str, Any]:
            message: dict[str, Any] = json.loads(await anext(events))
            return message

        self.read(receive, hit)

    async def send(self, group: str, message: dict[str, Any]) -> None:
        await self.plugin.wait_published(message, group)

    async def close(self) -> None:
        await super().close()
        await self.plugin.__aexit__(None, None, None)


class LitestarBytes(Litestar):
    """Litestar's channels over Redis pub/sub; a message is, as there, what came: JSON in bytes."""

    async def member(self, group: str, hit: Hit) -> None:
        events = (await self.plugin.subscribe(group)).iter_events()

        async def read() -> None:
            async for event in events:
                hit(event)

        self.tasks.append(asyncio.get_running_loop().create_task(read()))


class Plain(Side):
    """redis-py's own publish and listen; JSON, one task that reads."""

    async def open(self) -> None:
        redis = importlib.import_module("redis.asyncio")
        self.redis = redis.Redis.from_url(self.url)
        self.pubsub = self.redis.pubsub(ignore_subscribe_messages=True)
        self.hits: defaultdict[bytes, list[Hit]] = defaultdict(list)

    async def member(self, group: str, hit: Hit) -> None:
        self.hits[group.encode()].append(hit)
        await self.pubsub.subscribe(group)
        if not self.tasks:
            self.tasks.append(asyncio.get_running_loop().create_task(self.listen()))

    async def listen(self) -> None:
        """Hand out what comes."""
        async for event in self.pubsub.listen():
            for hit in self.hits[event["channel"]]:
                hit(json.loads(event["data"]))

    async def send(self, group: str, message: dict[str, Any]) -> None:
        await self.redis.publish(group, json.dumps(message))

    async def close(self) -> None:
        await super().close()
        await self.pubsub.aclose()
        await self.redis.aclose()


class Wire(asyncio.Protocol):
    """A connection of the floor: what is written in one turn of the loop goes in one piece."""

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


class Floor(Side):
    """The least there is in pure Python: two protocols over hiredis, msgpack, futures.

    No reconnect, no bounds, no batching across turns: what a layer cannot be much faster than.
    """

    async def open(self) -> None:
        msgpack = importlib.import_module("msgspec").msgpack
        self.encode, self.decode = msgpack.encode, msgpack.decode
        self.loop = asyncio.get_running_loop()
        self.replies: deque[asyncio.Future[Any]] = deque()
        self.confirmed: dict[bytes, asyncio.Future[None]] = {}
        self.boxes: defaultdict[bytes, list[deque[Any]]] = defaultdict(list)
        self.waiters: dict[int, asyncio.Future[None]] = {}
        host, port = "127.0.0.1", int(self.url.rpartition(":")[2])
        make = self.loop.create_connection
        _, self.commands = await make(lambda: Wire(self.replied), host, port)
        _, self.listening = await make(lambda: Wire(self.came), host, port)

    def replied(self, reply: Any) -> None:
        """Wake who sent."""
        self.replies.popleft().set_result(reply)

    def came(self, reply: Any) -> None:
        """Fill mailboxes."""
        kind, channel, data = reply
        if kind == b"message":
            message = self.decode(data)
            for box in self.boxes[channel]:
                box.append(message)
                waiter = self.waiters.pop(id(box), None)
                if waiter is not None:
                    waiter.set_result(None)
        else:
            self.confirmed.pop(channel).set_result(None)

    async def member(self, group: str, hit: Hit) -> None:
        box: deque[Any] = deque()
        name = group.encode()
        if not self.boxes[name]:
            confirmed = self.confirmed[name] = self.loop.create_future()
            self.listening.command("SUBSCRIBE", group)
            await confirmed
        self.boxes[name].append(box)

        async def receive() -> dict[str, Any]:
            while not box:
                waiter = self.waiters[id(box)] = self.loop.create_future()
                await waiter
            message: dict[str, Any] = box.popleft()
            return message

        self.read(receive, hit)

    async def send(self, group: str, message: dict[str, Any]) -> None:
        reply = self.loop.create_future()
        self.replies.append(reply)
        self.commands.command("PUBLISH", group, self.encode(message))
        await reply


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
        await self._ask("SCRIPT", "LOAD", self.SCRIPT)

    async def send(self, group: str, message: dict[str, Any]) -> None:
        await self._ask("EVALSHA", self.sha, "1", group, self.encode(message))

    async def _ask(self, *args: Any) -> None:
        reply = self.loop.create_future()
        self.replies.append(reply)
        self.commands.command(*args)
        await reply


SIDES: dict[str, type[Side]] = {
    "ours": Ours,
    "durable": Durable,
    "floor": Floor,
    "durable_floor": DurableFloor,
    "plain": Plain,
    "channels": Channels,
    "channels_core": ChannelsCore,
    "litestar": Litestar,
    "litestar_bytes": LitestarBytes,
    "fast_channels": FastChannels,
    "broadcaster": Broadcaster,
    "nats": Nats,
    "channels_nats": ChannelsNats,
}

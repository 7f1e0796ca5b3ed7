"""What is compared over RabbitMQ, each behind the methods of ``redis_sides.Side``.

It runs in every environment, so it imports a library only where its side is measured.
"""

import asyncio
import importlib
import json
import os
from typing import Any, Final

from benchmarks.redis_sides import Hit, Side

PAGE: Final = 200


class Layer(Side):
    """A channel layer: one reader, one channel for each member."""

    layer: Any

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.url = f"amqp://guest:guest@127.0.0.1:{port}"

    async def member(self, group: str, hit: Hit) -> None:
        channel = await self.layer.new_channel()
        await self.layer.group_add(group, channel)
        self.read(lambda: self.layer.receive(channel), hit)

    async def send(self, group: str, message: dict[str, Any]) -> None:
        await self.layer.group_send(group, message)

    async def join_all(self, groups: list[str]) -> None:
        """One channel is in all groups; all joins are under way at once."""
        channel = await self.layer.new_channel()
        await asyncio.gather(*(self.layer.group_add(group, channel) for group in groups))

    async def join_each(self, groups: list[str]) -> None:
        """One channel is in all groups; one join after another."""
        channel = await self.layer.new_channel()
        for group in groups:
            await self.layer.group_add(group, channel)

    async def close(self) -> None:
        await super().close()
        await self.layer.close()


class Ours(Layer):
    """fast-channels-rabbitmq."""

    async def open(self) -> None:
        from fast_channels_rabbitmq import RabbitMQChannelLayer

        self.layer = RabbitMQChannelLayer(
            self.url,
            capacity=10_000_000,
            capacity_bytes=1 << 40,
            send_timeout=60.0,
            max_groups=20_000,
        )
        await self.layer.open()


class Durable(Layer):
    """fast-channels-rabbitmq, every group with a history."""

    async def open(self) -> None:
        from fast_channels.layers import HistoryPolicy
        from fast_channels_rabbitmq import RabbitMQChannelLayer

        self.layer = RabbitMQChannelLayer(
            self.url,
            capacity=100_000,
            send_timeout=60.0,
            history={"*": HistoryPolicy(keep=100_000)},
        )
        await self.layer.open()

    async def replay(self, group: str, count: int) -> None:
        """Read so many messages, from the oldest on."""
        since = None
        while count > 0:
            page = await self.layer.group_history(group, since=since, limit=PAGE)
            count -= len(page)
            since = page[-1].position


class Peer(Layer):
    """channels_rabbitmq, with room for all that is measured."""

    async def open(self) -> None:
        module: Any = importlib.import_module("channels_rabbitmq.core")
        room = {"local_capacity": 60_000, "remote_capacity": 1_000_000}
        self.layer = module.RabbitmqChannelLayer(host=self.url, **room)
        await self.layer.carehare_connection

    async def close(self) -> None:
        await Side.close(self)
        await asyncio.wait_for(self.layer.close(), 5)


class Plain(Layer):
    """aio-pika itself: JSON of the same message, publish with confirm, consume without ack."""

    async def open(self) -> None:
        self.pika: Any = importlib.import_module("aio_pika")
        self.connections = [await self.pika.connect(self.url) for _ in range(2)]
        publishing, listening = [await each.channel() for each in self.connections]
        self.exchange = await publishing.declare_exchange("plain")
        self.queue = await listening.declare_queue(exclusive=True)

    async def member(self, group: str, hit: Hit) -> None:
        await self.queue.bind("plain", group)

        async def arrived(message: Any) -> None:
            hit(json.loads(message.body))

        await self.queue.consume(arrived, no_ack=True)

    async def send(self, group: str, message: dict[str, Any]) -> None:
        body = self.pika.Message(json.dumps(message).encode())
        await self.exchange.publish(body, group)

    async def join_each(self, groups: list[str]) -> None:
        for group in groups:
            await self.queue.bind("plain", group)

    async def close(self) -> None:
        for connection in self.connections:
            await connection.close()


class Stream(Plain):
    """aio-pika itself on a stream: publish with confirm, consume from an offset with acks."""

    async def open(self) -> None:
        await super().open()
        arguments = {"x-queue-type": "stream"}
        channel = await self.connections[0].channel()
        name = f"plain.stream.{os.getpid()}"
        self.stream = await channel.declare_queue(name, durable=True, arguments=arguments)
        self.exchange = channel.default_exchange

    async def send(self, group: str, message: dict[str, Any]) -> None:
        body = self.pika.Message(json.dumps(message).encode())
        await self.exchange.publish(body, self.stream.name)

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


SIDES: dict[str, type[Layer]] = {
    "ours": Ours,
    "channels": Peer,
    "plain": Plain,
    "durable": Durable,
    "stream": Stream,
}

"""Consumers of durable groups: what was missed comes first, as every other message does."""

import asyncio

import pytest

from fast_channels import AsyncWebsocketConsumer, register_channel_layer
from fast_channels.layers import HistoryPolicy
from fast_channels.testing import WebsocketCommunicator

pytestmark = pytest.mark.timeout(20)


class Reader(AsyncWebsocketConsumer):
    """Joins where it is told to, and passes numbers on; handles one message at a time."""

    since = ""
    slow = False
    running = 0

    async def connect(self):
        await self.accept()
        await self.channel_layer.group_add("chat.a", self.channel_name, since=self.since)

    async def chat_message(self, message):
        assert not self.running, "two handlers at a time"
        self.running += 1
        if self.slow:
            await asyncio.sleep(0)
        if message["n"] == "relay":
            await self.channel_layer.group_send("chat.a", {"type": "chat.message", "n": "end"})
        await self.send(text_data=str(message["n"]))
        self.running -= 1


@pytest.fixture
async def layer():
    """A durable layer for the consumers of this test."""
    made = register_channel_layer(
        "default", "memory://", history={"chat.*": HistoryPolicy()}, capacity=10
    )
    yield made
    await made.flush()
    await made.close()


async def told(client, count):
    """Return the next texts that the client receives."""
    return [(await client.receive_from(timeout=5)) for _ in range(count)]


@pytest.mark.parametrize("slow", [False, True])
async def test_a_consumer_resumes_far_behind_and_goes_on_live(layer, slow):
    start = await layer.group_position("chat.a")
    for n in range(200):
        await layer.group_send("chat.a", {"type": "chat.message", "n": n})
    client = WebsocketCommunicator(Reader.as_asgi(since=start, slow=slow), "/")
    assert (await client.connect())[0]
    await layer.group_send("chat.a", {"type": "chat.message", "n": 200})
    assert await told(client, 201) == [str(n) for n in range(201)]
    await layer.group_send("chat.a", {"type": "chat.message", "n": "relay"})
    assert await told(client, 2) == ["relay", "end"]
    await client.disconnect()
    assert layer.stats()["groups"] == 0


async def test_a_consumer_that_leaves_while_it_is_behind_gets_no_more(layer):
    start = await layer.group_position("chat.a")
    for n in range(100):
        await layer.group_send("chat.a", {"type": "chat.message", "n": n})
    client = WebsocketCommunicator(Reader.as_asgi(since=start, slow=True), "/")
    assert (await client.connect())[0]
    assert await told(client, 3) == ["0", "1", "2"]
    await client.disconnect()
    assert layer.stats()["groups"] == layer.stats()["channels"] == 0

"""A request that waits: for a message of a layer, until its client leaves or stops reading."""

import asyncio
import logging

import pytest

from fast_channels import InMemoryChannelLayer, register_channel_layer
from fast_channels.layers.registry import channel_layers

from .http_client import requesting
from .http_recorded import LongPoll, Recorded

pytestmark = pytest.mark.timeout(20)
ask = pytest.fixture(requesting, name="ask")


async def test_a_message_of_a_group_answers_a_request_that_waits(ask, layer, journal):
    clients = [await ask(LongPoll.as_asgi(journal=journal)) for _ in range(3)]
    await journal.until(lambda: journal == ["waits"] * 3)
    await layer.group_send("news", {"type": "news.item", "item": {"id": 1}})
    await layer.group_send("news", {"type": "news.item", "item": {"id": 2}})
    for client in clients:
        assert await client.answered() == b'{"id": 1}'
        assert await client.ended() is None
    assert journal == ["waits"] * 3 + ["disconnect"] * 3
    assert layer.groups == {}


async def test_headers_may_be_sent_before_the_message_comes(ask, layer, journal):
    class Consumer(LongPoll):
        async def handle(self, body):
            await self.send_headers(headers=[(b"content-type", b"application/json")])
            await self.send_body(b"", more_body=True)
            journal("waits")

        async def news_item(self, message):
            await self.send_body(b"item")

    client = await ask(Consumer.as_asgi(journal=journal))
    await journal.has("waits")
    await layer.group_send("news", {"type": "news.item"})
    assert await client.answered() == b"item"
    assert await client.ended() is None
    assert journal == ["waits", "disconnect"]


async def test_handle_may_wait_for_the_message_itself(ask, layer, journal):
    class Consumer(Recorded):
        async def handle(self, body):
            await self.channel_layer.group_add("news", self.channel_name)
            journal("waits")
            async with asyncio.timeout(5):
                message = await self.channel_receive()
            await self.send_response(200, message["item"].encode())

    client = await ask(Consumer.as_asgi(journal=journal))
    await journal.has("waits")
    await layer.group_send("news", {"type": "news.item", "item": "hot"})
    assert await client.answered() == b"hot"


async def test_a_client_that_leaves_while_it_waits_is_in_no_group(ask, layer, journal):
    client = await ask(LongPoll.as_asgi(journal=journal))
    await journal.has("waits")
    assert list(layer.groups) == ["news"]
    client.leaves()
    assert await client.ended() is None
    assert layer.groups == {}
    assert client.sent == []
    assert journal == ["waits", "disconnect"]


async def test_a_stream_ends_at_its_next_part_when_the_client_has_left(ask, layer, journal, caplog):
    class Consumer(Recorded):
        async def handle(self, body):
            await self.send_headers()
            while True:
                await self.send_body(b"tick", more_body=True)
                await asyncio.sleep(0)

    caplog.set_level(logging.DEBUG, "fast_channels.consumer")
    client = await ask(Consumer.as_asgi(journal=journal))
    await client.has_body(b"tick")
    client.leaves()
    assert await client.ended() is None  # a server raises if something is sent now
    assert journal == ["disconnect"]
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


async def test_a_response_for_a_client_that_has_left_is_no_error(ask, layer, journal, free):
    class Consumer(Recorded):
        async def handle(self, body):
            journal("works")
            await free.wait()
            await self.send_response(200, b"too late")
            journal("worked")

    client = await ask(Consumer.as_asgi(journal=journal))
    await journal.has("works")
    client.leaves()
    await client.read_to_the_end()
    free.set()
    assert await client.ended() is None
    assert client.sent == []
    assert journal == ["works", "worked", "disconnect"]


async def test_without_a_layer_no_response_is_an_error_unless_the_client_has_left(
    ask, journal, free
):
    class Consumer(Recorded):
        async def handle(self, body):
            journal("works")
            await free.wait()

    gone, waiting = [await ask(Consumer.as_asgi(journal=journal)) for _ in range(2)]
    await journal.until(lambda: journal == ["works"] * 2)
    gone.leaves()
    await gone.read_to_the_end()
    free.set()
    assert await gone.ended() is None
    assert "sent no response" in str(await waiting.ended())


async def test_cancel_on_disconnect_cancels_handle_but_not_what_follows_the_response(
    ask, layer, journal, free, turns
):
    class Consumer(Recorded):
        cancel_on_disconnect = True

        async def handle(self, body):
            if body == b"respond":
                await self.send_response(200, b"")
            journal("works")
            try:
                await free.wait()
            except asyncio.CancelledError:
                journal("cancelled")
                raise
            journal("worked")

    client = await ask(Consumer.as_asgi(journal=journal), "wait")
    await journal.has("works")
    client.leaves()
    assert await client.ended() is None
    assert journal == ["works", "cancelled", "disconnect"]

    journal.clear()
    client = await ask(Consumer.as_asgi(journal=journal), "respond")
    await journal.has("works")
    await client.read_to_the_end()
    free.set()
    assert await client.ended() is None
    assert journal == ["works", "worked", "disconnect"]


async def test_overflow_disconnect_ends_the_response_of_a_client_that_does_not_read(ask, journal):
    class Consumer(LongPoll):
        async def handle(self, body):
            await self.send_headers()
            journal("waits")

        async def news_item(self, message):
            await self.send_body(b"item", more_body=True)

    layer = register_channel_layer(
        "default", InMemoryChannelLayer(capacity=5, overflow="disconnect")
    )
    slow, other = [await ask(Consumer.as_asgi(journal=journal)) for _ in range(2)]
    await journal.until(lambda: journal == ["waits"] * 2)
    slow.writable.clear()
    for number in range(1, 11):
        await layer.group_send("news", {"type": "news.item"})
        await other.has_body(b"^(item){%d}$" % number)
    slow.writable.set()
    assert await slow.answered() == b""
    assert await slow.ended() is None
    assert journal == ["waits", "waits", "disconnect"]
    assert not other.task.done()
    assert layer.stats()["channels"] == 1
    await other.end()
    await layer.close()
    channel_layers.clear()

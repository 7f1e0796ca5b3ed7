"""However a connection ends: memberships end at once, and ``disconnect`` runs exactly once."""

import asyncio
import logging

import pytest

from fast_channels import AsyncConsumer
from fast_channels.exceptions import DenyConnection, StopConsumer

from .recorded import Recorded, Working

pytestmark = pytest.mark.timeout(20)


async def test_when_the_client_leaves_disconnect_gets_its_code(connect, layer, journal):
    client = await connect(Recorded.as_asgi(journal=journal))
    client.leaves(4321)
    assert await client.ended() is None
    assert journal == ["disconnect 4321"]
    assert client.close is None
    assert layer.groups == {}


async def test_a_leave_without_a_code_is_a_1005(connect, layer, journal):
    client = await connect(Recorded.as_asgi(journal=journal))
    client.happens("websocket.disconnect")
    await client.ended()
    assert journal == ["disconnect 1005"]


async def test_memberships_end_at_once_though_a_handler_still_runs(
    connect, layer, journal, free, turns
):
    client = await connect(Working.as_asgi(journal=journal, free=free))
    client.says("work")
    await journal.has("work")
    assert list(layer.groups) == ["all"]
    client.leaves()
    await turns()  # far less than 100 ms
    assert layer.groups == {}
    assert layer.stats()["channels"] == 0
    assert journal == ["work"]
    free.set()
    assert await client.ended() is None
    assert journal == ["work", "worked", "disconnect 1001"]


async def test_what_waits_when_the_client_leaves_is_discarded(connect, layer, journal, free):
    client = await connect(Working.as_asgi(journal=journal, free=free))
    client.says("work")
    await journal.has("work")
    for number in range(5):
        client.says(f"frame {number}")
        await layer.group_send("all", {"type": "note"})
    await client.read()
    client.leaves()
    await client.read_to_the_end()
    await layer.group_send("all", {"type": "note"})
    free.set()
    await client.ended()
    assert journal == ["work", "worked", "disconnect 1001"]


async def test_an_exception_runs_disconnect_with_1011_and_leaves_every_group(
    connect, layer, journal
):
    class Consumer(Recorded):
        async def receive(self, text_data=None, bytes_data=None):
            await self.channel_layer.group_add("more", self.channel_name)
            raise ValueError("broken")

    client = await connect(Consumer.as_asgi(journal=journal))
    client.says("x")
    assert str(await client.ended()) == "broken"
    assert await client.hears_close() == 1011
    assert journal == ["disconnect 1011"]
    assert layer.groups == {}


async def test_an_exception_in_connect_leaves_the_handshake_to_the_server(connect, layer, journal):
    class Consumer(Recorded):
        async def connect(self):
            raise ValueError("no")

    client = await connect(Consumer.as_asgi(journal=journal))
    assert str(await client.ended()) == "no"
    assert client.sent == []
    assert journal == ["disconnect 1011"]
    assert layer.groups == {}


async def test_an_exception_in_disconnect_comes_out_once(connect, layer, journal):
    class Consumer(Recorded):
        async def disconnect(self, code):
            journal(f"disconnect {code}")
            raise ValueError("at the end")

    client = await connect(Consumer.as_asgi(journal=journal))
    client.leaves()
    assert str(await client.ended()) == "at the end"
    assert journal == ["disconnect 1001"]
    assert layer.groups == {}


async def test_an_exception_in_disconnect_after_another_is_logged_and_the_first_comes_out(
    connect, layer, journal, caplog
):
    class Consumer(Recorded):
        async def receive(self, text_data=None, bytes_data=None):
            raise ValueError("first")

        async def disconnect(self, code):
            journal(f"disconnect {code}")
            raise ValueError("second")

    client = await connect(Consumer.as_asgi(journal=journal))
    client.says("x")
    assert str(await client.ended()) == "first"
    assert journal == ["disconnect 1011"]
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert str(record.exc_info[1]) == "second"


async def test_the_end_that_comes_during_disconnect_does_not_repeat_it(connect, layer, journal):
    class Consumer(Recorded):
        async def disconnect(self, code):
            journal(f"disconnect {code}")
            await asyncio.Event().wait()

    client = await connect(Consumer.as_asgi(journal=journal))
    client.leaves()
    await journal.has("disconnect 1001")
    client.task.cancel()
    await client.ended()
    assert client.task.cancelled()
    assert journal == ["disconnect 1001"]


async def test_stop_consumer_in_a_handler_ends_quietly(connect, layer, journal):
    class Consumer(Recorded):
        async def receive(self, text_data=None, bytes_data=None):
            raise StopConsumer

        async def on_error(self, exception, message):
            journal("on_error")

    client = await connect(Consumer.as_asgi(journal=journal))
    client.says("x")
    assert await client.ended() is None
    assert journal == ["disconnect 1000"]
    assert await client.hears_close() == 1000


async def test_a_consumer_that_closes_hears_of_its_end_from_the_server(connect, layer, journal):
    class Consumer(Recorded):
        async def receive(self, text_data=None, bytes_data=None):
            await self.close(4000)

    client = await connect(Consumer.as_asgi(journal=journal))
    client.says("x")
    assert await client.ended() is None
    assert journal == ["disconnect 4000"]


@pytest.mark.parametrize("refusal", ["close", "DenyConnection"])
async def test_a_refused_socket_has_its_disconnect_too(connect, layer, journal, refusal):
    class Consumer(Recorded):
        async def connect(self):
            if refusal == "DenyConnection":
                raise DenyConnection
            await self.close()

    client = await connect(Consumer.as_asgi(journal=journal))
    assert await client.ended() is None
    assert [sent["type"] for sent in client.sent] == ["websocket.close"]
    assert journal == ["disconnect 1000"]


async def test_a_receive_that_fails_ends_the_consumer_with_its_exception(connect, layer, journal):
    class Broken:
        async def __call__(self, scope, receive, send):
            async def broken_receive():
                event = await receive()
                if event["type"] == "websocket.receive":
                    raise OSError("the server broke")
                return event

            await Recorded(journal=journal)(scope, broken_receive, send)

    client = await connect(Broken())
    client.says("x")
    assert str(await client.ended()) == "the server broke"
    assert journal == ["disconnect 1011"]


async def test_a_consumer_without_disconnect_handler_ends_with_its_client(connect, layer):
    class Consumer(AsyncConsumer):
        async def websocket_connect(self, message):
            await self.send({"type": "websocket.accept"})

    client = await connect(Consumer)
    client.leaves()
    assert await client.ended() is None


# --- nothing is left ------------------------------------------------------------------------------


async def test_200_connections_that_end_in_every_way_leave_nothing(connect, layer, journal):
    class Consumer(Working):
        async def connect(self):
            if self.scope["path"] == "/denied":
                raise DenyConnection
            await self.accept()

        async def receive(self, text_data=None, bytes_data=None):
            if text_data == "fail":
                raise ValueError("broken")
            if text_data == "close":
                await self.close()
                return
            await super().receive(text_data)

    await layer.open()
    before = asyncio.all_tasks()
    application = Consumer.as_asgi(journal=journal, cancel_on_disconnect=True, free=asyncio.Event())
    for number in range(200):
        way = ("leave", "fail", "close", "busy", "cancel", "denied")[number % 6]
        client = await connect(application, "/denied" if way == "denied" else "/")
        if way in ("fail", "close", "busy"):
            client.says(way)
        if way == "busy":
            await journal.until(lambda n=number: len([j for j in journal if j == "busy"]) > n // 6)
        if way in ("leave", "busy"):
            client.leaves()
        if way == "cancel":
            client.task.cancel()
        await client.ended()
    assert asyncio.all_tasks() == before
    stats = layer.stats()
    assert (stats["channels"], stats["groups"], stats["unread"]) == (0, 0, 0)
    assert layer.groups == {}
    assert len([entry for entry in journal if entry.startswith("disconnect")]) == 200

"""However a connection of a sync consumer ends, as an async one's: its thread is waited for."""

import asyncio
import logging

import pytest
from asgiref.sync import async_to_sync

from fast_channels.exceptions import AcceptConnection, DenyConnection, StopConsumer

from .recorded import Recorded, Working

pytestmark = pytest.mark.timeout(20)


async def test_when_the_client_leaves_its_handler_finishes_and_then_disconnect_runs(
    connect, layer, note, journal, free, turns
):
    class Consumer(Working):
        def receive(self, text_data=None, bytes_data=None):
            super().receive(text_data)
            self.send("nobody is there")

    client = await connect(Consumer.as_asgi(note=note, free=free))
    client.says("work")
    await journal.has("work")
    client.leaves(4321)
    await turns()  # far less than 100 ms
    assert layer.groups == {}
    assert journal == ["work"]
    free.set()
    assert await client.ended() is None  # a server raises if something is sent now
    assert journal == ["work", "worked", "disconnect 4321"]


async def test_cancel_on_disconnect_stops_a_handler_where_it_sends(
    connect, layer, note, journal, free
):
    class Consumer(Working):
        cancel_on_disconnect = True
        finish_timeout = 0.01  # is for servers that cancel, not for clients that leave

        def receive(self, text_data=None, bytes_data=None):
            super().receive(text_data)
            try:
                self.send("nobody is there")
            except asyncio.CancelledError:
                note("stopped")
                raise

    client = await connect(Consumer.as_asgi(note=note, free=free))
    client.says("work")
    await journal.has("work")
    client.leaves()
    await client.read_to_the_end()
    await asyncio.sleep(0.03)  # longer than finish_timeout
    free.set()
    assert await client.ended() is None
    assert not client.task.cancelled()
    assert journal == ["work", "worked", "stopped", "disconnect 1001"]


async def test_a_cancellation_from_outside_waits_for_the_thread(
    connect, layer, note, journal, free, turns
):
    client = await connect(Working.as_asgi(note=note, free=free))
    client.says("work")
    await journal.has("work")
    for _ in range(3):  # once, as asyncio's servers do, or again and again, as anyio's
        client.task.cancel()
        await turns()
    assert journal == ["work"]
    free.set()
    await client.ended()
    assert client.task.cancelled()
    assert journal == ["work", "worked", "disconnect 1001"]
    assert await client.hears_close() == 1001
    assert layer.groups == {}


async def test_a_cancellation_reaches_a_handler_that_waits_for_the_loop(
    connect, layer, note, journal
):
    class Consumer(Recorded):
        def receive(self, text_data=None, bytes_data=None):
            try:
                async_to_sync(self.wait)()
            except asyncio.CancelledError:
                note("caught")  # and not raised again

        async def wait(self):
            note("waits")
            await asyncio.Event().wait()

    client = await connect(Consumer.as_asgi(note=note))
    client.says("x")
    await journal.has("waits")
    client.task.cancel()
    await client.ended()
    assert client.task.cancelled()
    assert journal == ["waits", "caught", "disconnect 1001"]


async def test_a_handler_that_never_ends_is_left_behind_and_disconnect_not_called(
    connect, layer, note, journal, free, caplog
):
    client = await connect(Working.as_asgi(note=note, free=free, finish_timeout=0.05))
    client.says("work")
    await journal.has("work")
    client.task.cancel()
    await client.ended()
    assert client.task.cancelled()
    assert await client.hears_close() == 1001
    assert layer.groups == {}
    assert journal[:1] == ["work"]
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "websocket_receive" in record.getMessage()
    assert "still runs 0.05 s after its connection was cancelled" in record.getMessage()
    free.set()
    await journal.has("worked")
    assert "disconnect 1001" not in journal


async def test_an_exception_closes_with_1011_runs_disconnect_and_leaves_every_group(
    connect, layer, note, journal
):
    class Consumer(Recorded):
        def receive(self, text_data=None, bytes_data=None):
            async_to_sync(self.channel_layer.group_add)("more", self.channel_name)
            raise ValueError("broken")

    client = await connect(Consumer.as_asgi(note=note))
    client.says("x")
    assert str(await client.ended()) == "broken"
    assert await client.hears_close() == 1011
    assert journal == ["disconnect 1011"]
    assert layer.groups == {}


async def test_a_stop_iteration_ends_the_connection_as_any_exception(connect, layer, note):
    class Consumer(Recorded):
        def receive(self, text_data=None, bytes_data=None):
            next(iter([]))

    client = await connect(Consumer.as_asgi(note=note))
    client.says("x")
    error = await client.ended()
    assert isinstance(error, RuntimeError)
    assert "raised StopIteration" in str(error)
    assert await client.hears_close() == 1011


async def test_on_error_may_keep_the_socket(connect, layer, note, journal):
    class Consumer(Recorded):
        def receive(self, text_data=None, bytes_data=None):
            raise ValueError(text_data)

        def on_error(self, exception, message):
            self.send(f"wrong: {exception}")

    client = await connect(Consumer.as_asgi(note=note))
    for text in ("a", "b"):
        client.says(text)
        assert await client.hears() == f"wrong: {text}"


async def test_stop_consumer_ends_quietly(connect, layer, note, journal):
    class Consumer(Recorded):
        def receive(self, text_data=None, bytes_data=None):
            raise StopConsumer

    client = await connect(Consumer.as_asgi(note=note))
    client.says("x")
    assert await client.ended() is None
    assert journal == ["disconnect 1000"]
    assert await client.hears_close() == 1000


@pytest.mark.parametrize("how", ["AcceptConnection", "DenyConnection", "deny", "close"])
async def test_connect_accepts_and_refuses(connect, layer, note, journal, how):
    class Consumer(Recorded):
        def connect(self):
            if how == "AcceptConnection":
                raise AcceptConnection
            if how == "DenyConnection":
                raise DenyConnection(status=401, body="who are you?")
            if how == "deny":
                self.deny(401, b"who are you?")
            else:
                self.close(4000)

    extensions = {"websocket.http.response": {}}
    client = await connect(Consumer.as_asgi(note=note), extensions=extensions)
    kinds = [sent["type"] for sent in client.sent]
    if how == "AcceptConnection":
        assert kinds == ["websocket.accept"]
    elif how == "close":
        assert client.sent == [{"type": "websocket.close", "code": 4000, "reason": ""}]
    else:
        start, body = client.sent
        assert (start["status"], body["body"]) == (401, b"who are you?")
    await client.end()
    assert layer.groups == {}


async def test_groups_without_a_layer_are_an_error_that_says_what_to_call(connect, note):
    client = await connect(Recorded.as_asgi(note=note))
    assert "register_channel_layer" in str(await client.ended())

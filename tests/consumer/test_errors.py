"""A handler that fails ends its own connection, once, and no other."""

# ruff: noqa: RUF012  consumers are written here as applications write them

import asyncio
import logging

import pytest

from fast_channels import AsyncConsumer, AsyncWebsocketConsumer
from fast_channels.layers import events

pytestmark = pytest.mark.timeout(20)

NOTE = {"type": "note"}


class Numbered(AsyncWebsocketConsumer):
    """In the group "all"; the path of its socket is its name."""

    groups = ["all"]
    journal = None

    @property
    def name(self):
        return self.scope["path"].strip("/")

    async def note(self, message):
        self.journal(self.name)

    async def disconnect(self, code):
        self.journal(f"{self.name} disconnect {code}")


async def test_a_handler_that_fails_does_not_stop_the_fan_out(connect, layer, journal):
    class Consumer(Numbered):
        async def note(self, message):
            if self.name == "2":
                raise ValueError("broken")
            await super().note(message)

    application = Consumer.as_asgi(journal=journal)
    clients = [await connect(application, f"/{number}") for number in range(5)]
    await layer.group_send("all", NOTE)
    await journal.has("0", "1", "3", "4", "2 disconnect 1011")
    assert str(await clients[2].ended()) == "broken"
    assert await clients[2].hears_close() == 1011
    del journal[:]
    await layer.group_send("all", NOTE)
    await journal.has("0", "1", "3", "4")
    assert sorted(journal) == ["0", "1", "3", "4"]


async def test_the_package_logs_nothing_of_an_exception_that_the_server_gets(
    connect, layer, journal, caplog
):
    class Consumer(Numbered):
        async def note(self, message):
            raise ValueError("broken")

    client = await connect(Consumer.as_asgi(journal=journal), "/1")
    await layer.group_send("all", NOTE)
    error = await client.ended()
    assert str(error) == "broken"
    # The handler's own line is in it, and it was not chained to another.
    assert error.__cause__ is None
    assert error.__context__ is None
    frames = []
    traceback = error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert frames.count("note") == 1
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


async def test_plugins_hear_once_of_a_consumer_that_failed(connect, layer, journal):
    class Consumer(Numbered):
        async def note(self, message):
            raise ValueError("broken")

    heard = []

    def listener(event, **facts):
        if event.startswith("consumer"):
            heard.append((event, type(facts["consumer"]), str(facts.get("exception", ""))))

    events.connect(listener)
    try:
        client = await connect(Consumer.as_asgi(journal=journal), "/1")
        await layer.group_send("all", NOTE)
        await client.ended()
    finally:
        events.disconnect(listener)
    assert heard == [
        ("consumer_started", Consumer, ""),
        ("consumer_failed", Consumer, "broken"),
        ("consumer_finished", Consumer, ""),
    ]


@pytest.mark.parametrize("late", [False, True])
async def test_on_error_may_keep_the_socket(connect, layer, journal, late):
    class Consumer(Numbered):
        async def note(self, message):
            if late:
                await asyncio.sleep(0)
            raise ValueError(message["text"])

        async def on_error(self, exception, message):
            await self.send(f"{type(exception).__name__} at {message['type']}: {exception}")

    client = await connect(Consumer.as_asgi(journal=journal), "/1")
    for text in ("first", "second"):
        await layer.group_send("all", {"type": "note", "text": text})
        assert await client.hears() == f"ValueError at note: {text}"
    assert journal == []
    await client.end()
    assert journal == ["1 disconnect 1001"]


async def test_events_that_come_while_on_error_works_are_handled_after_it(connect, layer, journal):
    class Consumer(Numbered):
        async def note(self, message):
            journal(message["text"])
            if message["text"] == "bad":
                raise ValueError

        async def on_error(self, exception, message):
            journal("on_error")
            await free.wait()
            journal("on_error done")

    free = asyncio.Event()
    await connect(Consumer.as_asgi(journal=journal), "/1")
    await layer.group_send("all", {"type": "note", "text": "bad"})
    await journal.has("on_error")
    await layer.group_send("all", {"type": "note", "text": "next"})
    free.set()
    await journal.has("next")
    assert journal == ["bad", "on_error", "on_error done", "next"]


async def test_on_error_that_raises_another_exception_shows_both(connect, layer, journal):
    class Consumer(Numbered):
        async def note(self, message):
            raise ValueError("first")

        async def on_error(self, exception, message):
            raise RuntimeError("second") from exception

    client = await connect(Consumer.as_asgi(journal=journal), "/1")
    await layer.group_send("all", NOTE)
    error = await client.ended()
    assert (str(error), str(error.__cause__)) == ("second", "first")
    assert journal == ["1 disconnect 1011"]


async def test_on_error_hears_of_an_exception_in_connect_and_may_go_on(connect, layer, journal):
    class Consumer(Numbered):
        async def connect(self):
            raise ValueError("no token")

        async def on_error(self, exception, message):
            assert message["type"] == "websocket.connect"
            await self.close()

    client = await connect(Consumer.as_asgi(journal=journal), "/1")
    assert await client.ended() is None
    assert journal == ["1 disconnect 1000"]


async def test_an_error_that_on_error_keeps_in_disconnect_still_ends_the_consumer(
    connect, layer, journal
):
    class Consumer(Numbered):
        async def disconnect(self, code):
            journal("disconnect")
            raise ValueError("at the end")

        async def on_error(self, exception, message):
            journal(str(exception))

    client = await connect(Consumer.as_asgi(journal=journal), "/1")
    client.leaves()
    assert await client.ended() is None
    assert journal == ["disconnect", "at the end"]


@pytest.mark.parametrize("source", ["layer", "client"])
async def test_a_handler_that_is_a_plain_def_gives_an_error_that_says_so(
    connect, layer, journal, source
):
    class Consumer(AsyncConsumer):
        async def websocket_connect(self, message):
            await self.channel_layer.group_add("all", self.channel_name)
            await self.send({"type": "websocket.accept"})

        def websocket_receive(self, message):
            pass

        def chat_message(self, message):
            pass

    client = await connect(Consumer)
    if source == "client":
        client.says("x")
        kind = "websocket.receive"
    else:
        await layer.group_send("all", {"type": "chat.message"})
        kind = "chat.message"
    error = await client.ended()
    assert type(error) is TypeError
    method = kind.replace(".", "_")
    assert str(error).startswith(f"Consumer.{method} must be 'async def'")
    assert f"write 'async def {method}'" in str(error)


async def test_a_handler_may_return_any_awaitable(connect, layer, journal):
    class Consumer(Numbered):
        def note(self, message):
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.set_result, None)
            journal("begun")
            return future

        async def more(self, message):
            journal("more")

    await connect(Consumer.as_asgi(journal=journal), "/1")
    await layer.group_send("all", NOTE)
    await layer.group_send("all", {"type": "more"})
    await journal.has("more")
    assert journal == ["begun", "more"]

"""However a connection ends: memberships end at once, and ``disconnect`` runs exactly once."""

# ruff: noqa: RUF012  consumers are written here as applications write them

import asyncio
import logging

import pytest

from fast_channels import AsyncConsumer, AsyncWebsocketConsumer
from fast_channels.exceptions import DenyConnection, StopConsumer

pytestmark = pytest.mark.timeout(20)


class Recorded(AsyncWebsocketConsumer):
    """In the group "all"; ``journal`` is given by ``as_asgi``."""

    groups = ["all"]
    journal = None

    async def receive(self, text_data=None, bytes_data=None):
        self.journal(text_data)

    async def note(self, message):
        self.journal("note")

    async def disconnect(self, code):
        self.journal(f"disconnect {code}")


class Working(Recorded):
    """Works at a frame until ``free`` is set."""

    free = None

    async def receive(self, text_data=None, bytes_data=None):
        self.journal(text_data)
        try:
            await self.free.wait()
        except asyncio.CancelledError:
            self.journal("cancelled")
            raise
        self.journal("worked")


@pytest.fixture
def free():
    return asyncio.Event()


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


async def test_cancel_on_disconnect_cancels_the_handler_and_not_the_task(
    connect, layer, journal, free, turns
):
    class Consumer(Working):
        cancel_on_disconnect = True

        async def disconnect(self, code):
            journal(f"disconnect {code}")
            await asyncio.sleep(0)
            journal(f"cancelling: {asyncio.current_task().cancelling()}")

    client = await connect(Consumer.as_asgi(journal=journal, free=free))
    client.says("work")
    await journal.has("work")
    client.leaves()
    await turns()  # far less than 100 ms
    assert journal[:3] == ["work", "cancelled", "disconnect 1001"]
    assert await client.ended() is None
    assert not client.task.cancelled()
    assert journal == ["work", "cancelled", "disconnect 1001", "cancelling: 0"]


async def test_cancel_on_disconnect_can_be_given_to_as_asgi(connect, layer, journal, free):
    client = await connect(Working.as_asgi(journal=journal, free=free, cancel_on_disconnect=True))
    client.says("work")
    await journal.has("work")
    client.leaves()
    await client.ended()
    assert journal == ["work", "cancelled", "disconnect 1001"]


async def test_cancel_on_disconnect_reaches_a_handler_that_has_only_begun(
    connect, layer, journal, turns
):
    """The client leaves between the handler's first step and main's wake-up."""

    class Consumer(Recorded):
        cancel_on_disconnect = True

        async def note(self, message):
            client.leaves()
            journal("begun")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                journal("cancelled")
                raise

    client = await connect(Consumer.as_asgi(journal=journal))
    await layer.group_send("all", {"type": "note"})
    assert await client.ended() is None
    assert journal == ["begun", "cancelled", "disconnect 1001"]


async def test_cancel_on_disconnect_does_not_cancel_what_follows_a_failed_handler(
    connect, layer, journal
):
    """The client leaves between the handler's failure and main's wake-up."""

    class Consumer(Recorded):
        cancel_on_disconnect = True

        async def note(self, message):
            client.leaves()
            raise ValueError("broken")

        async def on_error(self, exception, message):
            journal(f"on_error: {exception}")

    client = await connect(Consumer.as_asgi(journal=journal))
    await layer.group_send("all", {"type": "note"})
    assert await client.ended() is None
    assert journal == ["on_error: broken", "disconnect 1001"]


async def test_cancel_on_disconnect_cancels_on_error_too(connect, layer, journal, free):
    class Consumer(Working):
        cancel_on_disconnect = True

        async def note(self, message):
            raise ValueError("broken")

        async def on_error(self, exception, message):
            await self.receive("on_error")

    client = await connect(Consumer.as_asgi(journal=journal, free=free))
    await layer.group_send("all", {"type": "note"})
    await journal.has("on_error")
    client.leaves()
    assert await client.ended() is None
    assert journal == ["on_error", "cancelled", "disconnect 1001"]


async def test_a_handler_that_swallows_its_cancellation_finishes_first(
    connect, layer, journal, free
):
    class Consumer(Working):
        cancel_on_disconnect = True

        async def receive(self, text_data=None, bytes_data=None):
            journal("begun")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                journal("swallowed")
            await free.wait()
            journal("finished")

    client = await connect(Consumer.as_asgi(journal=journal, free=free))
    client.says("work")
    await journal.has("begun")
    client.leaves()
    await journal.has("swallowed")
    free.set()
    assert await client.ended() is None
    assert journal == ["begun", "swallowed", "finished", "disconnect 1001"]


async def test_a_handler_that_fails_when_it_is_cancelled_has_its_disconnect_too(
    connect, layer, journal
):
    class Consumer(Recorded):
        cancel_on_disconnect = True

        async def receive(self, text_data=None, bytes_data=None):
            journal("begun")
            try:
                await asyncio.Event().wait()
            finally:
                raise ValueError("clean-up failed")

    client = await connect(Consumer.as_asgi(journal=journal))
    client.says("work")
    await journal.has("begun")
    client.leaves()
    error = await client.ended()
    assert str(error) == "clean-up failed"
    assert journal[0] == "begun"
    assert [entry[:10] for entry in journal[1:]] == ["disconnect"]


@pytest.mark.parametrize("busy", [False, True])
async def test_a_cancellation_from_outside_runs_disconnect_and_stays_one(
    connect, layer, journal, free, busy
):
    client = await connect(Working.as_asgi(journal=journal, free=free))
    if busy:
        client.says("work")
        await journal.has("work")
    client.task.cancel()
    await client.ended()
    assert client.task.cancelled()
    assert journal == [*(["work", "cancelled"] if busy else []), "disconnect 1001"]
    assert await client.hears_close() == 1001
    assert layer.groups == {}


async def test_a_cancellation_from_outside_wins_over_that_for_a_client_that_left(
    connect, layer, journal, free
):
    client = await connect(Working.as_asgi(journal=journal, free=free, cancel_on_disconnect=True))
    client.says("work")
    await journal.has("work")
    client.leaves()
    await asyncio.sleep(0)
    client.task.cancel()
    await client.ended()
    assert client.task.cancelled()
    assert journal[:2] == ["work", "cancelled"]
    assert [entry[:10] for entry in journal[2:]] == ["disconnect"]


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


# --- sending to who has left ----------------------------------------------------------------------


def of_consumers(caplog):
    return [record for record in caplog.records if record.name == "fast_channels.consumer"]


async def test_a_handler_that_sends_after_its_client_left_writes_one_debug_line(
    connect, layer, journal, free, caplog
):
    class Consumer(Working):
        async def receive(self, text_data=None, bytes_data=None):
            await super().receive(text_data)
            await self.send("too late")
            await self.close()
            journal("sent")

    caplog.set_level(logging.DEBUG)
    client = await connect(Consumer.as_asgi(journal=journal, free=free))
    client.says("work")
    await journal.has("work")
    client.leaves()
    await client.read_to_the_end()
    free.set()
    assert await client.ended() is None  # a server raises if something is sent now
    assert journal == ["work", "worked", "sent", "disconnect 1001"]
    [record] = of_consumers(caplog)
    assert record.levelno == logging.DEBUG


async def test_a_group_message_for_a_client_that_vanished_is_one_debug_line(
    connect, layer, journal, caplog
):
    class Consumer(Recorded):
        async def note(self, message):
            await self.send("hello")
            journal("note")

    caplog.set_level(logging.DEBUG)
    client = await connect(Consumer.as_asgi(journal=journal))
    client.vanished = True
    for count in (1, 2):
        await layer.group_send("all", {"type": "note"})
        await journal.until(lambda count=count: len(journal) == count)
        assert len(of_consumers(caplog)) == count
    assert {record.levelno for record in of_consumers(caplog)} == {logging.DEBUG}
    client.leaves()
    assert await client.ended() is None
    assert journal == ["note", "note", "disconnect 1001"]


@pytest.mark.parametrize("call", ["accept", "close", "deny", "send_close"])
async def test_an_oserror_of_the_server_means_that_the_client_is_gone(
    connect, layer, journal, call
):
    class Consumer(Recorded):
        async def connect(self):
            if call in ("accept", "deny"):
                client.vanished = True
                await getattr(self, call)()
            else:
                await self.accept()
            journal("connected")

        async def receive(self, text_data=None, bytes_data=None):
            client.vanished = True
            if call == "close":
                await self.close()
            else:
                await self.send("x", close=True)
            journal("closed")

    client = await connect(Consumer.as_asgi(journal=journal), wait=False)
    await journal.has("connected")
    if call in ("close", "send_close"):
        client.says("x")
        await journal.has("closed")
    client.leaves(1006)
    assert await client.ended() is None
    assert journal[-1] == "disconnect 1006"


async def test_sending_after_close_does_nothing(connect, layer, journal):
    class Consumer(Recorded):
        async def receive(self, text_data=None, bytes_data=None):
            await self.close(4001)
            await self.send("after the close")
            await self.close(4002)
            journal("went on")

    client = await connect(Consumer.as_asgi(journal=journal))
    client.says("x")
    assert await client.ended() is None
    assert [sent["type"] for sent in client.sent] == ["websocket.accept", "websocket.close"]
    assert journal == ["went on", "disconnect 4001"]


async def test_disconnect_may_send_and_close_and_nothing_comes_of_it(connect, layer, journal):
    class Consumer(Recorded):
        async def disconnect(self, code):
            await self.send("bye")
            await self.close()
            journal("done")

    client = await connect(Consumer.as_asgi(journal=journal))
    client.leaves()
    assert await client.ended() is None
    assert journal == ["done"]


async def test_disconnect_can_still_send_to_groups_and_is_in_none(connect, layer, journal):
    class Consumer(Recorded):
        async def disconnect(self, code):
            await self.channel_layer.group_send("all", {"type": "note"})

    other = await connect(Recorded.as_asgi(journal=journal))
    client = await connect(Consumer.as_asgi(journal=journal))
    client.leaves()
    assert await client.ended() is None
    await journal.has("note")
    assert journal == ["note"]
    await other.end()


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

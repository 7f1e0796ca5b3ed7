"""Sync consumers: handlers are plain functions in threads, and keep every law of the async ones."""

# ruff: noqa: RUF012  consumers are written here as applications write them

import asyncio
import logging
import threading
from contextvars import ContextVar

import pytest
from asgiref.sync import async_to_sync

from fast_channels import (
    InMemoryChannelLayer,
    JsonWebsocketConsumer,
    SyncConsumer,
    WebsocketConsumer,
    register_channel_layer,
)
from fast_channels.consumer.thread_pool import thread_pool
from fast_channels.exceptions import AcceptConnection, DenyConnection, StopConsumer

pytestmark = pytest.mark.timeout(20)

PATIENCE = 5.0


@pytest.fixture
async def note(journal):
    """Writes into the journal from any thread, in order."""
    loop = asyncio.get_running_loop()
    return lambda entry: loop.call_soon_threadsafe(journal, entry)


@pytest.fixture
def free():
    """What handlers wait for; at the end of the test none waits any more."""
    event = threading.Event()
    yield event
    event.set()


def wait(event):
    assert event.wait(PATIENCE)


class Recorded(WebsocketConsumer):
    """In the group "all"; ``note`` and ``free`` are given by ``as_asgi``."""

    groups = ["all"]
    note = None
    free = None

    def receive(self, text_data=None, bytes_data=None):
        self.note(text_data)

    def group_note(self, message):
        self.note(message["text"])

    def disconnect(self, code):
        self.note(f"disconnect {code}")


class Working(Recorded):
    """Works at a frame until ``free`` is set."""

    def receive(self, text_data=None, bytes_data=None):
        self.note(text_data)
        wait(self.free)
        self.note("worked")


# --- threads --------------------------------------------------------------------------------------


async def test_handlers_of_four_consumers_run_at_the_same_time(connect, layer, note, journal):
    """Each waits for the other three, or all of them fail."""
    together = threading.Barrier(4, timeout=PATIENCE)

    class Consumer(Recorded):
        def receive(self, text_data=None, bytes_data=None):
            together.wait()
            self.send(text_data)

    clients = [await connect(Consumer.as_asgi(note=note)) for _ in range(4)]
    for client in clients:
        client.says("together")
    for client in clients:
        assert await client.hears() == "together"


async def test_handlers_of_one_consumer_run_one_after_the_other_in_order(
    connect, layer, note, journal
):
    class Consumer(Recorded):
        running = 0

        def receive(self, text_data=None, bytes_data=None):
            self.work(text_data)

        def group_note(self, message):
            self.work(message["text"])

        def work(self, what):
            self.running += 1
            threading.Event().wait(0.001)  # another one would have time to begin
            note(what if self.running == 1 else f"{self.running} at once")
            self.running -= 1

    client = await connect(Consumer.as_asgi(note=note))
    for number in range(10):
        client.says(f"frame {number}")
    await client.read()
    for number in range(10):
        await layer.group_send("all", {"type": "group.note", "text": f"message {number}"})
    await journal.until(lambda: len(journal) == 20)
    frames = [f"frame {number}" for number in range(10)]
    messages = [f"message {number}" for number in range(10)]
    assert [entry for entry in journal if entry in frames] == frames
    assert [entry for entry in journal if entry in messages] == messages


async def test_every_handler_runs_outside_the_loops_thread(connect, layer, note, journal):
    class Consumer(WebsocketConsumer):
        groups = ["all"]

        def connect(self):
            note(threading.current_thread().name)
            self.accept()

        def receive(self, text_data=None, bytes_data=None):
            note(threading.current_thread().name)
            raise ValueError

        def on_error(self, exception, message):
            note(threading.current_thread().name)

        def group_note(self, message):
            note(threading.current_thread().name)

        def channels_gap(self, message):
            note(threading.current_thread().name)

        def disconnect(self, code):
            note(threading.current_thread().name)

    client = await connect(Consumer)
    client.says("x")
    await journal.until(lambda: len(journal) == 3)
    await layer.group_send("all", {"type": "group.note"})
    await layer.group_send("all", {"type": "channels.gap", "group": "all"})
    await journal.until(lambda: len(journal) == 5)
    await client.end()
    assert len(journal) == 6
    assert {name.rstrip("0123456789") for name in journal} == {"fast-channels-"}


async def test_threads_are_used_again(connect, layer, note, journal):
    client = await connect(Recorded.as_asgi(note=note))
    client.says("first")
    await journal.has("first")
    threads = len(thread_pool().threads)
    for number in range(50):
        client.says(str(number))
        await journal.has(str(number))
    assert len(thread_pool().threads) == threads <= thread_pool().size


# --- sending --------------------------------------------------------------------------------------


async def test_the_client_has_a_frame_while_its_handler_still_works(
    connect, layer, note, free, journal
):
    class Consumer(Recorded):
        def receive(self, text_data=None, bytes_data=None):
            self.send("working")
            wait(free)
            self.send(bytes_data=b"worked")

    client = await connect(Consumer.as_asgi(note=note))
    client.says("x")
    assert await client.hears() == "working"
    free.set()
    assert await client.hears() == b"worked"


async def test_what_a_handler_sends_keeps_its_order_and_close_comes_last(connect, layer):
    class Consumer(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            for number in range(100):
                self.send(str(number))
            self.send("last", close=4001)
            self.send("too late")

    client = await connect(Consumer)
    client.says("x")
    heard = [await client.hears() for _ in range(101)]
    assert heard == [*map(str, range(100)), "last"]
    assert await client.hears_close() == 4001
    assert await client.ended() is None
    assert len(client.sent) == 103  # the accept, 101 frames, the close


async def test_async_to_sync_works_in_handlers_and_runs_in_the_servers_loop(
    connect, layer, note, journal
):
    server = asyncio.get_running_loop()

    class Consumer(Recorded):
        def receive(self, text_data=None, bytes_data=None):
            layer = self.channel_layer
            async_to_sync(layer.group_add)("more", self.channel_name)
            async_to_sync(layer.group_send)("more", {"type": "group.note", "text": "more"})
            async_to_sync(layer.group_discard)("more", self.channel_name)
            async_to_sync(layer.group_send)("more", {"type": "group.note", "text": "nobody"})
            async_to_sync(layer.group_send)("all", {"type": "group.note", "text": "all"})
            async_to_sync(self.look)()

        async def look(self):
            note(asyncio.get_running_loop() is server)

    clients = [await connect(Consumer.as_asgi(note=note)) for _ in range(2)]
    clients[0].says("x")
    await journal.until(lambda: len(journal) == 4)
    assert sorted(map(str, journal)) == ["True", "all", "all", "more"]
    assert layer.stats()["sessions"] == 1


async def test_base_send_takes_an_event_from_a_handler(connect, layer):
    class Consumer(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            self.base_send({"type": "websocket.send", "text": text_data})

    client = await connect(Consumer)
    client.says("x")
    assert await client.hears() == "x"


async def test_sending_in_the_event_loop_says_that_it_would_wait_for_itself(connect, layer):
    class Consumer(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            async_to_sync(self.wrong)()

        async def wrong(self):
            self.send("x")

    client = await connect(Consumer)
    client.says("x")
    error = await client.ended()
    assert isinstance(error, RuntimeError)
    assert "wait for the event loop, and were called in it" in str(error)


async def test_an_error_of_the_server_is_raised_where_the_handler_sends(connect, layer, note):
    class Consumer(SyncConsumer):
        def websocket_connect(self, message):
            self.send({"type": "websocket.accept"})

        def websocket_receive(self, message):
            self.send({"type": "websocket.close", "code": 1000})
            try:
                self.send({"type": "websocket.send", "text": "after the close"})
            except RuntimeError as error:
                note(str(error))
            raise StopConsumer

    client = await connect(Consumer)
    client.says("x")
    assert await client.ended() is None


# --- context variables ----------------------------------------------------------------------------

REQUEST: ContextVar[str] = ContextVar("REQUEST", default="nothing")


async def test_context_variables_go_into_the_thread_and_come_back(connect, layer, note, journal):
    class Consumer(Recorded):
        def connect(self):
            note(REQUEST.get())
            REQUEST.set(self.scope["path"])
            self.accept()

        def receive(self, text_data=None, bytes_data=None):
            note(REQUEST.get())
            async_to_sync(self.look)()

        async def look(self):
            note(f"{REQUEST.get()} in the loop")

        def disconnect(self, code):
            note(f"{REQUEST.get()} at the end")

    REQUEST.set("server")
    one, two = [await connect(Consumer.as_asgi(note=note), path) for path in ("/1", "/2")]
    one.says("x")
    await journal.has("/1 in the loop")
    two.says("x")
    await journal.has("/2 in the loop")
    await one.end()
    assert REQUEST.get() == "server"
    seen = ["server", "server", "/1", "/1 in the loop", "/2", "/2 in the loop", "/1 at the end"]
    assert journal == seen


# --- how a connection ends ------------------------------------------------------------------------


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
    await asyncio.sleep(0.03)
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


# --- clients that do not read ---------------------------------------------------------------------


class Stalling(Recorded):
    def group_note(self, message):
        self.send(message["text"])


async def test_more_clients_that_do_not_read_than_threads_stop_nobody_else(connect, layer, note):
    consumer = Stalling.as_asgi(note=note)
    stalled = [await connect(consumer) for _ in range(thread_pool().size + 5)]
    for client in stalled:
        client.writable.clear()
    other = await connect(consumer)
    for number in range(5):
        await layer.group_send("all", {"type": "group.note", "text": str(number)})
        assert await other.hears() == str(number)
    for client in stalled:
        client.writable.set()
        assert [await client.hears() for _ in range(5)] == ["0", "1", "2", "3", "4"]


async def test_a_handler_that_sends_much_to_a_client_that_does_not_read_waits_for_it(
    connect, layer, note, journal, turns
):
    class Consumer(Recorded):
        def receive(self, text_data=None, bytes_data=None):
            for number in range(40):
                self.send(str(number))
                note(number)

    client = await connect(Consumer.as_asgi(note=note))
    client.writable.clear()
    client.says("x")
    await journal.has(15)  # sixteen wait without it, and it waits with the next
    await turns(50)
    journal("the client reads")
    client.writable.set()
    assert [await client.hears() for _ in range(40)] == [str(number) for number in range(40)]
    await journal.has(39)
    assert journal == [*range(16), "the client reads", *range(16, 40)]


async def test_what_cannot_be_sent_after_all_ends_the_handler_that_did_not_wait(
    connect, layer, note, journal
):
    class Consumer(SyncConsumer):
        def websocket_connect(self, message):
            self.send({"type": "websocket.accept"})

        def websocket_receive(self, message):
            self.send({"type": "websocket.send", "text": "x"})
            note("sent")

    client = await connect(Consumer)
    client.writable.clear()
    client.says("x")
    await journal.has("sent")
    client.vanished = True
    client.writable.set()
    assert isinstance(await client.ended(), ConnectionResetError)


@pytest.mark.parametrize("much", [1, 40])
async def test_overflow_disconnect_cuts_off_a_client_that_does_not_read(
    connect, note, journal, much
):
    """Whether its handler has ended, or still waits in send()."""

    class Consumer(Recorded):
        def group_note(self, message):
            try:
                for _ in range(much):
                    self.send("x")
            except asyncio.CancelledError:
                note("interrupted")
                raise

    layer = register_channel_layer(
        "default", InMemoryChannelLayer(capacity=5, overflow="disconnect")
    )
    other = await connect(Recorded.as_asgi(note=note))
    slow = await connect(Consumer.as_asgi(note=note))
    slow.writable.clear()
    for number in range(10):
        await layer.group_send("all", {"type": "group.note", "text": number})
        await journal.has(number)
    # The cut has begun, and now there is room for the close.
    slow.writable.set()
    assert await slow.ended() is None
    assert await slow.hears_close() == 1013
    assert "disconnect 1013" in journal
    assert ("interrupted" in journal) == (much > 1)
    await other.end()
    await layer.close()


# --- kinds of consumers ---------------------------------------------------------------------------


async def test_json_comes_and_goes_decoded(connect, layer):
    class Consumer(JsonWebsocketConsumer):
        groups = ["all"]

        def receive_json(self, content, **kwargs):
            self.send_json({"got": content})

        def group_note(self, message):
            self.send_json(message["data"], close=4000)

    client = await connect(Consumer)
    client.says('{"a": [1, null]}')
    assert await client.hears() == '{"got":{"a":[1,null]}}'
    await layer.group_send("all", {"type": "group.note", "data": [True]})
    assert await client.hears() == "[true]"
    assert await client.hears_close() == 4000


@pytest.mark.parametrize(("frame", "code"), [("{'a': 1}", 1007), (b"{}", 1003), ("[" * 70, 1009)])
async def test_a_frame_that_cannot_be_read_closes_the_socket(connect, layer, frame, code):
    client = await connect(JsonWebsocketConsumer.as_asgi(max_frame_size=64))
    client.says(frame)
    assert await client.hears_close() == code
    assert await client.ended() is None


async def test_json_of_ones_own_is_encoded_and_decoded_by_class_methods(connect, layer):
    class Consumer(JsonWebsocketConsumer):
        @classmethod
        def decode_json(cls, text_data):
            return text_data.upper()

        @classmethod
        def encode_json(cls, content):
            return f"<{content}>"

        def receive_json(self, content, **kwargs):
            self.send_json(content)

    client = await connect(Consumer)
    client.says("x")
    assert await client.hears() == "<X>"


async def test_a_sync_consumer_of_bare_events(connect, layer, note, journal):
    class Consumer(SyncConsumer):
        def websocket_connect(self, message):
            async_to_sync(self.channel_layer.group_add)("all", self.channel_name)
            self.send({"type": "websocket.accept"})

        def websocket_receive(self, message):
            self.send({"type": "websocket.send", "text": message["text"]})

        def chat_message(self, message):
            note(message["text"])

        def websocket_disconnect(self, message):
            note(message["code"])
            raise StopConsumer

    client = await connect(Consumer)
    client.says("x")
    assert await client.hears() == "x"
    await layer.group_send("all", {"type": "chat.message", "text": "hello"})
    await journal.has("hello")
    client.leaves(4000)
    assert await client.ended() is None
    assert journal == ["hello", 4000]


async def test_a_dispatch_of_ones_own_sees_every_message(connect, layer, note, journal):
    class Consumer(Recorded):
        async def dispatch(self, message):
            journal(message["type"])
            await super().dispatch(message)

    client = await connect(Consumer.as_asgi(note=note))
    client.says("frame")
    await journal.has("frame")
    await layer.group_send("all", {"type": "group.note", "text": "message"})
    await journal.has("message")
    await client.end()
    kinds = [entry for entry in journal if "." in entry]
    assert kinds == [
        "websocket.connect",
        "websocket.receive",
        "group.note",
        "websocket.disconnect",
    ]


async def test_names_of_the_base_classes_are_out_of_reach_and_websocket_send_is_passed_on(
    connect, layer, note, journal
):
    class Consumer(Recorded):
        def on_error(self, exception, message):
            note(message["type"])

    client = await connect(Consumer.as_asgi(note=note))
    hidden = ["send", "close", "deny", "receive", "disconnect", "run.handler", "base_send"]
    hidden += ["websocket.receive", "finish_timeout", "as_asgi", "nothing"]
    for kind in hidden:
        await layer.group_send("all", {"type": kind, "code": 1000})
    await journal.until(lambda: len(journal) == len(hidden))
    assert journal == hidden
    await layer.group_send("all", {"type": "websocket.send", "text": "as it is"})
    assert await client.hears() == "as it is"
    assert len(client.sent) == 2

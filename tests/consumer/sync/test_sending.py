"""What handlers in threads send keeps its order, and waits for a client that does not read."""

import asyncio

import pytest
from asgiref.sync import async_to_sync

from fast_channels import (
    InMemoryChannelLayer,
    SyncConsumer,
    WebsocketConsumer,
    register_channel_layer,
)
from fast_channels.consumer.thread_pool import thread_pool
from fast_channels.exceptions import StopConsumer

from .recorded import Recorded, wait

pytestmark = pytest.mark.timeout(20)


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
                note("began")
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
        await journal.has("began")
    # The cut has begun, and now there is room for the close.
    slow.writable.set()
    assert await slow.ended() is None
    assert await slow.hears_close() == 1013
    assert "disconnect 1013" in journal
    assert ("interrupted" in journal) == (much > 1)
    await other.end()
    await layer.close()

"""Every kind of sync consumer: frames, JSON, bare events, and what a layer may reach."""

# ruff: noqa: RUF012  consumers are written here as applications write them

import pytest
from asgiref.sync import async_to_sync

from fast_channels import JsonWebsocketConsumer, SyncConsumer
from fast_channels.exceptions import StopConsumer

from .recorded import Recorded

pytestmark = pytest.mark.timeout(20)


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

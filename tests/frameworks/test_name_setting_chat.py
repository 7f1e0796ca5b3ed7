"""The chat of Django Channels' tutorials, as its users write it."""

# ruff: noqa: RUF012  written as users write it

import json

import pytest
import websockets

from fast_channels.consumer.websocket import AsyncWebsocketConsumer

pytestmark = pytest.mark.timeout(30)


class ChatConsumer(AsyncWebsocketConsumer):
    groups = ["broadcast"]

    async def connect(self):
        self.name = "anonymous"
        self.room_group_name = "chat_lobby"
        await self.channel_layer.group_add(self.room_group_name, self.channel_name)
        await self.accept()

    async def disconnect(self, close_code):
        await self.channel_layer.group_discard(self.room_group_name, self.channel_name)
        await self.channel_layer.group_send(
            self.room_group_name, {"type": "chat_message", "message": f"{self.name} left"}
        )

    async def receive(self, text_data=None, bytes_data=None):
        message = json.loads(text_data)["message"]
        if message.startswith("/name "):
            self.name = message.removeprefix("/name ")
            await self.send(text_data=json.dumps({"message": f"you are {self.name}"}))
            return
        await self.channel_layer.group_send(
            self.room_group_name,
            {"type": "chat.message", "message": f"{self.name}: {message}"},
        )

    async def chat_message(self, event):
        await self.send(text_data=json.dumps({"message": event["message"]}))


class Guest:
    """A browser's side of the chat."""

    def __init__(self, socket):
        self.socket = socket

    async def says(self, message):
        await self.socket.send(json.dumps({"message": message}))

    async def hears(self):
        return json.loads(await self.socket.recv())["message"]


async def test_a_name_is_set_and_prefixes_what_its_owner_says(serve, layer):
    url = f"ws://{await serve(ChatConsumer.as_asgi())}/ws/chat/"
    async with websockets.connect(url) as one, websockets.connect(url) as two:
        ann, bob = Guest(one), Guest(two)
        await ann.says("hello")
        assert [await ann.hears(), await bob.hears()] == ["anonymous: hello"] * 2
        await ann.says("/name ann")
        assert await ann.hears() == "you are ann"
        await bob.says("/name bob")
        assert await bob.hears() == "you are bob"
        await ann.says("how are you?")
        assert [await ann.hears(), await bob.hears()] == ["ann: how are you?"] * 2
        await bob.says("fine")
        assert [await ann.hears(), await bob.hears()] == ["bob: fine"] * 2
        await one.close()
        assert await bob.hears() == "ann left"

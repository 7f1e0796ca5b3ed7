"""The same consumers, on a layer that is no ``BaseChannelLayer``."""

import asyncio
from typing import Any

from fast_channels import AsyncJsonWebsocketConsumer, register_channel_layer
from fast_channels.layers import channel_layers
from fast_channels.testing import WebsocketCommunicator


class Chat(AsyncJsonWebsocketConsumer):
    groups = ["chat"]  # noqa: RUF012  # as consumers are written
    channel_layer_alias = "chat"

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.channel_layer.group_send("chat", {"type": "chat.message", "text": content})

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send_json(event["text"])


def test_two_clients_chat() -> None:
    async def main() -> None:
        layer = register_channel_layer("chat", "moving", old="memory://c", new="memory://d")
        clients = [WebsocketCommunicator(Chat.as_asgi(), "/") for _ in range(2)]
        for client in clients:
            assert (await client.connect())[0]
        await clients[0].send_json_to("hello")
        for client in clients:
            assert await client.receive_json_from() == "hello"
            await client.disconnect()
        await layer.close()
        channel_layers.clear()

    asyncio.run(main())

"""An application that the tests' servers run: one group, to which a POST sends."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from fast_channels import (
    AsyncJsonWebsocketConsumer,
    get_channel_layer,
    lifespan,
    register_channel_layer,
)

register_channel_layer("default", "memory://")


class Chat(AsyncJsonWebsocketConsumer):
    groups = ["room"]  # noqa: RUF012  # as applications write it

    async def chat_message(self, message):
        await self.send_json(message["text"])


@asynccontextmanager
async def opened(app: FastAPI) -> AsyncGenerator[None]:
    async with lifespan():
        yield


application = FastAPI(lifespan=opened)
application.mount("/ws", Chat.as_asgi())


@application.post("/say")
async def say(text: str) -> None:
    await get_channel_layer().group_send("room", {"type": "chat.message", "text": text})

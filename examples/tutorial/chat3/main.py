"""The same over any broker, in any number of processes."""

import os
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.routing import WebSocketRoute

from fast_channels import AsyncJsonWebsocketConsumer, lifespan, register_channel_layer

register_channel_layer("default", os.environ.get("LAYER", "memory://"))


class Chat(AsyncJsonWebsocketConsumer):
    async def connect(self):
        self.room = f"chat.{self.scope['path_params']['room']}"
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()

    async def receive_json(self, content, **kwargs):
        await self.channel_layer.group_send(
            self.room, {"type": "chat.message", "text": content["text"]}
        )

    async def chat_message(self, event):
        await self.send_json({"text": event["text"]})


app = FastAPI(lifespan=lifespan, routes=[WebSocketRoute("/ws/{room}", Chat.as_asgi())])


@app.get("/")
async def page():
    return FileResponse(Path(__file__).with_name("index.html"))

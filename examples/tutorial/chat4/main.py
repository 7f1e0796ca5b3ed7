"""Nobody misses a message: not after a reload, nor a lost connection, nor a restart."""

import os
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.routing import WebSocketRoute

from fast_channels import ResumableWebsocketConsumer, lifespan, register_channel_layer
from fast_channels.layers import HistoryPolicy

register_channel_layer(
    "default",
    os.environ.get("LAYER", "memory://"),
    history={"chat.*": HistoryPolicy(keep=500, ttl=86_400)},
)


class Chat(ResumableWebsocketConsumer):
    async def connect(self):
        self.room = f"chat.{self.scope['path_params']['room']}"
        await self.accept()

    async def authorize_group(self, name):
        return self.room if name == "room" else None  # None: refused

    async def receive_json(self, content, **kwargs):
        event = {"type": "chat.message", "text": content["text"]}
        await self.channel_layer.group_send(self.room, event, id=content["id"])


app = FastAPI(lifespan=lifespan, routes=[WebSocketRoute("/ws/{room}", Chat.as_asgi())])


@app.get("/")
async def page():
    return FileResponse(Path(__file__).with_name("index.html"))


@app.get("/fast-channels.js")
async def client():
    return FileResponse(Path(__file__).with_name("fast-channels.js"))

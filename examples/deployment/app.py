"""What the containers run: a chat that tells how it is, and takes its time to stop."""

import os
from functools import partial

from fastapi import FastAPI, Response
from starlette.routing import WebSocketRoute

from fast_channels import (
    AsyncJsonWebsocketConsumer,
    Drain,
    get_channel_layer,
    lifespan,
    register_channel_layer,
)

register_channel_layer("default", os.environ["LAYER"])
drain = Drain(spread=20.0, grace=5.0)


class Chat(AsyncJsonWebsocketConsumer):
    groups = ["chat"]

    async def receive_json(self, content, **kwargs):
        await self.channel_layer.group_send(
            "chat", {"type": "chat.message", "text": content["text"]}
        )

    async def chat_message(self, event):
        await self.send_json({"text": event["text"]})


app = FastAPI(
    lifespan=partial(lifespan, drain=drain), routes=[WebSocketRoute("/ws", Chat.as_asgi())]
)


@app.get("/live")
async def live():
    """The process answers: if not, restart it."""


@app.get("/ready")
async def ready(response: Response):
    """The layer hears the broker, and nobody has told us to stop: if not, send nobody here."""
    if drain.draining or not await get_channel_layer().health():
        response.status_code = 503

"""What test_servers.py has gunicorn serve: the layer is used before the workers are forked."""

import asyncio
import os
from typing import Any, ClassVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from tcp_broker import TCPLayer

from fast_channels import AsyncWebsocketConsumer, lifespan, register_channel_layer

layer = TCPLayer(os.environ["BROKER"])
register_channel_layer("default", layer)
master = os.getpid()


class Listener(AsyncWebsocketConsumer):
    groups: ClassVar = ["all"]

    async def connect(self) -> None:
        await self.accept()
        await self.send(str(os.getpid()))

    async def test_message(self, message: dict[str, Any]) -> None:
        await self.send(f"{message['how']} {message['worker']}")


async def from_the_loop(request: Request) -> JSONResponse:
    await layer.group_send("all", {"type": "test.message", "how": "loop", "worker": os.getpid()})
    return JSONResponse({"worker": os.getpid(), "master": master})


def from_a_thread(request: Request) -> JSONResponse:
    layer.sync.group_send("all", {"type": "test.message", "how": "thread", "worker": os.getpid()})
    return JSONResponse({"worker": os.getpid(), "master": master})


app = Starlette(
    routes=[
        WebSocketRoute("/ws", Listener.as_asgi()),
        Route("/loop", from_the_loop),
        Route("/thread", from_a_thread),
    ],
    lifespan=lifespan,
)

# In the master: a session that stays open while the workers are forked, and one that has ended.
name = layer.sync.new_channel()
layer.sync.group_add("masters", name)
asyncio.run(layer.group_send("masters", {"type": "test.message"}))
assert layer.sync.receive(name, timeout=10)["type"] == "test.message"

"""The same consumer, alone and under FastAPI and Starlette, in every way they mount one."""

import json

import pytest
import websockets
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

from fast_channels import AsyncWebsocketConsumer

pytestmark = pytest.mark.timeout(30)


class Mirror(AsyncWebsocketConsumer):
    """Says what it knows of its connection, then sends back what it gets."""

    prefix = ""

    async def connect(self):
        headers = dict(self.scope["headers"])
        await self.accept(subprotocol=next(iter(self.scope["subprotocols"]), None))
        await self.send(
            json.dumps(
                {
                    "room": self.scope.get("path_params", {}).get("room"),
                    "path": self.scope["path"],
                    "query": self.scope["query_string"].decode(),
                    "token": headers[b"x-token"].decode(),
                }
            )
        )

    async def receive(self, text_data=None, bytes_data=None):
        if text_data is not None:
            await self.send(self.prefix + text_data)
        else:
            await self.send(bytes_data=bytes_data)


def fastapi_appended():
    app = FastAPI()
    app.router.routes.append(WebSocketRoute("/ws/{room}", Mirror.as_asgi()))
    return app


def fastapi_mounted():
    app = FastAPI()
    app.mount("/ws", Mirror.as_asgi())
    return app


def starlette_mounted():
    app = Starlette()
    app.mount("/ws", Mirror.as_asgi())
    return app


APPLICATIONS = {
    "alone": (lambda: Mirror.as_asgi(), None),
    "starlette-route": (
        lambda: Starlette(routes=[WebSocketRoute("/ws/{room}", Mirror.as_asgi())]),
        "lobby",
    ),
    "starlette-mount": (starlette_mounted, None),
    "fastapi-routes": (
        lambda: FastAPI(routes=[WebSocketRoute("/ws/{room}", Mirror.as_asgi())]),
        "lobby",
    ),
    "fastapi-append": (fastapi_appended, "lobby"),
    "fastapi-mount": (fastapi_mounted, None),
}


@pytest.mark.parametrize("name", APPLICATIONS)
async def test_a_consumer_serves_a_socket_and_knows_its_path_query_and_headers(serve, name):
    make, room = APPLICATIONS[name]
    address = await serve(make())
    async with websockets.connect(
        f"ws://{address}/ws/lobby?token=a%20b&x=1",
        additional_headers={"x-token": "secret"},
        subprotocols=["v1"],
    ) as socket:
        assert socket.subprotocol == "v1"
        assert json.loads(await socket.recv()) == {
            "room": room,
            "path": "/ws/lobby",
            "query": "token=a%20b&x=1",
            "token": "secret",
        }
        await socket.send("text")
        assert await socket.recv() == "text"
        await socket.send(b"bytes")
        assert await socket.recv() == b"bytes"


async def test_one_consumer_is_mounted_twice_with_different_arguments(serve):
    app = Starlette(
        routes=[
            WebSocketRoute("/a", Mirror.as_asgi(prefix="a: ")),
            WebSocketRoute("/b", Mirror.as_asgi(prefix="b: ")),
        ]
    )
    address = await serve(app)
    for name in ("a", "b"):
        async with websockets.connect(
            f"ws://{address}/{name}", additional_headers={"x-token": ""}
        ) as socket:
            await socket.recv()
            await socket.send("x")
            assert await socket.recv() == f"{name}: x"

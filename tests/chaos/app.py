"""``python -m tests.chaos.app <port> <settings>``: one server of the run, until it is killed.

Its consumers are ours as they are; what is small is what lies between them and a client that does
not read, so that a few messages fill it.
"""

import asyncio
import socket
import sys
from typing import Any

import uvicorn

from fast_channels import ResumableWebsocketConsumer, lifespan

from .settings import Settings

BUFFER = 8_192
"""Bytes that the kernel holds of what a server sends."""


class Rooms(ResumableWebsocketConsumer):
    """Everybody may have every group."""

    async def authorize_group(self, name: str) -> str | None:
        return name


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Rooms; the lifespan opens and closes the layer."""
    if scope["type"] == "websocket":
        await Rooms.as_asgi()(scope, receive, send)
        return
    await receive()
    async with lifespan():
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


def main(port: str, settings: str) -> None:
    """Serve on the port until killed."""
    Settings.read(settings).register()
    config = uvicorn.Config(application, lifespan="on", log_level="info")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        listener.bind(("127.0.0.1", int(port)))
        asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""``python -m tests.chaos.app <port> <settings>``: one server of the run, until it is killed.

Its consumers are ours as they are; what is small is what lies between them and a client that does
not read, so that a few messages fill it.
"""

import asyncio
import json
import socket
import sys
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn

from fast_channels import ResumableWebsocketConsumer, lifespan, register_channel_layer
from fast_channels.layers import BaseChannelLayer, HistoryPolicy

ROOT = Path(__file__).parents[2]
"""Where the processes of the run find this package."""

DURABLE = "kept."
"""How the names of durable groups begin."""

BUFFER = 8_192
"""Bytes that the kernel holds of what a server sends."""


class Settings(NamedTuple):
    """What all processes of a run share."""

    url: str
    prefix: str
    durable: bool
    """Whether the broker keeps histories."""

    def text(self) -> str:
        """Return what ``read`` reads."""
        return json.dumps(self)

    @classmethod
    def read(cls, text: str) -> "Settings":
        """Return what ``text()`` was made of."""
        return cls(*json.loads(text))

    def register(self) -> BaseChannelLayer:
        """Return the layer of this process, which consumers find, too."""
        options: dict[str, Any] = {"prefix": self.prefix, "capacity": 40}
        options["overflow"] = "disconnect"  # who reads too slowly is told so, by being cut off
        if self.durable:
            options["history"] = {f"{DURABLE}*": HistoryPolicy(keep=5_000)}
        layer = register_channel_layer("default", self.url, **options)
        assert isinstance(layer, BaseChannelLayer)
        return layer


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

"""``python -m tests.chaos.rolling_app <port> <settings>``: one server that drains.

Its clients talk, and a handler needs some time for what they say. What it begins and ends is a line
each on its standard output.
"""

import asyncio
import sys
from typing import Any

import uvicorn

from fast_channels import Drain, ResumableWebsocketConsumer, lifespan

from .settings import Settings

SPREAD, GRACE = 1.0, 20.0
WORK = 0.05
"""Seconds that a handler takes: when a server is stopped, some are in the middle."""


def note(*entry: object) -> None:
    """The test reads this."""
    print(*entry, flush=True)  # noqa: T201


class Rooms(ResumableWebsocketConsumer):
    """Everybody may have every group, and say something to it."""

    async def authorize_group(self, name: str) -> str | None:
        return name

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        publisher, number = content["publisher"], content["number"]
        note("begun", publisher, number)
        try:
            await asyncio.sleep(WORK)
            message = {"type": "chaos", "publisher": publisher, "number": number}
            once = f"{publisher}-{number}"
            await self.channel_layer.group_send(content["group"], message, id=once)
            await self.send_json({"took": number})
        except BaseException as error:
            note("cut", publisher, number, repr(error))
            raise
        note("done", publisher, number)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Rooms; the lifespan opens and closes the layer, and drains before that."""
    if scope["type"] == "websocket":
        await Rooms.as_asgi()(scope, receive, send)
        return
    await receive()
    async with lifespan(drain=Drain(SPREAD, GRACE)):
        await send({"type": "lifespan.startup.complete"})
        await receive()
    note("closed", "the layers")
    await send({"type": "lifespan.shutdown.complete"})


def main(port: str, settings: str) -> None:
    """Serve on the port until stopped."""
    Settings.read(settings).register()
    uvicorn.run(application, host="127.0.0.1", port=int(port), lifespan="on", log_level="info")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""``python churn.py <layer URL> <connections>``: clients come and go; is anything left of them?

Prints JSON: what the process holds after half of the connections and after all of them, each time
with nobody connected. It runs a server's part: one task for each connection, a hundred at a time.
"""

# ruff: noqa: T201  what it prints is its result

import asyncio
import gc
import json
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

import psutil
from tcp_broker import TCPLayer

from fast_channels import AsyncWebsocketConsumer
from fast_channels.consumer.connection import Connection
from fast_channels.layers import BaseChannelLayer, InMemoryChannelLayer, channel_layers
from fast_channels.layers.mailbox import Mailbox
from fast_channels.layers.names import check_channel
from fast_channels.layers.topics import Topic

AT_ONCE = 100
LINGER = 0.05


class Guest(AsyncWebsocketConsumer):
    """A member of the group of all, and of one of its own."""

    groups: ClassVar = ["all"]

    async def connect(self) -> None:
        await self.accept()
        await self.channel_layer.group_add(f"own.{self.scope['number']}", self.channel_name)
        await self.send(self.channel_name)

    async def test_message(self, message: dict[str, Any]) -> None:
        if message.get("fatal"):
            raise RuntimeError("this handler fails")
        await self.send("heard")


class Visit:
    """One connection, as a server drives it."""

    def __init__(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        self.number = number
        self.ready: asyncio.Future[str] = loop.create_future()
        self.heard = loop.create_future()
        self._leave = loop.create_future()
        self._connected = False
        scope = {"type": "websocket", "path": "/", "headers": [], "number": number}
        self.task = loop.create_task(application(scope, self._receive, self._send))

    async def end(self) -> None:
        """By turns the client leaves, the server drops it, and its own handler fails."""
        match self.number % 3:
            case 0:
                self._leave.set_result({"type": "websocket.disconnect", "code": 1001})
            case 1:
                self.task.cancel()
            case _:
                await layer.send(self.ready.result(), {"type": "test.message", "fatal": True})
        with suppress(asyncio.CancelledError, RuntimeError):
            await self.task

    async def _receive(self) -> dict[str, Any]:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        event: dict[str, Any] = await self._leave
        return event

    async def _send(self, event: dict[str, Any]) -> None:
        text = event.get("text")
        if text == "heard":
            self.heard.set_result(None)
        elif text is not None:
            self.ready.set_result(text)
        elif event["type"] == "websocket.close" and not self._leave.done():
            self._leave.set_result({"type": "websocket.disconnect", "code": event["code"]})


application = Guest.as_asgi()
layer: BaseChannelLayer


async def visits(numbers: range) -> None:
    """So many clients come, all hear one message, and go."""
    guests = [Visit(number) for number in numbers]
    await asyncio.gather(*(guest.ready for guest in guests))
    await layer.group_send("all", {"type": "test.message"})
    await asyncio.gather(*(guest.heard for guest in guests))
    await asyncio.gather(*(guest.end() for guest in guests))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # the condition is about timers of the layer
            await asyncio.sleep(LINGER)


def count(*kinds: type) -> dict[str, int]:
    """Return how many objects of each class there are."""
    gc.collect()
    found = dict.fromkeys(kinds, 0)
    for each in gc.get_objects():
        if type(each) in found:
            found[type(each)] += 1
    return {kind.__name__: number for kind, number in found.items()}


async def held() -> dict[str, int]:
    """Return what there is when nobody is connected and no topic lingers any more."""
    await until(lambda: count(Topic)["Topic"] == 1)  # the node's own
    stats = layer.stats()
    return {
        "rss": psutil.Process().memory_info().rss,
        "tasks": len(asyncio.all_tasks()),
        "channels": stats["channels"],
        "groups": stats["groups"],
        **count(Topic, Mailbox, Connection, Guest, Visit),
    }


async def main(connections: int) -> None:
    for n in range(20_000):
        check_channel(f"known.{n}")  # so many are remembered, and no more from now on
    marks: list[dict[str, int]] = []
    for half in range(2):
        start = half * connections // 2
        for first in range(start, start + connections // 2, AT_ONCE):
            await visits(range(first, first + AT_ONCE))
        marks.append(await held())
    print(json.dumps(marks), flush=True)
    sys.stdin.readline()  # now the broker is looked at
    await layer.close()


if __name__ == "__main__":
    logging.disable()  # of the handlers that fail
    url = sys.argv[1]
    if url.startswith("tcp"):
        layer = TCPLayer(url, linger=LINGER)
    else:
        layer = InMemoryChannelLayer(url=url, linger=LINGER)
    channel_layers.register("default", layer)
    asyncio.run(main(int(sys.argv[2])))

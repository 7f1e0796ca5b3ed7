"""encode/broadcaster; JSON is decoded by each reader."""

import importlib
import json
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.sides.side import Hit, Side


class Broker(Side):
    """On whatever its URL names."""

    async def open(self) -> None:
        self.broadcast = importlib.import_module("broadcaster").Broadcast(self.url)
        self.subscriptions = AsyncExitStack()
        await self.broadcast.connect()

    async def join(self, group: str) -> Any:
        return await self.subscriptions.enter_async_context(self.broadcast.subscribe(group))

    def read(self, member: Any, hit: Hit) -> None:
        async def receive() -> dict[str, Any]:
            message: dict[str, Any] = json.loads((await member.get()).message)
            return message

        self.loop(receive, hit)

    async def send(self, group: str, message: dict[str, Any]) -> None:
        await self.broadcast.publish(group, json.dumps(message))

    async def close(self) -> None:
        await super().close()
        await self.broadcast.disconnect()  # not each subscription: the process ends


class Memory(Broker):
    """Its backend in one process."""

    turn = True

    def __init__(self, url: str, roomy: bool) -> None:
        super().__init__("memory://", roomy)

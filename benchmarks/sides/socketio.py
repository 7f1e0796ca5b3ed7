"""python-socketio: rooms through its Redis manager.

Its members are clients' connections. In scenarios without sockets, the engine's connection is
replaced by a call: what is measured ends where an encoded packet would go to the engine.
"""

import asyncio
import importlib
from typing import Any

from benchmarks.sides.side import Hit, Side


class Redis(Side):
    """AsyncServer with AsyncRedisManager."""

    async def open(self) -> None:
        socketio: Any = importlib.import_module("socketio")
        manager = socketio.AsyncRedisManager(self.url)
        self.server = socketio.AsyncServer(client_manager=manager, async_mode="asgi")
        self.server._send_eio_packet = self.sent
        self.server.manager_initialized = True
        manager.initialize()
        self.hits: dict[str, Hit] = {}
        await asyncio.sleep(0.5)  # nothing tells when it listens

    async def sent(self, connection: str, packet: Any) -> None:
        """A packet would be sent to the client now."""
        hit = self.hits.get(connection)
        if hit is not None:
            hit(packet.data)

    async def join(self, group: str) -> Any:
        connection = f"c{len(self.hits)}"
        self.hits[connection] = lambda _: None
        await self.server.enter_room(await self.server.manager.connect(connection, "/"), group)
        return connection

    def read(self, member: Any, hit: Hit) -> None:
        self.hits[member] = hit

    async def send(self, group: str, message: dict[str, Any]) -> None:
        await self.server.emit("m", message, room=group)

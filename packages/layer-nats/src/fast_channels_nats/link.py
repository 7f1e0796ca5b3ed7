"""The connection of a process, to whichever of the servers lets it in.

Core's ``Link`` repairs it. What is NATS' own: a server that says that it will shut down (lame duck
mode) is left for another one before it does.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Link
from fast_channels_nats.connection import Connection, Message, retrieve
from fast_channels_nats.pool import Pool
from fast_channels_nats.server import Server

logger = logging.getLogger("fast_channels.nats")

LONGEST_DELAY: Final = 0.5
"""Seconds between two attempts at something that the servers will do soon, at most."""

ANOTHER_SECONDS: Final = 1.0
"""How long each server may take to let us in beside the one in use."""

LEAVING_SECONDS: Final = 1.0
"""How long a connection that is left may take to answer what it was asked."""


class NatsLink(Link[Connection]):
    """The one connection of a process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, servers: Sequence[Server]) -> None:
        self.refused: Callable[[str], None] | None = None
        """Told of what the server refuses."""
        self._pool = Pool(servers)
        self._next: Connection | None = None
        """A connection that waits to be the next one."""
        super().__init__(loop, self._connected, logger=logger)
        self.retire = _retire

    @property
    def others(self) -> bool:
        """There is more than one server."""
        return self._pool.size > 1

    async def another(self) -> Connection:
        """Return a connection beside the one in use, to another server if one lets us in."""
        return await self._pool.connect(ANOTHER_SECONDS)

    def move(self, connection: Connection, cause: Exception) -> None:
        """The connection takes the place of the one in use, when it is ready."""
        self._next = connection
        self.leave(cause)

    async def close(self) -> None:
        """The connection is gone, and the next one."""
        await super().close()
        if self._next is not None:
            await self._next.close()

    async def _connected(self, seconds: float) -> Connection:
        connection, self._next = self._next, None
        if connection is not None and connection.lost is None:
            return connection
        return await self._pool.connect(seconds)

    def use(self, connection: Connection, deliver: Callable[[Message], None]) -> None:
        """What comes on the connection is handed to ``deliver`` from now on."""

        def informed(info: dict[str, Any]) -> None:
            self._pool.learn(info)
            if info.get("ldm"):
                self.leave(BackendUnavailable(f"{connection.name} will shut down"))

        connection.message = deliver
        connection.on_error = self.refused
        connection.on_info = informed
        informed(connection.info)


async def _retire(connection: Connection) -> None:
    """Close it when it has answered what it was asked; what comes, comes on the new one, too."""
    connection.message = _drop
    connection.on_info = connection.on_error = None
    try:
        answered = connection.flush(b"")
        answered.add_done_callback(retrieve)
        await asyncio.wait([answered], timeout=LEAVING_SECONDS)
    finally:
        await connection.close()


def _drop(_: Message) -> None:
    """Forget it."""

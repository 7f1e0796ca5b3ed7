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

LEAVING_SECONDS: Final = 1.0
"""How long a connection that is left may take to answer what it was asked."""


class NatsLink(Link[Connection]):
    """The one connection of a process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, servers: Sequence[Server]) -> None:
        self.refused: Callable[[str], None] | None = None
        """Told of what the server refuses."""
        self._pool = Pool(servers)
        super().__init__(loop, self._pool.connect, logger=logger)
        self.retire = _retire

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

"""Links to servers, each of which is found anew at every attempt to connect."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

from fast_channels.layers import Link
from fast_channels_redis.connection import Connection
from fast_channels_redis.server import Server, connect

logger = logging.getLogger("fast_channels.redis")

PATIENCE: Final = 2.0
"""Seconds for which a call tries again while a connection or a slot is on its way back."""

C = TypeVar("C", bound=Connection)


class Locate(Protocol):
    """Finds the server to connect to, which may be another one each time."""

    def __call__(self) -> Awaitable[Server]:
        """Return the server; raises ``BackendUnavailable``."""
        ...


class Fixed:
    """Finds a server that is always the same."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self) -> Server:
        """Return the server."""
        return self._server


def link_to(
    loop: asyncio.AbstractEventLoop,
    purpose: str,
    locate: Locate,
    make: Callable[[asyncio.AbstractEventLoop, str], C],
) -> Link[C]:
    """Return a link, not connected yet, to the server that ``locate`` finds."""

    async def attempt(seconds: float) -> C:
        return await connect(await locate(), make, seconds)

    return Link(loop, attempt, logger=logger, purpose=purpose)

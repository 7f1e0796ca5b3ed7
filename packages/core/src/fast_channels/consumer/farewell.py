"""The end of a connection that this side ends: the socket is closed, and the consumer is told."""

import asyncio
import logging
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from fast_channels.consumer.in_place import InContext
from fast_channels.exceptions import StopConsumer
from fast_channels.type_defs import ASGISendCallable, ChannelScope

if TYPE_CHECKING:
    from fast_channels.consumer.base import AsyncConsumer

logger = logging.getLogger("fast_channels.consumer")

HANG_UP_SECONDS: Final = 2.0
"""How long a client that does not read may delay the closing of its socket."""


OVERFLOW: Final = 1013
"""The close code for a client that reads too slowly: try again later."""

RESTART: Final = 1012
"""The close code of a server that drains: service restart."""

ENDED: Final = "channels.ended"
"""The type of the event by which a connection is told to end."""


def ended(code: int) -> dict[str, Any]:
    """Return the event at whose turn the connection is over, with that close code."""
    return {"type": ENDED, "code": code}


async def turn_away(scope: ChannelScope, send: ASGISendCallable) -> None:
    """The handshake of a WebSocket is answered with 503, or with 403 where the server cannot."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": RESTART, "reason": ""})
        return
    start = {"type": "websocket.http.response.start", "status": 503}
    await send({**start, "headers": [(b"retry-after", b"1"), (b"connection", b"close")]})
    await send({"type": "websocket.http.response.body", "body": b"this server is stopping\n"})
    await asyncio.sleep(0)  # uvicorn logs an error for who returns before its transport is closed


def close_code(cause: BaseException | None) -> int:
    """Return the WebSocket close code (RFC 6455, 7.4) for what ended the connection."""
    if cause is None:
        return 1000
    return 1001 if isinstance(cause, asyncio.CancelledError) else 1011


async def hang_up(consumer: "AsyncConsumer", code: int) -> None:
    """The socket is closed, or was given up; raises nothing."""
    try:
        async with asyncio.timeout(HANG_UP_SECONDS):
            await consumer.hang_up(code)
    except Exception as error:
        logger.debug("closing a socket with %d failed: %r", code, error)


async def say_farewell(
    consumer: "AsyncConsumer", code: int, cause: BaseException | None, context: Context
) -> None:
    """The consumer was told that the connection is over; what it raises never hides ``cause``."""
    event = consumer.farewell(code)
    if event is None:
        return
    try:
        await InContext(consumer.dispatch(event), context)
    except StopConsumer:
        pass
    except Exception:
        if cause is None:
            raise
        logger.exception("%r failed in disconnect, after %r", consumer, cause)

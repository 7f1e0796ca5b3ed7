"""The end of a connection that this side ends: the socket is closed, and the consumer is told."""

import asyncio
import logging
from contextvars import Context
from typing import TYPE_CHECKING, Final

from fast_channels.consumer.in_place import InContext
from fast_channels.exceptions import StopConsumer

if TYPE_CHECKING:
    from fast_channels.consumer.base import AsyncConsumer

logger = logging.getLogger("fast_channels.consumer")

HANG_UP_SECONDS: Final = 2.0
"""How long a client that does not read may delay the closing of its socket."""


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

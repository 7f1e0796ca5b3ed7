"""Ends sockets whose clients send more than they may."""

import logging
import time
from collections.abc import Callable
from typing import Any

from fast_channels.middleware.base import BaseMiddleware
from fast_channels.type_defs import (
    ASGIReceiveCallable,
    ASGISendCallable,
    ChannelApplication,
    ChannelMessage,
    ChannelScope,
)

logger = logging.getLogger("fast_channels.middleware")


class RateLimiter(BaseMiddleware):
    """Closes a WebSocket with 1008 when its client sends more than ``messages`` in ``per`` seconds.

    Each socket has a bucket of its own (a token bucket): it holds ``messages``, so that many may
    come at once, and is filled again evenly. The frame that is one too many and all after it do not
    reach ``inner``, which is told that the client has left. Other connections are passed on.
    """

    def __init__(
        self,
        inner: ChannelApplication,
        messages: int,
        per: float = 1.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(inner)
        if messages < 1 or per <= 0:
            raise ValueError(
                f"messages must be at least 1 and per more than 0 seconds, got {messages}, {per}"
            )
        self.messages = messages
        self.per = per
        self.clock = clock

    async def __call__(
        self, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> Any:
        """Serve one connection."""
        if scope["type"] != "websocket":
            return await super().__call__(scope, receive, send)
        left = float(self.messages)
        before = self.clock()
        closed = False

        async def limited() -> ChannelMessage:
            nonlocal left, before, closed
            event = await receive()
            while event["type"] == "websocket.receive":
                now = self.clock()
                left = min(self.messages, left + (now - before) * self.messages / self.per)
                before = now
                if not closed:
                    if left >= 1:
                        left -= 1
                        return event
                    logger.info("%s: too many messages, closed with 1008", scope.get("path"))
                    farewell = {"code": 1008, "reason": "too many messages"}
                    await open_send({"type": "websocket.close", **farewell})
                    return {"type": "websocket.disconnect", **farewell}
                event = await receive()  # nothing reaches the application after the close
            return event

        async def open_send(event: ChannelMessage) -> None:
            nonlocal closed
            if closed:
                return
            closed = event["type"] == "websocket.close"
            await send(event)

        return await super().__call__(scope, limited, open_send)

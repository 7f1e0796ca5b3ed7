"""What consumers of WebSockets share, sync or not: the state of the socket, and its end."""

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from fast_channels.consumer.base import AsyncConsumer
from fast_channels.consumer.farewell import RESTART
from fast_channels.consumer.handlers import framework
from fast_channels.consumer.pace import paced
from fast_channels.exceptions import InvalidFrame
from fast_channels.type_defs import (
    ASGIReceiveCallable,
    ASGISendCallable,
    ChannelHeaders,
    ChannelMessage,
    ChannelScope,
)

if TYPE_CHECKING:
    from fast_channels.layers.channel import LocalChannel

logger = logging.getLogger("fast_channels.consumer")

CONNECTING: Final = 0
OPEN: Final = 1
CLOSED: Final = 2


@framework
class Socket(AsyncConsumer):
    """Sends to the client while it is there; subclasses say what is asked of applications."""

    serves = "websocket"

    groups: list[str] | None = None
    """Groups that the socket is in from before ``connect()`` until its end."""

    max_frame_size: int | None = 1_048_576
    """Characters or bytes of a client's frame; a larger one closes the socket with 1009.

    None: what the server takes (uvicorn: 16 MiB).
    """

    max_frame_rate: int | None = 1_000
    """Frames that are read of a client in a second; what it sends faster waits. None: all."""

    _state: int = CONNECTING
    _denied: bool = False
    """The handshake was answered; granian has no event after that, other servers 1006."""

    def __init__(self, **initkwargs: Any) -> None:
        """Set attributes that the class has; ``groups`` is this instance's own list."""
        super().__init__(**initkwargs)
        self.groups = list(self.groups or ())
        self._state = CONNECTING

    async def pass_on(self, message: ChannelMessage) -> None:
        """Send to the client, unless it has left."""
        if self._state == CLOSED:
            self._left_unsent(message)
            return
        if message["type"] == "websocket.close":
            self._state = CLOSED
        try:
            await self.base_send(message)
        except OSError as error:
            self._lost(error)

    def _left_unsent(self, message: ChannelMessage) -> None:
        logger.debug("%s: %s after the end", type(self).__name__, message["type"])

    def _lost(self, error: OSError) -> None:
        """Note what servers raise between the client's end and its event."""
        self._state = CLOSED
        logger.debug("%s: the client is gone: %r", type(self).__name__, error)

    def client_left(self) -> None:
        """Nothing is sent from now on."""
        self._state = CLOSED

    async def refuse(self, scope: ChannelScope, send: ASGISendCallable) -> None:
        """Answer a plain HTTP request, as any crawler sends, with 426 (RFC 9110, 15.5.22)."""
        if scope.get("type") != "http":
            await super().refuse(scope, send)
        headers = [(b"upgrade", b"websocket"), (b"connection", b"upgrade")]
        headers.append((b"content-type", b"text/plain"))
        await send({"type": "http.response.start", "status": 426, "headers": headers})
        body = b"this address speaks WebSocket\n"
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def hang_up(self, code: int) -> None:
        """Close the socket if it is open; a handshake is left to the server."""
        if self._state == OPEN or code == RESTART:
            await self._close(code, None)

    def farewell(self, code: int) -> dict[str, Any] | None:
        """Return the event that leads to ``disconnect()``."""
        code = 1006 if self._denied else code
        return {"type": "websocket.disconnect", "code": code, "reason": ""}

    async def _serve(self, channel: "LocalChannel | None", receive: ASGIReceiveCallable) -> None:
        await super()._serve(channel, paced(receive, self.max_frame_rate))

    async def _accept(self, subprotocol: str | None, headers: ChannelHeaders | None) -> None:
        if self._state == CONNECTING:
            self._state = OPEN
        await self.pass_on(
            {"type": "websocket.accept", "subprotocol": subprotocol, "headers": list(headers or ())}
        )

    async def _close(self, code: int | bool | None, reason: str | None) -> None:
        if self._state == CLOSED:
            return
        number = 1000 if code is None or code is True else int(code)
        await self.pass_on({"type": "websocket.close", "code": number, "reason": reason or ""})

    async def _answer_handshake(
        self, status: int, body: bytes | str, headers: Iterable[tuple[bytes, bytes]]
    ) -> None:
        if self._state == OPEN:
            raise RuntimeError("deny() answers the handshake, and the socket was accepted")
        if "websocket.http.response" not in (self.scope.get("extensions") or {}):
            await self._close(None, None)
            return
        content = body.encode() if isinstance(body, str) else body
        start = {
            "type": "websocket.http.response.start",
            "status": status,
            "headers": list(headers),
        }
        await self.pass_on(start)
        await self.pass_on({"type": "websocket.http.response.body", "body": content})
        self._state = CLOSED
        self._denied = True

    def _unreadable(self, frame: InvalidFrame) -> tuple[int, str]:
        """Log a frame that cannot be read; return the code and the reason to close with."""
        logger.info("%s closes with %d: %s", type(self).__name__, frame.code, frame)
        # A closing frame carries 123 bytes.
        return frame.code, str(frame).encode(errors="replace")[:123].decode(errors="ignore")

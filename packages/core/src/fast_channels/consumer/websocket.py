"""Consumers of WebSockets: text and bytes, or JSON."""

import json
import logging
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from fast_channels.consumer.base import AsyncConsumer
from fast_channels.consumer.handlers import framework
from fast_channels.exceptions import (
    AcceptConnection,
    DenyConnection,
    InvalidChannelLayerError,
    InvalidFrame,
    LayerClosed,
    StopConsumer,
)
from fast_channels.type_defs import (
    ASGISendCallable,
    ChannelHeaders,
    ChannelMessage,
    ChannelScope,
    WebSocketConnectEvent,
    WebSocketDisconnectEvent,
    WebSocketReceiveEvent,
)

logger = logging.getLogger("fast_channels.consumer")

_to_json = msgspec.json.Encoder().encode
_from_json = msgspec.json.Decoder().decode

CONNECTING: Final = 0
OPEN: Final = 1
CLOSED: Final = 2


@framework
class AsyncWebsocketConsumer(AsyncConsumer):
    """One WebSocket: override ``connect``, ``receive`` and ``disconnect``, and declare handlers."""

    serves = "websocket"

    groups: list[str] | None = None
    """Groups that the socket is in from before ``connect()`` until its end."""

    max_frame_size: int | None = None
    """Characters or bytes of a client's frame; a larger one closes the socket with 1009.

    None: what the server takes (uvicorn: 16 MiB).
    """

    _state: int = CONNECTING

    def __init__(self, **initkwargs: Any) -> None:
        """Set attributes that the class has; ``groups`` is this instance's own list."""
        super().__init__(**initkwargs)
        self.groups = list(self.groups or ())

    # --- what applications override -----------------------------------------------------------

    async def connect(self) -> None:
        """The client asks for a connection: ``accept()`` it, or ``close()`` to refuse."""
        await self.accept()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """The client sent a frame: exactly one of the two is not None."""

    async def disconnect(self, code: int) -> None:
        """The connection is over, and the socket in no group; called once, however it ended."""

    # --- what applications call ---------------------------------------------------------------

    async def accept(
        self, subprotocol: str | None = None, headers: ChannelHeaders | None = None
    ) -> None:
        """The connection is open; ``headers`` are added to the handshake's answer."""
        if self._state == CONNECTING:
            self._state = OPEN
        await self.pass_on(
            {"type": "websocket.accept", "subprotocol": subprotocol, "headers": list(headers or ())}
        )

    async def send(  # type: ignore[override]  # upstream's signature
        self,
        text_data: str | None = None,
        bytes_data: bytes | None = None,
        close: bool | int = False,
    ) -> None:
        """The server has the frame; ``close``: and closes the socket after it, with that code.

        To a client that has left nothing is sent, and nothing raised.
        """
        if text_data is not None:
            message: ChannelMessage = {"type": "websocket.send", "text": text_data}
        elif bytes_data is not None:
            message = {"type": "websocket.send", "bytes": bytes_data}
        else:
            raise ValueError("send() takes one of text_data and bytes_data, got neither")
        if self._state == CLOSED:
            self._left_unsent(message)
            return
        try:  # as pass_on, without the call: this is the hot path
            await self.base_send(message)
        except OSError as error:
            self._lost(error)
        if close:
            await self.close(close)

    async def close(self, code: int | bool | None = None, reason: str | None = None) -> None:
        """The server closes the socket (1000), or refuses it if it was not accepted (HTTP 403)."""
        if self._state == CLOSED:
            return
        number = 1000 if code is None or code is True else int(code)
        await self.pass_on({"type": "websocket.close", "code": number, "reason": reason or ""})

    async def deny(
        self,
        status: int = 403,
        body: bytes | str = b"",
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        """The handshake is answered with this HTTP response, where the server can; else with 403.

        The ASGI extension is ``websocket.http.response``.
        """
        if self._state == OPEN:
            raise RuntimeError("deny() answers the handshake, and the socket was accepted")
        if "websocket.http.response" not in (self.scope.get("extensions") or {}):
            await self.close()
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

    # --- events -------------------------------------------------------------------------------

    async def websocket_connect(self, message: WebSocketConnectEvent) -> None:
        """Join the groups, then ask ``connect()``."""
        self.groups = list(self.groups or ())
        if self.groups and self.channel_layer is None:
            raise InvalidChannelLayerError(
                f"{type(self).__name__} has groups, but no channel layer is registered as "
                f"{self.channel_layer_alias!r}; call register_channel_layer() at start-up"
            )
        for group in self.groups:
            await self.channel_layer.group_add(group, self.channel_name)
        try:
            await self.connect()
        except AcceptConnection:
            await self.accept()
        except DenyConnection as denied:
            await self.deny(denied.status, denied.body, denied.headers)

    async def websocket_receive(self, message: WebSocketReceiveEvent) -> None:
        """Hand the frame to ``receive()``; what still comes after ``close()`` is left unread."""
        if self._state == CLOSED:
            return
        text = message.get("text")
        data = message.get("bytes")
        limit = self.max_frame_size
        if limit is not None and len((data if text is None else text) or b"") > limit:
            raise InvalidFrame(f"frame is larger than max_frame_size={limit}", 1009)
        if text is not None:
            await self.receive(text_data=text)
        else:
            await self.receive(bytes_data=data)

    async def websocket_disconnect(self, message: WebSocketDisconnectEvent) -> None:
        """Leave the groups, tell ``disconnect()``, and end the consumer."""
        self._state = CLOSED
        try:
            if self.channel_layer is not None:
                for group in self.groups or ():
                    await self.channel_layer.group_discard(group, self.channel_name)
        except LayerClosed:
            pass  # it has ended every membership
        finally:
            await self.disconnect(message.get("code", 1005))
        raise StopConsumer

    async def on_error(self, exception: Exception, message: ChannelMessage) -> None:
        """Close the socket for a frame that cannot be read; raise everything else."""
        if not isinstance(exception, InvalidFrame):
            raise exception
        logger.info("%s closes with %d: %s", type(self).__name__, exception.code, exception)
        await self.close(exception.code, _fitting(str(exception)))

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
        if self._state == OPEN:
            await self.close(code)

    def farewell(self, code: int) -> dict[str, Any] | None:
        """Return the event that leads to ``disconnect()``."""
        return {"type": "websocket.disconnect", "code": code, "reason": ""}


def _fitting(reason: str) -> str:
    """Return as much of the reason as a closing frame carries: 123 bytes."""
    return reason.encode(errors="replace")[:123].decode(errors="ignore")


@framework
class AsyncJsonWebsocketConsumer(AsyncWebsocketConsumer):
    """A WebSocket that speaks JSON, in text frames."""

    _overrides: bool = False
    """True where a subclass has a ``send`` or ``encode_json`` of its own."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ours = AsyncJsonWebsocketConsumer
        cls._overrides = cls.send is not ours.send or (
            getattr(cls.encode_json, "__func__", None) is not vars(ours)["encode_json"].__func__
        )

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Decode the frame for ``receive_json()``; what is no JSON closes the socket with 1007."""
        if text_data is None:
            raise InvalidFrame("expected a text frame with JSON, got bytes", 1003)
        try:
            content = await self.decode_json(text_data)
        except (ValueError, RecursionError) as error:
            raise InvalidFrame(f"text frame is no JSON: {error}", 1007) from error
        await self.receive_json(content, **kwargs)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """The client sent this."""

    async def send_json(self, content: Any, close: bool | int = False) -> None:
        """The server has the content as a text frame."""
        if self._overrides or close:
            await self.send(await self.encode_json(content), close=close)
            return
        message = {"type": "websocket.send", "text": _json_text(content)}
        if self._state == CLOSED:
            self._left_unsent(message)
            return
        try:  # as send, without the call: this is the hot path
            await self.base_send(message)
        except OSError as error:
            self._lost(error)

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        """Return what the text says; raises ``json.JSONDecodeError``."""
        try:
            return _from_json(text_data)
        except msgspec.DecodeError:
            # The stricter and faster decoder refused; the standard one explains, or takes NaN.
            return json.loads(text_data)

    @classmethod
    async def encode_json(cls, content: Any) -> str:
        """Return compact JSON; raises ``TypeError`` for what has no JSON form."""
        return _json_text(content)


def _json_text(content: Any) -> str:
    try:
        return _to_json(content).decode()
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError):
        return json.dumps(content)  # the standard encoder takes more kinds of keys, or explains

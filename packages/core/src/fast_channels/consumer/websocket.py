"""Consumers of WebSockets: text and bytes, or JSON; of coroutines, or of plain functions."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec
from asgiref.sync import async_to_sync

from fast_channels.consumer.base import SyncConsumer
from fast_channels.consumer.farewell import RESTART
from fast_channels.consumer.handlers import framework
from fast_channels.consumer.json_text import decode, from_text, to_json, to_text
from fast_channels.consumer.membership import join, leave
from fast_channels.consumer.socket import CLOSED, OPEN, Socket
from fast_channels.exceptions import AcceptConnection, DenyConnection, InvalidFrame, StopConsumer
from fast_channels.type_defs import (
    ChannelHeaders,
    ChannelMessage,
    WebSocketConnectEvent,
    WebSocketDisconnectEvent,
    WebSocketReceiveEvent,
)


@framework
class AsyncWebsocketConsumer(Socket):
    """One WebSocket: override ``connect``, ``receive`` and ``disconnect``, and declare handlers."""

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
        await self._accept(subprotocol, headers)

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
        await self._close(code, reason)

    async def deny(
        self,
        status: int = 403,
        body: bytes | str = b"",
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        """The handshake is answered with this HTTP response, where the server can; else with 403.

        The ASGI extension is ``websocket.http.response``.
        """
        await self._answer_handshake(status, body, headers)

    # --- events -------------------------------------------------------------------------------

    async def websocket_connect(self, message: WebSocketConnectEvent) -> None:
        """Join the groups, then ask ``connect()``."""
        self.groups = list(self.groups or ())
        await join(self)
        try:
            await self.connect()
        except AcceptConnection:
            await self.accept()
        except DenyConnection as denied:
            await self.deny(denied.status, denied.body, denied.headers)
        if self._denied:
            raise StopConsumer

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
            await leave(self)
        finally:
            await self.disconnect(message.get("code", 1005))
        raise StopConsumer

    async def on_error(self, exception: Exception, message: ChannelMessage) -> None:
        """Close the socket for a frame that cannot be read; raise everything else."""
        if not isinstance(exception, InvalidFrame):
            raise exception
        await self.close(*self._unreadable(exception))

    async def hang_up(self, code: int) -> None:
        """Close the socket if it is open; a handshake is left to the server."""
        if self._state == OPEN or code == RESTART:
            await self.close(code)


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

    def __init__(self, **initkwargs: Any) -> None:
        """Set attributes that the class has; ``groups`` is this instance's own list."""
        super().__init__(**initkwargs)
        self._overrides = self._overrides  # the instance's own: it is found faster

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Decode the frame for ``receive_json()``; what is no JSON closes the socket with 1007."""
        await self.receive_json(await self._content_of(text_data), **kwargs)

    async def _content_of(self, text_data: str | None) -> Any:
        """Return what the frame says; raises ``InvalidFrame``."""
        if text_data is None:
            raise InvalidFrame("expected a text frame with JSON, got bytes", 1003)
        try:
            return await self.decode_json(text_data)
        except (ValueError, RecursionError) as error:
            raise InvalidFrame(f"text frame is no JSON: {error}", 1007) from error

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """The client sent this."""

    async def send_json(self, content: Any, close: bool | int = False) -> None:
        """The server has the content as a text frame."""
        if self._overrides or close:
            await self.send(await self.encode_json(content), close=close)
            return
        # As to_text and send, without the calls: this is the hot path.
        try:
            text = to_json(content).decode()
        except Exception:
            text = to_text(content)
        message = {"type": "websocket.send", "text": text}
        if self._state == CLOSED:
            self._left_unsent(message)
            return
        send = self.base_send  # not called as a method, for speed
        try:
            await send(message)
        except OSError as error:
            self._lost(error)

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        """Return what the text says; raises ``json.JSONDecodeError``."""
        try:
            return decode(text_data)
        except msgspec.DecodeError:
            # The stricter and faster decoder refused; the standard one explains, or takes NaN.
            return json.loads(text_data)

    @classmethod
    async def encode_json(cls, content: Any) -> str:
        """Return compact JSON; raises ``TypeError`` for what has no JSON form."""
        return to_text(content)


@framework
class WebsocketConsumer(  # pyright: ignore[reportIncompatibleMethodOverride]  # as SyncConsumer
    SyncConsumer, Socket
):
    """As ``AsyncWebsocketConsumer``, of plain functions, which run in threads."""

    def connect(self) -> None:
        """The client asks for a connection: ``accept()`` it, or ``close()`` to refuse."""
        self.accept()

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """The client sent a frame: exactly one of the two is not None."""

    def disconnect(self, code: int) -> None:
        """The connection is over, and the socket in no group; called once, however it ended."""

    def accept(self, subprotocol: str | None = None, headers: ChannelHeaders | None = None) -> None:
        """The connection is open; ``headers`` are added to the handshake's answer."""
        self._handler_thread.send(self._accept(subprotocol, headers))

    def send(  # type: ignore[override]  # upstream's signature
        self,
        text_data: str | None = None,
        bytes_data: bytes | None = None,
        close: bool | int = False,
    ) -> None:
        """The server has the frame, at once; ``close``: and closes the socket after it.

        If the client does not read, up to 16 frames wait without their handler.
        """
        if text_data is not None:
            frame: ChannelMessage = {"type": "websocket.send", "text": text_data}
        elif bytes_data is not None:
            frame = {"type": "websocket.send", "bytes": bytes_data}
        else:
            raise ValueError("send() takes one of text_data and bytes_data, got neither")
        self._handler_thread.send(self.pass_on(frame))
        if close:
            self.close(close)

    def close(self, code: int | bool | None = None, reason: str | None = None) -> None:
        """The server closes the socket (1000), or refuses it if it was not accepted (HTTP 403)."""
        self._handler_thread.send(self._close(code, reason))

    def deny(
        self,
        status: int = 403,
        body: bytes | str = b"",
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        """The handshake is answered with this HTTP response, where the server can; else with 403.

        The ASGI extension is ``websocket.http.response``.
        """
        self._handler_thread.send(self._answer_handshake(status, body, headers))

    def websocket_connect(self, message: WebSocketConnectEvent) -> None:
        """Join the groups, then ask ``connect()``."""
        self.groups = list(self.groups or ())
        async_to_sync(join)(self)
        try:
            self.connect()
        except AcceptConnection:
            self.accept()
        except DenyConnection as denied:
            self.deny(denied.status, denied.body, denied.headers)
        if self._denied:
            raise StopConsumer

    def websocket_receive(self, message: WebSocketReceiveEvent) -> None:
        """Hand the frame to ``receive()``; what still comes after ``close()`` is left unread."""
        if self._state == CLOSED:
            return
        text = message.get("text")
        data = message.get("bytes")
        limit = self.max_frame_size
        if limit is not None and len((data if text is None else text) or b"") > limit:
            raise InvalidFrame(f"frame is larger than max_frame_size={limit}", 1009)
        if text is not None:
            self.receive(text_data=text)
        else:
            self.receive(bytes_data=data)

    def websocket_disconnect(self, message: WebSocketDisconnectEvent) -> None:
        """Leave the groups, tell ``disconnect()``, and end the consumer."""
        self._state = CLOSED
        try:
            async_to_sync(leave)(self)
        finally:
            self.disconnect(message.get("code", 1005))
        raise StopConsumer

    def on_error(  # type: ignore[override]  # plain, as in SyncConsumer
        self, exception: Exception, message: ChannelMessage
    ) -> None:
        """Close the socket for a frame that cannot be read; raise everything else."""
        if not isinstance(exception, InvalidFrame):
            raise exception
        self.close(*self._unreadable(exception))


@framework
class JsonWebsocketConsumer(WebsocketConsumer):
    """As ``AsyncJsonWebsocketConsumer``, of plain functions, which run in threads."""

    def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Decode the frame for ``receive_json()``; what is no JSON closes the socket with 1007."""
        if text_data is None:
            raise InvalidFrame("expected a text frame with JSON, got bytes", 1003)
        try:
            content = self.decode_json(text_data)
        except (ValueError, RecursionError) as error:
            raise InvalidFrame(f"text frame is no JSON: {error}", 1007) from error
        self.receive_json(content, **kwargs)

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        """The client sent this."""

    def send_json(self, content: Any, close: bool | int = False) -> None:
        """The server has the content as a text frame."""
        self.send(self.encode_json(content), close=close)

    @classmethod
    def decode_json(cls, text_data: str) -> Any:
        """Return what the text says; raises ``json.JSONDecodeError``."""
        return from_text(text_data)

    @classmethod
    def encode_json(cls, content: Any) -> str:
        """Return compact JSON; raises ``TypeError`` for what has no JSON form."""
        return to_text(content)

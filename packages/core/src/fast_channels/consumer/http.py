"""Consumers of HTTP: one response, at once or in parts, or a stream of Server-Sent Events."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, cast

from fast_channels.consumer.base import AsyncConsumer
from fast_channels.consumer.farewell import RESTART
from fast_channels.consumer.handlers import framework
from fast_channels.consumer.headers import Headers, header_pairs
from fast_channels.consumer.membership import join, leave
from fast_channels.consumer.sse import COMMENT, encode_event
from fast_channels.exceptions import DenyConnection, StopConsumer
from fast_channels.type_defs import (
    ASGIReceiveCallable,
    ASGISendCallable,
    ChannelMessage,
    ChannelScope,
    HttpDisconnectEvent,
    HttpRequestEvent,
)

if TYPE_CHECKING:
    from fast_channels.layers.channel import LocalChannel

logger = logging.getLogger("fast_channels.consumer")

WAITING: Final = 0
"""No part of the response was sent."""
STARTED: Final = 1
FINISHED: Final = 2

FAILED: Final = 1011
"""The code with which a consumer ends that raised something (as of a WebSocket)."""


@framework
class AsyncHttpConsumer(AsyncConsumer):
    """One HTTP request: override ``handle``, and answer there or in a handler that comes later.

    The consumer ends when the response is complete, or the client leaves; messages of a layer reach
    its handlers as soon as ``handle`` has returned. What a handler raises before the response has
    begun is the server's 500; after that the response breaks off.
    """

    serves = "http"

    groups: list[str] | None = None
    """Groups that the consumer is in from before ``handle()`` until its end."""

    max_body_size: int = 16 * 1024 * 1024
    """Bytes of a request's body; a larger one is answered with 413."""

    body_timeout: float = 60.0
    """Seconds in which the whole body has to come; a slower one is answered with 408."""

    _state: int = WAITING
    _client_left: bool = False
    _body_size: int = 0
    _event_timer: asyncio.TimerHandle | None = None

    def __init__(self, **initkwargs: Any) -> None:
        """Set attributes that the class has."""
        super().__init__(**initkwargs)
        self.groups = list(self.groups or ())
        self.body: list[bytes] = []

    # --- what applications override -----------------------------------------------------------

    async def handle(self, body: bytes) -> None:
        """The whole request is there; ``self.scope`` has its method, path and headers.

        Where this returns without having finished the response, a handler finishes it later.
        """
        raise NotImplementedError(f"{type(self).__name__} has no handle()")

    async def disconnect(self) -> None:
        """The response is complete, or the client has left; called once, however it ended."""

    # --- what applications call ---------------------------------------------------------------

    async def send_headers(self, *, status: int = 200, headers: Headers | None = None) -> None:
        """The server has the headers; it may hold them back until ``send_body`` was called.

        ``TypeError`` or ``ValueError`` names a header that is none.
        """
        pairs = header_pairs(headers)
        if self._state != WAITING and not self._client_left:
            raise RuntimeError("the response has begun: its headers were sent already")
        self._state = STARTED
        await self._pass({"type": "http.response.start", "status": int(status), "headers": pairs})

    async def send_body(self, body: bytes, *, more_body: bool = False) -> None:
        """The server has this part of the body, the last one unless ``more_body``.

        To a client that has left nothing is sent, and nothing raised; but with ``more_body`` it is
        ``StopConsumer``, which ends a handler that streams.
        """
        if not isinstance(cast("object", body), bytes):
            raise TypeError(f"a part of the body must be bytes, got {type(body).__name__}")
        if self._state != STARTED and not self._client_left:
            when = "not begun: send_headers() first" if self._state == WAITING else "complete"
            raise RuntimeError(f"send_body() was called, but the response is {when}")
        if not more_body:
            self._state = FINISHED
            self.cancel_on_disconnect = False  # the client may go now, and the handler goes on
        await self._pass({"type": "http.response.body", "body": body, "more_body": more_body})
        if more_body and self._client_left:
            raise StopConsumer
        if not more_body:
            self._served_connection.leave()
            self._served_connection.tell({"type": "http.disconnect"})

    async def send_response(self, status: int, body: bytes, **kwargs: Any) -> None:
        """The server has the whole response; ``headers`` as of ``send_headers``."""
        await self.send_headers(status=status, **kwargs)
        await self.send_body(body)

    # --- events -------------------------------------------------------------------------------

    async def http_request(self, message: HttpRequestEvent) -> None:
        """Gather the body; when it is whole, join the groups and ``handle()`` it."""
        part = message.get("body", b"")
        self.body.append(part)
        self._body_size += len(part)
        if self._body_size > self.max_body_size:
            await self._refuse(413, f"the body is larger than {self.max_body_size} bytes\n")
            return
        if message.get("more_body"):
            return
        self._stop_timer()
        await join(self)
        await self.handle(b"".join(self.body))
        if self._state == WAITING and not self._client_left and self.channel_layer is None:
            raise RuntimeError(
                f"{type(self).__name__}.handle() sent no response, and without a channel layer "
                "no handler can later; call send_response()"
            )

    async def http_late(self, message: ChannelMessage) -> None:
        """The body did not come in time."""
        if self._event_timer is not None and self._state == WAITING:
            await self._refuse(408, f"the body did not come within {self.body_timeout} s\n")

    async def http_disconnect(self, message: HttpDisconnectEvent) -> None:
        """Leave the groups, tell ``disconnect()``, and end the consumer."""
        try:
            await leave(self)
        finally:
            await self.disconnect()
        raise StopConsumer

    # --- for subclasses of this package -------------------------------------------------------

    def client_left(self) -> None:
        """Nothing is sent from now on."""
        self._client_left = True

    async def refuse(self, scope: ChannelScope, send: ASGISendCallable) -> None:
        """Refuse a WebSocket's handshake (HTTP 403); ``ValueError`` for other kinds of scopes."""
        if scope.get("type") != "websocket":
            await super().refuse(scope, send)
        await send({"type": "websocket.close", "code": 1000, "reason": ""})

    async def hang_up(self, code: int) -> None:
        """Complete a response that has begun, unless a handler failed.

        Where the server drains, one that has not is 503.
        """
        if code != FAILED and self._state == STARTED:
            await self.send_body(b"")
        elif code == RESTART and self._state == WAITING:
            await self._refuse(503, "this server is stopping\n", ("retry-after", "1"))

    def farewell(self, code: int) -> dict[str, Any] | None:
        """Return the event that leads to ``disconnect()``."""
        return {"type": "http.disconnect"}

    # --- inside -------------------------------------------------------------------------------

    async def _serve(self, channel: "LocalChannel | None", receive: ASGIReceiveCallable) -> None:
        self._call_later(self.body_timeout, "http.late")
        try:
            await super()._serve(channel, receive)
        finally:
            self._stop_timer()

    async def _pass(self, message: ChannelMessage) -> None:
        """Send to the client, unless it has left."""
        if self._client_left:
            logger.debug("%s: %s after the end", type(self).__name__, message["type"])
            return
        try:
            await self.base_send(message)
        except OSError as error:
            self._client_left = True
            logger.debug("%s: the client is gone: %r", type(self).__name__, error)

    async def _refuse(self, status: int, reason: str, *headers: tuple[str, str]) -> None:
        """Answer a request that ``handle`` shall not see."""
        self._stop_timer()
        self.body.clear()
        fields = [("content-type", "text/plain"), *headers]
        if str(self.scope.get("http_version", "")).startswith("1"):
            fields.append(("connection", "close"))  # what is left of the request is not read
        await self.send_response(status, reason.encode(), headers=fields)

    def _call_later(self, seconds: float, event: str) -> None:
        loop = asyncio.get_running_loop()
        self._event_timer = loop.call_later(seconds, self._remind, {"type": event})

    def _remind(self, event: dict[str, Any]) -> None:
        if not self._served_connection.gone:
            self._served_connection.tell(event)

    def _stop_timer(self) -> None:
        if self._event_timer is not None:
            self._event_timer.cancel()
            self._event_timer = None


@framework
class AsyncEventSourceConsumer(AsyncHttpConsumer):
    """A stream of Server-Sent Events: override ``connect``, and send in handlers.

    A browser's ``EventSource`` comes back by itself when the stream ends, with the ``id`` of the
    last event that it saw. Answer it with 204 in ``connect`` to stop that. Other methods than GET
    and HEAD are answered with 405.
    """

    keep_alive: float | None = 15.0
    """After so many seconds without an event a comment is sent, for proxies; None: never."""

    _event_sent_at: float = 0.0

    async def connect(self, last_event_id: str | None) -> None:
        """The client asks for events, and has seen those up to ``last_event_id``.

        It is in the groups already, so what was missed can be sent from here. To refuse it, raise
        ``DenyConnection(status=...)`` before anything is sent, or ``close()`` (204).
        """

    async def accept(self, headers: Headers | None = None) -> None:
        """The stream is open; called after ``connect()``, or in it to add ``headers``."""
        own = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        await self.send_headers(headers=[*own, *header_pairs(headers)])
        await self._send_part(COMMENT)
        if self.keep_alive is not None:
            self._call_later(self.keep_alive, "http.keep_alive")

    async def send_event(
        self,
        data: Any,
        event: str | None = None,
        id: str | int | None = None,
        retry: int | None = None,
    ) -> None:
        """The server has the event: text as it is, anything else as JSON.

        ``event`` is its type ("message"), ``id`` what ``connect`` gets after a reconnection, and
        ``retry`` the milliseconds after which the client comes back. ``ValueError`` or
        ``TypeError`` for what an event cannot carry.
        """
        encoded = encode_event(data, event, id, retry)
        if self._state == WAITING:
            await self.accept()
        await self._send_part(encoded)

    async def close(self) -> None:
        """The stream is over, and the client comes back; in ``connect`` (204) it does not."""
        if self._state == WAITING:
            await self.send_response(204, b"")
        elif self._state == STARTED:
            await self.send_body(b"")

    async def handle(self, body: bytes) -> None:
        """Ask ``connect()``; to HEAD the headers are all."""
        if self.scope["method"] == "HEAD":
            await self.accept()
            await self.close()
            return
        headers = dict(self.scope["headers"])
        last_event_id = headers.get(b"last-event-id", b"").decode(errors="replace") or None
        try:
            await self._begin(last_event_id)
        except DenyConnection as denied:
            if self._state != WAITING:
                raise
            content = denied.body.encode() if isinstance(denied.body, str) else denied.body
            await self.send_response(denied.status, content, headers=denied.headers)
        if self._state == WAITING:
            await self.accept()

    async def http_request(self, message: HttpRequestEvent) -> None:
        """Refuse a method that no ``EventSource`` uses, and serve the others."""
        if self.scope["method"] not in ("GET", "HEAD"):
            await self._refuse(405, "ask for events with GET\n", ("allow", "GET, HEAD"))
        else:
            await super().http_request(message)

    async def http_keep_alive(self, message: ChannelMessage) -> None:
        """Send a comment if nothing was sent for long."""
        assert self.keep_alive is not None
        quiet = asyncio.get_running_loop().time() - self._event_sent_at
        if quiet >= self.keep_alive:
            await self._send_part(COMMENT)
            quiet = 0.0
        self._call_later(self.keep_alive - quiet, "http.keep_alive")

    async def _begin(self, last_event_id: str | None) -> None:
        await self.connect(last_event_id)

    async def _send_part(self, part: bytes) -> None:
        await self.send_body(part, more_body=True)
        self._event_sent_at = asyncio.get_running_loop().time()

"""One connection to one RabbitMQ server: frames out, frames in.

Written on the codec of aio-pika (pamqp) and not on aio-pika itself: there a cancelled request
closes its channel, nobody is told why the server takes no more, and a publish costs 130 to 235
microseconds.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

from pamqp import commands
from pamqp.base import Frame
from pamqp.exceptions import PAMQPException
from pamqp.frame import marshal, unmarshal

from fast_channels.exceptions import BackendUnavailable
from fast_channels_rabbitmq.channel import HEAD, PERHAPS, RETURN, Channel, ConnectionLost, refusal

HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"
DELIVER, ACK, NACK = b"\x00\x3c\x00\x3c", b"\x00\x3c\x00\x50", b"\x00\x3c\x00\x78"
GET_OK = b"\x00\x3c\x00\x47"
BIND_OK, BOUND = b"\x00\x32\x00\x15", commands.Queue.BindOk()
LARGEST_FRAME: Final = 131_072
CLOSING_SECONDS: Final = 1.0
SILENT_BEATS: Final = 2.5
"""How many heartbeats a server that takes no messages may leave out."""


class Connection(asyncio.Protocol):
    """A connection to one server; made by ``server.connect``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self.name = name
        self.lost: Exception | None = None
        self.heard = True
        self.on_lost: Callable[[Exception], None] | None = None
        self.blocked = ""
        """Why the server takes no messages now; empty: it does."""
        self.on_blocked: Callable[[Connection], None] | None = None
        """Called when ``blocked`` has changed."""
        self.frame_max = LARGEST_FRAME
        self.info: dict[str, Any] = {}
        """What the server tells of itself."""
        self.release: tuple[int, ...] = ()
        """The first numbers of RabbitMQ's version; empty: it is another server."""
        self.channels: dict[int, Channel] = {}
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._unread: list[bytes] = []
        self._unread_size = 0
        self._needed = 7
        self._said: asyncio.Future[Frame] | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._interval = 0.0
        self._last_heard = loop.time()
        self._closing = False
        self._closed: asyncio.Future[None] = loop.create_future()

    # --- asking -------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write frames, if there still is a connection."""
        if self.lost is None and self._transport is not None:
            self._transport.write(data)

    async def say(self, data: bytes) -> Frame:
        """Write what belongs to the connection, and return what the server answers."""
        if self.lost is not None:
            raise self.lost
        self._said = self._loop.create_future()
        self.write(data)
        return await self._said

    def channel(self) -> Channel:
        """Return a new channel; what is asked of it next may be written at once."""
        number = next(free for free in range(1, 65_536) if free not in self.channels)
        channel = Channel(self._loop, self, number)
        if self.lost is not None:
            channel.end(self.lost)
        else:
            self.channels[number] = channel
            channel.order(commands.Channel.Open())
        return channel

    @property
    def first(self) -> Channel:
        """The channel that was made first; raises ``BackendUnavailable`` when it has ended."""
        channel = self.channels.get(1)
        if channel is None:
            raise ConnectionLost(f"{self.name} has ended the channel; nothing was sent")
        return channel

    def forget(self, channel: Channel) -> None:
        """The number of the channel is free."""
        if self.channels.get(channel.number) is channel:
            del self.channels[channel.number]

    def beat(self, seconds: float) -> None:
        """From now on the server hears of us this often; it says something as often."""
        self._interval = seconds
        self._beat = self._loop.call_later(seconds / 2, self._tick)

    def _tick(self) -> None:
        self.write(HEARTBEAT)
        self.beat(self._interval)

    def keep_alive(self) -> None:
        """Let the kernel notice, too, when the other side is gone."""
        assert self._transport is not None
        sock = self._transport.get_extra_info("socket")
        options = {
            "TCP_KEEPIDLE": 5,
            "TCP_KEEPINTVL": 2,
            "TCP_KEEPCNT": 3,
            "TCP_USER_TIMEOUT": 30_000,
        }
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in options.items():
                if hasattr(socket, name):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def ping(self) -> None:
        """Ask for a sign of life; ``heard`` tells whether one came.

        A server that takes no messages reads nothing from us, so its heartbeats have to do.
        """
        limit = self._interval * SILENT_BEATS
        self.heard = bool(self.blocked) and self._loop.time() - self._last_heard < limit
        if not self.heard and 1 in self.channels:
            self.channels[1].order(commands.Basic.Qos())

    def abort(self, cause: Exception, /) -> None:
        """The connection has ended, for this reason; who waits for an answer is told."""
        self._end(cause)
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """The socket is closed; the server has taken back what was not finished, if it answers."""
        self.on_lost = None
        transport = self._transport
        if transport is None:
            return
        if self.lost is None and not self.blocked and self.channels:
            self._closing = True
            self.write(marshal(commands.Connection.Close(200, "", 0, 0), 0))
            try:
                await asyncio.wait([self._closed], timeout=CLOSING_SECONDS)
            finally:
                self.abort(BackendUnavailable(f"{self.name} was closed"))
        self.abort(BackendUnavailable(f"{self.name} was closed"))
        await asyncio.shield(self._closed)

    # --- asyncio's side -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand on what has come whole."""
        self.heard = True
        if self.blocked:
            self._last_heard = self._loop.time()
        if self._unread:
            self._unread.append(data)
            self._unread_size += len(data)
            if self._unread_size < self._needed:
                return
            data = b"".join(self._unread)
            self._unread.clear()
        try:
            rest = self._parse(data)
        except (ValueError, IndexError, PAMQPException) as error:
            self.abort(BackendUnavailable(f"{self.name} does not speak AMQP 0-9-1: {error}"))
            return
        if rest and self.lost is None:
            self._unread.append(rest)
            self._unread_size = len(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everyone who waits."""
        if not self._closed.done():
            self._closed.set_result(None)
        reason = f": {exc}" if exc is not None else " (closed by the server)"
        self._end(BackendUnavailable(f"the connection to {self.name} was lost{reason}"))

    def _parse(self, data: bytes) -> bytes:
        """Handle every whole frame; return what is left."""
        at, size, unpack = 0, len(data), HEAD.unpack_from
        while size - at >= 8:
            kind, number, length = unpack(data, at)
            end = at + 7 + length
            if length > self.frame_max:
                raise ValueError(f"{data[at : at + 8]!r} is not the beginning of a frame")
            if end >= size:
                self._needed = end + 1 - at
                return data[at:]
            if data[end] != 206:
                raise ValueError("a frame has no end")
            payload = data[at + 7 : end]
            if kind == 8:
                pass
            elif not number:
                self._command(cast("Frame", unmarshal(data[at : end + 1])[2]))
            elif (channel := self.channels.get(number)) is not None:
                if kind == 3:
                    channel.take_body(payload)
                elif kind == 2:
                    channel.take_header(payload)
                elif payload.startswith((DELIVER, RETURN, GET_OK)):
                    channel.take_content_method(payload)
                elif payload.startswith((ACK, NACK)):
                    tag = int.from_bytes(payload[4:12], "big")
                    channel.take_confirm(tag, bool(payload[12] & 1), payload.startswith(NACK))
                elif payload == BIND_OK:
                    channel.take(BOUND)
                else:
                    channel.take(cast("Frame", unmarshal(data[at : end + 1])[2]))
            at = end + 1
            if self.lost is not None:
                return b""
        self._needed = 8
        return data[at:]

    def _command(self, method: Frame) -> None:
        if isinstance(method, commands.Connection.Close):
            self.write(marshal(commands.Connection.CloseOk(), 0))
            self._end(refusal(self.name, method))
            if self._transport is not None:
                self._transport.close()
        elif isinstance(method, commands.Connection.CloseOk):
            self.abort(BackendUnavailable(f"{self.name} was closed"))
        elif isinstance(method, commands.Connection.Blocked | commands.Connection.Unblocked):
            self._last_heard = self._loop.time()
            self.blocked = ""
            if isinstance(method, commands.Connection.Blocked):
                self.blocked = method.reason or "it does not say why"
            if self.on_blocked is not None:
                self.on_blocked(self)
        elif self._said is not None and not self._said.done():
            self._said.set_result(method)

    def _end(self, cause: Exception) -> None:
        if self.lost is not None:
            return
        self.lost = cause
        self._unread.clear()
        if self._beat is not None:
            self._beat.cancel()
        if self._said is not None and not self._said.done():
            self._said.set_exception(cause)
            self._said.exception()
        channels, self.channels = self.channels, {}
        for channel in channels.values():
            channel.end(ConnectionLost(f"{cause}{PERHAPS}"))
        if self.on_lost is not None:
            self.on_lost(cause)

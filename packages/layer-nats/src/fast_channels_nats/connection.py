"""One connection to one NATS server: what is written, and what comes back, in order.

The server handles what one connection sends in order, so its answer to a PING proves that it has
all that was written before; what it refused of that, it has said by then.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

from fast_channels.exceptions import BackendUnavailable

PING: Final = b"PING\r\n"
PERHAPS: Final = "; what was sent last was perhaps done"
LONGEST_LINE: Final = 1_048_576
"""Bytes: more without an end of line is not NATS. A large cluster's INFO is below it by far."""


class ConnectionLost(BackendUnavailable):
    """The connection ended before the server answered: what was asked was perhaps done."""


class Message(NamedTuple):
    """What came for a subscription."""

    sid: bytes
    subject: bytes
    reply: bytes
    """Where an answer is awaited; empty: nowhere."""
    head: bytes
    """The headers as they came; empty: none."""
    payload: bytes


_make: Final[Any] = vars(tuple)["__new__"]
"""``_make(Message, parts)`` is ``Message(*parts)`` in half the time."""


class Connection(asyncio.Protocol):
    """A connection to one server; made by ``server.connect``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self.heard = True
        """Something came since this was last set to False."""
        self.info: dict[str, Any] = {}
        """What the server told of itself last."""
        self.greeted: asyncio.Future[None] = loop.create_future()
        """Done when ``info`` has come."""
        self.on_lost: Callable[[Exception], None] | None = None
        """Called once, when the connection has ended by itself."""
        self.on_info: Callable[[dict[str, Any]], None] | None = None
        """Called when the server tells something new of itself or its cluster."""
        self.on_error: Callable[[str], None] | None = None
        """Called with what the server refuses, before whoever asked is told."""
        self.lost: Exception | None = None
        self.name = name
        self.complaint = ""
        """What the server said last that was wrong."""
        self.held: list[Message] = []
        """What came before the connection was in use."""
        self.message: Callable[[Message], None] = self.held.append
        self.subscribed: set[bytes] = set()
        """The subscriptions made while it was prepared, by their ids."""
        self.prepared = False
        """The servers of its cluster know of it."""
        self._loop = loop
        self._flushes: deque[asyncio.Future[list[str]]] = deque()
        self._refusals: list[str] = []
        self._chunks: list[bytes] = []
        self._size = 0
        self._needed = 0
        self._transport: asyncio.Transport | None = None
        self._closed = loop.create_future()

    # --- asking -------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write commands, if there still is a connection."""
        if self.lost is None and self._transport is not None:
            self._transport.write(data)

    def flush(self, data: bytes) -> "asyncio.Future[list[str]]":
        """Write commands; when the server has them all, the future gets what it refused of them.

        It fails with ``ConnectionLost`` when the connection ends first. Cancelling it is safe.
        """
        done: asyncio.Future[list[str]] = self._loop.create_future()
        if self.lost is not None or self._transport is None:
            done.set_exception(ConnectionLost(f"{self.name} is not connected"))
        else:
            self._flushes.append(done)
            self._transport.write(data + PING)
        return done

    def ping(self) -> None:
        """Ask for a sign of life; ``heard`` tells whether one came."""
        self.heard = False
        self.flush(b"").add_done_callback(retrieve)

    async def encrypt(self, context: Any, hostname: str) -> None:
        """From now on the connection is encrypted."""
        assert self._transport is not None
        transport = await self._loop.start_tls(
            self._transport, self, context, server_hostname=hostname
        )
        self._transport = cast("asyncio.Transport", transport)

    def abort(self, cause: Exception) -> None:
        """The connection has ended, for this reason; who waits for an answer is told."""
        self._end(cause)
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """The socket is closed; nobody is told but who waits for an answer."""
        self.on_lost = None
        self.abort(BackendUnavailable(f"{self.name} was closed"))
        if self._transport is not None:
            await asyncio.shield(self._closed)

    # --- asyncio's side -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand on what has come whole."""
        self.heard = True
        if self._chunks:
            self._chunks.append(data)
            self._size += len(data)
            if self._size < self._needed:
                return
            data = b"".join(self._chunks)
            self._chunks.clear()
        self._needed = 0
        try:
            rest = self._parse(data)
        except (ValueError, IndexError) as error:
            self.abort(BackendUnavailable(f"{self.name} does not speak NATS' protocol: {error}"))
            return
        if rest and self.lost is None:
            self._chunks.append(rest)
            self._size = len(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everyone who waits."""
        if not self._closed.done():
            self._closed.set_result(None)
        reason = f": {exc}" if exc is not None else " (closed by the server)"
        if self.complaint:
            reason = f": the server said {self.complaint!r}"
        self._end(BackendUnavailable(f"the connection to {self.name} was lost{reason}"))

    def _parse(self, data: bytes) -> bytes:
        """Handle every whole command; return what is left."""
        at, size = 0, len(data)
        while (end := data.find(b"\r\n", at)) >= 0:
            start = end + 2
            if data.startswith((b"MSG ", b"HMSG "), at):
                words = data[at:end].split()
                stop = start + int(words[-1])
                if stop < start:
                    raise ValueError(f"the line {data[at:end][:80]!r}")
                if stop + 2 > size:
                    self._needed = stop + 2 - at
                    return data[at:]
                if data[at] == 77:  # "M"
                    reply = words[3] if len(words) == 5 else b""
                    parts = words[2], words[1], reply, b"", data[start:stop]
                else:
                    body = start + int(words[-2])
                    reply = words[3] if len(words) == 6 else b""
                    parts = words[2], words[1], reply, data[start:body], data[body:stop]
                self.message(_make(Message, parts))
                at = stop + 2
            else:
                self._command(data[at:end])
                at = start
        if size - at > LONGEST_LINE:
            raise ValueError(f"a line of more than {LONGEST_LINE} bytes")
        return data[at:]

    def _command(self, line: bytes) -> None:
        if line == b"PONG":
            if not self._flushes:
                raise ValueError("a PONG without a PING")
            done = self._flushes.popleft()
            refusals, self._refusals = self._refusals, []
            if not done.done():
                done.set_result(refusals)
        elif line == b"PING":
            self.write(b"PONG\r\n")
        elif line.startswith(b"INFO "):
            self.info = json.loads(line[5:])
            if not self.greeted.done():
                self.greeted.set_result(None)
            elif self.on_info is not None:
                self.on_info(self.info)
        elif line.startswith(b"-ERR"):
            text = line[4:].decode(errors="replace").strip().strip("'")
            if not text.startswith("Permissions Violation"):
                self.complaint = text
            self._refusals.append(text)
            if self.on_error is not None:
                self.on_error(text)
        elif line != b"+OK":
            raise ValueError(f"the line {line[:80]!r}")

    def _end(self, cause: Exception) -> None:
        if self.lost is not None:
            return
        self.lost = cause
        self._chunks.clear()
        if not self.greeted.done():
            self.greeted.set_exception(ConnectionLost(f"{cause}"))
            self.greeted.exception()
        flushes, self._flushes = self._flushes, deque()
        for done in flushes:
            if not done.done():
                done.set_exception(ConnectionLost(f"{cause}{PERHAPS}"))
        if self.on_lost is not None:
            self.on_lost(cause)


def retrieve(done: "asyncio.Future[list[str]]") -> None:
    """Mark the error as seen: nobody waits for it."""
    if not done.cancelled():
        done.exception()

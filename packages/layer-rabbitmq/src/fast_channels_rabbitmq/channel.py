"""One channel of a connection: what is asked, and what comes back, in order.

A server carries out what one channel says in order, so the answer to a request proves that all
before it is done. What it refuses ends the channel, and fails whatever was not answered by then.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pamqp import commands
from pamqp.base import Frame
from pamqp.frame import marshal

from fast_channels.exceptions import BackendUnavailable

if TYPE_CHECKING:
    from fast_channels_rabbitmq.connection import Connection

PERHAPS: Final = "; what was sent last was perhaps done"
HEAD: Final = Struct(">BHI")
PUBLISH: Final = b"\x00\x3c\x00\x28\x00\x00"
RETURN: Final = b"\x00\x3c\x00\x32"
CONTENT: Final = Struct(">HHQ")
PERMISSIONS: Final = {
    (40, 10): "configure",  # exchange.declare
    (50, 10): "configure",  # queue.declare
    (50, 30): "read",  # queue.purge
    (60, 20): "read",  # basic.consume
    (60, 70): "read",  # basic.get
    (60, 40): "write",  # basic.publish
}
ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED = 403, 404, 406


class Refused(BackendUnavailable):
    """The server ended a channel or a connection, and said why: ``code`` is AMQP's."""

    code = 0


class ConnectionLost(BackendUnavailable):
    """The connection ended before the server answered: what was asked was perhaps done."""


class Delivery(NamedTuple):
    """What came for a consumer, or for who asked for one message."""

    consumer: str
    tag: int
    key: str
    body: bytes
    head: bytes = b""
    """The header of its content, with its properties."""


class Publishing:
    """Messages whose confirms are awaited together."""

    __slots__ = ("done", "left", "mark", "nacked", "returned")

    def __init__(self, loop: asyncio.AbstractEventLoop, mark: bytes) -> None:
        self.done: asyncio.Future[None] = loop.create_future()
        self.left = 0
        self.nacked: list[int] = []
        """Tags of what the server refused."""
        self.mark = mark
        self.returned = False
        """The one with the mark had no queue, though it had to."""


class Channel:
    """A channel; made by ``Connection.channel``."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connection: "Connection", number: int
    ) -> None:
        self.connection = connection
        self.number = number
        self.ended: Exception | None = None
        """Why the channel is of no use any more."""
        self.on_delivery: Callable[[Delivery], None] | None = None
        self.on_cancelled: Callable[[str], None] | None = None
        """Called with a consumer that the server has ended: its queue is gone."""
        self.on_ended: Callable[[Exception], None] | None = None
        """Called once when the server has ended the channel or the connection was lost."""
        self._loop = loop
        self._closing = False
        self._replies: deque[asyncio.Future[Frame | Delivery]] = deque()
        self._publishings: dict[int, Publishing] = {}
        self._tags = itertools.count(1)
        self._method: bytes | None = None
        """The method whose content comes now."""
        self._missing = -1
        """Bytes of that content that are still to come; below zero: its header is."""
        self._pieces: list[bytes] = []
        self._head = b""

    # --- asking -------------------------------------------------------------------------------

    def ask(self, *methods: Frame) -> "asyncio.Future[Frame | Delivery]":
        """Send methods in one piece; the future has the answer to the last one.

        It fails with ``Refused`` when the server ends the channel before, with ``ConnectionLost``
        when the connection ends. Of the methods only those that are not sent with ``nowait`` are
        answered; the last one must be. Cancelling the future is safe.
        """
        reply: asyncio.Future[Frame | Delivery] = self._loop.create_future()
        if self.ended is not None:
            reply.set_exception(copy_of(self.ended))
            return reply
        for method in methods:
            if method.synchronous and not getattr(method, "nowait", False):
                reply = self._loop.create_future()
                reply.add_done_callback(retrieve)
                self._replies.append(reply)
        self.tell(*methods)
        return reply

    def ask_raw(self, frames: bytes) -> "asyncio.Future[Frame | Delivery]":
        """As ``ask``, of frames of which the last one alone has an answer."""
        reply: asyncio.Future[Frame | Delivery] = self._loop.create_future()
        reply.add_done_callback(retrieve)
        if self.ended is not None:
            reply.set_exception(copy_of(self.ended))
        else:
            self._replies.append(reply)
            self.connection.write(frames)
        return reply

    def order(self, *methods: Frame) -> None:
        """Send methods whose answer nobody waits for."""
        self.ask(*methods).add_done_callback(retrieve)

    def tell(self, *methods: Frame) -> None:
        """Send methods that have no answer."""
        if self.ended is None:
            number = self.number
            self.connection.write(b"".join([marshal(method, number) for method in methods]))

    def publishing(self, mark: bytes = b"") -> Publishing:
        """Return what collects the confirms of some messages.

        ``mark`` is how the properties of one end that has to find a queue.
        """
        publishing = Publishing(self._loop, mark)
        publishing.done.add_done_callback(retrieve)
        if self.ended is not None:
            publishing.done.set_exception(copy_of(self.ended))
        return publishing

    def message(
        self,
        publishing: Publishing,
        address: bytes,
        properties: bytes,
        body: bytes,
    ) -> tuple[int, bytes]:
        """Return the tag and the bytes of a message, which have to be written next.

        ``address`` is the exchange, the routing key and the flags, ``properties`` their flags and
        values, both as AMQP has them.
        """
        tag = next(self._tags)
        self._publishings[tag] = publishing
        publishing.left += 1
        pack, number, size = HEAD.pack, self.number, len(body)
        parts = [
            pack(1, number, len(PUBLISH) + len(address)),
            PUBLISH,
            address,
            b"\xce",
            pack(2, number, 12 + len(properties)),
            CONTENT.pack(60, 0, size),
            properties,
            b"\xce",
        ]
        limit = self.connection.frame_max - 8
        if size <= limit:
            if size:
                parts += (pack(3, number, size), body, b"\xce")
        else:
            for start in range(0, size, limit):
                piece = body[start : start + limit]
                parts += (pack(3, number, len(piece)), piece, b"\xce")
        return tag, b"".join(parts)

    def fail_publishings(self, cause: Exception) -> None:
        """Who waits for confirms is told that they do not come."""
        publishings, self._publishings = self._publishings, {}
        for publishing in publishings.values():
            if not publishing.done.done():
                publishing.done.set_exception(copy_of(cause))

    def close(self) -> None:
        """Nothing comes of the channel any more; the server lets go of it when it reads that."""
        if self.ended is None:
            self.on_ended = None
            self._closing = True
            self.tell(commands.Channel.Close(200, "", 0, 0))
            self.end(ConnectionLost("the channel was closed"))

    def end(self, cause: Exception) -> None:
        """The channel is of no use any more; who waits for an answer is told."""
        if self.ended is not None:
            return
        self.ended = cause
        self.on_delivery = None
        replies, self._replies = self._replies, deque()
        for reply in replies:
            if not reply.done():
                reply.set_exception(copy_of(cause))
        self.fail_publishings(cause)
        if self.on_ended is not None:
            self.on_ended(cause)

    # --- what comes ---------------------------------------------------------------------------

    def take_content_method(self, payload: bytes) -> None:
        """A method that has content came: basic.deliver, basic.return or basic.get-ok."""
        self._method = payload
        self._missing = -1

    def take_header(self, payload: bytes) -> None:
        """The header of a content came."""
        if self._method is None:
            raise ValueError("a content without a method")
        self._missing = CONTENT.unpack_from(payload)[2]
        self._head = payload
        if self._method.startswith(RETURN):  # before the confirm of the message
            for publishing in self._publishings.values():
                if publishing.mark and payload.endswith(publishing.mark):
                    publishing.returned = True
        if not self._missing:
            self._content(b"")

    def take_body(self, payload: bytes) -> None:
        """A piece of a content came."""
        left = self._missing = self._missing - len(payload)
        if left < 0:
            raise ValueError("more content than was announced")
        if left:
            self._pieces.append(payload)
        elif self._pieces:
            self._pieces.append(payload)
            body = b"".join(self._pieces)
            self._pieces.clear()
            self._content(body)
        else:
            self._content(payload)

    def take_confirm(self, tag: int, multiple: bool, nacked: bool) -> None:
        """The server has taken, or refused, what was published with the tag."""
        publishings = self._publishings
        # They are there in the order of their tags.
        several = itertools.takewhile(tag.__ge__, publishings) if multiple else (tag,)
        for each in list(several):
            publishing = publishings.pop(each, None)
            if publishing is None:
                continue
            if nacked:
                publishing.nacked.append(each)
            publishing.left -= 1
            if not publishing.left and not publishing.done.done():
                publishing.done.set_result(None)

    def take(self, method: Frame) -> None:
        """Any other method came."""
        if isinstance(method, commands.Channel.Close):
            self.connection.write(marshal(commands.Channel.CloseOk(), self.number))
            if not self._closing:  # else the answer to our own request is still to come
                self.connection.forget(self)
            self.end(refusal(self.connection.name, method))
        elif isinstance(method, commands.Basic.Cancel):
            if self.on_cancelled is not None:
                self.on_cancelled(str(method.consumer_tag))
        elif isinstance(method, commands.Channel.Flow):
            self.tell(commands.Channel.FlowOk(bool(method.active)))
        elif isinstance(method, commands.Channel.CloseOk):
            self.connection.forget(self)
        elif self.ended is None:
            self._answer(method)

    def _answer(self, answer: Frame | Delivery) -> None:
        if not self._replies:
            raise ValueError(f"{type(answer).__name__} answers nothing")
        reply = self._replies.popleft()
        if not reply.done():
            reply.set_result(answer)

    def _content(self, body: bytes) -> None:
        method, self._method = self._method, None
        assert method is not None
        kind = method[3]
        if kind == 60:  # basic.deliver
            at = 5 + method[4]
            consumer = method[5:at].decode()
            tag = int.from_bytes(method[at : at + 8], "big")
            at += 10 + method[at + 9]
            if self.on_delivery is not None:
                key = method[at + 1 : at + 1 + method[at]].decode("utf-8", "surrogateescape")
                self.on_delivery(Delivery(consumer, tag, key, body, self._head))
        elif self.ended is not None:
            pass
        elif kind == 71:  # basic.get-ok
            self._answer(Delivery("", int.from_bytes(method[4:12], "big"), "", body))


def refusal(name: str, close: commands.Channel.Close | commands.Connection.Close) -> Refused:
    """Return what the server said when it ended a channel or a connection, and what it means."""
    text = f"{name} refused: {close.reply_text}"
    where = (close.class_id or 0, close.method_id or 0)
    permission = PERMISSIONS.get(where)
    if where == (50, 20):  # queue.bind
        permission = "write" if "to queue" in text else "read"
    if close.reply_code == ACCESS_REFUSED and permission is not None:
        text = f"{text} (the user needs the permission to {permission})"
    elif close.reply_code == PRECONDITION_FAILED and "larger than" in text:
        text = f"{text}; register the layer with max_payload as the server allows"
    error = Refused(text)
    error.code = close.reply_code or 0
    return error


def copy_of(error: Exception) -> Exception:
    """Return an exception of its own for each who waits: tracebacks grow on a shared one."""
    copy = type(error)(*error.args)
    copy.__dict__.update(error.__dict__)
    return copy


def retrieve(done: "asyncio.Future[Any]") -> None:
    """Mark the error as seen: perhaps nobody waits for it."""
    if not done.cancelled():
        done.exception()

"""Where a stream ends: a note is published to it, and awaited where it is read.

RabbitMQ does not tell where a stream ends, and is silent about places beyond that.
"""

import asyncio
import itertools
import os
from typing import Final

from pamqp.encode import short_string

from fast_channels.exceptions import BackendUnavailable
from fast_channels_rabbitmq.channel import ConnectionLost
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.history.records import MARK, note
from fast_channels_rabbitmq.publisher import Publisher, address_of

MARK_SECONDS: Final = 2.0
TOKEN_BYTES: Final = 8
NUMBER_BYTES: Final = 8

_numbers = itertools.count(1)


class Gone(ConnectionLost):
    """The stream is not there any more."""


def properties(number: int) -> tuple[bytes, bytes]:
    """Return the properties of a message that has to find its queue, and how they end."""
    mark = short_string(f"{number:x}")
    return b"\x10\x80\x02" + mark, mark


class Marks:
    """The notes of one process to one stream. At most one for its end is on its way."""

    def __init__(self, name: str, publisher: Publisher) -> None:
        self._address = address_of("", name, mandatory=True)
        self._name = name
        self._publisher = publisher
        self._token = os.urandom(TOKEN_BYTES)
        self._awaited: dict[int, asyncio.Future[int]] = {}
        self._under_way: asyncio.Future[int] | None = None
        self._next: asyncio.Future[int] | None = None

    async def end(self) -> int:
        """Return an offset before which all is that was published before the call."""
        connection = await self._publisher.ready()
        if self._next is None:
            self._next = self._future()
        mine = self._next
        if self._under_way is None:
            self._go_on(connection)
        return await asyncio.shield(mine)

    async def say(self, kind: bytes, text: bytes) -> int:
        """Return the offset of a note that says this."""
        connection = await self._publisher.ready()
        said = self._future()
        self._write(connection, said, kind, text)
        return await asyncio.shield(said)

    def came(self, text: bytes, offset: int) -> bytes:
        """Take a note; return what it says besides whose it is."""
        at = TOKEN_BYTES + NUMBER_BYTES
        if text.startswith(self._token):
            number = int.from_bytes(text[TOKEN_BYTES:at], "big")
            awaited = self._awaited.pop(number, None)
            if awaited is not None and not awaited.done():
                awaited.set_result(offset)
        return text[at:]

    def fail(self, cause: Exception) -> None:
        """No note comes any more."""
        waiting = [*self._awaited.values(), *filter(None, [self._next])]
        self._awaited.clear()
        self._next = self._under_way = None
        for each in waiting:
            if not each.done():
                each.set_exception(Gone(f"{cause}"))

    def _future(self) -> "asyncio.Future[int]":
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_retrieve)
        return future

    def _go_on(self, connection: Connection) -> None:
        """The next note is on its way."""
        following, self._next = self._next, None
        self._under_way = following
        if following is not None:
            following.add_done_callback(self._arrived)
            self._write(connection, following, MARK, b"")

    def _arrived(self, which: "asyncio.Future[int]") -> None:
        if which is not self._under_way:
            return
        self._under_way = None
        connection = self._publisher.link.connection
        if connection is not None:
            self._go_on(connection)
        elif self._next is not None:
            following, self._next = self._next, None
            following.set_exception(BackendUnavailable(f"{self._name} cannot be reached"))

    def _write(
        self, connection: Connection, said: "asyncio.Future[int]", kind: bytes, text: bytes
    ) -> None:
        number = next(_numbers)
        head, mark = properties(number)
        body = note(kind, b"".join((self._token, number.to_bytes(NUMBER_BYTES, "big"), text)))

        def fail(problem: BaseException) -> None:
            self._awaited.pop(number, None)
            if not said.done():
                said.set_exception(problem)

        def confirmed(done: "asyncio.Future[None]") -> None:
            problem = None if done.cancelled() else done.exception()
            if problem is None and (publishing.returned or publishing.nacked):
                problem = Gone(f"{connection.name} has no stream {self._name!r} now")
            if problem is not None:
                fail(problem)

        try:
            channel = connection.first
        except BackendUnavailable as error:
            fail(error)
            return
        self._awaited[number] = said
        late = BackendUnavailable(
            f"where stream {self._name!r} ends was not heard within {MARK_SECONDS:g} s"
        )
        timer = asyncio.get_running_loop().call_later(MARK_SECONDS, fail, late)
        said.add_done_callback(lambda _: timer.cancel())
        publishing = channel.publishing(mark)
        publishing.done.add_done_callback(confirmed)
        if channel.ended is None:
            connection.write(channel.message(publishing, self._address, head, body)[1])


def _retrieve(done: "asyncio.Future[int]") -> None:
    if not done.cancelled():
        done.exception()

"""Questions to JetStream, and their answers, which come to a subject of this process's own."""

import asyncio
import itertools
import json
import os
import time
from collections.abc import Callable
from typing import Any, Final

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import reconnect_delays
from fast_channels_nats.connection import Connection, ConnectionLost, Message, retrieve
from fast_channels_nats.link import LONGEST_DELAY, NatsLink
from fast_channels_nats.subjects import refused_subject

ANSWER_SECONDS: Final = 4.0
AGAIN_SECONDS: Final = 1.0
"""After this long without an answer a call of JetStream's API is made again: while the servers of
a cluster elect a leader, nobody answers, nor later, when there is one."""

REPLIES: Final = b"0"
"""The id of the subscription to answers; those of topics count from 1."""

NO_RESPONDERS: Final = 503
NO_LEADER: Final = (10008, 10009, 10118, 10119)
"""Errors of a cluster that has not elected yet who does what is asked."""


class NoAnswer(BackendUnavailable):
    """What was asked was perhaps done."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"JetStream did not answer within {seconds:g} s; it was perhaps done")


class Refused(BackendUnavailable):
    """JetStream's answer is an error."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code
        """JetStream's own number of the error; 503 where nobody answers at all."""


class Requests:
    """Asks, and tells who asked."""

    def __init__(self, link: NatsLink, inbox_prefix: str, patience: float = ANSWER_SECONDS) -> None:
        self.link = link
        self.patience = patience
        """Seconds for which is tried again what JetStream cannot do yet: it elects a leader."""
        self.unanswered: Callable[[bytes, float], None] | None = None
        """Told of the subject of what was not answered, and for how many seconds."""
        self._inbox = f"{inbox_prefix}.{os.urandom(11).hex()}".encode()
        self._numbers = itertools.count(1)
        self._asked: dict[bytes, asyncio.Future[Message]] = {}
        self._takers: dict[bytes, Callable[[Message], None]] = {REPLIES: self._answer}
        self._connection: Connection | None = None
        self._subscribed: set[bytes] = set()
        """The subscriptions for answers that this connection has."""

    def listen(self, taker: Callable[[Message], None]) -> bytes:
        """Return the id of a subscription whose messages are handed to ``taker``."""
        sid = b"q%d" % next(self._numbers)
        self._takers[sid] = taker
        return sid

    def inbox(self, sid: bytes) -> bytes:
        """Return a fresh subject for answers to that subscription."""
        return b"%b.%b.%d" % (self._inbox, sid, next(self._numbers))

    def take(self, message: Message) -> None:
        """Hand an answer to who asked."""
        taker = self._takers.get(message.sid)
        if taker is not None:
            taker(message)

    def lost(self, cause: Exception) -> None:
        """What was asked is not answered any more."""
        self._connection = None
        asked, self._asked = self._asked, {}
        for answer in asked.values():
            if not answer.done():
                answer.set_exception(ConnectionLost(f"{cause}; what was asked was perhaps done"))

    async def send(
        self, sid: bytes, subject: bytes, payload: bytes, reply: bytes, head: bytes = b""
    ) -> None:
        """The server has the message, and answers to it come to the subscription.

        Raises ``BackendUnavailable`` where the server refuses it.
        """
        connection, refusals = await self.listening(sid)
        mine = (None, subject.decode(), self._answers(sid).decode())
        refusals += await connection.flush(packed(subject, payload, reply, head))
        for text in refusals:
            if refused_subject(text) in mine:
                self._subscribed.discard(sid)
                raise BackendUnavailable(f"{connection.name} refused: {text}")

    async def listening(self, sid: bytes) -> tuple[Connection, list[str]]:
        """Return the connection, on which answers come to that subscription, and refusals."""
        connection = self.link.connection or await self.link.ready()
        first = self._subscribing(connection, sid)
        # Not in one write with the request: JetStream of 2.9 now and then loses a job that it
        # delivers to a subscription of the same moment, and gives it out 30 seconds later.
        return connection, (await connection.flush(first) if first else [])

    async def close(self, patience: float) -> None:
        """Nothing comes any more, and what was sent is with the server, if it answers in time."""
        connection = self._connection
        if connection is None or connection is not self.link.connection:
            return
        ends = b"".join(b"UNSUB %b\r\n" % sid for sid in self._subscribed)
        for command in (ends, b""):  # what was on its way comes between them, and is given back
            answer = connection.flush(command)
            answer.add_done_callback(retrieve)
            await asyncio.wait([answer], timeout=patience)

    def post(
        self, connection: Connection, subject: bytes, payload: bytes
    ) -> "asyncio.Future[Message]":
        """Write a question at once; the future gets the answer, if one comes."""
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        reply = self.inbox(REPLIES)
        self._asked[reply] = answer

        def ended(answer: "asyncio.Future[Message]") -> None:
            self._asked.pop(reply, None)
            if not answer.cancelled():
                answer.exception()  # nobody has to wait for it

        answer.add_done_callback(ended)
        ahead = self._subscribing(connection, REPLIES)
        connection.write(ahead + packed(subject, payload, reply))
        return answer

    async def ask(
        self,
        subject: bytes,
        payload: bytes = b"",
        head: bytes = b"",
        within: float = ANSWER_SECONDS,
    ) -> Message:
        """Return the answer; raises ``NoAnswer`` where there is none in time."""
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        reply = self.inbox(REPLIES)
        self._asked[reply] = answer
        try:
            async with asyncio.timeout(within):
                await self.send(REPLIES, subject, payload, reply, head)
                message = await answer
        except TimeoutError:
            self.missed(subject, within)
            raise NoAnswer(within) from None
        finally:
            self._asked.pop(reply, None)
            if answer.done() and not answer.cancelled():
                answer.exception()
        if status_of(message) == NO_RESPONDERS:
            self.missed(subject)
            raise Refused("JetStream does not answer: nobody listens", NO_RESPONDERS)
        return message

    def missed(self, subject: bytes, seconds: float = 0.0) -> None:
        """Note that nobody has answered what was sent there so many seconds ago."""
        if self.unanswered is not None:
            self.unanswered(subject, seconds)

    def _answers(self, sid: bytes) -> bytes:
        return b"%b.%b.*" % (self._inbox, sid)

    def _subscribing(self, connection: Connection, sid: bytes) -> bytes:
        """Return the command that subscribes to answers; empty if the connection has done so."""
        if self._connection is not connection:
            self._connection = connection
            self._subscribed.clear()
        if sid in self._subscribed:
            return b""
        self._subscribed.add(sid)
        return b"SUB %b %b\r\n" % (self._answers(sid), sid)

    def _answer(self, message: Message) -> None:
        answer = self._asked.get(message.subject)
        if answer is not None and not answer.done():
            answer.set_result(message)

    async def call(self, name: str, /, **request: Any) -> dict[str, Any]:
        """Return JetStream's answer to a call of its API; raises ``Refused`` for an error.

        Where there is none the call is made again, so it has to be one that may be made twice.
        """
        subject, body = f"$JS.API.{name}".encode(), json.dumps(request).encode() if request else b""
        delays = reconnect_delays(most=LONGEST_DELAY)
        until = time.monotonic() + self.patience
        while True:
            try:
                return answered(await self.ask(subject, body, within=AGAIN_SECONDS))
            except (NoAnswer, ConnectionLost) as error:
                if time.monotonic() >= until:
                    raise NoAnswer(self.patience) from error
            except Refused as error:
                if error.code not in NO_LEADER or time.monotonic() >= until:
                    raise
                self.missed(subject)
                await asyncio.sleep(next(delays))


def answered(message: Message) -> dict[str, Any]:
    """Return what JetStream answered; raises ``Refused`` for an error."""
    try:
        answer: dict[str, Any] = json.loads(message.payload)
    except ValueError:
        raise Refused(f"JetStream answered {message.payload[:80]!r}", 0) from None
    error = answer.get("error")
    if error:
        text = f"JetStream refused: {error.get('description', error)}"
        raise Refused(text, error.get("err_code", error.get("code", 0)))
    return answer


def packed(subject: bytes, payload: bytes, reply: bytes = b"", head: bytes = b"") -> bytes:
    """Return the command that publishes the message."""
    if not head:
        return b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(payload), payload)
    size = len(head)
    return b"HPUB %b %b %d %d\r\n%b%b\r\n" % (
        subject,
        reply,
        size,
        size + len(payload),
        head,
        payload,
    )


def status_of(message: Message) -> int | None:
    """Return the status that a server's own message carries; None: it is another one."""
    if not message.head.startswith(b"NATS/1.0 "):
        return None
    code = message.head[9:12]
    return int(code) if code.isdigit() else None

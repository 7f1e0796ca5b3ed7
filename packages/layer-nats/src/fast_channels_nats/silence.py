"""Leaving a server at which JetStream is silent, for one at which it answers.

A server of a cluster may carry groups while its JetStream hears nobody, or is heard by nobody: one
of 2.10 that was restarted together with the others now and then stays so until it is started again.
From there it looks like an election, during which no server answers. So another server is asked the
same, beside this one, and the process moves only where that one answers and this one still does
not. Until then the connection stays in use, and where no server answers nothing changes.
"""

import asyncio
import time
from typing import Final

from fast_channels.exceptions import BackendUnavailable
from fast_channels_nats.connection import Connection, Message
from fast_channels_nats.link import NatsLink, logger
from fast_channels_nats.requests import (
    NO_LEADER,
    NO_RESPONDERS,
    Refused,
    Requests,
    answered,
    packed,
    status_of,
)

SILENT_SECONDS: Final = 2.0
"""After this long without an answer another server is asked; and as long after that, the next."""

ASKED_SECONDS: Final = 1.0
"""How long one server may take to answer."""

PROBE: Final = b"p"
"""The subscription to an answer on a connection that is not in use yet."""

NOT_THAT_STREAM: Final = b"NATS/1.0\r\nNats-Expected-Stream: -\r\n\r\n"
"""What is published with this header a stream's leader answers, and does not store."""


class Silence:
    """Notices that JetStream does not answer a process, and looks for a server where it does."""

    def __init__(self, link: NatsLink, requests: Requests) -> None:
        self._link = link
        self._requests = requests
        self._since = self._latest = -SILENT_SECONDS
        self._looking: asyncio.Task[None] | None = None

    def note(self, subject: bytes, seconds: float = 0.0) -> None:
        """What was sent there so many seconds ago was not answered, or nobody heard it."""
        now = time.monotonic()
        if now - seconds - self._latest > SILENT_SECONDS:
            self._since = now - seconds
        self._latest = now
        if now - self._since >= SILENT_SECONDS and self._looking is None and self._link.others:
            self._since = now
            self._looking = asyncio.get_running_loop().create_task(self._look(subject))
            self._looking.add_done_callback(self._looked)

    async def close(self) -> None:
        """No task is left."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look(self, subject: bytes) -> None:
        """Move, if another server answers and this one does not."""
        here = self._link.connection
        if here is None:
            return
        question = _question(subject)
        try:
            there = await self._link.another()
        except BackendUnavailable:
            return
        try:
            moves = await self._answers(there, *question) and await self._silent(*question)
            if moves and self._link.connection is here and there.lost is None:
                cause = BackendUnavailable(f"JetStream does not answer at {here.name}")
                self._link.move(there, cause)
                return
        except BaseException:
            await there.close()
            raise
        await there.close()

    def _looked(self, task: "asyncio.Task[None]") -> None:
        self._looking = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("looking for a server where JetStream answers: %s", error)

    async def _silent(self, subject: bytes, head: bytes) -> bool:
        """Whether the server in use does not answer."""
        try:
            return not _says(await self._requests.ask(subject, b"", head, within=ASKED_SECONDS))
        except Refused as error:
            return error.code == NO_RESPONDERS
        except BackendUnavailable:
            return True

    async def _answers(self, there: Connection, subject: bytes, head: bytes) -> bool:
        """Whether the server of a connection that is not in use answers."""
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        hold, reply = there.message, self._requests.inbox(PROBE)

        def take(message: Message) -> None:
            if message.sid != PROBE:
                hold(message)
            elif not answer.done():
                answer.set_result(message)

        there.message = take
        try:
            async with asyncio.timeout(ASKED_SECONDS):
                await there.flush(b"SUB %b %b\r\n" % (reply, PROBE))
                await there.flush(packed(subject, b"", reply, head) + b"UNSUB %b 1\r\n" % PROBE)
                return _says(await answer)
        except (TimeoutError, BackendUnavailable):
            return False
        finally:
            there.message = hold


def _question(subject: bytes) -> tuple[bytes, bytes]:
    """Return what asks the same of JetStream and changes nothing: the subject and the headers."""
    if not subject.startswith(b"$JS."):
        return subject, NOT_THAT_STREAM
    stream = next((part for part in subject.split(b".") if b"=" in part), None)
    return (b"$JS.API.STREAM.INFO.%b" % stream if stream else b"$JS.API.INFO"), b""


def _says(message: Message) -> bool:
    """Whether it is JetStream's answer, and not that it cannot answer now."""
    if status_of(message) == NO_RESPONDERS:
        return False
    try:
        answered(message)
    except Refused as error:
        return error.code not in NO_LEADER
    return True

"""The connection that publishes: one statement in flight, and the next with all that gathered."""

import asyncio
from collections.abc import Sequence
from typing import Final

from fast_channels.exceptions import BackendUnavailable, PublishFailed
from fast_channels.layers import Link, Publication
from fast_channels_postgres.connection import Connection, logger
from fast_channels_postgres.driver import READ_ONLY, PostgresError, sqlstate
from fast_channels_postgres.hosts import Connects
from fast_channels_postgres.names import (
    COMMON,
    MAX_PAYLOAD,
    check_topic,
    command,
    distinct,
    shard_name,
)
from fast_channels_postgres.steps import Steps

MOST_NAMES: Final = 16_384
"""Topics whose name is kept."""

STATEMENT_BYTES: Final = 4 * 1_048_576
"""After so many bytes one statement is full."""


class _Waiting:
    """What one caller wants to be sent."""

    __slots__ = ("commands", "done", "size")

    def __init__(self, commands: Sequence[str], size: int, done: "asyncio.Future[None]") -> None:
        self.commands = commands
        self.size = size
        self.done = done


class Publisher:
    """Sends notifications in the order in which they were given."""

    def __init__(self, loop: asyncio.AbstractEventLoop, source: Connects) -> None:
        self.link = Link(loop, source.connect, logger=logger, purpose="publish")
        self._loop = loop
        self._names: dict[str, str] = {}
        self._waiting: list[_Waiting] = []
        self._sending = False
        self._idle: asyncio.Future[None] | None = None

    async def publish(self, publications: Sequence[Publication]) -> None:
        """The server has the publications; ``PublishFailed`` names those that are too large."""
        commands: list[str] = []
        errors: dict[int, Exception] = {}
        size = 0
        for index, (topic, payload) in enumerate(publications):
            if len(payload) > MAX_PAYLOAD:
                errors[index] = ValueError(
                    f"a payload of {len(payload)} bytes does not fit into a notification, "
                    f"which has room for {MAX_PAYLOAD}"
                )
                continue
            name = self._names.get(topic) or self._name(topic)
            commands.append(command(name, topic, payload))
            size += len(payload)
        if commands:
            await self._send(commands, size)
        if errors:
            raise PublishFailed(errors)

    async def echo(self, token: str) -> None:
        """The server has a notification for whoever waits for this token."""
        await self._send([f"NOTIFY {COMMON},'{token}'"], 0)

    async def close(self) -> None:
        """The connection is gone; who still waits has failed."""
        await self.link.close()
        if self._sending:
            self._idle = self._loop.create_future()
            await self._idle

    def _name(self, topic: str) -> str:
        if len(self._names) >= MOST_NAMES:
            self._names.clear()
        name = self._names[topic] = shard_name(check_topic(topic))
        return name

    async def _send(self, commands: Sequence[str], size: int) -> None:
        done = self._loop.create_future()
        self._waiting.append(_Waiting(commands, size, done))
        if not self._sending:
            self._sending = True
            Steps(self._loop, self._run(), self._sent).start()
        await done

    def _sent(self, error: BaseException | None) -> None:
        self._sending = False
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        if error is not None:
            raise error

    async def _run(self) -> None:
        """Send until nothing waits; the callers may be cancelled, this never is."""
        while self._waiting:
            batch = self._batch()
            if not batch:
                continue
            try:
                connection = self.link.connection or await self.link.ready()
                await self._execute(connection, statement(batch))
            except BackendUnavailable as error:
                _fail(batch, str(error))
            except PostgresError as error:
                _fail(batch, explained(error))
            except BaseException as error:
                _fail(batch, f"the message was perhaps not sent: {error!r}")
                if not isinstance(error, Exception):
                    raise
            else:
                for waiting in batch:
                    if not waiting.done.done():
                        waiting.done.set_result(None)

    async def _execute(self, connection: Connection, sql: str) -> None:
        await connection.run(lambda raw: raw.execute(sql))

    def _batch(self) -> list[_Waiting]:
        """Take what waits, but for those who were cancelled, up to one statement's worth."""
        size = count = 0
        for waiting in self._waiting:
            size += waiting.size
            count += 1
            if size >= STATEMENT_BYTES:
                break
        batch = self._waiting[:count]
        del self._waiting[:count]
        return [waiting for waiting in batch if not waiting.done.done()]


def statement(batch: Sequence[_Waiting]) -> str:
    """Return what sends them all, in order, in one transaction and one round trip.

    NOTIFY is a utility command, which the server runs without a plan and a snapshot: one costs it
    half of ``SELECT pg_notify``, and a thousand cost less than the same by ``unnest``.
    """
    if len(batch) == 1 and len(batch[0].commands) == 1:
        return batch[0].commands[0]
    return ";".join(distinct([each for waiting in batch for each in waiting.commands]))


def explained(error: Exception) -> str:
    """Return why the server did not take a batch."""
    if sqlstate(error) == READ_ONLY:
        return f"a read-only replica takes no NOTIFY; name the primary ({error})"
    return f"postgres refused the messages: {error}"


def _fail(batch: Sequence[_Waiting], text: str) -> None:
    for waiting in batch:
        if not waiting.done.done():
            waiting.done.set_exception(BackendUnavailable(text))

"""The connection that publishes: one statement in flight, and the next with all that gathered."""

import asyncio
from collections.abc import Sequence
from typing import Final

from fast_channels.exceptions import BackendUnavailable, PublishFailed
from fast_channels.layers import Publication
from fast_channels_postgres.connection import Connection
from fast_channels_postgres.driver import READ_ONLY, PostgresError, sqlstate
from fast_channels_postgres.link import Connects, Link
from fast_channels_postgres.names import (
    COMMON,
    MAX_PAYLOAD,
    check_topic,
    distinct,
    encode,
    shard_name,
)

MOST_NAMES: Final = 16_384
"""Topics whose name is kept."""

STATEMENT_BYTES: Final = 4 * 1_048_576
"""After so many bytes one statement is full."""

Notification = tuple[str, str]


class _Waiting:
    """What one caller wants to be sent."""

    __slots__ = ("done", "notifications", "size")

    def __init__(
        self, notifications: Sequence[Notification], size: int, done: "asyncio.Future[None]"
    ) -> None:
        self.notifications = notifications
        self.size = size
        self.done = done


class Publisher:
    """Sends notifications in the order in which they were given."""

    def __init__(self, loop: asyncio.AbstractEventLoop, source: Connects) -> None:
        self.link = Link(loop, "publish", source)
        self._loop = loop
        self._names: dict[str, str] = {}
        self._waiting: list[_Waiting] = []
        self._sending: asyncio.Task[None] | None = None

    async def publish(self, publications: Sequence[Publication]) -> None:
        """The server has the publications; ``PublishFailed`` names those that are too large."""
        notifications: list[Notification] = []
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
            notifications.append((name, encode(topic, payload)))
            size += len(payload)
        if notifications:
            await self._send(notifications, size)
        if errors:
            raise PublishFailed(errors)

    async def echo(self, token: str) -> None:
        """The server has a notification for whoever waits for this token."""
        await self._send([(COMMON, token)], 0)

    async def close(self) -> None:
        """The connection is gone; who still waits has failed."""
        await self.link.close()
        if self._sending is not None:
            await asyncio.wait([self._sending])

    def _name(self, topic: str) -> str:
        if len(self._names) >= MOST_NAMES:
            self._names.clear()
        name = self._names[topic] = shard_name(check_topic(topic))
        return name

    async def _send(self, notifications: Sequence[Notification], size: int) -> None:
        done = self._loop.create_future()
        self._waiting.append(_Waiting(notifications, size, done))
        self._start()
        await done

    def _start(self) -> None:
        if self._sending is None and self._waiting:
            name = "fast-channels-postgres-send"
            self._sending = self._loop.create_task(self._run(), name=name)
            self._sending.add_done_callback(self._sent)

    def _sent(self, sending: "asyncio.Task[None]") -> None:
        self._sending = None
        self._start()  # what came between its end and now
        if not sending.cancelled():
            sending.result()

    async def _run(self) -> None:
        """Send until nothing waits; the callers may be cancelled, this never is."""
        while self._waiting:
            batch = self._batch()
            try:
                connection = self.link.connection or await self.link.ready()
                await self._execute(connection, statement(batch))
            except BackendUnavailable as error:
                _fail(batch, str(error))
            except PostgresError as error:
                _fail(batch, explained(error))
            except BaseException as error:
                _fail(batch, f"the message was not sent: {error!r}")
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
    """Return one statement that sends them all, in order.

    Names, topics and base64 hold nothing that SQL or an array's text would have to quote.
    """
    notifications = [pair for waiting in batch for pair in waiting.notifications]
    if len(notifications) == 1:
        [(name, text)] = notifications
        return f"SELECT pg_notify('{name}','{text}')"
    names = ",".join([name for name, _ in notifications])
    texts = ",".join(distinct([text for _, text in notifications]))
    return (
        "SELECT count(pg_notify(c,p)) FROM unnest("
        f"'{{{names}}}'::text[],'{{{texts}}}'::text[]) AS t(c,p)"
    )


def explained(error: Exception) -> str:
    """Return why the server did not take a batch."""
    if sqlstate(error) == READ_ONLY:
        return f"a read-only replica takes no NOTIFY; name the primary ({error})"
    return f"postgres refused the messages: {error}"


def _fail(batch: Sequence[_Waiting], text: str) -> None:
    for waiting in batch:
        if not waiting.done.done():
            waiting.done.set_exception(BackendUnavailable(text))

"""Publishing to the exchange, over a connection of its own, with confirms.

The connection is its own because a server that is short of memory or disk reads nothing more from
those who publish; what others publish still comes.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from pamqp import commands
from pamqp.base import Frame
from pamqp.encode import short_string

from fast_channels.exceptions import BackendUnavailable, MessageTooLarge, PublishFailed
from fast_channels.layers import Link, Publication
from fast_channels_rabbitmq.batches import MOST_TOPICS, pack, split
from fast_channels_rabbitmq.channel import NOT_FOUND, Refused
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.packing import INDEXED, Packing

logger = logging.getLogger("fast_channels.rabbitmq")

STEP_SECONDS: Final = 1.0
"""How long a server may be silent while a connection is made ready, before another is tried."""

MOST_ADDRESSES: Final = 16_384
"""Topics whose address is kept as AMQP has it."""


class Publisher:
    """Publishes over a link, and tells why it cannot while the server takes no messages."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        link: Link[Connection],
        exchange: str,
        max_payload: int,
        patience: float,
    ) -> None:
        self.link = link
        self.exchange_gone: Callable[[Exception], None] | None = None
        """Called when somebody has deleted the exchange, and all that was bound to it."""
        self._loop = loop
        self._exchange = exchange
        self._max_payload = max_payload
        self._patience = patience
        """Seconds that a send waits for a server that takes no messages."""
        self._addresses: dict[str, bytes] = {}
        self._packing = Packing()
        self._unblocked: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        link.prepare = self._prepare

    async def publish(self, publications: Sequence[Publication]) -> None:
        """The server has the publications; ``PublishFailed`` names those that it refuses."""
        if not publications:
            return
        connection = self.link.connection
        if connection is None or connection.blocked:
            connection = await self.ready()
        channel = connection.first
        publishing = channel.publishing()
        count, together = len(publications), True
        measured = count > 1 and connection.release < INDEXED
        if measured:
            together = self._packing.together(count)
        tags: dict[int, range] = {}
        errors: dict[int, Exception] = {}
        data: list[bytes] = []
        limit, addresses = self._max_payload, self._addresses
        most = MOST_TOPICS if together else 1
        for part in split(publications, limit, most) if count > 1 else _ALONE:
            some = publications[part.start : part.stop]
            key, properties, body = pack(some)
            if len(body) > limit:
                errors[part.start] = MessageTooLarge(
                    f"{len(some[0].payload)} bytes were published, and max_payload is {limit}"
                )
                continue
            address = addresses.get(key) or self._address(key)
            tag, message = channel.message(publishing, address, properties, body)
            tags[tag] = part
            data.append(message)
        if data:
            connection.write(b"".join(data))
            began = self._loop.time()
            try:
                await publishing.done
            except BackendUnavailable:
                measured = False
                raise
            finally:
                if measured:  # also what took longer than its senders could wait
                    self._packing.took(count, together, self._loop.time() - began)
        for tag in publishing.nacked:
            for index in tags[tag]:
                errors[index] = BackendUnavailable(f"{connection.name} could not take the message")
        if errors:
            raise PublishFailed(errors)

    async def ready(self) -> Connection:
        """Return the connection, when the server takes messages.

        Raises ``BackendUnavailable`` that says why it does not.
        """
        connection = self.link.connection or await self.link.ready()
        if connection.blocked:
            waiter = self._loop.create_future()
            self._unblocked.add(waiter)
            timer = self._loop.call_later(self._patience, _resolve, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._unblocked.discard(waiter)
            if connection.blocked:
                raise BackendUnavailable(f"{_alarm(connection)}; nothing was sent")
            connection = self.link.connection or await self.link.ready()
        return connection

    def close(self) -> None:
        """No timer is left."""
        if self._timer is not None:
            self._timer.cancel()

    async def _prepare(self, connection: Connection) -> None:
        """The exchange is there, and the server will confirm what it gets."""
        channel = connection.channel()
        await answered(
            channel.ask(declare_exchange(self._exchange), commands.Confirm.Select()), connection
        )
        channel.on_ended = lambda cause: self._ended(connection, cause)
        connection.on_blocked = self._blocked

    def _ended(self, connection: Connection, cause: Exception) -> None:
        connection.abort(cause)
        if isinstance(cause, Refused) and cause.code == NOT_FOUND and self.exchange_gone:
            self.exchange_gone(cause)

    def _blocked(self, connection: Connection) -> None:
        """The server takes no more messages, or takes them again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if connection.blocked:
            logger.warning("%s", _alarm(connection))
            self._timer = self._loop.call_later(self._patience, self._give_up, connection)
        else:
            logger.warning("%s takes messages again", connection.name)
            for waiter in self._unblocked:
                _resolve(waiter)

    def _give_up(self, connection: Connection) -> None:
        """Who waits for a confirm since before that is told."""
        cause = BackendUnavailable(f"{_alarm(connection)}{DELAYED}")
        for channel in connection.channels.values():
            channel.fail_publishings(cause)

    def _address(self, key: str) -> bytes:
        if len(self._addresses) >= MOST_ADDRESSES:
            self._addresses.clear()
        address = self._addresses[key] = address_of(self._exchange, key)
        return address


async def answered(
    reply: "asyncio.Future[Any]", connection: Connection, seconds: float = STEP_SECONDS
) -> Any:
    """Return the answer; raises ``BackendUnavailable`` when it does not come in time."""
    try:
        async with asyncio.timeout(seconds):
            return await reply
    except TimeoutError:
        raise BackendUnavailable(f"{connection.name} does not answer") from None


async def asked(connection: Connection, *methods: Frame, seconds: float) -> Any:
    """Return the answer to the last method, on a channel that a refusal may end."""
    channel = connection.channel()
    try:
        return await answered(channel.ask(*methods), connection, seconds)
    finally:
        channel.close()


def declare_exchange(name: str) -> commands.Exchange.Declare:
    """Return the request for the exchange of the groups."""
    return commands.Exchange.Declare(0, name, "direct", False, True)


def address_of(exchange: str, key: str, *, mandatory: bool = False) -> bytes:
    """Return where a message goes, as basic.publish has it."""
    return short_string(exchange) + short_string(key) + (b"\x01" if mandatory else b"\x00")


def _alarm(connection: Connection) -> str:
    return f"{connection.name} takes no messages: {connection.blocked}"


def _resolve(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


DELAYED: Final = "; the message was perhaps sent, and then comes when it takes messages again"
_ALONE: Final = (range(1),)

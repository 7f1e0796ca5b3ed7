"""The worker queues that exist, known to the server: AMQP lists none.

Who makes a queue writes its name into a queue of names first, so that ``clear`` finds the queues
of every process. A queue that exists is used as it is, whoever made it with whatever options.
"""

from contextlib import suppress
from typing import Any, Final

from pamqp import commands

from fast_channels_rabbitmq.channel import (
    NOT_FOUND,
    PRECONDITION_FAILED,
    Channel,
    Delivery,
    Publishing,
    Refused,
)
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.expired import Expired
from fast_channels_rabbitmq.publisher import address_of, answered, asked

SECONDS: Final = 3.0
"""How long the server may take for one step: what it writes to a disk may be slow."""

PERSISTENT: Final = b"\x10\x00\x02"
"""The properties of a message that outlives the server."""


class Registry:
    """Makes queues, and finds those that were made."""

    def __init__(self, exchange: str, queue_type: str) -> None:
        self._exchange = exchange
        self._names = f"{exchange}.queues"
        self._type = queue_type
        self.expired = Expired(exchange)

    async def exists(self, connection: Connection, queue: str) -> bool:
        """Return whether there is a queue of that name."""
        try:
            await self._declare(connection, queue, None)
        except Refused as error:
            if error.code != NOT_FOUND:
                raise
            return False
        return True

    async def make(self, connection: Connection, queue: str, capacity: int) -> None:
        """The queue exists; raises ``Refused`` when the server does not allow it."""
        if await self.exists(connection, queue):
            return
        await self._note(connection, queue)
        arguments = self._arguments(connection)
        arguments |= {"x-max-length": capacity, "x-overflow": "reject-publish"}
        arguments |= self.expired.arguments
        try:
            await self._declare(connection, queue, arguments)
        except Refused as error:
            # Another process was faster, with other options.
            if error.code != PRECONDITION_FAILED or not await self.exists(connection, queue):
                raise
        else:
            await self._settle(connection, queue)

    async def waiting(self, connection: Connection, queue: str) -> int:
        """Return how many jobs wait in the queue, as far as the server knows by now."""
        return (await self._declare(connection, queue, None)).message_count or 0

    async def clear(self, connection: Connection, prefix: str) -> None:
        """Every queue that begins with ``prefix`` is empty; what is being worked on is not."""
        if not await self.exists(connection, self._names):
            return
        channel = connection.channel()
        try:
            noted = await self._noted(channel)
            names = dict.fromkeys(delivery.body.decode(errors="replace") for delivery in noted)
            for name in names:
                if name.startswith(prefix) and await self.exists(connection, name):
                    await answered(channel.ask(commands.Queue.Purge(0, name)), connection, SECONDS)
            # One note of each goes back.
            again = {delivery.body: delivery.tag for delivery in noted}
            for delivery in noted:
                if again[delivery.body] == delivery.tag:
                    channel.tell(commands.Basic.Nack(delivery.tag, requeue=True))
                else:
                    channel.tell(commands.Basic.Ack(delivery.tag))
        finally:
            channel.close()

    async def _noted(self, channel: Channel) -> list[Delivery]:
        noted: list[Delivery] = []
        while True:
            answer = await answered(
                channel.ask(commands.Basic.Get(0, self._names)), channel.connection, SECONDS
            )
            if not isinstance(answer, Delivery):
                return noted
            noted.append(answer)

    async def _note(self, connection: Connection, queue: str) -> None:
        if not await self.exists(connection, self._names):
            await self._declare(connection, self._names, self._arguments(connection))
        channel = connection.channel()
        try:
            await answered(channel.ask(commands.Confirm.Select()), connection, SECONDS)
            publishing: Publishing = channel.publishing()
            where = address_of("", self._names)
            connection.write(channel.message(publishing, where, PERSISTENT, queue.encode())[1])
            await answered(publishing.done, connection, SECONDS)
        finally:
            channel.close()

    async def _settle(self, connection: Connection, queue: str) -> None:
        """A server that is killed now knows the queue when it is started again.

        It writes down what it declares at once, and that this holds up to two seconds later: killed
        in between it takes it back, with the jobs that it has confirmed. Writing something more
        writes both. A binding will do, and so it is bound to the exchange for a moment.
        """
        with suppress(Refused):  # somebody has deleted the exchange, or allows us no more
            await asked(
                connection,
                commands.Queue.Bind(0, queue, self._exchange, queue),
                commands.Queue.Unbind(0, queue, self._exchange, queue),
                seconds=SECONDS,
            )

    def _arguments(self, connection: Connection) -> dict[str, Any]:
        arguments: dict[str, Any] = {"x-queue-type": self._type}
        if self._type == "quorum" and not str(connection.info.get("version")).startswith("3."):
            arguments["x-delivery-limit"] = -1  # else a job is lost that was given back 20 times
        return arguments

    async def _declare(
        self, connection: Connection, queue: str, arguments: dict[str, Any] | None
    ) -> commands.Queue.DeclareOk:
        """Declare it on a channel of its own, which ends when the server refuses; None: look."""
        declare = commands.Queue.Declare(
            0, queue, passive=arguments is None, durable=True, arguments=arguments or {}
        )
        answer: commands.Queue.DeclareOk = await asked(connection, declare, seconds=SECONDS)
        return answer

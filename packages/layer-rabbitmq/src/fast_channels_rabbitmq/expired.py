"""Jobs that nobody took in time.

The server moves them to one more queue, from which every process that uses worker queues of the
prefix reads: so each is counted once, somewhere.
"""

from typing import Any, Final

from pamqp import commands

from fast_channels_rabbitmq.channel import Channel, Delivery
from fast_channels_rabbitmq.connection import Connection

UNREAD: Final[dict[str, Any]] = {
    "x-queue-type": "classic",
    "x-max-length": 10_000,
    "x-max-length-bytes": 67_108_864,
    "x-overflow": "drop-head",
}
"""What waits there while no process is connected: more is not counted."""


class Expired:
    """Counts the expired jobs that come to this process."""

    def __init__(self, exchange: str) -> None:
        self.queue = f"{exchange}.expired"
        self.count = 0
        self._channel: Channel | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """What makes a worker queue move its expired jobs, and nothing else, to where we read."""
        return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.queue}

    def listen(self, connection: Connection) -> None:
        """What expires is counted while the connection lasts, or until the server refuses it."""
        if self._channel is not None and self._channel.connection is connection:
            return
        self._channel = channel = connection.channel()
        channel.on_delivery = self._came
        declare = commands.Queue.Declare(0, self.queue, durable=True, arguments=UNREAD)
        consume = commands.Basic.Consume(0, self.queue, "expired", no_ack=True)
        channel.order(declare, consume)

    def _came(self, _: Delivery) -> None:
        self.count += 1

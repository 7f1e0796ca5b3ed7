"""Whether our queue is still bound: seen by a message to ourselves through the exchange.

RabbitMQ tells nobody that the exchange was deleted, and all bindings with it. By the time that
somebody looks for it, another process may have made it anew: it is there, and leads to nobody.
"""

import asyncio
from typing import Final

from pamqp import commands
from pamqp.encode import short_string

from fast_channels.exceptions import BackendUnavailable
from fast_channels_rabbitmq.channel import ACCESS_REFUSED, NOT_FOUND, Channel, Publishing, Refused
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.publisher import Publisher, address_of
from fast_channels_rabbitmq.subscriber import Subscriber

SECONDS: Final = 3.0
"""Between two probes: for so long a process may hear nothing and not know it."""

MOST_SECONDS: Final = 60.0
"""Between two probes when they find one fault after another: nodes that have lost each other."""

MARK: Final = short_string("probe")
PROPERTIES: Final = b"\x00\x80" + MARK


class Probe:
    """Renews the connection that listens when its queue is bound to nothing any more."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        exchange: str,
        publisher: Publisher,
        subscriber: Subscriber,
    ) -> None:
        self._loop = loop
        self._exchange = exchange
        self._publisher = publisher
        self._subscriber = subscriber
        self._channel: Channel | None = None
        self._asked: asyncio.Future[None] | None = None
        self._seconds = SECONDS
        self._timer = loop.call_later(SECONDS, self._look)

    def close(self) -> None:
        """No timer is left."""
        self._timer.cancel()

    def _look(self) -> None:
        self._timer = self._loop.call_later(self._seconds, self._look)
        connection, queue = self._publisher.link.connection, self._subscriber.queue
        if connection is None or connection.blocked or queue is None:
            return
        if self._asked is not None and not self._asked.done():
            return
        channel = self._opened(connection)
        if channel.ended is not None:
            return
        publishing = channel.publishing(MARK)
        where = address_of(self._exchange, queue, mandatory=True)
        connection.write(channel.message(publishing, where, PROPERTIES, b"")[1])
        self._asked = publishing.done
        self._asked.add_done_callback(lambda _: self._answered(publishing, queue))

    def _opened(self, connection: Connection) -> Channel:
        """Return a channel of our own: what is refused here must not end what others publish.

        It stays as it is when the user may not publish.
        """
        channel = self._channel
        if channel is not None and channel.connection is connection:
            ended = channel.ended
            if ended is None or (isinstance(ended, Refused) and ended.code == ACCESS_REFUSED):
                return channel
        self._channel = channel = connection.channel()
        channel.order(commands.Confirm.Select())
        return channel

    def _answered(self, publishing: Publishing, queue: str) -> None:
        """A probe came back, or was confirmed: then it found our queue."""
        error = None if publishing.done.cancelled() else publishing.done.exception()
        gone = isinstance(error, Refused) and error.code == NOT_FOUND
        if gone or publishing.returned:
            if queue == self._subscriber.queue:  # it was not replaced meanwhile
                self._seconds = min(self._seconds * 2, MOST_SECONDS)
                said = "" if error is None else f": {error}"
                self._subscriber.link.renew(
                    BackendUnavailable(f"exchange {self._exchange!r} has lost our bindings{said}")
                )
        elif error is None:
            self._seconds = SECONDS

"""A connection whose handlers run in the contexts that travelled with their messages."""

from typing import Any

from fast_channels.consumer.connection import Connection
from fast_channels.consumer.kinds import adapt
from fast_channels.consumer.starting import MakeHandler
from fast_channels.layers import tracing
from fast_channels.layers.mailbox import Message


class TracedConnection(Connection):
    """Made in place of a ``Connection`` while messages carry contexts."""

    __slots__ = ()
    direct = False

    def _for_layer(self, message: Message) -> Any:
        return self._traced(super()._for_layer, message)

    def _for_event(self, event: Message) -> Any:
        return self._traced(super()._for_event, event)  # a worker's messages come as events

    def _traced(self, make: MakeHandler, message: Message) -> Any:
        context, active = tracing.context_of(message), tracing.active()
        if context is None or active is None:
            return make(message)
        return self._surrounded(make, message, active, context)

    async def _surrounded(
        self, make: MakeHandler, message: Message, active: tracing.Tracing, context: tracing.Context
    ) -> None:
        with active.handling(context, message, self.consumer):
            await adapt(self.consumer, make(message), message)


def connection_class() -> type[Connection]:
    """Return what serves the connections that open now."""
    return Connection if tracing.active() is None else TracedConnection

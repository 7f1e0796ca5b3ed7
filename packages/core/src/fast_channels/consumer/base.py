"""The base of every consumer: an ASGI application, one instance per connection."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import Any, ClassVar, Final, cast

from fast_channels.consumer.connection import Connection
from fast_channels.consumer.drain import refuses
from fast_channels.consumer.farewell import turn_away
from fast_channels.consumer.handlers import (
    check_methods,
    client_handlers,
    framework,
    get_handler_name,
    layer_handlers,
)
from fast_channels.consumer.in_thread import HandlerThread
from fast_channels.consumer.traced import connection_class
from fast_channels.exceptions import StopConsumer
from fast_channels.layers import events
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.layers.channel import LocalChannel
from fast_channels.layers.counters import Counters, LossReport
from fast_channels.layers.mailbox import Mailbox
from fast_channels.layers.options import LayerOptions
from fast_channels.layers.registry import channel_layers
from fast_channels.type_defs import (
    ASGIReceiveCallable,
    ASGISendCallable,
    ChannelMessage,
    ChannelScope,
)

__all__ = ["AsyncConsumer", "ConsumerApplication", "SyncConsumer", "get_handler_name"]

_OURS: Final = "fast_channels.consumer"
"""The modules of our own classes."""


class ConsumerApplication:
    """An ASGI application that serves each connection by a consumer of its own.

    An object, not a function: Starlette's ``WebSocketRoute`` calls a function as an endpoint.
    """

    def __init__(self, consumer_class: "type[AsyncConsumer]", initkwargs: dict[str, Any]) -> None:
        self.consumer_class = consumer_class
        self.consumer_initkwargs = initkwargs

    async def __call__(
        self, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Serve one connection."""
        await self.consumer_class(**self.consumer_initkwargs)(scope, receive, send)

    def __repr__(self) -> str:
        return f"<{self.consumer_class.__name__} as an ASGI application>"


@framework
class AsyncConsumer:
    """Calls one method per event: the client's, and the messages of a channel layer.

    A message ``{"type": "chat.message"}`` reaches the method ``chat_message``. From a layer only
    methods that the application declares are reachable. Handlers of one consumer never run at the
    same time, and see events in order.
    """

    channel_layer_alias: str | None = "default"
    """Which registered layer to use; None: none. An alias set here must be registered."""

    cancel_on_disconnect: bool = False
    """Cancel a running handler when the client goes, rather than let it finish."""

    serves: ClassVar[str | None] = None
    """The type of scope that the consumer is for; None: any but ``lifespan``."""

    names_groups: ClassVar[bool] = False
    """Every message of a group has the attribute ``group``, also where nothing is kept."""

    overrides_dispatch: ClassVar[bool] = False
    """True where every message goes through ``dispatch``: a subclass has its own, or is sync."""

    scope: ChannelScope
    channel_layer: Any
    channel_name: str
    base_send: ASGISendCallable
    _served_connection: Connection

    def __init__(self, **initkwargs: Any) -> None:
        """Set attributes that the class has; ``TypeError`` for any other keyword."""
        for name, value in initkwargs.items():
            if name.startswith("_") or not hasattr(type(self), name):
                raise TypeError(
                    f"{type(self).__name__} has no attribute {name!r} to set; declare it in the "
                    "class, or take it in __init__"
                )
            setattr(self, name, value)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ours = AsyncConsumer
        cls.overrides_dispatch = (
            cls.dispatch is not ours.dispatch or cls.run_handler is not ours.run_handler
        )
        if not cls.__module__.startswith(_OURS):
            check_methods(cls)

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> ConsumerApplication:
        """Return an ASGI application; every connection gets ``cls(**initkwargs)``."""
        return ConsumerApplication(cls, initkwargs)

    async def __call__(
        self, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Serve the connection until it ends; an exception of a handler comes out here.

        A scope of another type is refused: ``ValueError``, which a server takes for "no lifespan".
        """
        kind = scope.get("type")
        if kind == "lifespan" or self.serves not in (None, kind):
            await self.refuse(scope, send)
            return
        if kind == "websocket" and refuses():
            await turn_away(scope, send)
            return
        self.scope = scope
        self.base_send = send
        self.channel_layer = layer = self._find_layer()
        channel: Any = nullcontext()
        if isinstance(layer, BaseChannelLayer) and _lends_mailboxes(type(layer)):
            # CPython keeps attributes small and fast if the first instances of a class set them
            # all; many more may be made while this one waits for the layer to open.
            self.channel_name = ""
            self._served_connection = cast("Connection", None)
            channel = layer.channel(make=self._make_connection)
        async with channel:
            await self._serve(channel, receive)

    async def dispatch(self, message: ChannelMessage) -> None:
        """Call the method for the message; ``ValueError`` if there is none.

        A subclass may override this; it then gets every event and message that may reach it.
        """
        get_handler_name(message)
        kind: str = message["type"]
        find = client_handlers if kind.startswith(("websocket.", "http.")) else layer_handlers
        name = find(type(self))[kind]
        if name is None:
            await self.unknown_message(message)
        else:
            await self.run_handler(getattr(self, name), message)

    async def send(self, message: ChannelMessage) -> None:
        """The ASGI server has the message."""
        await self.base_send(message)

    async def channels_gap(self, message: ChannelMessage) -> None:
        """Messages of ``message["group"]`` may have been missed; override to re-synchronise."""

    async def on_error(self, exception: Exception, message: ChannelMessage) -> None:
        """A handler raised ``exception`` at ``message``.

        Raising here ends the connection (a socket is closed with 1011), returning keeps it. By
        default it is raised: the ASGI server logs it.
        """
        raise exception

    async def channel_receive(self) -> ChannelMessage:
        """Wait for the channel's next message, past the handlers (as upstream's attribute)."""
        message: ChannelMessage = await self.channel_layer.receive(self.channel_name)
        return message

    # --- for subclasses of this package -------------------------------------------------------

    async def refuse(self, scope: ChannelScope, send: ASGISendCallable) -> None:
        """Raise ``ValueError``: the consumer is not for such a scope."""
        raise ValueError(
            f"{type(self).__name__} does not serve scopes of type {scope.get('type')!r}"
        )

    async def unknown_message(self, message: ChannelMessage) -> None:
        """Raise ``ValueError``: no handler is declared for the message."""
        raise ValueError(
            f"{type(self).__name__} has no handler for message type {message.get('type')!r}"
        )

    async def pass_on(self, message: ChannelMessage) -> None:
        """Send a layer's ``websocket.send`` or ``websocket.close`` to the client as it is."""
        await self.base_send(message)

    def run_handler(self, handler: Callable[..., Any], *arguments: Any) -> Any:
        """Return what to await so that the handler runs: here, what it returns itself."""
        return handler(*arguments)

    def interrupt_handler(self) -> bool:
        """The running handler was interrupted, unless it has to be cancelled (False)."""
        return False

    def client_left(self) -> None:
        """Nothing can be sent any more; a handler may still run, and ``disconnect`` comes later."""

    async def hang_up(self, code: int) -> None:
        """Close what is open towards the client."""

    def farewell(self, code: int) -> dict[str, Any] | None:
        """Return the event by which the consumer learns that this side ended the connection."""
        return None

    # --- inside -------------------------------------------------------------------------------

    def _find_layer(self) -> Any:
        alias = self.channel_layer_alias
        if alias is None:
            return None
        if alias == "default" and "channel_layer_alias" not in _declared(type(self)):
            return channel_layers.get(alias)
        return channel_layers.require(alias)

    def _make_connection(self, name: str, options: LayerOptions, losses: LossReport) -> Mailbox:
        self.channel_name = name
        return connection_class()(self, name, options, losses)

    async def _serve(self, channel: LocalChannel | None, receive: ASGIReceiveCallable) -> None:
        loop = asyncio.get_running_loop()
        end_channel: Callable[[], None] | None = None
        pump: Coroutine[Any, Any, None] | None = None
        if isinstance(channel, LocalChannel):
            connection = channel.mailbox
            assert isinstance(connection, Connection)
            self._served_connection = connection
            end_channel = channel.end
        else:
            losses = LossReport(loop, self.channel_layer, Counters())
            self._served_connection = connection = Connection(self, "", LayerOptions(), losses)
            if self.channel_layer is not None:
                self.channel_name = await self.channel_layer.new_channel()
                pump = connection.pump(self.channel_receive)
        events.emit("consumer_started", consumer=self)
        tasks = [loop.create_task(connection.read(receive))]
        if pump is not None:
            tasks.append(loop.create_task(pump))
        for task in tasks:
            task.add_done_callback(connection.source_ended)
        cause: BaseException | None = None
        try:
            await connection.run(end_channel)
        except StopConsumer:
            pass
        except BaseException as error:
            cause = error
            raise
        finally:
            for task in tasks:
                task.cancel()
            try:
                await connection.finish(cause)
            finally:
                await asyncio.wait(tasks)
                if isinstance(cause, Exception):
                    events.emit("consumer_failed", consumer=self, exception=cause)
                events.emit("consumer_finished", consumer=self)


@framework
class SyncConsumer(AsyncConsumer):
    """As ``AsyncConsumer``, with handlers that are plain functions and run in threads.

    Its handlers run one after the other, those of different consumers at the same time, in a pool
    of at most ``FAST_CHANNELS_THREADS`` threads (an environment variable; 40). Context variables
    are carried into the thread and back. In a handler call ``async_to_sync(layer.group_send)``: it
    runs in the server's event loop.

    A thread cannot be cancelled. When the client leaves, its handler finishes, then ``disconnect``
    runs. ``cancel_on_disconnect``, and an overflow that cuts a slow client off, do not stop a
    handler either, but ``send`` raises ``asyncio.CancelledError`` in it from then on.
    """

    finish_timeout: float = 10.0
    """Seconds that a handler may go on after the server has cancelled its connection.

    After that it is left behind, and ``disconnect`` is not called.
    """

    async def __call__(
        self, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Serve the connection until it ends; an exception of a handler comes out here."""
        self._handler_thread = HandlerThread(self.finish_timeout)
        try:
            await super().__call__(scope, receive, self._handler_thread.callable_anywhere(send))
        finally:
            await self._handler_thread.close()

    def send(self, message: ChannelMessage) -> None:  # type: ignore[override]  # upstream's
        """The ASGI server has the message.

        If the client does not read, up to 16 messages wait without their handler.
        """
        self._handler_thread.send(AsyncConsumer.send(self, message))

    def channels_gap(self, message: ChannelMessage) -> None:  # type: ignore[override]  # plain
        """Messages of ``message["group"]`` may have been missed; override to re-synchronise."""

    def on_error(  # type: ignore[override]  # plain
        self, exception: Exception, message: ChannelMessage
    ) -> None:
        """A handler raised ``exception`` at ``message``; raise it to end the connection."""
        raise exception

    def run_handler(self, handler: Callable[..., Any], *arguments: Any) -> Any:
        """Return what to await so that the handler runs in a thread."""
        return self._handler_thread.run(handler, *arguments)

    def interrupt_handler(self) -> bool:
        """A handler in a thread cannot send any more; False if none runs there."""
        return self._handler_thread.interrupt()


def _lends_mailboxes(layer: type[BaseChannelLayer]) -> bool:
    """False for a layer that overrides upstream's methods, and may have no backend."""
    ours = BaseChannelLayer
    return layer.receive is ours.receive and layer.new_channel is ours.new_channel


def _declared(cls: type) -> set[str]:
    """Names that the application's classes declare, rather than ours."""
    return {name for k in cls.__mro__ if not k.__module__.startswith(_OURS) for name in vars(k)}

"""One consumer's events: the client's and the layer's, in one queue, handled one at a time.

Two tasks serve a connection: the server's own (main) and a reader. Main is parked while there is
nothing to do; an event that finds it parked starts its handler in place (``in_place``), every other
event queues. Laws: never two handlers of one consumer at a time; events in order; an exception ends
this connection only.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from fast_channels.consumer import farewell
from fast_channels.consumer.handlers import GAP, PASSED_ON, client_handlers, layer_handlers
from fast_channels.consumer.in_place import InContext, Parking
from fast_channels.consumer.kinds import adapt
from fast_channels.consumer.starting import MakeHandler, Starting
from fast_channels.exceptions import StopConsumer
from fast_channels.layers.counters import LossReport
from fast_channels.layers.mailbox import Message, Unread
from fast_channels.layers.options import LayerOptions

if TYPE_CHECKING:
    from fast_channels.consumer.base import AsyncConsumer

READ_AHEAD: Final = 16
"""Client events that wait in the queue at most; then the server's socket holds the rest back."""

CLIENT: Final = float("-inf")
"""Marks a queued client event in place of its arrival (by identity): outside capacity and age."""

_FAREWELLS: Final = frozenset({"websocket.disconnect", "http.disconnect"})
_LAST: Final = _FAREWELLS | {farewell.ENDED}


class Connection(Starting):
    """The mailbox of a consumer's channel, and the events of its client."""

    __slots__ = (
        "_client_handlers",
        "_cut",
        "_dispatches",
        "_end_channel",
        "_failure",
        "_read_ahead",
        "_room",
        "code",
        "gone",
        "told",
    )

    def __init__(
        self,
        consumer: "AsyncConsumer",
        name: str,
        options: LayerOptions,
        losses: LossReport,
    ) -> None:
        super().__init__(consumer, name, options, losses)
        self.gone = False
        """The client has left, or is being cut off."""
        self.told = False
        """The consumer was told that the connection is over."""
        self.code: int | None = None
        """The close code of a connection that this side ends."""
        self._end_channel: Callable[[], None] | None = None
        find = layer_handlers if consumer.scope["type"] == "channel" else client_handlers
        self._client_handlers = find(type(consumer))  # a worker's events are a layer's messages
        self._dispatches = consumer.overrides_dispatch
        self._cut = False
        self._failure: Exception | None = None
        self._read_ahead = 0
        self._room: asyncio.Event | None = None

    # --- what arrives -------------------------------------------------------------------------

    def put_all(self, unread: Sequence[Unread], size: int) -> int:
        """Take messages together while main, which is not parked, will come to them by itself."""
        return 0 if self._parked is not None else super().put_all(unread, size)

    def put_gap(self, message: Message) -> None:
        """Take a gap message; main handles it before everything that comes later."""
        super().put_gap(message)
        self._wake_main()

    def overflown(self) -> None:
        """The client is cut off with 1013."""
        self.cut_off(farewell.OVERFLOW)

    def cut_off(self, code: int) -> None:
        """The client is cut off, whatever its handler waits for."""
        self.leave()
        self.tell(farewell.ended(code))
        self._interrupt()

    def close(self, reason: Exception | None = None) -> None:
        """Nothing of the layer arrives any more; the client is still served."""
        self.closed = self.closed or reason

    def clear(self) -> None:
        """Unread messages of the layer are gone; the client's events stay."""
        client = [unread for unread in self.queue if unread[1] is CLIENT]
        self.queue.clear()
        self.queue.extend(client)
        self._bytes = 0
        self.expect_nothing()
        self._gaps = len(client)

    async def read(self, receive: Callable[[], Awaitable[Any]]) -> None:
        """Pass the client's events on until it leaves; at most ``READ_AHEAD`` wait."""
        reader = asyncio.current_task()
        while True:
            event = await receive()
            if event["type"] in _FAREWELLS:
                self._client_left(event)
                return
            if self._ready:
                self._start(self._for_event, event, reader)
                continue
            self.tell(event)
            while self._read_ahead >= READ_AHEAD:
                await self._wait_for_room()

    async def pump(self, receive: Callable[[], Awaitable[Any]]) -> None:
        """Pass on the messages of a layer that has nothing but ``receive``."""
        while True:
            message = await receive()
            self.loop.call_soon(self.put, (dict[str, Any](message).copy, time.monotonic(), 0))
            await asyncio.sleep(0)
            while len(self.queue) >= READ_AHEAD:
                await self._wait_for_room()

    def source_ended(self, source: "asyncio.Task[None]") -> None:
        """What ``read`` or ``pump`` raised ends the connection."""
        error = None if source.cancelled() else source.exception()
        if isinstance(error, Exception):
            self._failure = error
            self._wake_main()

    # --- main ---------------------------------------------------------------------------------

    async def run(self, end_channel: Callable[[], None] | None) -> None:
        """Handle events until the connection is over; raises what ended it."""
        self._end_channel = end_channel
        while True:
            while self.queue:
                copy, arrived, size = self.queue.popleft()
                if not self.taken(arrived, size):
                    continue
                message = copy()
                make: MakeHandler = self._for_layer
                if arrived is CLIENT:
                    self._read_ahead -= 1
                    make = self._for_client
                if self._room is not None:
                    self._room.set()
                handler = self._handle(make, message)
                await self._finish(InContext(handler, self._context), message)
                if self.told:
                    return
            if self._failure is not None:
                raise self._failure
            await self._park()

    async def finish(self, cause: BaseException | None) -> None:
        """Every membership is over, the socket is closed, and the consumer was told, once."""
        gone = self.gone
        self.leave()
        code = self.code or farewell.close_code(cause)
        if not self.told:
            self.told = True
            if not gone or self.code is not None:
                await farewell.hang_up(self.consumer, code)
            await farewell.say_farewell(self.consumer, code, cause, self._context)

    # --- inside -------------------------------------------------------------------------------

    async def _park(self) -> None:
        """Wait until there is something to do; finish a handler that was begun meanwhile."""
        self._parked = Parking(self.loop, self._unpark)
        self._ready = self._in_place
        cancelled: asyncio.CancelledError | None = None
        try:
            await self._parked
        except asyncio.CancelledError as error:
            cancelled = error
        handover, self._handover = self._handover, None
        if handover is None:
            if cancelled is not None:
                raise cancelled
            return
        rest, message = handover
        if isinstance(rest, BaseException):
            self._running = False
            if cancelled is not None and self._was_cut():
                cancelled = None
            await self._failed(rest, message)
        else:
            if cancelled is not None:
                rest.cancel(cancelled)
            await self._finish(rest, message)
            return
        if cancelled is not None:
            raise cancelled

    async def _finish(self, rest: Awaitable[None], message: Message) -> None:
        """Run a handler to its end."""
        self._running = True
        try:
            await rest
        except asyncio.CancelledError:
            if not self._was_cut():
                raise
        except Exception as error:
            self._was_cut()
            self._running = False
            await self._failed(error, message)
        else:
            self._was_cut()
        finally:
            self._running = False

    def _was_cut(self) -> bool:
        """True if the handler was cancelled because its client left, and for no other reason."""
        if not self._cut:
            return False
        self._cut = False
        return self._main.uncancel() == 0

    async def _failed(self, error: BaseException, message: Message) -> None:
        """Ask ``on_error``, which is cut off as a handler is."""
        if not isinstance(error, Exception) or isinstance(error, StopConsumer):
            raise error
        self._running = True
        try:
            handler = self.consumer.run_handler(self.consumer.on_error, error, message)
            await InContext(handler, self._context)
        except asyncio.CancelledError:
            if not self._was_cut():
                raise
        finally:
            self._running = False
            self._was_cut()

    def _client_left(self, event: Message) -> None:
        """End every membership at once; the rest waits for the running handler, or cancels it."""
        self.leave()
        self.consumer.client_left()
        self.tell(event)
        if self.consumer.cancel_on_disconnect:
            self._interrupt()

    def leave(self) -> None:
        """Every membership is over, and what was not handled is gone."""
        if self._end_channel is not None:
            self._end_channel()
            self._end_channel = None
        self.gone = True
        self.queue.clear()
        self._bytes = self._gaps = self._read_ahead = 0

    def _interrupt(self) -> None:
        """Cancel the running handler, but not the task."""
        if self._running and not self._cut and not self.consumer.interrupt_handler():
            self._cut = True
            self._main.cancel()

    def tell(self, event: Message) -> None:
        """Queue an event of the client, or one that the consumer sends to itself."""
        self.queue.append((lambda: event, CLIENT, 0))
        self._gaps += 1
        self._read_ahead += 1
        self._wake_main()

    async def _wait_for_room(self) -> None:
        if self._room is None:
            self._room = asyncio.Event()
        self._room.clear()
        await self._room.wait()

    def _for_client(self, event: Message) -> Any:
        if event["type"] in _LAST:
            if event["type"] == farewell.ENDED:
                return self._end(event["code"])
            self.told = True
            if self._client_handlers[event["type"]] is None and not self._dispatches:
                return _raise(StopConsumer())
        return self._for_event(event)

    def _for_event(self, event: Message) -> Any:
        consumer = self.consumer
        name = self._client_handlers[event["type"]]
        if self._dispatches:
            name = "dispatch"
        return getattr(consumer, name or "unknown_message")(event)

    def _for_layer(self, message: Message) -> Any:
        consumer, kind = self.consumer, message["type"]
        name = self._layer_handlers[kind]
        if name is None:
            return (consumer.pass_on if kind in PASSED_ON else consumer.unknown_message)(message)
        if self._dispatches:
            if kind == GAP:
                return consumer.run_handler(consumer.channels_gap, message)
            return consumer.dispatch(message)
        return getattr(consumer, name)(message)

    async def _end(self, code: int) -> None:
        self.code = code
        raise StopConsumer

    async def _handle(self, make: MakeHandler, message: Message) -> None:
        await adapt(self.consumer, make(message), message)


async def _raise(error: Exception) -> None:
    raise error

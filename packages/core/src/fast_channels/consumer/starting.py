"""Handlers that start at once, where their message arrives, while the consumer's task is parked.

Law: at most one handler of a consumer at a time; what suspends or raises is the task's to finish.
"""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ClassVar

from fast_channels.consumer import in_place
from fast_channels.consumer.handlers import NoHandlers, layer_handlers
from fast_channels.consumer.in_place import (
    ENDED,
    Suspended,
    enter_task,
    leave_task,
    new_runner,
    put_back,
    start,
    take_runner,
)
from fast_channels.consumer.kinds import adapt
from fast_channels.layers.counters import LossReport
from fast_channels.layers.mailbox import Mailbox, Message, Unread
from fast_channels.layers.options import LayerOptions

if TYPE_CHECKING:
    from fast_channels.consumer.base import AsyncConsumer

MakeHandler = Callable[[Message], Any]


class Starting(Mailbox):
    """The mailbox of a consumer, whose task (main) parks itself when it has nothing to do."""

    __slots__ = (
        "_context",
        "_direct",
        "_handover",
        "_in_place",
        "_layer_handlers",
        "_main",
        "_parked",
        "_ready",
        "_running",
        "consumer",
        "loop",
    )

    direct: ClassVar[bool] = True
    """A handler is called with its message, and nothing around it."""

    def __init__(
        self,
        consumer: "AsyncConsumer",
        name: str,
        options: LayerOptions,
        losses: LossReport,
    ) -> None:
        super().__init__(name, options, losses)
        self.consumer = consumer
        self.names_groups = consumer.names_groups
        self.loop = asyncio.get_running_loop()
        self._layer_handlers = layer_handlers(type(consumer))
        direct = self.direct and not consumer.overrides_dispatch
        self._direct = self._layer_handlers if direct else NoHandlers()
        self._in_place = in_place.enabled()
        self._context = copy_context()
        self._main = in_place.serving_task()
        self._parked: asyncio.Future[None] | None = None
        """What main waits for, until something wakes it."""
        self._ready = False
        """Main waits, nothing is queued, and handlers start in place."""
        self._handover: tuple[Suspended | BaseException, Message] | None = None
        self._running = False

    def put(self, unread: Unread) -> bool:
        """Handle a message of the layer at once if main is parked, else take it as any mailbox.

        The hub calls this while no task runs.
        """
        if not self._ready:
            if not super().put(unread):
                return False
            self._wake_main()
            return True
        # As _start, without the calls: this is the hot path.
        message = unread[0]()
        loop, main = self.loop, self._main
        try:
            name = self._direct[message["type"]]
            if name is not None:
                handler = getattr(self.consumer, name)(message)
            else:
                handler = self._for_layer(message)
            if handler.__class__ is not CoroutineType:
                handler = adapt(self.consumer, handler, message)
            try:
                run = take_runner()
            except IndexError:
                run = new_runner()
            enter_task(loop, main)
            try:
                waits_for = self._context.run(run, handler)
            finally:
                leave_task(loop, main)
        except BaseException as error:
            self._to_main(error, message)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            return True
        if waits_for is ENDED:
            put_back(run)
        else:
            self._to_main(Suspended(run, self._context, waits_for), message)
        return True

    def _start(
        self, make: MakeHandler, message: Message, current: "asyncio.Task[Any] | None"
    ) -> None:
        """Start the handler in main's name; main, which is parked, finishes what suspends."""
        try:
            handler = make(message)
            if handler.__class__ is not CoroutineType:
                handler = adapt(self.consumer, handler, message)
            rest = start(handler, self._context, self._main, current, self.loop)
        except BaseException as error:
            self._to_main(error, message)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            return
        if rest is not None:
            self._to_main(rest, message)

    def _to_main(self, rest: Suspended | BaseException, message: Message) -> None:
        self._handover = rest, message
        self._running = True
        self._wake_main()

    def _wake_main(self) -> None:
        parked = self._unpark()
        if parked is not None:
            parked.set_result(None)

    def _unpark(self) -> "asyncio.Future[None] | None":
        """Main wakes in this turn or the next; return what it waits for, if nothing woke it yet."""
        parked, self._parked, self._ready = self._parked, None, False
        return parked

    def _for_layer(self, message: Message) -> Any:
        """Return what to await so that the message is handled."""
        raise NotImplementedError

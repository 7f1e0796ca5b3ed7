"""Mutants that open, deliver or close wrongly, keep what they should let go of, or tell secrets."""

import asyncio
import logging
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from fast_channels.layers import Inbox, Publication

from .breakable import PASSWORD, BreakableBackend
from .subject import caught_by, later

logger = logging.getLogger(__name__)


# --- the inbox --------------------------------------------------------------------------------


class OtherInbox(BreakableBackend):
    """Calls the inbox itself."""

    inbox: Inbox

    async def open(self, inbox: Inbox, /) -> None:
        await super().open(inbox)
        self.inbox = inbox


@caught_by("test_the_inbox_is_called_on_the_opening_loop_and_never_inside_publish")
class OtherThread(OtherInbox):
    """Delivers in a thread."""

    def arrive(self, publication: Publication) -> None:
        thread = threading.Thread(target=self.inbox.deliver, args=publication)
        thread.start()
        thread.join()
        later(0, lambda: None)


@caught_by("test_the_inbox_is_called_on_the_opening_loop_and_never_inside_publish")
class InsidePublish(OtherInbox):
    """Delivers to itself while it publishes."""

    async def publish(self, publications: Sequence[Publication], /) -> None:
        await self.round_trip()
        for topic, payload in publications:
            if topic in self.topics:
                self.inbox.deliver(topic, payload)
        own = self.topics & {topic for topic, _ in publications}
        self.broker.unsubscribe(self, own)
        await super().publish(publications)
        self.broker.subscribe(self, own)


@caught_by("test_after_unsubscribe_returns_nothing_is_delivered")
class DeliversWhatWasUnderWay(OtherInbox):
    """Delivers, after it has unsubscribed, what the broker had sent before."""

    def arrive(self, publication: Publication) -> None:
        if publication.topic in self.topics:
            later(0.002, self.inbox.deliver, *publication)


# --- opening and closing ----------------------------------------------------------------------


@caught_by("test_closing_leaves_no_task_thread_or_socket")
class LeavesTask(BreakableBackend):
    """Its heart beats on."""

    async def open(self, inbox: Inbox, /) -> None:
        await super().open(inbox)
        self.heart = asyncio.create_task(asyncio.sleep(0.05))


@caught_by("test_closing_leaves_no_task_thread_or_socket")
class CancelsWithoutAwaiting(BreakableBackend):
    """Cancels its task, which has not ended when close returns."""

    async def open(self, inbox: Inbox, /) -> None:
        await super().open(inbox)
        self.heart = asyncio.create_task(asyncio.sleep(60))

    async def close(self) -> None:
        await super().close()
        if hasattr(self, "heart"):
            self.heart.cancel()


@caught_by("test_closing_leaves_no_task_thread_or_socket")
class LeavesThread(BreakableBackend):
    """A thread looks on for a while."""

    async def open(self, inbox: Inbox, /) -> None:
        await super().open(inbox)
        self.end = threading.Event()
        self.thread = threading.Thread(target=self.end.wait, args=(0.3,), daemon=True)
        self.thread.start()


class WithSocket(BreakableBackend):
    """Holds a socket while it is open."""

    sockets: tuple[socket.socket, ...] = ()

    async def open(self, inbox: Inbox, /) -> None:
        await super().open(inbox)
        self.sockets = socket.socketpair()

    def hang_up(self) -> None:
        for each in self.sockets:
            each.close()


@caught_by("test_closing_leaves_no_task_thread_or_socket")
class LeavesSocket(WithSocket):
    """Closes its socket some time later."""

    async def close(self) -> None:
        await super().close()
        later(0.005, self.hang_up)


@caught_by("test_closing_again_does_nothing")
class ClosesOnce(BreakableBackend):
    """Uses, the second time, what it let go of the first time."""

    parts: Any = ()

    async def close(self) -> None:
        list(self.parts)
        await super().close()
        self.parts = None


@caught_by("test_concurrent_closes_all_wait_until_it_is_closed")
class SecondCloseDoesNotWait(WithSocket):
    """The second close sees a flag and returns."""

    closing = False

    async def close(self) -> None:
        if self.closing:
            return
        self.closing = True
        try:
            await asyncio.sleep(0.001)
            await super().close()
        finally:
            self.hang_up()


@caught_by("test_a_backend_that_was_never_opened_can_be_closed")
class ClosesWhatOpenMade(BreakableBackend):
    """Needs what only open makes."""

    async def open(self, inbox: Inbox, /) -> None:
        self.reader = asyncio.Event()
        await super().open(inbox)

    async def close(self) -> None:
        self.reader.set()
        await super().close()


@caught_by("test_a_half_opened_backend_can_be_closed")
class LosesItsTask(BreakableBackend):
    """Stores its task after an await."""

    heart: asyncio.Task[None] | None = None

    async def open(self, inbox: Inbox, /) -> None:
        heart = asyncio.create_task(asyncio.sleep(0.05))
        try:
            await super().open(inbox)
        except Exception:
            heart.cancel()
            await asyncio.wait([heart])
            raise
        self.heart = heart

    async def close(self) -> None:
        await super().close()
        if self.heart is not None:
            self.heart.cancel()
            await asyncio.wait([self.heart])


@caught_by("test_a_cancelled_close_can_be_repeated")
class ClosedByFlag(BreakableBackend):
    """Says closed before everything is."""

    heart: asyncio.Task[None] | None = None

    async def open(self, inbox: Inbox, /) -> None:
        await super().open(inbox)
        self.heart = asyncio.create_task(asyncio.sleep(0.05))

    async def close(self) -> None:
        heart, self.heart = self.heart, None
        await super().close()
        if heart is not None:
            await asyncio.sleep(0)
            heart.cancel()
            await asyncio.wait([heart])


@caught_by("test_calls_under_way_end_when_the_backend_is_closed")
class CallersWait(BreakableBackend):
    """Close ends the task that would have answered."""

    async def round_trip(self) -> None:
        await asyncio.sleep(0)
        if self not in self.broker.connections:
            await asyncio.Event().wait()
        await super().round_trip()


@caught_by("test_calls_under_way_end_when_the_backend_is_closed")
class DriversError(BreakableBackend):
    """A call that close interrupts ends with the driver's error."""

    async def publish(self, publications: Sequence[Publication], /) -> None:
        await asyncio.sleep(0)
        if not self.connected and self not in self.broker.connections:
            raise ConnectionResetError("the connection was closed")
        await super().publish(publications)


@caught_by("test_nothing_is_delivered_after_close")
class DeliversAfterClose(OtherInbox):
    """Delivers, after close, what had come before."""

    def arrive(self, publication: Publication) -> None:
        if publication.topic in self.topics:
            later(0, later, 0, self.deliver_at_last, publication)

    def deliver_at_last(self, publication: Publication) -> None:
        if publication.topic in self.topics or self not in self.broker.connections:
            self.inbox.deliver(*publication)


@caught_by("test_closing_one_backend_leaves_others_alone")
class ClosesForAll(BreakableBackend):
    """The connection is shared, and who closes first closes it."""

    async def close(self) -> None:
        for backend in self.broker.connections:
            self.broker.unsubscribe(backend, tuple(backend.topics))
        await super().close()


@caught_by("test_backends_in_two_loops_reach_each_other")
class BoundToTheFirstLoop(BreakableBackend):
    """A future is made for the loop of whoever opened first, and awaited by everybody."""

    async def open(self, inbox: Inbox, /) -> None:
        await super().open(inbox)
        loop = asyncio.get_running_loop()
        self.first: asyncio.AbstractEventLoop = self.broker.__dict__.setdefault("loop", loop)
        if self.first.is_closed():
            self.first = self.broker.__dict__["loop"] = loop

    async def publish(self, publications: Sequence[Publication], /) -> None:
        await super().publish(publications)
        if self.first is not asyncio.get_running_loop():
            await self.first.create_future()


@caught_by("test_backends_work_in_one_loop_after_another")
class NeedsTheFirstLoop(BreakableBackend):
    """Calls the loop of whoever opened first, which may be closed."""

    async def open(self, inbox: Inbox, /) -> None:
        loop = asyncio.get_running_loop()
        self.broker.__dict__.setdefault("loop", loop).call_soon_threadsafe(print, end="")
        await super().open(inbox)


# --- the password -----------------------------------------------------------------------------


@caught_by("test_no_password_is_shown")
class ShowsItsUrl(BreakableBackend):
    """Its repr is that of a dataclass."""

    def __repr__(self) -> str:
        return f"ShowsItsUrl(url={self.url!r})"


@caught_by("test_what_a_broker_tells_of_itself_is_text_and_numbers")
class TellsItsUrl(BreakableBackend):
    """Tells all that it knows."""

    async def describe(self) -> Mapping[str, str | int | float]:
        return {"server": "breakable", "url": self.url}


@caught_by("test_what_a_broker_tells_of_itself_is_text_and_numbers")
class TellsAReply(BreakableBackend):
    """Passes on what the driver has read."""

    async def describe(self) -> Mapping[str, Any]:
        return {"server": b"breakable"}


@caught_by("test_what_a_broker_tells_of_itself_is_text_and_numbers")
class LeavesAQuestionBehind(BreakableBackend):
    """Asks in a task that goes on when nobody waits for it."""

    async def describe(self) -> Mapping[str, str | int | float]:
        await asyncio.shield(asyncio.create_task(asyncio.sleep(0.3)))
        return {}


@caught_by("test_no_password_is_shown")
class LogsItsUrl(BreakableBackend):
    """Logs where it connects to."""

    async def open(self, inbox: Inbox, /) -> None:
        logger.debug("connecting to %s", self.url)
        await super().open(inbox)
        assert PASSWORD in self.url

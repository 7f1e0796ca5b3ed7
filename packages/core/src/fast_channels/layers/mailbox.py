"""Unread messages of one channel: bounded by count, bytes and age.

A deque and one waiter: the fastest way asyncio has to hand a message to a reader. A reader that
finds messages takes them without suspending; cancelling a reader loses nothing and keeps the order.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

from fast_channels.exceptions import ChannelFull, ChannelNotFound
from fast_channels.layers.counters import LossReport
from fast_channels.layers.options import LayerOptions, Overflow

Message = dict[str, Any]
Unread = tuple[Callable[[], Message], float, int]
"""What makes the reader's own copy of a message, when it arrived (``time.monotonic``), and its size
in bytes. All who get the message share it: until somebody reads, it costs them nothing."""

NEVER_EXPIRES: Final = float("-inf")
GIVEN_BACK: Final = float("-inf")
"""In place of the arrival (by identity): a reader had it already, and was cancelled."""

KEPT: Final = float("nan")
"""In place of the arrival (by identity) of a durable group's message: it takes capacity, but is
never dropped for another, and its age compares with nothing."""


class Mailbox:
    """Made by a session for one of its channels; ``put`` is called by the hub only."""

    __slots__ = (
        "_bytes",
        "_gaps",
        "_waiters",
        "capacity",
        "capacity_bytes",
        "closed",
        "expiry",
        "losses",
        "name",
        "names_groups",
        "outstanding",
        "outstanding_bytes",
        "overflow",
        "pull",
        "queue",
        "topics",
        "used",
    )

    def __init__(self, name: str, options: LayerOptions, losses: LossReport) -> None:
        self.name = name
        self.names_groups = False
        """Its reader is told of which group each message is, also where nothing is kept."""
        self.losses = losses
        self.capacity = options.capacity_of(name)
        self.capacity_bytes = options.capacity_bytes
        self.overflow: Overflow = options.overflow_of(name)
        self.expiry = options.expiry
        self.queue: deque[Unread] = deque()
        self.topics: set[str] | None = None
        """Topics whose messages come here; kept by the hub."""
        self.outstanding = 0
        """Messages that this session has sent here and that have not come back yet."""
        self.outstanding_bytes = 0
        self.pull: Callable[[str], None] | None = None
        """Called with the name, once, when there is room for more of a history."""
        self.used = True
        """Somebody read from it since the sweeper last looked."""
        self.closed: Exception | None = None
        """Why nothing can be read any more."""
        self._bytes = 0
        self._gaps = 0
        self._waiters: list[asyncio.Future[Message]] | None = None

    @property
    def awaited(self) -> bool:
        """True while somebody waits for a message."""
        return bool(self._waiters)

    @property
    def unread(self) -> list[Message]:
        """Copies of the messages that wait, oldest first."""
        return [copy() for copy, _, _ in list(self.queue)]

    def full(self, size: int) -> bool:
        """True when one more message of ``size`` bytes would overflow."""
        waiting = len(self.queue) - self._gaps + self.outstanding
        total = self._bytes + self.outstanding_bytes + size
        return waiting >= self.capacity or (waiting > 0 and total > self.capacity_bytes)

    def expect(self, size: int) -> None:
        """This session has sent a message here, which takes capacity from now on."""
        self.outstanding += 1
        self.outstanding_bytes += size

    def expected(self, size: int) -> None:
        """That message has come back, or never will."""
        if self.outstanding:
            self.outstanding -= 1
            self.outstanding_bytes = max(0, self.outstanding_bytes - size)

    def expect_nothing(self) -> None:
        """What was sent here has perhaps been lost: it takes no capacity any more."""
        self.outstanding = self.outstanding_bytes = 0

    def put(self, unread: Unread) -> bool:
        """Take a message; False if the mailbox could not."""
        waiters = self._waiters
        while waiters:  # as _hand_over, without the calls: this is the hot path
            try:
                waiters.pop(0).set_result(unread[0]())
            except asyncio.InvalidStateError:
                continue  # its reader was cancelled
            return True
        if self.closed is not None:
            self.losses.note("overflowed", f"{self.name}: {self.overflow}")
            return False
        queue, size = self.queue, unread[2]
        if (
            queue  # as overflows, without the call
            and (
                len(queue) - self._gaps >= self.capacity or self._bytes + size > self.capacity_bytes
            )
            and self.overflows(size)
            and not self._make_room(size)
        ):
            return False
        queue.append(unread)
        self._bytes += size
        return True

    def put_all(self, unread: Sequence[Unread], size: int) -> int:
        """Take all of these messages of ``size`` bytes together, and return how many they are.

        0, and none is taken, where each has to be ``put``.
        """
        if (
            self._waiters
            or self.closed is not None
            or len(self.queue) + len(unread) > self.capacity
            or self._bytes + size > self.capacity_bytes
        ):
            return 0
        self.queue.extend(unread)
        self._bytes += size
        return len(unread)

    def put_gap(self, message: Message) -> None:
        """Take a copy of a message that is never refused, never expires and takes no capacity."""
        if not self._hand_over(message.copy):
            self.queue.append((message.copy, NEVER_EXPIRES, 0))
            self._gaps += 1

    async def get(self) -> Message:
        """Wait for the oldest message that has not expired.

        Raises ``ChannelNotFound`` (or why else it was closed) when nothing will come any more.
        """
        while self.queue:
            if (message := self.take()) is not None:
                return message
        waiter = self.wait()
        try:
            return await waiter
        except asyncio.CancelledError:
            self.withdraw(waiter)
            raise

    def wait(self) -> "asyncio.Future[Message]":
        """Return what gets the next message, the queue being empty; ``withdraw`` it if cancelled.

        Raises why the mailbox was closed.
        """
        if self.closed is not None:
            raise self.closed
        create_future = self.losses.create_future  # not called as a method, for speed
        waiter: asyncio.Future[Message] = create_future()
        if self._waiters is None:
            self._waiters = [waiter]
        else:
            self._waiters.append(waiter)
        return waiter

    def take(self) -> Message | None:
        """Take the oldest message of a queue that is not empty; None if it has expired."""
        copy, arrived, size = self.queue.popleft()
        if self.pull is None and monotonic() - arrived <= self.expiry:
            self._bytes -= size
            return copy()
        return copy() if self.taken(arrived, size) else None

    def taken(self, arrived: float, size: int) -> bool:
        """Note that a message left the queue; False, and counted, if it has expired."""
        self._bytes -= size
        if self.pull is not None and len(self.queue) <= self.capacity // 4:
            pull, self.pull = self.pull, None
            pull(self.name)
        if arrived == NEVER_EXPIRES:
            self._gaps -= 1
        elif monotonic() - arrived > self.expiry:
            self.losses.note("expired", self.name)
            return False
        return True

    def has_room(self, size: int) -> bool:
        """True when one more message of a history may come: it takes half of the mailbox."""
        waiting = len(self.queue) - self._gaps
        return waiting <= 0 or (
            waiting < self.capacity // 2 and 2 * (self._bytes + size) <= self.capacity_bytes
        )

    def clear(self) -> None:
        """Unread messages are gone; the mailbox goes on."""
        self.queue.clear()
        self._bytes = self._gaps = 0
        self.expect_nothing()

    def forget(self, group: str) -> None:
        """Unread messages that say they are of the group, which the channel has left, are gone."""
        for _ in range(len(self.queue)):
            unread = copy, arrived, size = self.queue.popleft()
            message = copy()
            if getattr(message, "group", message.get("group")) != group:
                self.queue.append(unread)
            else:
                self.taken(arrived, size)

    def close(self, reason: Exception | None = None) -> None:
        """Unread messages are gone; readers are woken and get ``reason``."""
        self.clear()
        if self.closed is None:
            self.closed = reason or ChannelNotFound(f"channel {self.name!r} was closed")
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_exception(self.closed)

    def overflown(self) -> None:
        """The policy is ``disconnect``: from now on the reader gets ``ChannelFull``."""
        self.close(ChannelFull(f"channel {self.name!r} was full, and its policy is 'disconnect'"))

    def overflows(self, size: int) -> bool:
        """True when ``put`` would have to drop something; the queue is not empty."""
        waiting = len(self.queue) - self._gaps
        return waiting >= self.capacity or (
            waiting > 0 and self._bytes + size > self.capacity_bytes
        )

    def _make_room(self, size: int) -> bool:
        """Apply the overflow policy; True if the new message may come in."""
        if self.overflow != "drop_oldest":
            self.losses.note("overflowed", f"{self.name}: {self.overflow}")
            if self.overflow == "disconnect":
                self.overflown()
            return False
        while self.overflows(size):
            droppable = (i for i, unread in enumerate(self.queue) if _droppable(unread))
            oldest = next(droppable, None)
            if oldest is None:
                self.losses.note("overflowed", f"{self.name}: only durable messages wait")
                return False
            self._bytes -= self.queue[oldest][2]
            del self.queue[oldest]
            self.losses.note("overflowed", f"{self.name}: {self.overflow}")
        return True

    def _hand_over(self, copy: Callable[[], Message]) -> bool:
        """Give the message to the first who waits, past the queue, which is empty then."""
        while self._waiters:
            waiter = self._waiters.pop(0)
            if not waiter.done():
                waiter.set_result(copy())
                return True
        return False

    def withdraw(self, waiter: "asyncio.Future[Message]") -> None:
        """A reader was cancelled: what it was given is the next reader's, or waits first."""
        if self._waiters and waiter in self._waiters:
            self._waiters.remove(waiter)
        elif waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            given = waiter.result  # the message, which nobody else has
            if not self._hand_over(given):
                # Readers that are cancelled together run in the order in which they were given.
                back = (i for i, unread in enumerate(self.queue) if unread[1] is not GIVEN_BACK)
                place = next(back, len(self.queue))
                self.queue.insert(place, (given, GIVEN_BACK, 0))
                self._gaps += 1


def _droppable(unread: Unread) -> bool:
    return unread[1] != NEVER_EXPIRES and unread[1] is not KEPT


def gap_message(group: str | None) -> Message:
    """Return what a member is told after a possible loss; group None: on the channel itself."""
    return {"type": "channels.gap", "group": group}

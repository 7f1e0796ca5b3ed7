"""Replay: members that are behind pull what they lack, as their mailboxes drain.

Laws: nothing is queued for a member that is behind. It reads pages, at most ``READS`` of all at
once, and members at one place share a page. Mailboxes are filled from the event loop, never inside
a task, so that what a consumer starts in place is never nested inside somebody's call.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final, TypeVar

from fast_channels.exceptions import BackendUnavailable, HistoryLost
from fast_channels.layers.backend import History, Kept, Page, Position
from fast_channels.layers.backoff import reconnect_delays
from fast_channels.layers.codec import FRAGMENT, FrameError, Frames, SealError, decode_entries
from fast_channels.layers.counters import LossReport
from fast_channels.layers.history import Message
from fast_channels.layers.history.cursor import LARGEST_PAGE, Cursor, Durable, Item, unread
from fast_channels.layers.hub import CLOCK_EVERY, TURN_MEMBERS, TURN_SECONDS
from fast_channels.layers.mailbox import Mailbox, gap_message
from fast_channels.layers.options import LayerOptions

logger = logging.getLogger("fast_channels.layers")

T = TypeVar("T")

READS: Final = 16
"""History reads of one session that run at once."""

NoteGap = Callable[[Exception, Collection[str]], None]


class _Read:
    """One page that is to be read, and who wants it."""

    __slots__ = ("after", "cursors", "durable", "generation")

    def __init__(self, durable: Durable, after: Position) -> None:
        self.durable = durable
        self.after = after
        self.generation = durable.generation
        self.cursors: list[Cursor] = []


class Replay:
    """What the members of one session read."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        history: History,
        frames: Frames,
        options: LayerOptions,
        losses: LossReport,
        note_gap: NoteGap,
    ) -> None:
        self.history = history
        self._loop = loop
        self._frames = frames
        self._timeout = options.send_timeout
        self._gaps = options.gaps
        self._losses = losses
        self._note_gap = note_gap
        self._slots = asyncio.Semaphore(READS)
        self._wanted: dict[tuple[str, Position], _Read] = {}
        self._queue: deque[_Read] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn: asyncio.Handle | None = None
        self._feeding: deque[tuple[Durable, Cursor]] = deque()
        self._parked: dict[str, list[tuple[Durable, Cursor]]] = {}
        """Who waits for room, by channel."""
        self._stalled: list[tuple[Durable, Cursor]] = []
        """Whose reads failed, and are tried again later."""
        self._delays = reconnect_delays()
        self._retry: asyncio.TimerHandle | None = None

    async def close(self) -> None:
        """No task or timer is left."""
        self.clear()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def clear(self) -> None:
        """Nothing is replayed any more."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        for waiting in (self._feeding, self._stalled, self._queue, self._parked, self._wanted):
            waiting.clear()

    async def read(self, call: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Return what the method of the history returns; at most ``READS`` run at once."""
        try:
            async with self._slots, asyncio.timeout(self._timeout):
                return await call(*arguments)
        except TimeoutError as error:
            text = f"the broker did not answer a read of history within {self._timeout:g} s"
            raise BackendUnavailable(text) from error

    async def messages(
        self, name: str, group: str, since: Position | int | None, limit: int
    ) -> list[Message]:
        """Return the group's messages after that position, or the newest so many."""
        items: list[Item] = []
        if isinstance(since, int):
            page = await self.read(self.history.last, name, min(since, limit))
            items = self.items(name, page.entries)
        else:
            more = True
            while more and len(items) < limit:
                size = min(2 * LARGEST_PAGE, limit - len(items))  # it goes into no mailbox
                page = await self.read(self.history.read, name, since, size)
                items += self.items(name, page.entries)
                since, more = page.position, page.more
        return [Message(item.message, group, name, item.position) for item in items]

    async def end(self, name: str) -> Position:
        """Return the position after which comes what is sent from now on."""
        return (await self.read(self.history.last, name, 0)).position

    # --- feeding ------------------------------------------------------------------------------

    def schedule(self, durable: Durable, cursor: Cursor) -> None:
        """The member gets what it lacks, in its turn."""
        if cursor.queued or cursor.asked or cursor.position is None:
            return
        cursor.queued = True
        self._feeding.append((durable, cursor))
        if self._turn is None:
            self._turn = self._loop.call_soon(self._feed_some)

    def _feed_some(self) -> None:
        self._turn = None
        deadline = time.monotonic() + TURN_SECONDS
        left = TURN_MEMBERS
        try:
            while self._feeding and left > 0 and time.monotonic() < deadline:
                durable, cursor = self._feeding.popleft()
                cursor.queued = False
                left -= 1 + self._feed(durable, cursor)
        finally:
            if self._feeding and self._turn is None:
                self._turn = self._loop.call_soon(self._feed_some)

    def _feed(self, durable: Durable, cursor: Cursor) -> int:
        """Put what is ready as far as there is room, then see to more; return how many."""
        mailbox, name = cursor.mailbox, cursor.mailbox.name
        fed = 0
        while durable.behind.get(name) is cursor and mailbox.closed is None:
            if not cursor.ready:
                if cursor.read_to is not None:
                    cursor.position, cursor.read_to = cursor.read_to, None
                cursor.ready.extend(durable.after(cursor.position))
            if not cursor.ready:
                if not cursor.caught_up(durable.position):
                    self._ask(durable, cursor)
                break
            item = cursor.ready[0]
            if not mailbox.has_room(len(item.payload)):
                self._park(durable, cursor, first=not fed)
                break
            if fed == CLOCK_EVERY:
                self.schedule(durable, cursor)
                break
            cursor.ready.popleft()
            cursor.position = item.position
            fed += 1
            if item.exclude is None or item.exclude != name:
                self._losses.counters.delivered += mailbox.put(unread(durable, item))
        return fed

    def _park(self, durable: Durable, cursor: Cursor, *, first: bool) -> None:
        """The cursor goes on when its mailbox has room; ``first``: before its other groups'."""
        cursor.queued = True
        waiting = self._parked.setdefault(cursor.mailbox.name, [])
        waiting.insert(0 if first else len(waiting), (durable, cursor))
        cursor.mailbox.pull = self._drained

    def _drained(self, channel: str) -> None:
        for durable, cursor in self._parked.pop(channel, ()):
            cursor.queued = False
            self.schedule(durable, cursor)

    # --- reading ------------------------------------------------------------------------------

    def _ask(self, durable: Durable, cursor: Cursor) -> None:
        """The next page is read for the cursor, and for who else is at that place."""
        assert cursor.position is not None
        cursor.asked = True
        key = durable.name, cursor.position
        read = self._wanted.get(key)
        if read is None or read.generation != durable.generation:
            read = self._wanted[key] = _Read(durable, cursor.position)
            self._queue.append(read)
            if len(self._tasks) < READS:
                task = self._loop.create_task(self._work(), name="fast-channels-replay")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        read.cursors.append(cursor)

    async def _work(self) -> None:
        while self._queue:
            read = self._queue.popleft()
            page: Page | None = None
            lost: HistoryLost | None = None
            try:
                page, lost = await self._page(read)
            except BackendUnavailable as error:
                logger.info("reading the history of %s failed: %s", read.durable.name, error)
            except Exception:
                logger.exception("reading the history of %s failed", read.durable.name)
            key = read.durable.name, read.after
            if self._wanted.get(key) is read:
                del self._wanted[key]
            # Not from here: mailboxes are filled while no task runs.
            self._loop.call_soon(self._came, read, page, lost)

    async def _page(self, read: _Read) -> tuple[Page, HistoryLost | None]:
        """Return the next page, and what was raised where it does not follow directly."""
        name, after, limit = read.durable.name, read.after, read.durable.page
        read.generation = read.durable.generation
        try:
            return await self.read(self.history.read, name, after, limit), None
        except HistoryLost as error:
            lost = error
        page = await self.read(self.history.read, name, None, limit)
        if page.position.epoch == lost.anew:
            return page, lost
        first = page.entries[0].position if page.entries else None
        if first is not None and first.epoch == after.epoch and first.offset > after.offset:
            return page, lost
        # Another history: what it has may have come before, so go on behind it.
        return await self.read(self.history.last, name, 0), lost

    def _came(self, read: _Read, page: Page | None, lost: HistoryLost | None) -> None:
        durable = read.durable
        if page is None:
            self._stall(durable, read.cursors)
            return
        self._delays = reconnect_delays()
        items = self.items(durable.name, page.entries)
        durable.sized(len(page.entries), sum(len(item.payload) for item in items))
        members = [each for each in read.cursors if self._current(durable, each)]
        if lost is not None:
            self.tell_lost(lost, durable, [cursor.mailbox for cursor in members])
        for cursor in members:
            cursor.asked = False
            self.give(durable, cursor, page, items, read.generation)

    def tell_lost(self, cause: Exception, durable: Durable, members: list[Mailbox]) -> None:
        """The members are told that something is gone for good, where the layer's gaps are on."""
        if members:
            self._note_gap(cause, [durable.name])
        if self._gaps:
            for mailbox in members:
                mailbox.put_gap(gap_message(durable.inside.group))

    def give(
        self, durable: Durable, cursor: Cursor, page: Page, items: list[Item], generation: int
    ) -> None:
        """The member gets the page, which was asked for in that generation of the topic."""
        cursor.ready.extend(items)
        cursor.read_to = page.position
        cursor.end = not page.more and generation == durable.generation
        self.schedule(durable, cursor)

    def _current(self, durable: Durable, cursor: Cursor) -> bool:
        return durable.behind.get(cursor.mailbox.name) is cursor

    def _stall(self, durable: Durable, cursors: list[Cursor]) -> None:
        self._stalled += [(durable, each) for each in cursors if self._current(durable, each)]
        if self._stalled and self._retry is None:
            self._retry = self._loop.call_later(next(self._delays), self.try_again)

    def try_again(self) -> None:
        """Reads that failed are tried once more, now."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        stalled, self._stalled = self._stalled, []
        for durable, cursor in stalled:
            cursor.asked = False
            self.schedule(durable, cursor)

    # --- items --------------------------------------------------------------------------------

    def items(self, name: str, entries: Sequence[Kept]) -> list[Item]:
        """Return what the entries hold; what cannot be read is counted and skipped."""
        items: list[Item] = []
        for position, payload in entries:
            try:
                items.append(self.item(name, payload, position)[3])
            except (ValueError, TypeError) as error:
                self.skip(name, error)
        return items

    def item(self, name: str, payload: bytes, position: Position) -> tuple[str, int, int, Item]:
        """Return the node, the numbers and the message of an entry; raises ``ValueError``."""
        flags, frame = self._frames.decode(name, payload)
        entries = decode_entries(frame.body)
        if flags & FRAGMENT or len(entries) != 1:
            raise FrameError("an entry of a history is not one message")
        entry = entries[0]
        if (entry.target is None) is (":h.!" in name):
            raise FrameError(f"an entry for {entry.target!r} came where it does not belong")
        item = Item(position, frame.node, entry.payload, entry.target, entry.exclude)
        return frame.node, frame.seq, frame.prev, item

    def skip(self, topic: str, error: Exception) -> None:
        """Count an entry that cannot be read."""
        reason = "refused" if isinstance(error, SealError) else "malformed"
        self._losses.note(reason, f"on {topic}: {error}")

"""How far the members of a durable group have got.

A member that has everything needs no cursor: it is where its group is. One that resumed, that was
full, or that missed something has a cursor; what comes live passes it by until it has caught up.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from fast_channels.layers.backend import Position
from fast_channels.layers.history import Message
from fast_channels.layers.mailbox import KEPT, Mailbox, Unread
from fast_channels.layers.messages import decode_message, is_flat
from fast_channels.layers.sequence import Tracker
from fast_channels.layers.topics import Topic

SMALLEST_PAGE: Final = 16
LARGEST_PAGE: Final = 128
PAGE_BYTES: Final = 256 * 1_024
"""What a page should not exceed by much; what it holds follows the size of the messages."""

TAIL_ITEMS: Final = 256
TAIL_BYTES: Final = 1_048_576


class Item:
    """One message of a history, decoded once and shared by all who get it."""

    __slots__ = ("exclude", "flat", "message", "node", "payload", "position", "target", "unread")

    def __init__(
        self,
        position: Position,
        node: str,
        payload: bytes,
        target: str | None,
        exclude: str | None,
    ) -> None:
        self.position = position
        self.node = node
        self.payload = payload
        self.target = target
        self.exclude = exclude
        self.message = decode_message(payload)
        self.flat = is_flat(self.message)
        self.unread: Unread | None = None
        """What is put into mailboxes, when it was put once."""


class Cursor:
    """Where one member is in its group's history, and what was read for it."""

    __slots__ = ("asked", "end", "mailbox", "position", "queued", "read_to", "ready")

    def __init__(self, mailbox: Mailbox, position: Position | None) -> None:
        self.mailbox = mailbox
        self.position = position
        """What is up to here has been put; None: ``group_add`` is still finding out."""
        self.ready: deque[Item] = deque()
        """Read, and waiting for room."""
        self.read_to: Position | None = None
        """The position when what is ready has been put, if it is not that of the last item."""
        self.end = False
        """The last read found nothing more, and nothing was lost since."""
        self.asked = False
        """A read is under way, or waits for another try."""
        self.queued = False
        """Its turn to put comes, or it waits for room."""

    def caught_up(self, live: Position | None) -> bool:
        """True where nothing is missing up to ``live``, the last that came (None: not known)."""
        here = self.position
        if here is None or self.ready or self.read_to is not None:
            return False
        if live is None:
            return self.end
        return here == live or (self.end and here.epoch == live.epoch and here.offset > live.offset)


class Durable:
    """What one session knows of one history topic."""

    __slots__ = (
        "_tail_bytes",
        "base",
        "generation",
        "healing",
        "inside",
        "name",
        "page",
        "position",
        "seen",
        "tail",
    )

    def __init__(self, name: str, inside: Topic) -> None:
        self.name = name
        self.inside = inside
        """The group: its members are who this is for."""
        self.seen = Tracker()
        self.position: Position | None = None
        """The last entry that came live; None: none came since subscribing, or since a loss."""
        self.generation = 0
        """Rises with each loss: what was read before one does not show the end after it."""
        self.healing = False
        """A turn waits in which all members fall behind."""
        self.page = SMALLEST_PAGE
        self.tail: deque[Item] = deque()
        """What came last, while a member is behind: so it can catch up without another read."""
        self.base: Position | None = None
        """Where the tail begins; None: there is none."""
        self._tail_bytes = 0

    @property
    def behind(self) -> dict[str, Cursor]:
        """The members' cursors by channel; who has none is at ``position``."""
        if self.inside.behind is None:
            self.inside.behind = {}
        return self.inside.behind

    def advance(self, item: Item) -> None:
        """The entry came live."""
        before, self.position = self.position, item.position
        if not self.behind:
            self.forget_tail()
        elif self.base is None and before is None:
            self.base = item.position  # what precedes this entry is not known
        else:
            self.remember(item, before)

    def remember(self, item: Item, before: Position | None) -> None:
        """The entry is last in the tail; ``before`` is where a new tail begins."""
        if self.base is None:
            self.base = before
        self.tail.append(item)
        self._tail_bytes += len(item.payload)
        while len(self.tail) > TAIL_ITEMS or self._tail_bytes > TAIL_BYTES:
            oldest = self.tail.popleft()
            self._tail_bytes -= len(oldest.payload)
            self.base = oldest.position

    def after(self, position: Position | None) -> list[Item]:
        """Return what the tail has after the position; nothing if the tail begins later."""
        base = self.base
        if base is None or position is None or base.epoch != position.epoch:
            return []
        if position.offset < base.offset:
            return []
        return [item for item in self.tail if item.position.offset > position.offset]

    def forget_tail(self) -> None:
        """There is no tail."""
        if self.base is not None:
            self.tail.clear()
            self.base = None
            self._tail_bytes = 0

    def lost(self) -> None:
        """Something may be missing: what was read, or came, until now does not show the end."""
        self.generation += 1

    def fall_behind(self) -> None:
        """Every member has a cursor, and knows no end; nothing came live yet."""
        behind, position = self.behind, self.position
        for name, mailbox in self.inside.members.items():
            cursor = behind.get(name)
            if cursor is None:
                cursor = behind[name] = Cursor(mailbox, position)
            cursor.end = False
        self.forget_tail()
        self.position = None
        self.healing = False

    def sized(self, count: int, size: int) -> None:
        """The next page is larger if this one was small, and smaller if it was large."""
        if size > PAGE_BYTES:
            self.page = max(1, self.page // 2)
        elif count >= self.page:
            self.page = min(LARGEST_PAGE, self.page * 2)


def unread(durable: Durable, item: Item) -> Unread:
    """Return what is put into mailboxes; it does not expire there."""
    if item.unread is None:
        item.unread = partial(fresh, durable, item), KEPT, len(item.payload)
    return item.unread


def fresh(durable: Durable, item: Item) -> Any:
    """Return what a receiver may change: a message that knows its place."""
    group = durable.inside.group
    if group is None:
        return item  # whom it is for is told by its target
    fields = item.message if item.flat else decode_message(item.payload)
    return _make_message(fields, group, durable.name, item.position)


_make_message: Callable[[dict[str, Any], str, str, Position], Message] = Message


def make_messages_with(
    make: Callable[[dict[str, Any], str, str, Position], Message] | None,
) -> None:
    """What receivers get is made by this from now on; None: it is a ``Message``."""
    global _make_message
    _make_message = make or Message

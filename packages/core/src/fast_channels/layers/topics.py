"""One topic's members, and what is on its way to them.

A message is decoded once. Until somebody reads it, all its receivers share it; then each makes its
own copy, so that none sees what another does to it.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from fast_channels.layers.history import GroupMessage
from fast_channels.layers.mailbox import NEVER_EXPIRES, Mailbox, Message, Unread, gap_message
from fast_channels.layers.messages import decode_message, is_flat
from fast_channels.layers.sequence import Tracker


class Topic:
    """One topic's members and what was last seen on it."""

    __slots__ = ("behind", "current", "group", "members", "missed", "named", "seen", "telling")

    def __init__(self, group: str | None = None) -> None:
        self.named = False
        """A member has to be told of which group its messages are."""
        self.telling = False
        """A gap message for messages dropped here waits to be put: one tells them all."""
        self.group = group
        """None: it carries messages of no group."""
        self.missed: Callable[[str | None], None] | None = None
        """Told of a loss, and on which node's frames (None: any), in place of members."""
        self.members: dict[str, Mailbox] = {}
        self.behind: dict[str, Any] | None = None
        """Of a durable group: the cursors of members that have not everything yet, by channel."""
        self.seen: Tracker | None = None
        """What came on it; None: nothing, or nothing that means something later."""
        self.current: list[Mailbox] | None = None
        """The members as a list; None since they changed."""

    def snapshot(self) -> list[Mailbox]:
        """Return the members of now; the list is shared and never changed."""
        if self.current is None:
            self.current = list(self.members.values())
        return self.current


class Pending:
    """A message, what came right after it for the same members, and who has them already."""

    __slots__ = (
        "exclude",
        "first",
        "gap",
        "index",
        "members",
        "open",
        "own",
        "put",
        "rest",
        "size",
        "topic",
    )

    def __init__(self, topic: Topic, members: list[Mailbox], unread: Unread) -> None:
        self.topic = topic
        self.members = members
        self.first = unread
        self.rest: list[Unread] = []
        self.size = unread[2]
        """Bytes of all these messages."""
        self.open = False
        """What comes next for the same members may be added."""
        self.gap: Message | None = None
        """It is a gap message, namely this one."""
        self.exclude: str | None = None
        self.own = False
        """This session sent it, to the one member."""
        self.index = 0
        """How many members have it."""
        self.put: Callable[[Any, int], None] | None = None
        """Called with this and an index, to put it into mailboxes up to that index."""

    def named(self, group: str) -> tuple[Unread, list[Unread]]:
        """Return the first and the rest for readers that are told of the group."""
        return _named(self.first, group), [_named(unread, group) for unread in self.rest]


def shared(payload: bytes, message: Message) -> Unread:
    """Return the message as its receivers share it; each makes a copy when it reads."""
    copy = message.copy if is_flat(message) else partial(decode_message, payload)
    return copy, time.monotonic(), len(payload)


def _named(unread: Unread, group: str) -> Unread:
    copy, arrived, size = unread
    return lambda: GroupMessage(copy(), group), arrived, size


def gap_pending(topic: Topic, members: list[Mailbox]) -> Pending:
    """Return what tells the members that they may have missed messages."""
    message = gap_message(topic.group)
    pending = Pending(topic, members, (message.copy, NEVER_EXPIRES, 0))
    pending.gap = message
    return pending

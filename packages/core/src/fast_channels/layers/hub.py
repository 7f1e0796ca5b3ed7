"""Topics and their local members: who gets what arrives, in which order, and how fast.

No task switch and no task creation for a message: fan-out is a loop over mailboxes. A large one is
worked in turns, so that the event loop is never kept from other work; everything waits in one FIFO,
so that order holds between direct messages and group messages.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers.counters import LossReport
from fast_channels.layers.history import GroupMessage
from fast_channels.layers.mailbox import Mailbox, Message, gap_message
from fast_channels.layers.messages import decode_message, is_flat
from fast_channels.layers.names import topic_group
from fast_channels.layers.sequence import Tracker

logger = logging.getLogger("fast_channels.layers")

TURN_MEMBERS: Final = 250
TURN_SECONDS: Final = 0.005
CLOCK_EVERY: Final = 32
"""Members between two looks at the clock: what is put costs up to 100 microseconds each."""

HIGH_WATER: Final = 1_000
"""Waiting messages above which local senders wait until this side has caught up."""

MAX_BACKLOG: Final = 64 * 1_048_576
"""Bytes of waiting messages above which arriving ones are dropped, counted and told as a gap."""


class Topic:
    """One topic's members and what was last seen on it."""

    __slots__ = ("behind", "current", "group", "members", "missed", "named", "seen", "telling")

    def __init__(self, name: str) -> None:
        self.named = False
        """A member has to be told of which group its messages are."""
        self.telling = False
        """A gap message for messages dropped here waits to be put: one tells them all."""
        self.group = topic_group(name)
        self.missed: Callable[[str | None], None] | None = None
        """Told of a loss, and on which node's frames (None: any), in place of members."""
        self.members: dict[str, Mailbox] = {}
        self.behind: dict[str, Any] | None = None
        """Of a durable group: the cursors of members that have not everything yet, by channel."""
        self.seen = Tracker()
        self.current: list[Mailbox] | None = None
        """The members as a list, until they change."""

    def snapshot(self) -> list[Mailbox]:
        """Return the members of now; the list is shared and never changed."""
        if self.current is None:
            self.current = list(self.members.values())
        return self.current

    def changed(self) -> None:
        """Members came or went: the next message gets a new snapshot."""
        self.current = None


class Pending:
    """One message, and the members that do not have it yet."""

    __slots__ = ("exclude", "flat", "index", "members", "message", "own", "payload", "put", "topic")

    def __init__(
        self, topic: Topic, members: list[Mailbox], message: Message, payload: bytes | None
    ) -> None:
        self.topic = topic
        self.members = members
        self.message = message
        self.payload = payload
        """The message's bytes; None: a gap message."""
        self.flat = is_flat(message)
        self.exclude: str | None = None
        self.own = False
        """This session sent it, to the one member."""
        self.index = 0
        self.put: Callable[[Any, int, float], None] | None = None
        """Called with this, an index and the time, to put it into mailboxes up to that index."""


class Hub:
    """The members of one session, and the only place where mailboxes are filled."""

    def __init__(self, loop: asyncio.AbstractEventLoop, losses: LossReport, gaps: bool) -> None:
        self.topics: dict[str, Topic] = {}
        self.mailboxes: dict[str, Mailbox] = {}
        self._loop = loop
        self._losses = losses
        self._gaps = gaps
        self._counters = losses.counters
        self._pending: deque[Pending] = deque()
        self._backlog = 0
        self._busy = False
        """A turn is running, or scheduled."""
        self._caught_up: asyncio.Future[None] | None = None
        self.left: Callable[[str, str], None] | None = None
        """Told of the topic and the channel when a member has left."""

    def join(self, topic: str, mailbox: Mailbox) -> Topic:
        """The mailbox is a member of the topic, which is returned."""
        record = self.topics.get(topic)
        if record is None:
            record = self.topics[topic] = Topic(topic)
        if mailbox.name in record.members:
            return record
        record.members[mailbox.name] = mailbox
        record.changed()
        record.named = record.named or mailbox.names_groups
        if mailbox.topics is None:
            mailbox.topics = set()
        mailbox.topics.add(topic)
        return record

    def leave(self, topic: str, channel: str) -> bool:
        """The channel is no member any more; True if the topic has none left because of it."""
        record = self.topics.get(topic)
        mailbox = record.members.pop(channel, None) if record else None
        if record is None or mailbox is None:
            return False
        record.changed()
        if record.behind:
            record.behind.pop(channel, None)
        if mailbox.topics is not None:
            mailbox.topics.discard(topic)
        if self.left is not None:
            self.left(topic, channel)
        return not record.members

    def forget(self, topic: str) -> None:
        """The topic is not subscribed any more: what was seen on it means nothing later."""
        record = self.topics.get(topic)
        if record is not None:
            record.seen.forget()
            if not record.members and record.missed is None:
                del self.topics[topic]

    def group(self, topic: Topic, payload: bytes, message: Message, exclude: str | None) -> None:
        """Every member of now, but for the channel ``exclude``, gets the message in its turn."""
        if topic.members:
            pending = Pending(topic, topic.snapshot(), message, payload)
            pending.exclude = exclude
            self._enqueue(pending)

    def direct(self, topic: Topic, channel: str, payload: bytes, own: bool) -> None:
        """The channel gets the message in its turn; ``own``: this session sent it."""
        mailbox = self.mailboxes.get(channel)
        if mailbox is None:
            self._counters.undeliverable += 1
            logger.debug("message for the channel %s, which is gone", channel)
            return
        pending = Pending(topic, [mailbox], decode_message(payload), payload)
        pending.own = own
        self._enqueue(pending)

    def some(self, topic: Topic, members: list[Mailbox], payload: bytes) -> None:
        """These members get the message in their turn, unless they leave the group before."""
        self._enqueue(Pending(topic, members, decode_message(payload), payload))

    def gap(self, topic: Topic) -> None:
        """Every member is told, in its turn, that it may have missed messages."""
        members = topic.snapshot() if topic.group is not None else list(self.mailboxes.values())
        self._enqueue(Pending(topic, members, dict(gap_message(topic.group)), None))

    def gap_on(self, names: Collection[str]) -> None:
        """Members of the topics' groups are told, once for each group.

        Where the node's own topic is among them, so is every channel that is in none of the groups.
        """
        own: Topic | None = None
        for name in names:
            topic = self.topics.get(name)
            if topic is not None and topic.group is None:
                own = own if topic.missed or topic.behind is not None else topic
            elif topic is not None and topic.members and topic.behind is None:
                self.gap(topic)
        if own is not None:
            named = set(names)
            boxes = self.mailboxes.values()
            others = [box for box in boxes if not box.topics or named.isdisjoint(box.topics)]
            self._enqueue(Pending(own, others, dict(gap_message(None)), None))

    @property
    def group_count(self) -> int:
        """Groups that have a member here."""
        # A list: who asks may be another thread, and a dict that grows cannot be walked.
        return sum(1 for topic in list(self.topics.values()) if topic.members and topic.group)

    @property
    def group_sizes(self) -> Iterator[tuple[str, int]]:
        """Each group that has a member here, and how many."""
        for topic in list(self.topics.values()):
            if topic.group and topic.members:
                yield topic.group, len(topic.members)

    @property
    def unread(self) -> int:
        """Messages that wait in mailboxes."""
        return sum(len(mailbox.queue) for mailbox in list(self.mailboxes.values()))

    @property
    def behind(self) -> bool:
        """True when so much waits that local senders had better wait."""
        return len(self._pending) > HIGH_WATER

    async def catch_up(self, timeout: float) -> None:
        """Wait until most of what waits has reached its members.

        Raises ``BackendUnavailable`` after ``timeout`` seconds: a send has failed.
        """
        try:
            async with asyncio.timeout(timeout):
                while self.behind:
                    if self._caught_up is None:
                        self._caught_up = self._loop.create_future()
                    await asyncio.shield(self._caught_up)
        except TimeoutError:
            self._counters.failed += 1
            raise BackendUnavailable(
                f"this process could not fan out what it has within {timeout:g} s; "
                "the message was not sent"
            ) from None

    def clear(self) -> None:
        """Nothing waits any more, and every mailbox is empty."""
        for pending in self._pending:
            pending.topic.telling = False
        self._pending.clear()
        self._backlog = 0
        for mailbox in self.mailboxes.values():
            mailbox.clear()

    def drain(self) -> None:
        """Work what waits, one turn now and the rest soon; does nothing inside a turn.

        Where a task runs now, even the first turn comes soon: mailboxes are filled while no task
        runs, so that what a consumer starts in place is never nested inside somebody's send.
        """
        if not self._busy and self._pending:
            self._busy = True
            if asyncio.current_task(self._loop) is None:
                self._turn()
            else:
                self._loop.call_soon(self._turn)

    @property
    def overloaded(self) -> bool:
        """True when so much waits that what arrives has to be dropped."""
        return self._backlog > MAX_BACKLOG

    def enqueue(self, pending: Pending) -> None:
        """Members get the message in its turn; it is never dropped."""
        self._backlog += len(pending.payload or b"")
        self._pending.append(pending)

    def _enqueue(self, pending: Pending) -> None:
        if pending.payload is not None and self.overloaded:
            self._losses.note("backlogged", pending.topic.group or "direct messages")
            if self._gaps and not pending.topic.telling:
                pending.topic.telling = True
                self.gap(pending.topic)
            return
        self.enqueue(pending)

    def _turn(self) -> None:
        queue = self._pending
        left = TURN_MEMBERS
        now = time.monotonic()
        deadline = now + TURN_SECONDS
        try:
            while queue and left > 0 and now < deadline:
                pending = queue[0]
                stop = min(len(pending.members), pending.index + min(left, CLOCK_EVERY))
                left -= stop - pending.index
                (pending.put or self._put)(pending, stop, now)
                now = time.monotonic()
                if pending.index >= len(pending.members) and queue and queue[0] is pending:
                    queue.popleft()
                    if pending.payload is None:
                        pending.topic.telling = False
                    else:
                        self._backlog -= len(pending.payload)
        finally:
            if queue:
                self._loop.call_soon(self._turn)
            else:
                self._busy = False
            if self._caught_up is not None and not self.behind:
                if not self._caught_up.done():
                    self._caught_up.set_result(None)
                self._caught_up = None

    def _put(self, pending: Pending, stop: int, now: float) -> None:
        """Put the message into the members' mailboxes up to index ``stop``."""
        message, payload, exclude = pending.message, pending.payload, pending.exclude
        members, flat, topic = pending.members, pending.flat, pending.topic
        group = topic.group if topic.named else None
        size = len(payload or b"")
        if pending.own:
            members[0].expected(size)
        index = pending.index
        delivered = 0
        try:
            for mailbox in members[index:stop]:
                index += 1  # before the put, which may raise SystemExit
                # Whoever left since the message came is skipped, and so is who was left out.
                if topic.current is not members and not self.present(topic, mailbox):
                    continue
                if exclude is not None and mailbox.name == exclude:
                    continue
                if payload is None:
                    mailbox.put_gap(message.copy())
                    continue
                fields = message.copy() if flat else decode_message(payload)
                if group is not None and mailbox.names_groups:
                    fields = GroupMessage(fields, group)
                if mailbox.put(fields, size, now):
                    delivered += 1
        finally:
            pending.index = index
            self._counters.delivered += delivered

    def present(self, topic: Topic, mailbox: Mailbox) -> bool:
        """True while the mailbox is a member, or is there at all where the topic has no group."""
        members = topic.members if topic.group is not None else self.mailboxes
        return members.get(mailbox.name) is mailbox

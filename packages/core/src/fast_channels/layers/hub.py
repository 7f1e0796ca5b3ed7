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
from operator import length_hint
from typing import Final

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers.counters import LossReport
from fast_channels.layers.mailbox import Mailbox, Message, Unread
from fast_channels.layers.messages import decode_message
from fast_channels.layers.topics import Pending, Topic, gap_pending, shared

logger = logging.getLogger("fast_channels.layers")

TURN_MEMBERS: Final = 250
TURN_SECONDS: Final = 0.005
CLOCK_EVERY: Final = 32
"""Members between two looks at the clock: what is put costs up to 100 microseconds each."""

HIGH_WATER: Final = 1_000
"""Waiting messages above which local senders wait until this side has caught up."""

TOGETHER: Final = 16
"""Messages of one group that its members get together at most, and wake for once. Not more: what
comes in one turn has to fit into mailboxes that nobody can read meanwhile."""

MAX_BACKLOG: Final = 64 * 1_048_576
"""Bytes of waiting messages above which arriving ones are dropped, counted and told as a gap."""


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
        self._waiting = 0
        """Messages in ``_pending``, and their bytes."""
        self._backlog = 0
        self._busy = False
        """A turn is running, or scheduled."""
        self._caught_up: asyncio.Future[None] | None = None
        self.left: Callable[[str, str], None] | None = None
        """Told of the topic and the channel when a member has left."""

    def join(self, topic: str, mailbox: Mailbox, group: str | None = None) -> Topic:
        """The mailbox is a member of the topic, which carries the group and is returned."""
        record = self.topics.get(topic)
        if record is None:
            record = self.topics[topic] = Topic(group)
        if mailbox.name in record.members:
            return record
        record.members[mailbox.name] = mailbox
        record.current = None
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
        record.current = None
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
            record.seen = None
            if not record.members and record.missed is None:
                del self.topics[topic]

    def group(self, topic: Topic, payload: bytes, message: Message, exclude: str | None) -> None:
        """Every member of now, but for the channel ``exclude``, gets the message in its turn."""
        if not topic.members:
            return
        members, unread = topic.snapshot(), shared(payload, message)
        last = self._pending[-1] if self._pending else None
        if (
            last is not None
            and last.members is members
            and last.open
            and exclude is None
            and len(last.rest) < TOGETHER - 1
            and not self.overloaded
        ):
            last.rest.append(unread)
            last.size += unread[2]
            self._backlog += unread[2]
            self._waiting += 1
            return
        pending = Pending(topic, members, unread)
        pending.exclude = exclude
        pending.open = exclude is None
        self._enqueue(pending)

    def direct(self, topic: Topic, channel: str, payload: bytes, own: bool) -> None:
        """The channel gets the message in its turn; ``own``: this session sent it."""
        mailbox = self.mailboxes.get(channel)
        if mailbox is None:
            self._counters.undeliverable += 1
            logger.debug("message for the channel %s, which is gone", channel)
            return
        pending = Pending(topic, [mailbox], shared(payload, decode_message(payload)))
        pending.own = own
        self._enqueue(pending)

    def some(self, topic: Topic, members: list[Mailbox], payload: bytes) -> None:
        """These members get the message in their turn, unless they leave the group before."""
        self._enqueue(Pending(topic, members, shared(payload, decode_message(payload))))

    def gap(self, topic: Topic) -> None:
        """Every member is told, in its turn, that it may have missed messages."""
        members = topic.snapshot() if topic.group is not None else list(self.mailboxes.values())
        self.enqueue(gap_pending(topic, members))

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
            self.enqueue(gap_pending(own, others))

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
        return self._waiting > HIGH_WATER

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
        self._waiting = self._backlog = 0
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
        self._backlog += pending.size
        self._waiting += 1
        self._pending.append(pending)

    def _enqueue(self, pending: Pending) -> None:
        if self.overloaded:
            self._losses.note("backlogged", pending.topic.group or "direct messages")
            if self._gaps and not pending.topic.telling:
                pending.topic.telling = True
                self.gap(pending.topic)
            return
        self.enqueue(pending)

    def _turn(self) -> None:
        queue = self._pending
        left = TURN_MEMBERS
        deadline = time.monotonic() + TURN_SECONDS
        try:
            while queue and left > 0 and time.monotonic() < deadline:
                pending = queue[0]
                pending.open = False
                more = len(pending.rest)
                members = min(left, max(1, CLOCK_EVERY // (1 + more)))
                stop = min(len(pending.members), pending.index + members)
                left -= stop - pending.index
                (pending.put or self._put)(pending, stop)
                if pending.index >= len(pending.members) and queue and queue[0] is pending:
                    queue.popleft()
                    self._waiting -= 1 + more
                    self._backlog -= pending.size
                    left -= more * len(pending.members)
                    if pending.gap is not None:
                        pending.topic.telling = False
        finally:
            if queue:
                self._loop.call_soon(self._turn)
            else:
                self._busy = False
            if self._caught_up is not None and not self.behind:
                if not self._caught_up.done():
                    self._caught_up.set_result(None)
                self._caught_up = None

    def _put(self, pending: Pending, stop: int) -> None:
        """Put the messages into the members' mailboxes up to index ``stop``."""
        first, rest, exclude, gap = pending.first, pending.rest, pending.exclude, pending.gap
        members, topic = pending.members, pending.topic
        group = topic.group if topic.named else None
        size = pending.size - first[2]
        if pending.own:
            members[0].expected(first[2])
        if exclude is None and gap is None and group is None and not rest:
            self._put_one(pending, stop)
            return
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
                if gap is not None:
                    mailbox.put_gap(gap)
                    continue
                unread, more = first, rest
                if group is not None and mailbox.names_groups:
                    unread, more = pending.named(group)
                if mailbox.put(unread):
                    delivered += 1
                if more:
                    delivered += mailbox.put_all(more, size) or self._each(pending, mailbox, more)
        finally:
            pending.index = index
            self._counters.delivered += delivered

    def _put_one(self, pending: Pending, stop: int) -> None:
        """As ``_put`` for one message that is for all: the hot path."""
        unread, members, topic = pending.first, pending.members, pending.topic
        left = iter(members[pending.index : stop])
        missed = 0
        try:
            for mailbox in left:
                here = topic.current is members or self.present(topic, mailbox)
                if not here or not mailbox.put(unread):
                    missed += 1
        finally:
            done = stop - length_hint(left)  # also where a put raised SystemExit
            self._counters.delivered += done - pending.index - missed
            pending.index = done

    def _each(self, pending: Pending, mailbox: Mailbox, rest: list[Unread]) -> int:
        """Put the messages one by one, unless the member leaves at one of them."""
        topic, members = pending.topic, pending.members
        delivered = 0
        for unread in rest:
            if topic.current is not members and not self.present(topic, mailbox):
                break
            delivered += mailbox.put(unread)
        return delivered

    def present(self, topic: Topic, mailbox: Mailbox) -> bool:
        """True while the mailbox is a member, or is there at all where the topic has no group."""
        members = topic.members if topic.group is not None else self.mailboxes
        return members.get(mailbox.name) is mailbox

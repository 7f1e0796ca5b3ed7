"""Durable groups: what comes live reaches those who have everything before it.

Laws: every message of a group passes each member in the order of its positions, once. A member that
is full, that resumes, or that perhaps missed something falls behind, and catches up by ``Replay``.
"""

import logging
from collections.abc import Callable, Collection
from typing import Any

from fast_channels.exceptions import HistoryLost
from fast_channels.layers.backend import Position
from fast_channels.layers.counters import Counters
from fast_channels.layers.history.cursor import Cursor, Durable, Item, unread
from fast_channels.layers.history.replay import Replay
from fast_channels.layers.hub import Hub
from fast_channels.layers.mailbox import NEVER_EXPIRES, Mailbox
from fast_channels.layers.topics import Pending, Topic

logger = logging.getLogger("fast_channels.layers")


class DurableTopics:
    """The durable groups of one session."""

    def __init__(self, hub: Hub, replay: Replay, counters: Counters) -> None:
        self.replay = replay
        self._topics: dict[str, Durable] = {}
        self._hub = hub
        self._counters = counters

    async def close(self) -> None:
        """No task or timer is left."""
        await self.replay.close()

    def clear(self) -> None:
        """Nothing is replayed any more, and what comes next begins anew."""
        self.replay.clear()
        for durable in self._topics.values():
            durable.behind.clear()
            self._forget(durable)

    def topic(self, name: str, inside: Topic) -> Durable:
        """Return what is known of the history topic of that group."""
        durable = self._topics.get(name)
        if durable is None:
            durable = self._topics[name] = Durable(name, inside)
        durable.inside = inside
        return durable

    def forget(self, name: str) -> None:
        """The topic is not subscribed any more: what came on it means nothing later."""
        durable = self._topics.get(name)
        if durable is not None:
            self._forget(durable)
            if not durable.inside.members:
                del self._topics[name]

    def _forget(self, durable: Durable) -> None:
        durable.lost()
        durable.seen.forget()
        durable.forget_tail()
        durable.position = None
        durable.healing = False

    def hold(self, durable: Durable, mailbox: Mailbox) -> None:
        """What comes live passes the member by until ``start``."""
        durable.behind[mailbox.name] = Cursor(mailbox, None)

    async def start(self, durable: Durable, mailbox: Mailbox, since: Position | int | None) -> None:
        """The member, of a subscribed topic, gets what comes after ``since`` (None: after now).

        Raises ``HistoryLost`` where the history does not reach back so far.
        """
        name, replay = mailbox.name, self.replay
        if since is None and durable.position is not None:
            durable.behind.pop(name, None)  # it is where the group is
            return
        generation = durable.generation
        if isinstance(since, Position):
            page = await replay.read(replay.history.read, durable.name, since, durable.page)
        else:
            page = await replay.read(replay.history.last, durable.name, since or 0)
        if durable.inside.members.get(name) is not mailbox:
            return  # it left meanwhile
        here = since if isinstance(since, Position) else page.position
        cursor = durable.behind[name] = Cursor(mailbox, here)
        replay.give(durable, cursor, page, replay.items(durable.name, page.entries), generation)

    # --- what comes live ----------------------------------------------------------------------

    def arrived(self, topic: str, payload: bytes, position: Position) -> None:
        """Fan an entry out to those members who have everything before it."""
        durable = self._topics.get(topic)
        if durable is None:
            return
        try:
            node, seq, prev, item = self.replay.item(topic, payload, position)
        except (ValueError, TypeError) as error:
            self.replay.skip(topic, error)
            return
        if durable.seen.check(node, seq, prev) == "gap":
            logger.info("frames of node %s are missing on %s; members read them", node, topic)
            self.heal([durable])
        if self._hub.overloaded:
            self.heal([durable])
        else:
            self._hub.enqueue(_Live(durable, item, self._fan_out))
        self._hub.drain()

    def missed(self, names: Collection[str] | None) -> None:
        """Something may be missing on the topics (None: on any): their members catch up."""
        self.heal([each for name, each in self._topics.items() if names is None or name in names])

    def heal(self, topics: Collection[Durable]) -> None:
        """Something may be missing: every member reads from where it is, in its turn."""
        for durable in topics:
            durable.lost()
            durable.seen.forget()
            if not durable.healing:
                durable.healing = True
                self._hub.enqueue(_Turn(durable, self._fall_behind))
        self.replay.try_again()  # what failed may work now
        self._hub.drain()

    def _fall_behind(self, pending: "_Turn", stop: int) -> None:
        pending.index = len(pending.members)
        durable = pending.durable
        durable.fall_behind()
        for cursor in durable.behind.values():
            self.replay.schedule(durable, cursor)

    def _fan_out(self, pending: "_Live", stop: int) -> None:
        """Put the entry into the mailboxes of members up to index ``stop``."""
        durable, item, members = pending.durable, pending.item, pending.members
        if not pending.begun and not self._begin(pending):
            pending.index = len(members)
            return
        topic, before, position = durable.inside, pending.before, item.position
        behind, size, exclude = durable.behind, len(item.payload), item.exclude
        index = pending.index
        delivered = 0
        try:
            for mailbox in members[index:stop]:
                index += 1  # before the put, which may raise SystemExit
                if topic.current is not members and not self._hub.present(topic, mailbox):
                    continue
                cursor = behind.get(mailbox.name) if behind else None
                full = bool(mailbox.queue) and mailbox.overflows(size)
                if cursor is not None:
                    here = cursor.position
                    follows = here is not None and here.epoch == position.epoch
                    if full or here is None or not follows or not cursor.caught_up(before):
                        self.replay.schedule(durable, cursor)
                        continue
                    if here.offset >= position.offset:
                        continue
                    del behind[mailbox.name]
                elif full:
                    here = before or Position(position.epoch, position.offset - 1)
                    behind[mailbox.name] = cursor = Cursor(mailbox, here)
                    if durable.base is None:
                        durable.remember(item, here)
                    self.replay.schedule(durable, cursor)
                    continue
                if exclude is None or mailbox.name != exclude:
                    delivered += mailbox.put(unread(durable, item))
        finally:
            pending.index = index
            self._counters.delivered += delivered

    def _renewed(self, durable: Durable, before: Position) -> None:
        """The history is another one than a moment ago: what was between is lost."""
        durable.lost()
        durable.forget_tail()
        durable.position = None
        name, behind = durable.name, durable.behind
        live = [each for each in durable.inside.members.values() if each.name not in behind]
        cause = HistoryLost(f"the history of {name} is another one than that of {before.epoch}")
        self.replay.tell_lost(cause, durable, live)

    def _begin(self, pending: "_Live") -> bool:
        """Note where the topic is now; False for an entry that came before."""
        durable, position = pending.durable, pending.item.position
        before = durable.position
        if before is not None and before.epoch != position.epoch:
            self._renewed(durable, before)
        elif before is not None and position.offset <= before.offset:
            self._counters.repeated += 1
            return False
        pending.begun = True
        pending.before = durable.position
        durable.advance(pending.item)
        return True


class _Turn(Pending):
    """A turn of the hub's in which something is done once."""

    __slots__ = ("durable",)

    def __init__(self, durable: Durable, put: Callable[[Any, int], None]) -> None:
        super().__init__(durable.inside, [], (dict, NEVER_EXPIRES, 0))
        self.durable = durable
        self.put = put


class _Live(Pending):
    """An entry that came live, and the members that were not looked at yet."""

    __slots__ = ("before", "begun", "durable", "item")

    def __init__(self, durable: Durable, item: Item, put: Callable[[Any, int], None]) -> None:
        super().__init__(durable.inside, durable.inside.snapshot(), unread(durable, item))
        self.durable = durable
        self.item = item
        self.begun = False
        self.before: Position | None = None
        self.put = put

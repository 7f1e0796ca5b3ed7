"""Who is in which group, in one session: the hub's members, and what the broker delivers for them.

A durable group has two topics: one that is kept, and the ordinary one, on which comes what was not
sent by a layer that keeps it (plain JSON). Both are live before anybody is a member.
"""

import asyncio

from fast_channels.exceptions import TooManyGroups
from fast_channels.layers.backend import Position
from fast_channels.layers.history.durable import DurableTopics
from fast_channels.layers.hub import Hub
from fast_channels.layers.mailbox import Mailbox
from fast_channels.layers.names import group_topic, history_topic
from fast_channels.layers.options import LayerOptions
from fast_channels.layers.relay import Put, Relays
from fast_channels.layers.subscriptions import Subscriptions

Since = Position | int | None
"""From where a new member gets messages: after a position, the newest so many, or from now on."""


class Memberships:
    """The members of one session's groups."""

    def __init__(
        self,
        hub: Hub,
        subscriptions: Subscriptions,
        relays: Relays,
        durable: DurableTopics | None,
        options: LayerOptions,
    ) -> None:
        self._hub = hub
        self._subscriptions = subscriptions
        self._relays = relays
        self._durable = durable
        self._options = options
        self._joins: dict[tuple[str, str], int] = {}
        """Calls that wait for a subscription, by topic and channel."""
        self._starting: dict[tuple[str, str], asyncio.Future[None]] = {}
        """Calls that find out where a member begins, by topic and channel."""

    def joined(self, group: str, mailbox: Mailbox) -> bool:
        """The mailbox is a member, and the broker delivers the group's messages.

        False, and nothing has changed, where that takes a while: ``join`` waits for it. Raises
        ``TooManyGroups``.
        """
        topic = group_topic(self._options.prefix, group)
        joined = mailbox.topics
        if joined and len(joined) >= self._options.max_groups and topic not in joined:
            raise TooManyGroups(
                f"channel {mailbox.name!r} is in {len(joined)} groups already, as many as it may "
                "be; leave one, or give the layer a larger max_groups"
            )
        if self._durable is not None and self._options.history_of(group) is not None:
            return False
        if not self._subscriptions.live_at_once(topic):
            return False
        self._hub.join(topic, mailbox, group)
        if self._joins:
            self._joins.pop((topic, mailbox.name), None)  # who still waits may be cancelled
        return True

    async def join(self, group: str, mailbox: Mailbox, since: Since = None) -> None:
        """The mailbox is a member, and the broker delivers the group's messages.

        Raises ``HistoryLost`` where the history does not reach back to ``since``; who was no
        member then is none. Raises ``TooManyGroups``.
        """
        if self.joined(group, mailbox):
            return
        topic = group_topic(self._options.prefix, group)
        if self._durable is not None and self._options.history_of(group) is not None:
            await self._join_durable(self._durable, group, topic, mailbox, since)
            return
        self._hub.join(topic, mailbox, group)
        join = topic, mailbox.name
        self._joins[join] = self._joins.get(join, 0) + 1
        try:
            await self._subscriptions.ensure(topic)
        except BaseException:
            if join in self._joins:  # else another call has joined it meanwhile
                self._joins[join] -= 1
                if not self._joins[join]:
                    del self._joins[join]
                    self._part(topic, mailbox.name)
            raise
        self._joins.pop(join, None)

    async def _join_durable(
        self, durable: DurableTopics, group: str, topic: str, mailbox: Mailbox, since: Since
    ) -> None:
        key = topic, mailbox.name
        while (other := self._starting.get(key)) is not None:
            await asyncio.shield(other)
        record = self._hub.topics.get(topic)
        joined = record is not None and record.members.get(mailbox.name) is mailbox
        if joined and since is None:
            return
        started = self._starting[key] = asyncio.get_running_loop().create_future()
        kept = history_topic(self._options.prefix, group)
        try:
            inside = self._hub.join(topic, mailbox, group)
            followed = durable.topic(kept, inside)
            if not joined:
                durable.hold(followed, mailbox)  # until it is known where it begins
            await self._subscriptions.ensure(kept, topic)
            await durable.start(followed, mailbox, since)
        except BaseException:
            if not joined:
                self._part(topic, mailbox.name)
            raise
        finally:
            del self._starting[key]
            started.set_result(None)

    def leave(self, group: str, channel: str) -> None:
        """The channel is not a member."""
        self._part(group_topic(self._options.prefix, group), channel)
        self._relays.left(channel)

    def leave_all(self, mailbox: Mailbox) -> None:
        """The mailbox is in no group."""
        for topic in tuple(mailbox.topics or ()):
            self._part(topic, mailbox.name)

    def relay(self, queue: str, put: Put) -> Mailbox:
        """Return the mailbox that stands for a worker queue in this node's groups."""
        return self._relays.mailbox(queue, put)

    def flush(self) -> None:
        """Every mailbox is empty and in no group."""
        self._hub.clear()
        if self._durable is not None:
            self._durable.clear()
        for topic in [each for each in self._hub.topics.values() if each.group is not None]:
            for channel, mailbox in list(topic.members.items()):
                self.leave_all(mailbox)
                self._relays.left(channel)

    def _part(self, topic: str, channel: str) -> None:
        record = self._hub.topics.get(topic)
        if record is not None and self._hub.leave(topic, channel):
            self._subscriptions.release(topic)
            if record.behind is not None and record.group is not None:
                self._subscriptions.release(history_topic(self._options.prefix, record.group))

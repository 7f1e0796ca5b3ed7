"""What one node tells the others about presence: one task, and one publish at a time.

Changes that come while a publish is under way go together in the next one; those that the broker
does not take are kept, and sent again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from typing import Final

from fast_channels.layers.codec import PRESENCE, Entry
from fast_channels.layers.names import beat_topic, node_topic, presence_topic
from fast_channels.layers.presence.peers import Peers
from fast_channels.layers.presence.questions import Question, Questions
from fast_channels.layers.presence.roster import Roster
from fast_channels.layers.presence.wire import GROUPS_AT_ONCE, Ask, Change, encode, pages

logger = logging.getLogger("fast_channels.layers")

Send = Callable[[str, Entry], Awaitable[None]]


class Announcer:
    """The outgoing side of one node's presence."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        prefix: str,
        send: Send,
        page_bytes: int,
        peers: Peers,
        questions: Questions,
        rosters: Mapping[str, Roster],
    ) -> None:
        self.clock = 0
        """The version of this node's last change."""
        self.versions: dict[str, int] = {}
        """The version of the last change in each group where this node has members."""
        self.page_bytes: Final = page_bytes
        self._loop = loop
        self._prefix = prefix
        self._beats = beat_topic(prefix)
        self._send = send
        self._peers = peers
        self._questions = questions
        self._rosters = rosters
        self._changed: dict[str, dict[str, bytes | None]] = {}
        self._wanted: dict[str | None, set[str]] = {}
        self._others: list[tuple[str, bytes]] = []
        self._unsent: list[tuple[str, bytes]] = []
        self._working: asyncio.Task[None] | None = None
        self._closed = False

    async def tell(self, topic: str, payload: bytes) -> None:
        """The broker has the message."""
        await self._send(topic, Entry(payload, PRESENCE))

    def changed(self, group: str, channel: str, value: bytes | None) -> None:
        """The others learn that the channel is present so; None: that it left."""
        self._changed.setdefault(group, {})[channel] = value
        self._work()

    def want(self, node: str | None, groups: Collection[str]) -> None:
        """The node is asked about the groups; None: all nodes are."""
        if groups:
            self._wanted.setdefault(node, set()).update(groups)
            self._work()

    def answer(self, node: str, payloads: Iterable[bytes]) -> None:
        """The node gets the messages, if the broker takes them."""
        topic = node_topic(self._prefix, node)
        self._others += [(topic, payload) for payload in payloads]
        self._work()

    def beat(self, payload: bytes) -> None:
        """All nodes get the message, if the broker takes it."""
        self._others.append((self._beats, payload))
        self._work()

    def again(self) -> None:
        """What the broker did not take is sent again."""
        if self._unsent:
            self._work()

    async def close(self) -> None:
        """No task is left."""
        self._closed = True
        working = self._working
        if working is not None:
            working.cancel()
            await asyncio.wait([working])

    def _work(self) -> None:
        if self._working is None and not self._closed:
            self._working = self._loop.create_task(self._run(), name="fast-channels-presence-out")
            self._working.add_done_callback(self._worked)

    def _worked(self, task: "asyncio.Task[None]") -> None:
        self._working = None
        if self._changed or self._wanted or self._others:  # since it ended
            self._work()

    async def _run(self) -> None:
        while True:
            changes = [*self._unsent, *self._changes()]
            self._unsent = []
            questions = list(self._asks())
            others, self._others = self._others, []
            if not changes and not others:
                return
            # Nothing in between: the outbox takes them in this order, and packs them.
            results = await asyncio.gather(
                *(self.tell(*each) for each in changes + others), return_exceptions=True
            )
            for question in questions:
                self._questions.sent(question)
            for change, result in zip(changes, results, strict=False):
                if isinstance(result, BaseException):
                    self._unsent.append(change)
            if self._unsent:
                logger.debug("%d changes of presence wait for the broker", len(self._unsent))
                return

    def _changes(self) -> Iterator[tuple[str, bytes]]:
        """Yield what the groups' other nodes have to know."""
        changed, self._changed = self._changed, {}
        for group, channels in changed.items():
            for page in pages(channels, self.page_bytes):
                self.clock += 1
                joins = {channel: value for channel, value in page.items() if value is not None}
                leaves = [channel for channel, value in page.items() if value is None]
                change = Change(self.clock, self.versions.get(group, 0), joins, leaves)
                self.versions[group] = self.clock
                yield presence_topic(self._prefix, group), encode(change)
            roster = self._rosters.get(group)
            if roster is None or not roster.own:
                del self.versions[group]

    def _asks(self) -> Iterator[Question]:
        wanted, self._wanted = self._wanted, {}
        for node, groups in wanted.items():
            topic = self._beats if node is None else node_topic(self._prefix, node)
            nodes = self._peers.live if node is None else {node}
            several = sorted(groups)
            for first in range(0, len(several), GROUPS_AT_ONCE):
                some = several[first : first + GROUPS_AT_ONCE]
                question = self._questions.new(some, nodes, everybody=node is None)
                self._others.append((topic, encode(Ask(question.number, some))))
                yield question

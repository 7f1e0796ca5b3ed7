"""Who is in a group: one implementation for every broker, over topics alone.

Each node owns its own members, publishes their changes on the group's presence topic, and beats on
one topic of the prefix. Others hold a replica of the groups in which they have a member or a
watcher, ask for the whole state when they missed a change, and drop a node that stopped beating.
Nothing runs on a node that never used presence.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from fast_channels.exceptions import LayerClosed
from fast_channels.layers.hub import Hub
from fast_channels.layers.mailbox import Mailbox
from fast_channels.layers.names import (
    beat_topic,
    check_node,
    group_topic,
    node_topic,
    presence_topic,
    topic_group,
)
from fast_channels.layers.options import LayerOptions
from fast_channels.layers.presence.announcer import Announcer, Send
from fast_channels.layers.presence.peers import Peers
from fast_channels.layers.presence.questions import Question, Questions
from fast_channels.layers.presence.roster import Roster
from fast_channels.layers.presence.wire import (
    PAGE_BYTES,
    Ask,
    Beat,
    Bye,
    Change,
    GroupState,
    Members,
    PresenceMessage,
    Role,
    State,
    answers,
    decode,
    decode_value,
    encode,
)
from fast_channels.layers.subscriptions import Subscriptions
from fast_channels.layers.topics import Topic

logger = logging.getLogger("fast_channels.layers")

HOLD: Final = 2.0
"""Seconds for which a leave is held at most; less with a lease below 15 s."""

PATIENCE: Final = 1.0
"""Seconds to wait for the answers of other nodes at most; less with a lease below 1 s."""


class Presence:
    """One node's part in the presence of its prefix."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        node: str,
        options: LayerOptions,
        send: Send,
        subscriptions: Subscriptions,
        hub: Hub,
        frame_bytes: int,
    ) -> None:
        lease = options.presence_lease
        self._loop = loop
        self._node = node
        self._prefix = options.prefix
        self._subscriptions = subscriptions
        self._hub = hub
        self._interval = lease / 3
        self._hold = min(HOLD, lease * 2 / 15)
        self._patience = min(PATIENCE, lease)
        self._beats = beat_topic(options.prefix)
        self._peers = Peers(loop, lease, self._lost)
        self._questions = Questions(loop, self._patience, self._ended)
        self._rosters: dict[str, Roster] = {}
        page_bytes = min(PAGE_BYTES, frame_bytes // 2)
        self._announcer = Announcer(
            loop, options.prefix, send, page_bytes, self._peers, self._questions, self._rosters
        )
        self._again: dict[str, set[str]] = {}
        """Groups about which a node did not answer."""
        self._beating: asyncio.Task[None] | None = None
        self._settling: asyncio.TimerHandle | None = None
        self._expected: set[str] = set()
        self._closed = False
        hub.left = self._left

    # --- life ---------------------------------------------------------------------------------

    async def close(self) -> None:
        """Every task and timer is gone, and the others were told, if the broker takes it."""
        self._closed = True
        self._hub.left = None
        self._peers.close()
        self._questions.close(LayerClosed("the layer was closed"))
        if self._settling is not None:
            self._settling.cancel()
        for roster in self._rosters.values():
            roster.close()
        if self._beating is not None:
            self._beating.cancel()
        await self._announcer.close()
        if self._beating is not None:
            await asyncio.wait([self._beating])
            try:
                await self._announcer.tell(self._beats, encode(Bye()))
            except Exception as error:
                logger.debug("a goodbye was not sent: %r", error)  # the lease ends it

    async def _start(self) -> None:
        """This node hears the beats of all others, and beats."""
        if self._beating is None:
            self._topic(self._beats, None)
            await self._subscriptions.ensure(self._beats)
            self._begin()

    def _begin(self) -> None:
        if self._beating is None and not self._closed:
            self._settling = self._loop.call_later(self._patience, self._settle)
            self._peers.heard_self()
            self._beating = self._loop.create_task(self._beat(), name="fast-channels-presence")

    def _settle(self) -> None:
        self._settling = None
        self._questions.settle()

    async def _beat(self) -> None:
        hello = True
        while True:
            try:
                await self._announcer.tell(self._beats, encode(self._pulse(hello=hello)))
                hello = False
            except Exception as error:
                logger.debug("a beat was not sent: %r", error)  # the next one may be
            await asyncio.sleep(self._interval * random.uniform(0.8, 1.2))
            again, self._again = self._again, {}
            for node, groups in again.items():
                if node in self._peers:
                    self._announcer.want(node, groups)
            self._announcer.again()

    def _pulse(self, *, hello: bool = False, nodes: Collection[str] = ()) -> Beat:
        present = sum(1 for roster in self._rosters.values() if roster.own)
        return Beat(present, hello, list(nodes))

    # --- this node's members and watchers -----------------------------------------------------

    async def join(
        self,
        group: str,
        mailbox: Mailbox,
        role: Role,
        join: Callable[[str, Mailbox], Awaitable[None]],
    ) -> None:
        """The mailbox has joined by ``join``, and is present, or watches, as ``role`` says."""
        await self._start()
        async with self._used(group) as roster:
            await join(group, mailbox)
            topic = self._hub.topics.get(group_topic(self._prefix, group))
            if topic is None or topic.members.get(mailbox.name) is not mailbox or self._closed:
                return  # it has left meanwhile
            if role.watch:
                roster.watchers[mailbox.name] = mailbox
            value = role.presence
            if value is not None and roster.put(mailbox.name, value):
                self._announcer.changed(group, mailbox.name, value)

    @asynccontextmanager
    async def _used(self, group: str) -> AsyncGenerator[Roster]:
        topic = presence_topic(self._prefix, group)
        roster = self._rosters.get(group)
        if roster is None:
            roster = Roster(group, topic, self._loop, self._hold, self._inform)
            self._rosters[group] = roster
            self._topic(topic, group)
        roster.users += 1
        try:
            await self._subscriptions.ensure(topic)
            if not roster.asked:
                roster.asked = True
                self._announcer.want(None, [group])
            yield roster
        finally:
            roster.users -= 1
            self._let_go(roster)

    def _topic(self, topic: str, group: str | None) -> None:
        record = self._hub.topics[topic] = Topic()
        record.missed = lambda node: self._missed(group, node)

    def _left(self, topic: str, channel: str) -> None:
        """A channel of this node is not in the topic's group any more."""
        group = topic_group(topic)
        roster = None if group is None else self._rosters.get(group)
        if roster is not None:
            roster.watchers.pop(channel, None)
            if roster.drop(channel):
                self._announcer.changed(roster.group, channel, None)
            self._let_go(roster)

    def _let_go(self, roster: Roster) -> None:
        if not roster.used and self._rosters.get(roster.group) is roster:
            del self._rosters[roster.group]
            roster.close()
            self._hub.topics.pop(roster.topic, None)
            self._subscriptions.release(roster.topic)

    def _inform(self, roster: Roster, kind: str, members: Members, replaces: Any) -> None:
        """Put a message into the watchers' mailboxes."""
        message: dict[str, Any] = {
            "type": f"presence.{kind}",
            "group": roster.group,
            "members": {channel: msgspec.Raw(value) for channel, value in members.items()},
        }
        if kind == "join":
            message["replaces"] = replaces
        topic = self._hub.topics.get(group_topic(self._prefix, roster.group))
        if topic is not None:
            self._hub.some(topic, list(roster.watchers.values()), encode(message))
            self._hub.drain()

    # --- who is there -------------------------------------------------------------------------

    async def members(self, group: str) -> dict[str, dict[str, Any]]:
        """Return the presences of the group's members by channel."""
        roster = await self._ready(group)
        found = roster.shown() if roster else await self._elsewhere(group)
        return {channel: decode_value(value) for channel, value in found.items()}

    async def channels(self, group: str) -> list[str]:
        """Return the channels that are present in the group now."""
        roster = await self._ready(group)
        return sorted(roster.channels() if roster else await self._elsewhere(group))

    async def _ready(self, group: str) -> Roster | None:
        """Return the group's roster when it is filled; None if this node has none."""
        await self._start()
        roster = self._rosters.get(group)
        if roster is not None and not roster.ready.done():
            await asyncio.shield(roster.ready)
        return self._rosters.get(group)

    async def _elsewhere(self, group: str) -> Members:
        question = self._questions.new([group], self._peers.live)
        await self._announcer.tell(self._beats, encode(Ask(question.number, [group])))
        self._questions.sent(question)
        await asyncio.shield(question.done)
        return question.found[group]

    # --- what comes in ------------------------------------------------------------------------

    def handle(self, topic: str, sender: str, payload: bytes) -> None:
        """Take a message of another node; raises ``ValueError`` for anything else."""
        message = decode(check_node(sender), payload)
        if self._closed or self._peers.departed(sender):
            return
        if sender == self._node:
            if isinstance(message, Beat):
                self._peers.heard_self()
        elif isinstance(message, Bye):
            self._peers.leave(sender)
            self._gone(sender, held=True)
        else:
            if self._peers.heard(sender):
                self._questions.came(sender)
                if not (isinstance(message, Beat) and message.groups == 0):
                    self._announcer.want(sender, self._rosters.keys())
            self._take(topic, sender, message)

    def _take(self, topic: str, sender: str, message: PresenceMessage) -> None:
        match message:
            case Beat(hello=True):
                nodes = self._peers.live - {sender}
                self._announcer.answer(sender, [encode(self._pulse(nodes=nodes))])
            case Beat(nodes=nodes):
                self._expected.update(nodes)
                if nodes or topic == node_topic(self._prefix, self._node):
                    self._look_round()
            case Change():
                group = topic.rpartition(":p.")[2]
                roster = self._rosters.get(group)
                if roster is not None and not roster.change(sender, message):
                    self._announcer.want(sender, [group])
            case Ask(number=number, groups=groups):
                self._announcer.answer(sender, self._state(number, groups))
            case State(number=number):
                answer = self._questions.answered(sender, message)
                if answer is not None:
                    behind = [
                        group
                        for group, state in answer.items()
                        if group in self._rosters and not self._rosters[group].state(sender, state)
                    ]
                    self._announcer.want(sender, behind)
                    self._questions.finished(sender, number)
            case _:
                pass

    def _state(self, number: int, groups: Collection[str]) -> Iterator[bytes]:
        clock, versions = self._announcer.clock, self._announcer.versions
        states = [
            GroupState(group, versions.get(group, clock), self._rosters[group].own)
            for group in groups
            if group in self._rosters
        ]
        return answers(number, clock, states, self._announcer.page_bytes)

    def _look_round(self) -> None:
        """Who answered a hello knows others: when all are known, nobody else is there."""
        if self._settling is not None and self._expected - {self._node} <= self._peers.live:
            self._settling.cancel()
            self._settle()

    def _missed(self, group: str | None, node: str | None) -> None:
        """Something on a topic was lost; node None: of whomever, on the beat topic if no group."""
        if group is not None and group in self._rosters:
            if node is None or node in self._peers:
                self._announcer.want(node, [group])
        elif group is None and node is None and self._beating is not None:
            self._announcer.beat(encode(self._pulse()))

    def _ended(self, question: Question) -> None:
        for node in question.waiting:
            again = question.groups & self._rosters.keys()
            if node in self._peers and again:
                self._again.setdefault(node, set()).update(again)
        if question.everybody:
            for group in question.groups:
                roster = self._rosters.get(group)
                if roster is not None and roster.asked and not roster.ready.done():
                    roster.ready.set_result(None)

    def _lost(self, node: str) -> None:
        logger.info("node %s has not beaten for its lease: its members are gone", node)
        self._gone(node, held=False)

    def _gone(self, node: str, *, held: bool) -> None:
        self._questions.finished(node)
        self._again.pop(node, None)
        for roster in self._rosters.values():
            roster.forget(node, held=held)

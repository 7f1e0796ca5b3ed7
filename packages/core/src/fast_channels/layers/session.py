"""One layer in one event loop: its connection, its channels, and their memberships.

A session composes parts that do not know it: Outbox, Subscriptions, Hub, Control. It is the
backend's inbox. It ends with its loop: the async generator it holds there is finalised by
``asyncio.run``, and closes what is open.
"""

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, Callable, Collection
from functools import partial
from typing import Any

from fast_channels.exceptions import (
    BackendUnavailable,
    ChannelNotFound,
    FastChannelsError,
    InvalidChannelLayerError,
    LayerClosed,
)
from fast_channels.layers import events
from fast_channels.layers.backend import Backend, Position
from fast_channels.layers.codec import (
    CONTROL,
    FRAGMENT,
    PLAIN,
    PRESENCE,
    Entry,
    FrameError,
    Frames,
    SealError,
    decode_entries,
    decode_fragment,
)
from fast_channels.layers.control import Control
from fast_channels.layers.counters import LossReport
from fast_channels.layers.fragments import Reassembly
from fast_channels.layers.history import decode_since
from fast_channels.layers.history.durable import DurableTopics
from fast_channels.layers.history.node_inbox import NodeInbox
from fast_channels.layers.history.replay import Replay
from fast_channels.layers.hub import Hub
from fast_channels.layers.mailbox import Mailbox
from fast_channels.layers.membership import Memberships, Since
from fast_channels.layers.messages import decode_message, decode_plain, encode_message
from fast_channels.layers.names import (
    channel_name,
    history_topic,
    is_history_topic,
    new_node,
    node_history_topic,
    node_topic,
)
from fast_channels.layers.options import LayerOptions
from fast_channels.layers.presence.tracker import Presence
from fast_channels.layers.presence.wire import Role
from fast_channels.layers.relay import Relays
from fast_channels.layers.sequence import Tracker
from fast_channels.layers.subscriptions import Subscriptions
from fast_channels.layers.sweeper import Sweeper
from fast_channels.layers.topics import Topic
from fast_channels.layers.tracing import make_counters, make_sending

logger = logging.getLogger("fast_channels.layers")

MakeMailbox = Callable[[str, LayerOptions, LossReport], Mailbox]


class Session:
    """Made and opened by ``BaseChannelLayer``; used on its own loop only."""

    def __init__(
        self,
        layer: Any,
        loop: asyncio.AbstractEventLoop,
        backend: Backend,
        options: LayerOptions,
        frames: Frames,
    ) -> None:
        counters = make_counters(layer)
        self.loop = loop
        self.is_running = loop.is_running
        self.thread = 0
        """The thread in which the loop was seen running."""
        self.backend = backend
        self.node = new_node()
        self.closed = False
        self.counters = counters
        self.frames = frames
        self._layer = layer
        self._options = options
        self._own = node_topic(options.prefix, self.node)
        self._kept = (node_history_topic(options.prefix, self.node),) * options.durable_channels
        self._numbers = itertools.count(1)
        self.losses = LossReport(loop, layer, counters)
        self.hub = Hub(loop, self.losses, options.gaps)
        self._own_topic = self.hub.topics[self._own] = Topic()
        timeout = options.send_timeout
        self.sending = make_sending(self, loop, backend, options)
        self.outbox = self.sending.outbox
        self._subscriptions = Subscriptions(loop, backend, options.linger, timeout, self._forget)
        self.control = Control(options.prefix, self.node, timeout, self.outbox.send, self._change)
        max_body = options.max_message_size + backend.frame_bytes + 4_096
        self._reassembly = Reassembly(max_body, self._given_up)
        self._relays = Relays(loop, options, self.losses)
        self.durable = self._keep(options) if options.durable else None
        """The durable groups; None: the layer has none."""
        self.groups = Memberships(
            self.hub, self._subscriptions, self._relays, self.durable, options
        )
        self._presence: Presence | None = None
        self._sweeper = Sweeper(loop, options.group_expiry, self.discard)
        self.watch = self._sweeper.watch
        """Called with a mailbox that is to be discarded when nobody has read it for so long."""
        self._lifetime = self._live()
        self._end: asyncio.Future[None] | None = None

    # --- life ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connected; raises ``BackendUnavailable`` (nothing is left open then)."""
        timeout = self._options.send_timeout
        try:
            async with asyncio.timeout(timeout):
                await self.backend.open(self)
                await self._subscriptions.ensure(self._own, *self._kept)
                await self.follow_own()
        except BaseException as error:
            self.closed = True
            await self._subscriptions.close()
            await self.backend.close()
            if isinstance(error, TimeoutError):
                text = f"{self._layer} could not be opened: no answer within {timeout:g} s"
                raise BackendUnavailable(text) from error
            raise
        await anext(self._lifetime)
        events.emit("layer_opened", layer=self._layer, node=self.node)

    async def close(self) -> None:
        """What was accepted is sent; then every task, timer, mailbox and connection is gone."""
        if self._end is not None:
            await asyncio.shield(self._end)
        elif not self.closed:
            await self._shut()
            await self._lifetime.aclose()

    def end(self) -> "asyncio.Future[None]":
        """Begin to close, unless that has begun: return what is done when the session has ended."""
        return self.loop.create_task(self.close()) if self._end is None else self._end

    def disown(self) -> None:
        """It is the parent process's, and nothing that runs in this forked child closes it."""
        self.closed = True
        self._end = self.loop.create_future()
        self._end.set_result(None)

    async def _live(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self._shut()

    async def _shut(self) -> None:
        if self._end is not None:
            await asyncio.shield(self._end)  # the loop must not end before it
            return
        self._end = self.loop.create_future()
        try:
            try:
                events.emit("layer_closing", layer=self._layer, node=self.node)
                async with asyncio.timeout(self._options.send_timeout):
                    if self._presence is not None:
                        await self._presence.close()
                    await self.sending.drain()
            except TimeoutError:
                logger.warning("%s closes with messages that the broker did not take", self._layer)
            finally:  # also when closing is cancelled
                self.closed = True
                self._sweeper.close()
                await self._relays.close()
                await self.control.close()
                await self.sending.close()
                if self.durable is not None:
                    await self.durable.close()
                await self._subscriptions.close()
                await self.backend.close()
        finally:
            self.closed = True
            self.hub.clear()
            closed = LayerClosed(f"{self._layer} was closed")
            for mailbox in list(self.hub.mailboxes.values()):
                mailbox.close(closed)
            self.losses.flush()
            self._end.set_result(None)

    # --- channels -----------------------------------------------------------------------------

    def new_mailbox(self, prefix: str, make: MakeMailbox = Mailbox) -> Mailbox:
        """Return the mailbox of a fresh channel; ``discard`` ends it."""
        name = channel_name(prefix, self.node, next(self._numbers))
        mailbox = self.hub.mailboxes[name] = make(name, self._options, self.losses)
        return mailbox

    def readable(self, channel: str) -> Mailbox:
        """Return the mailbox of a channel of this node, made anew if it was discarded."""
        mailbox = self.hub.mailboxes.get(channel)
        if mailbox is None:
            mailbox = Mailbox(channel, self._options, self.losses)
            self.hub.mailboxes[channel] = mailbox
            self._sweeper.watch(mailbox)
        return mailbox

    def discard(self, mailbox: Mailbox) -> None:
        """The channel, its unread messages and all its memberships are gone."""
        if self.hub.mailboxes.pop(mailbox.name, None) is not None:
            self.groups.leave_all(mailbox)
            mailbox.close()

    def missed(self, channel: str) -> None:
        """Note that a channel of this node was meant which is gone: its client has left."""
        self.counters.undeliverable += 1
        logger.debug("channel %s is gone", channel)

    async def join(
        self, group: str, mailbox: Mailbox, since: Since = None, role: Role | None = None
    ) -> None:
        """The mailbox is a member from ``since`` on, and present or watching as ``role`` says."""
        if role is None:
            await self.groups.join(group, mailbox, since)
        else:
            join = partial(self.groups.join, since=since)
            await self.presence().join(group, mailbox, role, join)

    def presence(self) -> Presence:
        """Return this node's part in presence, made at the first call."""
        if self._presence is None:
            self._presence = Presence(
                *(self.loop, self.node, self._options, self.outbox.send),
                *(self._subscriptions, self.hub, self.backend.frame_bytes),
            )
        return self._presence

    async def _change(
        self, action: str, group: str, channel: str, since: object, role: Role | None
    ) -> None:
        """Another node asks for a change of one of this node's channels."""
        if action == "discard":
            self.groups.leave(group, channel)
            return
        mailbox = self.hub.mailboxes.get(channel)
        if mailbox is None:
            raise ChannelNotFound(f"channel {channel!r} does not exist any more")
        where = None
        if since is not None:
            where = decode_since(history_topic(self._options.prefix, group), since)
        await self.join(group, mailbox, where, role)

    # --- history ------------------------------------------------------------------------------

    def _keep(self, options: LayerOptions) -> DurableTopics:
        history = self.backend.history
        if history is None:
            raise InvalidChannelLayerError(
                f"{self._layer} keeps no history: its backend, {type(self.backend).__name__}, has "
                "none; leave out history= and durable_channels=, or use another layer"
            )
        replay = Replay(self.loop, history, self.frames, options, self.losses, self._note_gap)
        return DurableTopics(self.hub, replay, self.counters)

    async def follow_own(self) -> None:
        """What is kept for this node's channels comes from now on."""
        for topic in self._kept:
            assert self.durable is not None
            inbox = NodeInbox(self.node, self._options, self.losses, self.hub)
            record = self.hub.join(topic, inbox)
            durable = self.durable.topic(topic, record)
            await self.durable.start(durable, record.members[self.node], None)

    def _forget(self, topic: str) -> None:
        """The topic is not subscribed any more."""
        if self.durable is not None and is_history_topic(topic):
            self.durable.forget(topic)
        else:
            self.hub.forget(topic)

    # --- what the backend calls ---------------------------------------------------------------

    def deliver(self, topic: str, payload: bytes, position: Position | None = None, /) -> None:
        """Fan a payload out to the topic's members; what cannot be read is counted and skipped."""
        if position is not None:
            if self.durable is not None and not self.closed:
                self.counters.received += 1
                self.durable.arrived(topic, payload, position)
            return
        record = self.hub.topics.get(topic)
        if record is None or self.closed:
            return
        self.counters.received += 1
        try:
            self._unpack(topic, record, payload)
        except (ValueError, TypeError, FastChannelsError) as error:
            self._skip(topic, error)
        self.hub.drain()

    def gap(self, cause: Exception, topics: Collection[str] | None = None, /) -> None:
        """Note a possible loss; members are told where the layer's ``gaps`` are on."""
        names = self.hub.topics if topics is None else topics
        records = [self.hub.topics[name] for name in names if name in self.hub.topics]
        for record in records:
            record.seen = None
            if record.missed is not None:
                record.missed(None)
        if self._own_topic in records:
            self._expect_nothing()
        self.counters.reconnects += 1
        self._note_gap(cause, topics)
        if self.durable is not None:
            self.durable.missed(topics)
        if self._options.gaps:
            self.hub.gap_on([name for name in names if name != self._own or not self._kept])
            self.hub.drain()

    def _unpack(self, topic: str, record: Topic, payload: bytes) -> None:
        if payload[:1] == PLAIN:
            if record.group is None:
                raise FrameError("plain JSON is taken for groups only")
            if not self.frames.plain:
                raise SealError("plain JSON is not sealed, and accept_plain is off")
            message = decode_plain(payload)
            packed = encode_message(message, self._options.max_message_size)
            self.hub.group(record, packed, message, None)
            return
        flags, frame = self.frames.decode(topic, payload)
        seen = record.seen
        if seen is None:
            seen = record.seen = Tracker()
        verdict = seen.check(frame.node, frame.seq, frame.prev)
        if verdict == "repeat":
            self.counters.repeated += 1
            return
        if verdict == "gap" and record.missed is not None:
            record.missed(frame.node)
        elif verdict == "gap":
            if record is self._own_topic and frame.node == self.node:
                self._expect_nothing()
            self._note_gap(FastChannelsError(f"frames of node {frame.node} are missing"), [topic])
            if self._options.gaps:
                self.hub.gap(record)
        if flags & FRAGMENT:
            piece = decode_fragment(frame.body)
            body = self._reassembly.add(frame.node, topic, frame.seq, piece)
            if body is None:
                return
        else:
            body = frame.body
            self._reassembly.drop(frame.node, topic)
        for entry in decode_entries(body):
            try:
                self._take(topic, record, frame.node, entry)
            except ValueError as error:
                self._skip(topic, error)

    def _take(self, topic: str, record: Topic, node: str, entry: Entry) -> None:
        target = entry.target
        if target is None and record.group is None:
            raise FrameError("message for nobody came on a node's topic")
        if target is None:
            self.hub.group(record, entry.payload, decode_message(entry.payload), entry.exclude)
        elif target == PRESENCE and record.group is None:
            if self._presence is not None:
                self._presence.handle(topic, node, entry.payload)
        elif record is not self._own_topic:
            raise FrameError(f"message for {target!r} came on a group's topic")
        elif target == CONTROL:
            self.control.handle(node, entry.payload)
        else:
            self.hub.direct(record, target, entry.payload, own=node == self.node)

    def _expect_nothing(self) -> None:
        """What this session sent to its own channels may be lost."""
        for mailbox in self.hub.mailboxes.values():
            mailbox.expect_nothing()

    def _skip(self, topic: str, error: Exception) -> None:
        reason = "refused" if isinstance(error, SealError) else "malformed"
        self.losses.note(reason, f"on {topic}: {error}")

    def _given_up(self, topic: str) -> None:
        self.losses.note("malformed", f"on {topic}: the rest of a fragmented message never came")

    def _note_gap(self, cause: Exception, topics: Collection[str] | None) -> None:
        self.counters.gaps += 1
        names = "any topic" if topics is None else ", ".join(list(topics)[:3])
        logger.warning("%s may have missed messages on %s: %s", self._layer, names, cause)
        events.emit("layer_gap", layer=self._layer, cause=cause, topics=topics)

"""The one implementation of ``ChannelLayer`` that everything ships with."""

import asyncio
import os
import weakref
from collections.abc import Mapping
from dataclasses import replace
from threading import get_ident
from typing import Any, Final, Unpack

from fast_channels.exceptions import ChannelNotFound, InvalidChannelLayerError
from fast_channels.layers.backend import Backend
from fast_channels.layers.channel import LocalChannel
from fast_channels.layers.codec import FRAGMENT, OVERHEAD, Entry, encode_entries
from fast_channels.layers.compat import ChannelsNames
from fast_channels.layers.counters import Durations
from fast_channels.layers.fragments import split
from fast_channels.layers.framing import frame_maker
from fast_channels.layers.health import Health, examine
from fast_channels.layers.history import check_id, decode_since
from fast_channels.layers.history.kept import KeptGroups
from fast_channels.layers.history.replay import Replay
from fast_channels.layers.jobs import JobQueues, Lease
from fast_channels.layers.mailbox import Mailbox
from fast_channels.layers.messages import encode_message
from fast_channels.layers.names import (
    channel_node,
    check_channel,
    check_channel_prefix,
    check_group,
    group_topic,
    history_topic,
    new_node,
    remember_channel,
)
from fast_channels.layers.options import LayerOptions, OptionKeywords, Patterns
from fast_channels.layers.presence.views import GroupViews, role_of
from fast_channels.layers.session import MakeMailbox, Session
from fast_channels.layers.sessions import Sessions
from fast_channels.layers.sync import SyncLayer
from fast_channels.type_defs import ChannelMessage

_layers: "weakref.WeakSet[BaseChannelLayer]" = weakref.WeakSet()


class BaseChannelLayer(ChannelsNames, KeptGroups, GroupViews):
    """A channel layer over a ``Backend``; subclasses say which one, in ``create_backend``.

    It opens at first use, works from any number of event loops (each has its own session, and a
    session ends with its loop), and takes the options of ``LayerOptions``. A subclass may instead
    override all of the seven methods of Django Channels' layers, and have no backend.
    """

    def __init__(
        self,
        expiry: float = 60.0,
        capacity: int = 100,
        channel_capacity: Patterns[int] | None = None,
        *,
        group_expiry: float = 86_400.0,
        **options: Unpack[OptionKeywords],
    ) -> None:
        self.options = LayerOptions.checked(
            {
                "expiry": expiry,
                "capacity": capacity,
                "channel_capacity": channel_capacity,
                "group_expiry": group_expiry,
                **options,
            }
        )
        self._make_frames = frame_maker(self.options)
        self._unnumbered = new_node()
        """Named in frames that ``frames_for`` makes: numbers are for those of a session."""
        # Sending what was accepted may take the timeout, and so may saying goodbye.
        self._sessions = Sessions(self, self._new_session, 2 * self.options.send_timeout)
        self._session = self._sessions.current
        self._open = self._sessions.open
        self.sync: Final = SyncLayer(self, self.options.send_timeout)
        """The layer for code without an event loop."""
        _layers.add(self)

    def create_backend(self) -> Backend:
        """Return a new, unopened backend: one for each event loop."""
        raise InvalidChannelLayerError(
            f"{type(self).__name__} has no backend: override create_backend(), "
            "or all of send, receive, new_channel, group_add, group_discard, group_send and flush"
        )

    def enable_gaps(self) -> None:
        """Members are told of a possible loss by a ``channels.gap`` message from now on."""
        self.options = replace(self.options, gaps=True)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} prefix={self.options.prefix!r}>"

    @property
    def expiry(self) -> float:
        """Seconds after which an unread message is not delivered."""
        return self.options.expiry

    @property
    def capacity(self) -> int:
        """Unread messages that one channel holds."""
        return self.options.capacity

    # --- life ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connected for the running event loop; raises ``BackendUnavailable`` if that fails."""
        self._sessions.closed = False
        _ = self._session() or await self._open()

    async def close(self) -> None:
        """What was accepted is sent, every connection is gone, and later calls raise."""
        await self._sessions.close()

    def disown(self) -> None:
        """The sessions are the parent process's: this forked child opens its own."""
        self._sessions.disown()

    def _new_session(self, loop: asyncio.AbstractEventLoop) -> Session:
        return Session(self, loop, self.create_backend(), self.options, self._make_frames())

    async def _here(self) -> Session:
        return self._session() or await self._open()

    async def replay(self) -> Replay:
        """Return what reads history in the running loop; only where something is kept."""
        durable = (await self._here()).durable
        assert durable is not None, "a layer that keeps something has it"
        return durable.replay

    # --- channels -----------------------------------------------------------------------------

    def channel(self, prefix: str = "specific.", *, make: MakeMailbox = Mailbox) -> LocalChannel:
        """A channel for the time of an ``async with``; leaving it ends its memberships."""
        check_channel_prefix(prefix)
        return LocalChannel(self._here, prefix, make)

    async def new_channel(self, prefix: str = "specific.") -> str:
        """Return the name of a fresh channel of this process.

        It lasts until nobody has received from it for ``group_expiry`` seconds.
        """
        check_channel_prefix(prefix)
        session = self._session() or await self._open()
        mailbox = session.new_mailbox(prefix)
        session.watch(mailbox)
        remember_channel(mailbox.name)
        return mailbox.name

    async def send(self, channel: str, message: ChannelMessage) -> None:
        """The broker has the message for the channel.

        Raises ``ChannelFull`` for a full channel of this process or a full queue (elsewhere the
        receiver's overflow policy acts), ``MessageTooLarge``, ``BackendUnavailable``, and for a bad
        name or message ``TypeError`` or ``ValueError``, before any I/O.
        """
        check_channel(channel)
        payload = encode_message(message, self.options.max_message_size)
        session = self._session() or await self._open()
        node = channel_node(channel)
        if node is None:
            await JobQueues(session, self.options, self).put(channel, payload)
        elif node == session.node:
            await session.sending.send_here(channel, payload)
        else:
            await session.sending.send_to(node, Entry(payload, channel))

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for the channel's next message; exactly one receiver gets each.

        Raises ``ChannelNotFound`` for a channel of another process or event loop.
        """
        session = self._sessions.latest
        # Not get_running_loop(): Python 3.11 asks the kernel there, a seventh of a delivery's cost.
        if (
            session is None
            or session.closed
            or session.thread != get_ident()
            or not session.is_running()
        ):
            check_channel(channel)
            session = await self._sessions.to_read()
        mailbox = session.hub.mailboxes.get(channel)
        if mailbox is None:
            check_channel(channel)
            node = channel_node(channel)
            if node is None:
                return await JobQueues(session, self.options, self).take(channel)
            if node != session.node:
                raise ChannelNotFound(
                    f"channel {channel!r} belongs to another process or event loop; "
                    "only there it can be received from"
                )
            mailbox = session.readable(channel)
        mailbox.used = True
        # As ``mailbox.get``, without a coroutine more for every message.
        while mailbox.queue:
            if (message := mailbox.take()) is not None:
                return message
        waiter = mailbox.wait()
        try:
            return await waiter
        except asyncio.CancelledError:
            mailbox.withdraw(waiter)
            raise

    async def take(self, queue: str) -> Lease:
        """Wait for a message of the worker queue, which the broker keeps until ``done()``.

        If this process ends before that, or calls ``release()``, another taker gets the message.
        ``receive`` is the same with ``done()`` at once. Cancelling loses nothing.
        """
        check_channel(queue)
        if channel_node(queue) is not None:
            raise ValueError(f"channel {queue!r} is one process's mailbox and no worker queue")
        session = self._session() or await self._open()
        return await JobQueues(session, self.options, self).lease(queue)

    async def flush(self) -> None:
        """This session's messages and memberships are gone, and the prefix's queues and history."""
        session = self._session() or await self._open()
        session.groups.flush()
        queues, history = session.backend.queues, session.backend.history
        if queues is not None:
            await queues.clear(f"{self.options.prefix}:q.")
        if history is not None and self.options.durable:
            await history.clear(f"{self.options.prefix}:h.")
            await session.follow_own()

    # --- groups -------------------------------------------------------------------------------

    async def group_add(
        self,
        group: str,
        channel: str,
        *,
        since: str | None = None,
        presence: Mapping[str, Any] | None = None,
        watch: bool = False,
    ) -> None:
        """The channel is a member: a ``group_send`` that starts from now on reaches it.

        In a durable group it first gets what came after the position ``since``, or the newest
        messages (``"last:20"``), in order and each once. ``HistoryLost`` if that is gone (it is no
        member then), ``ValueError`` for no position of this group. For a channel of another process
        its process is asked; ``ChannelNotFound`` if that is gone.

        With ``presence``, a dict of at most 4,096 bytes, it is present, which ``presence(group)``
        tells others; adding it again changes that. With ``watch`` it gets a ``presence.join`` or
        ``presence.leave`` message whenever that changes.
        """
        check_group(group)
        check_channel(channel)
        where = None if since is None else decode_since(self.kept_topic(group), since)
        role = None
        if presence is not None or watch:
            role = role_of(channel, presence, watch)
        session = self._session() or await self._open()
        mailbox = session.hub.mailboxes.get(channel)
        if mailbox is None:
            node = channel_node(channel)
            if node == session.node:
                session.missed(channel)
                return
            if node is not None:
                await session.control.request("add", group, channel, since, role)
                return
            mailbox = session.groups.relay(channel, JobQueues(session, self.options, self).put)
        if role is not None or not session.groups.joined(group, mailbox):
            await session.join(group, mailbox, where, role)

    async def group_discard(self, group: str, channel: str) -> None:
        """The channel is no member any more; no error if it was none."""
        check_group(group)
        check_channel(channel)
        session = self._session() or await self._open()
        node = channel_node(channel)
        if node is None or node == session.node:
            session.groups.leave(group, channel)
        else:
            try:
                await session.control.request("discard", group, channel)
            except ChannelNotFound:
                pass  # a process that has ended is in no group

    async def group_send(
        self,
        group: str,
        message: ChannelMessage,
        *,
        exclude: str | None = None,
        id: str | None = None,
    ) -> None:
        """The broker has the message for all members, but for the channel ``exclude``.

        One frame at most, whatever the group's size. Raises as ``send``, but no ``ChannelFull``.
        In a durable group, a message of that ``id`` which is still kept is not published again.
        """
        check_group(group)
        if exclude is not None:
            check_channel(exclude)
        if id is not None:
            check_id(id)
            self.kept_topic(group)
        payload = encode_message(message, self.options.max_message_size)
        session = self._session() or await self._open()
        entry = Entry(payload, None, exclude, id)
        if self.options.history is not None and self.options.history_of(group) is not None:
            await session.sending.send_kept(history_topic(self.options.prefix, group), entry)
        else:
            await session.sending.send(group_topic(self.options.prefix, group), entry)

    def frames_for(
        self, group: str, message: ChannelMessage, limit: int
    ) -> tuple[str, list[bytes]]:
        """Return the group's topic, and what reaches its members when somebody else publishes it
        there: payloads of at most ``limit`` bytes, all of them and in this order.

        For a send that is a part of something else, which may come late or never: the frames of
        this process do not miss it. Raises as ``group_send``, and ``ValueError`` for a durable
        group, whose history would lack it (``append_for``), before any I/O.
        """
        check_group(group)
        if self.options.history is not None and self.options.history_of(group) is not None:
            raise ValueError(f"group {group!r} has a history, which would lack this message")
        topic = group_topic(self.options.prefix, group)
        payload = encode_message(message, self.options.max_message_size)
        body, frames = encode_entries([Entry(payload)]), self._make_frames()
        if len(body) + OVERHEAD <= limit:
            return topic, [frames.encode(topic, self._unnumbered, 0, 0, body)]
        node, pieces = new_node(), enumerate(split(body, limit), 1)
        return topic, [frames.encode(topic, node, seq, 0, piece, FRAGMENT) for seq, piece in pieces]

    # --- looking ------------------------------------------------------------------------------

    @property
    def open_backends(self) -> list[Backend]:
        """What ``create_backend`` returned for each session that is open now."""
        return [session.backend for session in self._sessions.live]

    async def health(self, timeout: float = 1.0) -> Health:
        """Return whether the layer hears in this event loop, which is true, or why it is deaf.

        Proven by a message to itself, through the broker and back, within ``timeout`` seconds.
        Opens the layer if it is not; raises nothing for a broker's trouble.
        """
        return await examine(self._here, timeout)

    async def describe(self) -> Mapping[str, str | int | float]:
        """Return what the broker tells of itself: ``Backend.describe``. Opens the layer."""
        return await (await self._here()).backend.describe()

    def stats(self) -> dict[str, int]:
        """Counters since the layer was made, and what its sessions hold now; from any thread."""
        counters, live = self._sessions.counted(), self._sessions.live
        return {
            **counters.as_dict(),
            "sessions": len(live),
            "channels": sum(len(session.hub.mailboxes) for session in live),
            "groups": sum(session.hub.group_count for session in live),
            "unread": sum(session.hub.unread for session in live),
            "waiting": sum(session.sending.waiting for session in live),
        }

    def local_groups(self) -> dict[str, int]:
        """Return how many members in this process each group has that has any; from any thread."""
        return self._sessions.group_sizes()

    @property
    def publishing(self) -> Durations:
        """How long the broker took for each batch since the layer was made."""
        return self._sessions.counted().publishing


def _in_child() -> None:
    for layer in list(_layers):
        layer.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)

"""The send side of one session: to topics, to what is kept, and to this session's own channels."""

import asyncio
from collections.abc import Awaitable
from typing import Protocol

from fast_channels.exceptions import ChannelFull
from fast_channels.layers.backend import Backend
from fast_channels.layers.codec import Entry, Frames
from fast_channels.layers.counters import Counters
from fast_channels.layers.history.appends import HistoryOutbox
from fast_channels.layers.hub import Hub
from fast_channels.layers.names import node_history_topic, node_topic
from fast_channels.layers.options import LayerOptions
from fast_channels.layers.outbox import Outbox


class Sender(Protocol):
    """The session that sends."""

    node: str
    hub: Hub
    counters: Counters
    frames: Frames

    def missed(self, channel: str) -> None:
        """Note that a channel of this node was meant which is gone."""
        ...


class Sending:
    """What one session sends."""

    def __init__(
        self,
        session: Sender,
        loop: asyncio.AbstractEventLoop,
        backend: Backend,
        options: LayerOptions,
    ) -> None:
        node, counters, frames = session.node, session.counters, session.frames
        self.outbox = Outbox(loop, backend, node, options.send_timeout, counters, frames)
        self._appends: HistoryOutbox | None = None
        if options.durable and backend.history is not None:
            self._appends = HistoryOutbox(
                loop, backend, node, options, counters, frames, backend.history
            )
        self._session = session
        self._hub = session.hub
        self._counters = counters
        self._options = options

    @property
    def waiting(self) -> int:
        """Messages that wait for the broker."""
        return self.outbox.waiting + (0 if self._appends is None else self._appends.waiting)

    async def drain(self) -> None:
        """All that was in flight or waiting has been published, or has failed."""
        await self.outbox.drain()
        if self._appends is not None:
            await self._appends.drain()

    async def close(self) -> None:
        """What waits fails with ``BackendUnavailable``; no task or timer is left."""
        await self.outbox.close()
        if self._appends is not None:
            await self._appends.close()

    def send(self, topic: str, entry: Entry) -> Awaitable[None]:
        """The broker has the message; waits while this side's fan-out is far behind.

        To be awaited at once.
        """
        # No coroutine for what an outbox does most of the time: it would cost a tenth of a send.
        return self._late(topic, entry) if self._hub.behind else self.outbox.send(topic, entry)

    async def _late(self, topic: str, entry: Entry) -> None:
        await self._hub.catch_up(self._options.send_timeout)
        await self.outbox.send(topic, entry)

    async def send_to(self, node: str, entry: Entry) -> None:
        """The broker has the message for a channel of the node."""
        if self._options.durable_channels:
            await self.send_kept(node_history_topic(self._options.prefix, node), entry)
        else:
            await self.send(node_topic(self._options.prefix, node), entry)

    async def send_kept(self, topic: str, entry: Entry) -> None:
        """The broker has the message and keeps it."""
        if self._hub.behind:
            await self._hub.catch_up(self._options.send_timeout)
        assert self._appends is not None
        await self._appends.send(topic, entry)

    async def send_here(self, channel: str, payload: bytes) -> None:
        """The broker has the message for a channel of this node; raises ``ChannelFull``."""
        mailbox = self._hub.mailboxes.get(channel)
        if mailbox is None:
            self._session.missed(channel)
            return
        size = len(payload)
        if mailbox.full(size):
            self._counters.failed += 1
            raise ChannelFull(
                f"channel {channel!r} holds {len(mailbox.queue)} unread messages "
                f"(capacity {mailbox.capacity}, {mailbox.capacity_bytes} bytes)"
            )
        mailbox.expect(size)
        try:
            await self.send_to(self._session.node, Entry(payload, channel))
        except BaseException:
            mailbox.expected(size)
            raise

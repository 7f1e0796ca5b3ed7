"""What comes live of history topics: the stream publishes again what it has stored.

Its words go along: which stream, and which sequence.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Inbox, Position
from fast_channels_nats.connection import Message
from fast_channels_nats.kept_order import SEQUENCE, STREAM, StoredOrder
from fast_channels_nats.kept_stream import BEGINS, epoch_of
from fast_channels_nats.places import keeps_of, offset_of
from fast_channels_nats.stream import PIECES, headers_of


class KeptLive:
    """Hands on entries with their positions; one that lies in pieces holds those behind it."""

    def __init__(self, inbox: Inbox) -> None:
        self.whole: Callable[[str, str, bytes], Awaitable[bytes]] | None = None
        """Gets the payload that lies in pieces, of that stream and topic."""
        self.latest = ""
        """The stream from which an entry came last."""
        self.offset = 0
        """That entry's."""
        self.order = StoredOrder(inbox, self._take)
        """Puts what the server sent in another order than it stored it right."""
        self._inbox = inbox
        self._held: dict[str, deque[Message]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def take(self, topic: str, message: Message) -> None:
        """Hand on what came, after what was stored before it."""
        self.order.take(topic, message)

    def _take(self, topic: str, message: Message) -> None:
        held = self._held.get(topic)
        if held is not None:
            held.append(message)
        elif PIECES in message.head:
            self._held[topic] = deque([message])
            task = asyncio.get_running_loop().create_task(self._join(topic))
            self._tasks[topic] = task
        else:
            self._hand(topic, message, message.payload)

    def forget(self, topics: Collection[str]) -> None:
        """What is held of the topics is not handed on."""
        self.order.forget(topics)
        for topic in topics:
            self._held.pop(topic, None)
            task = self._tasks.pop(topic, None)
            if task is not None:
                task.cancel()

    def clear(self) -> None:
        """Nothing is held."""
        self.order.clear()
        self.forget(list(self._tasks))

    async def close(self) -> None:
        """No task is left."""
        tasks = list(self._tasks.values())
        self.clear()
        if tasks:
            await asyncio.wait(tasks)

    def _hand(self, topic: str, message: Message, payload: bytes) -> None:
        head = message.head
        stream, sequence = STREAM.search(head), SEQUENCE.search(head)
        if stream is None or sequence is None or BEGINS in head:
            return  # not from the stream, or no entry
        self.latest = stream[1].decode()
        self.offset = offset_of(int(sequence[1]), keeps_of(head))
        position = Position(epoch_of(self.latest), self.offset)
        self._inbox.deliver(topic, payload, position)

    async def _join(self, topic: str) -> None:
        held = self._held[topic]
        while held:
            message = held.popleft()
            payload, pieces = message.payload, headers_of(message.head).get(PIECES)
            stream = STREAM.search(message.head)
            if pieces is not None and stream is not None and self.whole is not None:
                try:
                    payload = await self.whole(stream[1].decode(), topic, pieces)
                except BackendUnavailable as error:
                    self._inbox.gap(error, [topic])  # members read it, or are told that it is gone
                    continue
            self._hand(topic, message, payload)
        del self._held[topic], self._tasks[topic]

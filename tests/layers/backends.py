"""Backends that can be watched, stopped and broken, and a layer over any of them.

All are the memory backend with one thing changed, so whatever core makes of it is core's doing.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

from fast_channels.exceptions import BackendUnavailable, PublishFailed
from fast_channels.layers import Backend, BaseChannelLayer, Inbox, InMemoryChannelLayer, Publication
from fast_channels.layers.codec import (
    Entry,
    decode_entries,
    decode_frame,
    encode_entries,
    encode_frame,
)
from fast_channels.layers.in_memory import MemoryBackend, MemoryBroker, MemoryQueues
from fast_channels.layers.messages import decode_message, encode_message

T = TypeVar("T")


class WatchedBackend(MemoryBackend):
    """Notes every call; ``may_publish`` and the like stop it, the errors break it."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.inbox: Inbox
        self.calls: list[str] = []
        self.subscribed: list[list[str]] = []
        self.unsubscribed: list[list[str]] = []
        self.published: list[list[Publication]] = []
        self.may_publish = asyncio.Event()
        self.may_subscribe = asyncio.Event()
        self.may_unsubscribe = asyncio.Event()
        for may in (self.may_publish, self.may_subscribe, self.may_unsubscribe):
            may.set()
        self.publish_error: Exception | None = None
        self.subscribe_error: Exception | None = None

    async def open(self, inbox: Inbox, /) -> None:
        self.calls.append("open")
        self.inbox = inbox
        await super().open(inbox)

    async def close(self) -> None:
        self.calls.append("close")
        await super().close()

    async def subscribe(self, topics: Collection[str], /) -> None:
        self.calls.append("subscribe")
        self.subscribed.append(list(topics))
        await self.may_subscribe.wait()
        if self.subscribe_error is not None:
            raise self.subscribe_error
        await super().subscribe(topics)

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        self.calls.append("unsubscribe")
        self.unsubscribed.append(list(topics))
        await super().unsubscribe(topics)
        await self.may_unsubscribe.wait()

    async def publish(self, publications: Sequence[Publication], /) -> None:
        self.calls.append("publish")
        self.published.append(list(publications))
        await self.may_publish.wait()
        if self.publish_error is not None:
            raise self.publish_error
        await self.hand_over(list(publications))

    async def hand_over(self, publications: list[Publication]) -> None:
        """Give the publications to the broker; subclasses spoil them here."""
        await super().publish(publications)

    @property
    def publications(self) -> list[Publication]:
        """Everything published, without the borders between calls."""
        return [publication for call in self.published for publication in call]


class SteppedBackend(WatchedBackend):
    """Each publish call waits for a permission of its own: ``steps.release()``."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.steps = asyncio.Semaphore(0)

    async def hand_over(self, publications: list[Publication]) -> None:
        await self.steps.acquire()
        await super().hand_over(publications)


class SmallBackend(WatchedBackend):
    """Carries no more than 512 bytes in one message."""

    max_payload = 512

    async def hand_over(self, publications: list[Publication]) -> None:
        largest = max(len(publication.payload) for publication in publications)
        assert largest <= 512, f"core gave {largest} bytes to a backend that carries 512"
        await super().hand_over(publications)


class LosingBackend(WatchedBackend):
    """Loses, and says nothing, what ``loses`` is true for."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.loses: Callable[[Publication], bool] = lambda publication: False

    async def hand_over(self, publications: list[Publication]) -> None:
        await super().hand_over([each for each in publications if not self.loses(each)])


class SmallLosingBackend(LosingBackend):
    """Loses silently, and carries no more than 512 bytes in one message."""

    max_payload = 512


class DoublingBackend(WatchedBackend):
    """Delivers everything twice, the repeats after the whole batch."""

    async def hand_over(self, publications: list[Publication]) -> None:
        await super().hand_over(publications + publications)


class RefusingBackend(WatchedBackend):
    """Refuses, with ``PublishFailed``, publications to the topics named in ``refused``."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.refused: set[str] = set()

    async def hand_over(self, publications: list[Publication]) -> None:
        errors: dict[int, Exception] = {
            index: BackendUnavailable(f"{topic} is refused")
            for index, (topic, _) in enumerate(publications)
            if topic in self.refused
        }
        await super().hand_over([each for i, each in enumerate(publications) if i not in errors])
        if errors:
            raise PublishFailed(errors)


class DownBackend(WatchedBackend):
    """Cannot be reached."""

    async def open(self, inbox: Inbox, /) -> None:
        self.calls.append("open")
        raise BackendUnavailable("no broker at memory://nowhere")


class UnansweringBackend(WatchedBackend):
    """Accepts the connection and then never says a word."""

    async def open(self, inbox: Inbox, /) -> None:
        self.calls.append("open")
        await asyncio.Event().wait()


class Layer(BaseChannelLayer):
    """A layer over backends of one kind; layers with the same broker play several nodes."""

    def __init__(
        self,
        kind: Callable[[MemoryBroker], Backend] = WatchedBackend,
        *,
        broker: MemoryBroker | None = None,
        queues: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._queues = queues
        self.broker = broker or MemoryBroker()
        self.backends: list[Any] = []
        self._kind = kind

    def create_backend(self) -> Backend:
        backend = self._kind(self.broker)
        if self._queues:
            backend.queues = MemoryQueues(self, self.broker)
        self.backends.append(backend)
        return backend

    @property
    def backend(self) -> Any:
        """The backend of the newest session."""
        return self.backends[-1]


class Make(Protocol):
    """Makes a layer that is closed when the test ends."""

    def __call__(self, kind: Callable[[MemoryBroker], Backend] = ..., **options: Any) -> Layer: ...


MakeMemory = Callable[..., InMemoryChannelLayer]
"""The same, of memory layers."""


@asynccontextmanager
async def layers() -> AsyncGenerator[Make]:
    """Yield what makes layers; they are closed afterwards.

    No task may be left then, and none may have failed without anybody being told.
    """
    before = asyncio.all_tasks()
    unseen: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unseen.append(context))
    made: list[Layer] = []

    def make(kind: Callable[[MemoryBroker], Backend] = WatchedBackend, **options: Any) -> Layer:
        made.append(Layer(kind, **options))
        return made[-1]

    yield make
    for layer in made:
        for backend in layer.backends:
            backend.may_publish.set()
            backend.may_subscribe.set()
        await layer.close()
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"tasks are left after close: {left}"
    assert not unseen, f"failures that nobody was told of: {unseen}"


def frame(
    message: dict[str, Any],
    target: str | None = None,
    *,
    node: str = "0123456789abcdef",
    seq: int = 0,
    prev: int = 0,
) -> bytes:
    """Return a frame that another node may have sent (number 0 says nothing of losses)."""
    entry = Entry(encode_message(message, 2**30), target)
    return encode_frame(node, seq, prev, encode_entries([entry]))


async def from_callback(function: Callable[[], T]) -> T:
    """Return what the function returns when the loop, and no task, calls it (as a reader does)."""
    result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: result.set_result(function()))
    return await result


def packed(publication: Publication) -> list[dict[str, Any]]:
    """Return the messages that a publication carries."""
    return [
        decode_message(e.payload) for e in decode_entries(decode_frame(publication.payload)[1].body)
    ]


def node_of(channel: str) -> str:
    """Return the topic on which the channel's node is reached."""
    return f"fc:n.{channel.partition('!')[0].rpartition('.')[2]}"

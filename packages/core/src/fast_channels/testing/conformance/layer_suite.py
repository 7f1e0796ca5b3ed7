"""What the suites for layers share: building, reading, fencing, looking below the layer."""

import asyncio
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, ClassVar, Final, TypeVar

from fast_channels.layers import BaseChannelLayer, ChannelLayer, Position, Publication
from fast_channels.testing.conformance.broker import BrokerSuite
from fast_channels.testing.conformance.holdings import Holdings
from fast_channels.testing.conformance.process import soon
from fast_channels.testing.conformance.sealed import sealed

T = TypeVar("T")
Message = dict[str, Any]

FENCE: Final = "kit.fence"


class LayerSuite(BrokerSuite):
    """A suite over layers of one kind; each layer plays a node."""

    no_backend: ClassVar[str | None] = None
    """Why nobody can look below the layer (``inject``, ``published``, ``received``): the clauses
    that do are skipped, and print this reason."""

    no_sync: ClassVar[str | None] = None
    """Why the layer has no ``sync``: the clause about it is skipped, and prints this reason."""

    @abstractmethod
    def build_layer(self, **options: Any) -> ChannelLayer:
        """Return a new, unopened layer with these options; every call reaches the same broker.

        The options are those that every layer takes: the fields of ``LayerOptions``.
        """
        raise NotImplementedError(
            f"{type(self).__name__} needs a method build_layer(self, **options) -> ChannelLayer"
        )

    async def inject(self, layer: ChannelLayer, topic: str, payload: bytes) -> None:
        """The broker has the payload for the topic, as if another program had published it.

        Done through one more backend of the layer; override it for a layer that has none.
        """
        if not isinstance(layer, BaseChannelLayer):
            raise NotImplementedError(
                f"{type(layer).__name__} is no BaseChannelLayer: {type(self).__name__} needs a "
                'method inject(self, layer, topic, payload), or no_backend = "the reason"'
            )
        backend = layer.create_backend()
        try:
            await backend.open(_Deaf())
            await backend.publish([Publication(topic, payload)])
        finally:
            await backend.close()

    def published(self, layer: ChannelLayer) -> int:
        """Return how many payloads the layer has handed to the broker: one for each frame.

        Taken from its ``stats()``; override it for a layer that counts elsewhere.
        """
        return layer.stats()["published"]

    def received(self, layer: ChannelLayer) -> int:
        """Return how many payloads the broker has delivered to the layer; as ``published``."""
        return layer.stats()["received"]

    @sealed
    def unopened(self, **options: Any) -> ChannelLayer:
        """Return a layer under the clause's prefix; it is closed when the clause ends."""
        layer = self.build_layer(**{"prefix": self.prefix(), **options})
        self.closing.push_async_callback(layer.close)
        return layer

    @sealed
    async def node(self, **options: Any) -> ChannelLayer:
        """Return an open layer under the clause's prefix; it is closed when the clause ends."""
        layer = self.unopened(**options)
        await self.soon(layer.open(), "open")
        return layer

    @sealed
    async def member(self, layer: ChannelLayer, *groups: str) -> str:
        """Return a new channel of the layer that is a member of the groups."""
        channel = await self.soon(layer.new_channel(), "new_channel")
        for group in groups:
            await self.soon(layer.group_add(group, channel), "group_add")
        return channel

    @sealed
    async def soon(self, awaitable: Awaitable[T], what: str, within: float | None = None) -> T:
        """Await what has to end within ``within`` seconds (None: patience); fail otherwise."""
        return await soon(awaitable, what, within or self.patience)

    @sealed
    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Return when the condition is true; fail, naming ``what``, when patience ends."""
        limit = time.monotonic() + self.patience
        while not condition():  # the condition is about another object's state
            assert time.monotonic() < limit, f"{what} did not come true in {self.patience:g} s"
            await asyncio.sleep(0.002)

    @sealed
    async def let_go(self, before: Holdings) -> None:
        """Return when no more is held than then; fail, naming what is, when patience ends."""
        limit = time.monotonic() + self.patience
        while more := before.more():  # what ends it runs in another thread
            assert time.monotonic() < limit, more
            await asyncio.sleep(0.002)

    @sealed
    async def passing(self, seconds: float) -> None:
        """Return when the time has passed on the clock that layers use."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) >= 0:  # noqa: ASYNC110  # it is time that passes
            await asyncio.sleep(left + 0.001)

    @sealed
    async def receive(self, layer: ChannelLayer, channel: str, count: int = 1) -> list[Message]:
        """Return the next messages of the channel; each has to come within the patience."""
        got: list[Message] = []
        try:
            while len(got) < count:
                async with asyncio.timeout(self.patience):
                    got.append(await layer.receive(channel))
        except TimeoutError:
            raise AssertionError(
                f"message {len(got) + 1} of {count} did not come within {self.patience:g} s; "
                f"came: {len(got)}, the last: {got[-3:]}"
            ) from None
        return got

    @sealed
    async def fenced(
        self, layer: ChannelLayer, channel: str, sender: ChannelLayer | None = None
    ) -> list[Message]:
        """Return what came to the channel before a marker that ``sender`` sends to it now.

        What the sender sent before has come by then, if ever it will: order is kept.
        """
        sender = sender or layer
        await self.settle()
        await self.soon(sender.send(channel, {"type": FENCE}), "send")
        got: list[Message] = []
        while (message := (await self.receive(layer, channel))[0])["type"] != FENCE:
            got.append(message)
        return got


def no_queues(suite: LayerSuite) -> str | None:
    """Return why the layer needs no worker queues; None: it has them."""
    if "queues" in suite.capabilities:
        return None
    return f'{type(suite).__name__}.capabilities has no "queues"'


def no_backend(suite: LayerSuite) -> str | None:
    """Return why nobody can look below the layer; None: one can."""
    return suite.no_backend


def no_sync(suite: LayerSuite) -> str | None:
    """Return why the layer has no ``sync``; None: it has."""
    return suite.no_sync


def holdings(layer: ChannelLayer) -> dict[str, int]:
    """Return what the layer holds now."""
    stats = layer.stats()
    return {name: stats[name] for name in ("channels", "groups", "unread")}


def message(n: int = 0, **fields: Any) -> Message:
    """Return a message with that number."""
    return {"type": "kit.message", "n": n, **fields}


def messages(count: int, first: int = 0) -> list[Message]:
    """Return that many messages, numbered."""
    return [message(n) for n in range(first, first + count)]


def numbers(received: Sequence[Message]) -> list[int]:
    """Return the numbers of received messages."""
    return [each["n"] for each in received]


class _Deaf:
    """An inbox that takes nothing."""

    def deliver(self, topic: str, payload: bytes, position: Position | None = None, /) -> None:
        """Nothing was subscribed."""

    def gap(self, cause: Exception, topics: Collection[str] | None = None, /) -> None:
        """Nothing was subscribed."""

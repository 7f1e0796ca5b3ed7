"""What the suites for layers share: building, reading, fencing, looking below the layer."""

import asyncio
import os
import stat
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Final, TypeVar

import pytest

from fast_channels.layers import BaseChannelLayer, ChannelLayer, Publication
from fast_channels.testing.conformance.clause import Suite

T = TypeVar("T")
Message = dict[str, Any]

FENCE: Final = "kit.fence"


class LayerSuite(Suite):
    """A suite over layers of one kind; each layer plays a node."""

    capabilities: ClassVar[frozenset[str]] = frozenset()
    """The optional powers that the layer is meant to have: ``"queues"``. Compared with what it
    does, so a power lost by mistake is a failure."""

    no_outage: ClassVar[str | None] = None
    """Why ``outage`` is not there: the outage clauses are skipped, and print this reason."""

    no_backend: ClassVar[str | None] = None
    """Why nobody can look below the layer (``inject``, ``published``, ``received``): the clauses
    that do are skipped, and print this reason."""

    unavailable_within: float = 10.0
    """Seconds within which calls fail while the broker cannot be reached."""

    recovers_within: float = 10.0
    """Seconds within which a layer is back when the broker can be reached again."""

    @abstractmethod
    def build_layer(self, **options: Any) -> ChannelLayer:
        """Return a new, unopened layer with these options; every call reaches the same broker.

        The options are those that every layer takes: the fields of ``LayerOptions``.
        """
        raise NotImplementedError(
            f"{type(self).__name__} needs a method build_layer(self, **options) -> ChannelLayer"
        )

    def outage(self) -> AbstractAsyncContextManager[Any]:
        """Return an async context manager inside which the broker cannot be reached.

        Entering it ends when the connections are broken, leaving it when the broker can be
        reached again.
        """
        raise NotImplementedError(
            f"{type(self).__name__} needs an async context manager outage(self), or "
            'no_outage = "the reason"'
        )

    async def inject(self, layer: ChannelLayer, topic: str, payload: bytes) -> None:
        """The broker has the payload for the topic, as if another program had published it.

        Done through one more backend of the layer; override it for a layer that has none.
        """
        if self.no_backend is not None:
            pytest.skip(self.no_backend)
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
        if self.no_backend is not None:
            pytest.skip(self.no_backend)
        return layer.stats()["published"]

    def received(self, layer: ChannelLayer) -> int:
        """Return how many payloads the broker has delivered to the layer; as ``published``."""
        if self.no_backend is not None:
            pytest.skip(self.no_backend)
        return layer.stats()["received"]

    # --- what a clause needs ------------------------------------------------------------------

    def need_queues(self) -> None:
        """Skip the clause where the class declares no worker queues."""
        if "queues" not in self.capabilities:
            pytest.skip(f'{type(self).__name__}.capabilities has no "queues"')

    def need_outage(self) -> None:
        """Skip the clause where the broker cannot be made unreachable."""
        if self.no_outage is not None:
            pytest.skip(self.no_outage)

    # --- building -----------------------------------------------------------------------------

    @property
    def prefix(self) -> str:
        """A prefix that no other clause, run or suite uses."""
        prefix: str = self.__dict__.setdefault("_prefix", f"kit-{os.urandom(6).hex()}")
        return prefix

    def layer(self, **options: Any) -> ChannelLayer:
        """Return an unopened layer under the clause's prefix; it is closed when the clause ends."""
        layer = self.build_layer(**{"prefix": self.prefix, **options})
        self.closing.push_async_callback(layer.close)
        return layer

    async def node(self, **options: Any) -> ChannelLayer:
        """Return an open layer under the clause's prefix; it is closed when the clause ends."""
        layer = self.layer(**options)
        await self.soon(layer.open(), "open")
        return layer

    async def member(self, layer: ChannelLayer, *groups: str) -> str:
        """Return a new channel of the layer that is a member of the groups."""
        channel = await self.soon(layer.new_channel(), "new_channel")
        for group in groups:
            await self.soon(layer.group_add(group, channel), "group_add")
        return channel

    # --- waiting ------------------------------------------------------------------------------

    async def soon(self, awaitable: Awaitable[T], what: str, within: float | None = None) -> T:
        """Await what has to end within ``within`` seconds (None: patience); fail otherwise."""
        limit = asyncio.timeout(within or self.patience)
        try:
            async with limit:
                return await awaitable
        except TimeoutError:
            if not limit.expired():
                raise
            raise AssertionError(f"{what} did not end in {within or self.patience:g} s") from None

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Return when the condition is true; fail, naming ``what``, when patience ends."""
        limit = time.monotonic() + self.patience
        while not condition():  # the condition is about another object's state
            assert time.monotonic() < limit, f"{what} did not come true in {self.patience:g} s"
            await asyncio.sleep(0.002)

    async def passing(self, seconds: float) -> None:
        """Return when the time has passed on the clock that layers use."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) >= 0:  # noqa: ASYNC110  # it is time that passes
            await asyncio.sleep(left + 0.001)

    async def receive(self, layer: ChannelLayer, channel: str, count: int = 1) -> list[Message]:
        """Return the next messages of the channel."""
        got: list[Message] = []
        try:
            async with asyncio.timeout(self.patience):
                while len(got) < count:
                    got.append(await layer.receive(channel))
        except TimeoutError:
            raise AssertionError(
                f"message {len(got) + 1} of {count} did not come within {self.patience:g} s; "
                f"came: {len(got)}, the last: {got[-3:]}"
            ) from None
        return got

    async def fence(
        self, layer: ChannelLayer, channel: str, sender: ChannelLayer | None = None
    ) -> list[Message]:
        """Return what came to the channel before a marker that ``sender`` sends to it now.

        What the sender sent before has come by then, if ever it will: order is kept.
        """
        sender = sender or layer
        await self.soon(sender.send(channel, {"type": FENCE}), "send")
        got: list[Message] = []
        while (message := (await self.receive(layer, channel))[0])["type"] != FENCE:
            got.append(message)
        return got


def holdings(layer: ChannelLayer) -> dict[str, int]:
    """Return what the layer holds now."""
    stats = layer.stats()
    return {name: stats[name] for name in ("channels", "groups", "unread")}


def sockets() -> set[tuple[int, int]]:
    """Return the open sockets of this process; none where the system does not list them."""
    found: set[tuple[int, int]] = set()
    try:
        descriptors = os.listdir("/dev/fd")
    except OSError:
        return found
    for descriptor in descriptors:
        try:
            status = os.fstat(int(descriptor))
        except OSError:
            continue  # the one that listed the folder
        if stat.S_ISSOCK(status.st_mode):
            found.add((status.st_dev, status.st_ino))
    return found


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

    def deliver(self, topic: str, payload: bytes, /) -> None:
        """Nothing was subscribed."""

    def gap(self, cause: Exception, topics: Collection[str] | None = None, /) -> None:
        """Nothing was subscribed."""

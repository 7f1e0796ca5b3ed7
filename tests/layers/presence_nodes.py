"""Several nodes on one memory broker, each of which can be cut off, and lose what it sends."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Publication
from fast_channels.layers.in_memory import MemoryBroker

from .backends import Layer, WatchedBackend

ROOM = "fc:p.room"
BEATS = "fc:b.presence"
HELD = 2.1
"""Seconds after which a leave has been told."""


class CutOffBackend(WatchedBackend):
    """Over a wire that can be cut, and that drops what ``loses`` says."""

    cut = False
    loses: Callable[[Publication], bool] | None = None

    async def hand_over(self, publications: list[Publication]) -> None:
        if self.cut:
            raise BackendUnavailable("the wire is cut")
        loses = self.loses
        await super().hand_over([p for p in publications if loses is None or not loses(p)])

    def arrive(self, publication: Publication) -> None:
        if not self.cut:
            super().arrive(publication)

    def heal(self) -> None:
        """Connected again, and some may have been missed."""
        self.cut = False
        self.inbox.gap(OSError("the wire was cut"))

    def on(self, topic: str) -> list[Publication]:
        """Return what was published to the topic."""
        return [p for p in self.publications if p.topic == topic]


@asynccontextmanager
async def nodes(
    count: int, kind: Callable[[MemoryBroker], CutOffBackend] = CutOffBackend, **options: Any
) -> AsyncGenerator[list[Layer]]:
    """Yield open layers that play nodes; afterwards no task of theirs may be left."""
    before = asyncio.all_tasks()
    unseen: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    broker = MemoryBroker()
    layers = [Layer(kind, broker=broker, **options) for _ in range(count)]
    for layer in layers:
        await layer.open()
    try:
        yield layers
    finally:
        for layer in layers:
            await layer.close()
    await asyncio.sleep(0)
    left = asyncio.all_tasks() - before
    assert not left, f"tasks are left after close: {left}"
    assert not unseen, f"failures that nobody was told of: {unseen}"


async def member(layer: Layer, group: str, user: str | None = None, *, watch: bool = False) -> str:
    """Return a new channel that is in the group, present as that user, which others know."""
    channel = await layer.new_channel()
    presence = None if user is None else {"user": user}
    await layer.group_add(group, channel, presence=presence, watch=watch)
    await asyncio.sleep(0.01)
    return channel


async def leave(layer: Layer, group: str, channel: str) -> None:
    """The channel has left the group, which others know."""
    await layer.group_discard(group, channel)
    await asyncio.sleep(0.01)


async def users(layer: Layer, group: str = "room") -> list[str]:
    """Return who is present, by name."""
    return sorted(each["user"] for each in (await layer.presence(group)).values())


def told(messages: list[dict[str, Any]]) -> list[str]:
    """Return what a watcher was told: ``+ann``, ``-ann``, ``=ann`` for one who was there."""
    said: list[str] = []
    for message in messages:
        replaces = message.get("replaces", {})
        for channel, presence in message["members"].items():
            mark = "-" if message["type"] == "presence.leave" else "+"
            said.append(f"{'=' if channel in replaces else mark}{presence['user']}")
    return said

"""Bounded waits. That a message does not come is shown by a fence: a marker sent after it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fast_channels.layers import BaseChannelLayer, ChannelLayer

T = TypeVar("T")

PATIENCE = 10.0
FENCE = "test.fence"


async def soon(awaitable: Awaitable[T]) -> T:
    """Await what has to end within ``PATIENCE``."""
    async with asyncio.timeout(PATIENCE):
        return await awaitable


async def until(condition: Callable[[], object]) -> None:
    """Return when the condition is true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # the condition is about somebody else's state
            await asyncio.sleep(0.001)


async def turns(count: int = 20) -> None:
    """Let everything that is ready run, several times over."""
    for _ in range(count):
        await asyncio.sleep(0)


async def past(moment: float) -> None:
    """Return when ``time.monotonic()`` is past the moment."""
    while (left := moment - time.monotonic()) >= 0:  # noqa: ASYNC110  # it is time that passes
        await asyncio.sleep(left + 0.001)


async def receive(layer: ChannelLayer, channel: str, count: int) -> list[dict[str, Any]]:
    """Return the next messages of the channel."""
    return [await soon(layer.receive(channel)) for _ in range(count)]


async def read_to_fence(
    layer: ChannelLayer, channel: str, *, sender: ChannelLayer | None = None
) -> list[dict[str, Any]]:
    """Return what had come to the channel before a marker that ``sender`` sends to it now."""
    await (sender or layer).send(channel, {"type": FENCE})
    messages: list[dict[str, Any]] = []
    while (message := await soon(layer.receive(channel)))["type"] != FENCE:
        messages.append(message)
    return messages


def message(n: int, **fields: Any) -> dict[str, Any]:
    """Return a message with that number."""
    return {"type": "test.message", "n": n, **fields}


def numbers(messages: list[dict[str, Any]]) -> list[int]:
    """Return the ``"n"`` of each message."""
    return [message["n"] for message in messages]


async def round_trip(layer: BaseChannelLayer) -> int:
    """Send to a group and receive from it; return how many sessions the layer has."""
    async with layer.channel() as channel:
        await layer.group_add("group", channel.name)
        await layer.group_send("group", message(1))
        assert await soon(channel.receive()) == message(1)
    return layer.stats()["sessions"]

"""Bounded waits. That a message does not come is shown by a fence: a marker sent after it."""

import asyncio
import time
from typing import Any

from tests.waiting import soon as soon
from tests.waiting import turns as turns
from tests.waiting import until as until

from fast_channels.layers import BaseChannelLayer, ChannelLayer

FENCE = "test.fence"


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

"""Bounded waits."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import BaseChannelLayer, ChannelLayer

T = TypeVar("T")
PATIENCE = 15.0
STARTING = 60.0
"""Seconds in which a process of Python begins, which imports much, on however busy a machine."""


async def soon(awaitable: Awaitable[T], seconds: float = PATIENCE) -> T:
    """Await what has to end within so many seconds."""
    async with asyncio.timeout(seconds):
        return await awaitable


async def until(condition: Callable[[], object]) -> None:
    """Return when the condition is true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # the condition is about somebody else's state
            await asyncio.sleep(0.005)


async def turns(count: int = 20) -> None:
    """Let everything that is ready run, several times over."""
    for _ in range(count):
        await asyncio.sleep(0)


async def hears(layer: BaseChannelLayer) -> None:
    """Return when a message of the layer to itself comes back from the broker."""
    async with asyncio.timeout(PATIENCE):
        while not await layer.health():  # noqa: ASYNC110  # the broker is somebody else
            await asyncio.sleep(0.02)


async def send_when_back(layer: ChannelLayer, group: str, message: dict[str, Any]) -> int:
    """Send until the broker takes it; return how often it did not."""
    async with asyncio.timeout(PATIENCE):
        failures = 0
        while True:
            try:
                await layer.group_send(group, message)
                return failures
            except BackendUnavailable:
                failures += 1
                await asyncio.sleep(0.02)


async def read_until(layer: ChannelLayer, channel: str, last: dict[str, Any]) -> list[Any]:
    """Return what comes to the channel before the message ``last``."""
    messages: list[Any] = []
    while (message := await soon(layer.receive(channel))) != last:
        messages.append(message)
    return messages

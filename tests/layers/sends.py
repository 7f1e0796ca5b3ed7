"""Sends that are under way, one held by its broker, and what was published of them."""

import asyncio
from typing import Any

from .backends import Layer, packed
from .waiting import message, numbers, until


def send(layer: Layer, group: str, n: int, **fields: Any) -> "asyncio.Task[None]":
    return asyncio.create_task(layer.group_send(group, message(n, **fields)))


async def blocked(layer: Layer) -> "asyncio.Task[None]":
    """Return a send that is in flight, and stays there until ``may_publish`` is set."""
    await layer.open()
    layer.backend.may_publish.clear()
    first = send(layer, "first", 0)
    await until(lambda: layer.backend.published)
    return first


def batches(layer: Layer) -> list[list[tuple[str, list[int]]]]:
    """Return, for each publish call, the groups and the numbers of the messages to them."""
    return [
        [(each.topic.removeprefix("fc:g."), numbers(packed(each))) for each in call]
        for call in layer.backend.published
    ]

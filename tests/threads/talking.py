"""Ways to use a layer, and to see that nothing of it is left."""

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psutil
from tcp_broker import TCPLayer

from fast_channels.layers import BaseChannelLayer, InMemoryChannelLayer

PATIENCE = 20.0


def make(url: str) -> BaseChannelLayer:
    capacity = 10_000  # a member that does not get its turn for a while loses nothing
    if url.startswith("memory"):
        return InMemoryChannelLayer(url=url, capacity=capacity)
    return TCPLayer(url, capacity=capacity)


def message(n: object) -> dict[str, Any]:
    return {"type": "test.message", "n": n}


def sockets() -> list[Any]:
    """This process's TCP connections."""
    return list(psutil.Process().net_connections("tcp"))


def pending() -> list[str]:
    """What every task that is not done runs, on whichever loop, but for the background loop's."""
    gc.collect()
    tasks = [each for each in gc.get_objects() if isinstance(each, asyncio.Task)]
    names = [repr(task.get_coro()) for task in tasks if not task.done()]
    return [name for name in names if "_Background._main" not in name]


def nothing_is_left(layer: BaseChannelLayer) -> None:
    """No socket is open, and no task under way."""
    layer.sync.close()
    assert sockets() == []
    assert pending() == []
    assert layer.stats()["sessions"] == 0


def in_threads(count: int, function: Callable[[int], object]) -> None:
    """Run the function in that many threads at once, with their numbers; raise what one raised."""
    with ThreadPoolExecutor(count) as threads:
        for done in [threads.submit(function, number) for number in range(count)]:
            done.result(PATIENCE)


async def collect(receive: Callable[[], Coroutine[Any, Any, Any]], count: int) -> list[Any]:
    """Return the numbers of the next messages."""
    async with asyncio.timeout(PATIENCE):
        return [(await receive())["n"] for _ in range(count)]


async def talk(layer: BaseChannelLayer, n: object) -> None:
    """Send to a group, and to the channel that is in it, and read both."""
    async with layer.channel() as channel:
        group = channel.name.replace("!", ".")
        await layer.group_add(group, channel.name)
        await layer.group_send(group, message(n))
        await layer.send(channel.name, message("direct"))
        assert await collect(channel.receive, 2) == [n, "direct"]


def talk_in_sync(layer: BaseChannelLayer, n: object) -> str:
    """Do the same through ``layer.sync``; return the channel, which is still a member."""
    name = layer.sync.new_channel()
    group = name.replace("!", ".")
    layer.sync.group_add(group, name)
    layer.sync.group_send(group, message(n))
    layer.sync.send(name, message("direct"))
    assert [layer.sync.receive(name, timeout=PATIENCE)["n"] for _ in range(2)] == [n, "direct"]
    return name


@contextmanager
def members(layer: BaseChannelLayer, loops: int, count: int, channels: int = 2) -> Any:
    """So many loops, each in a thread of its own with that many members of the group ``all``.

    Yields what each member got, which at the end of the block is ``count`` messages.
    """
    got: list[list[Any]] = []
    ready = threading.Barrier(loops + 1, timeout=PATIENCE)

    async def listen() -> None:
        async with asyncio.TaskGroup() as readers:
            for _ in range(channels):
                name = await layer.new_channel()
                await layer.group_add("all", name)
                readers.create_task(read(name))
            await asyncio.to_thread(ready.wait)

    async def read(name: str) -> None:
        got.append(await collect(lambda: layer.receive(name), count))

    with ThreadPoolExecutor(loops) as threads:
        listening = [threads.submit(asyncio.run, listen()) for _ in range(loops)]
        ready.wait()
        yield got
        for each in listening:
            each.result(PATIENCE)

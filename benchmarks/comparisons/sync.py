"""What ``layer.sync`` costs, on the memory layer, against ``async_to_sync`` of the same method.

- to delivery: from the call of ``layer.sync.group_send`` in one thread until a member in another
  thread's event loop has the message; half and all but 1 % of 2,000 sends, one at a time.
- from N threads: sends for each second of wall time, by one thread and by ten at once.

Wall time, unlike elsewhere: what a call costs is mostly the way from one thread to another.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from asgiref.sync import async_to_sync

from benchmarks.comparisons.table import Row, compare
from benchmarks.comparisons.table import measure as text
from benchmarks.comparisons.turns import in_turns, worker
from benchmarks.workers.measuring import MESSAGE, work
from fast_channels.layers import InMemoryChannelLayer

SENDS: Final = 2_000
DELIVERY_MS: Final = 50.0
"""The delay that must never be reached, whatever the machine does meanwhile."""

SECONDS: Final = 1.0


def rows() -> Iterator[Row]:
    """Yield the delays, then the rates."""
    [delays] = in_turns(worker("sync", "delays", loop="asyncio"))
    for name, values in delays.items():
        delay = sorted(values)[len(values) // 2]
        case = f"call to delivery, {name}"
        yield Row("sync", case, text(delay, "ms"), "-", delay, " ms", at_most=DELIVERY_MS)
    ways = (worker("sync", "rates", way, loop="asyncio") for way in ("sync", "asgiref"))
    ours, theirs = in_turns(*ways)
    for name, values in ours.items():
        yield compare("sync", f"sends from {name}, async_to_sync", values, theirs[name], "/s")


async def delays() -> dict[str, float]:
    """Measure milliseconds from the call to the member's turn."""
    layer = InMemoryChannelLayer(capacity=SENDS)  # a reader that is kept waiting loses nothing
    measured: list[float] = []

    def send() -> None:
        for _ in range(SENDS):
            layer.sync.group_send("group", {**MESSAGE, "at": time.perf_counter()})

    async with layer.channel() as member:
        await layer.group_add("group", member.name)
        sender = threading.Thread(target=send)
        sender.start()
        for _ in range(SENDS):
            message = await member.receive()
            measured.append((time.perf_counter() - message["at"]) * 1e3)
        await asyncio.to_thread(sender.join)
    await layer.close()
    measured.sort()
    return {"p50": measured[SENDS // 2], "p99": measured[SENDS * 99 // 100]}


def rates(kind: str) -> dict[str, float]:
    """Measure sends for each second."""
    layer = InMemoryChannelLayer()
    send = layer.sync.group_send if kind == "sync" else async_to_sync(layer.group_send)
    result = {"one thread": rate(send, 1), "ten threads": rate(send, 10)}
    layer.sync.close()
    return result


def rate(send: Callable[..., Any], threads: int) -> float:
    """Return how many sends so many threads do in a second."""

    def run(_: int) -> int:
        count = 0
        while time.perf_counter() < end:
            send("group", MESSAGE)
            count += 1
        return count

    send("group", MESSAGE)
    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        end = start + SECONDS
        count = sum(pool.map(run, range(threads)))
        return count / (time.perf_counter() - start)


async def main(*kind: str) -> dict[str, float]:
    """Measure the delays, or the rates of one way to send."""
    return await asyncio.to_thread(rates, kind[1]) if kind[0] == "rates" else await delays()


if __name__ == "__main__":
    work(main)

"""One measurement over Redis: ``<loop> <side> <case> <port>``; see redis_layers.py."""

import asyncio
import os
import subprocess
import sys
import time
from typing import Any, Final

from benchmarks.sides.compared import REDIS
from benchmarks.sides.side import Side
from benchmarks.worker import MESSAGE, Score, Stopwatch, work

SECONDS: Final = 1.0
SENDERS: Final = 64
GROUPS: Final = 10_000
KEPT: Final = 9_984
MEMBERS: Final = 100
UNDELIVERED: Final = 50
MOST: Final = 60_000
"""Messages that are sent at most: what is not read yet has to fit everywhere."""
ARRIVING: Final = 30.0
"""Seconds after which what has not arrived is lost."""
STARTING: Final = 30.0
"""Seconds in which the sender's process has to start, on a busy machine."""


async def main(name: str, case: str, port: str) -> dict[str, float]:
    """Measure one case of one side."""
    side = REDIS[name](int(port))
    await side.open()
    try:
        result: dict[str, float] = await CASES[case](side, name, port)
        return result
    finally:
        await side.close()


async def flood(side: Side, groups: list[str]) -> tuple[float, float]:
    """Send from 64 tasks; return messages per second, and CPU microseconds for each."""
    count = 0
    end = time.perf_counter() + SECONDS / 4

    async def sender(group: str) -> None:
        nonlocal count
        while time.perf_counter() < end:
            await side.send(group, MESSAGE)
            count += 1

    await asyncio.gather(*map(sender, groups))  # connections, caches
    await side.settled()
    count, start, watch = 0, time.perf_counter(), Stopwatch()
    end = start + SECONDS
    await asyncio.gather(*map(sender, groups))
    await side.settled()
    return count / (time.perf_counter() - start), watch.each(count)


async def one_group(side: Side, *_: str) -> dict[str, float]:
    """64 concurrent senders to one group."""
    rate, cpu = await flood(side, ["room"] * SENDERS)
    return {"rate": rate, "cpu": cpu}


async def arrivals(side: Side, name: str, *_: str) -> dict[str, float]:
    """64 concurrent senders to one group with one member here, until all have arrived."""
    score = Score()
    await side.member("room", lambda _: score.hit())
    result: dict[str, float] = {}
    for seconds in (SECONDS / 4, SECONDS):  # the first time is for connections and caches
        sent, base = 0, score.count
        start, watch = time.perf_counter(), Stopwatch()
        end = start + seconds

        async def sender(end: float = end) -> None:
            nonlocal sent
            while time.perf_counter() < end and sent < MOST:
                await side.send("room", MESSAGE)
                sent += 1

        await asyncio.gather(*(sender() for _ in range(SENDERS)))
        try:
            await score.until(base + sent, ARRIVING)
        except TimeoutError:
            arrived = score.count - base
            raise RuntimeError(f"of {sent} messages by {name}, {arrived} have arrived") from None
        result = {"rate": sent / (time.perf_counter() - start), "cpu": watch.each(sent)}
    return result


async def many_groups(side: Side, *_: str) -> dict[str, float]:
    """64 concurrent senders, each to a group of its own."""
    rate, cpu = await flood(side, [f"room-{number}" for number in range(SENDERS)])
    return {"rate": rate, "cpu": cpu}


async def lone(side: Side, *_: str) -> dict[str, float]:
    """One message at a time, from send to its arrival in the same process; the median, in us."""
    arrived = asyncio.Event()
    await side.member("room", lambda _: arrived.set())
    took: list[float] = []
    for _ in range(2_500):
        arrived.clear()
        start = time.perf_counter()
        await side.send("room", MESSAGE)
        await arrived.wait()
        took.append(time.perf_counter() - start)
    return {"p50": sorted(took[500:])[1_000] * 1e6}


async def replay(side: Side, *_: str) -> dict[str, float]:
    """A member reads 10,000 messages that were kept: how many each second, and CPU for each."""
    layer: Any = side.layer  # type: ignore[attr-defined]  # only our own layer has a history
    start = await layer.group_position("past")

    async def sender() -> None:
        for _ in range(KEPT // SENDERS):
            await layer.group_send("past", MESSAGE)

    await asyncio.gather(*(sender() for _ in range(SENDERS)))
    result: dict[str, float] = {}
    for _ in range(2):  # the first time is for the caches
        channel = await layer.new_channel()
        began, watch = time.perf_counter(), Stopwatch()
        await layer.group_add("past", channel, since=start)
        for _ in range(KEPT):
            await layer.receive(channel)
        result = {"rate": KEPT / (time.perf_counter() - began), "cpu": watch.each(KEPT)}
    return result


async def groups_of_two(side: Side, *_: str) -> dict[str, float]:
    """10,000 groups with two members each: CPU for a delivery, by one sender and by 64."""
    score = Score()
    for number in range(GROUPS):
        for _ in range(2):
            await side.member(f"g{number}", lambda _: score.hit())
    result: dict[str, float] = {}
    for name, senders in (("one", 1), ("64", SENDERS)):
        messages = 3_200 if senders == 1 else 9_600
        before = score.count

        async def sender(first: int, step: int = senders, messages: int = messages) -> None:
            for number in range(first, messages, step):
                await side.send(f"g{number * 7 % GROUPS}", MESSAGE)

        watch = Stopwatch()
        await asyncio.gather(*map(sender, range(senders)))
        await score.until(before + 2 * messages)
        result[name] = watch.each(2 * messages)
    return result


async def two_processes(
    side: Side, name: str, port: str, module: str = "redis_worker"
) -> dict[str, float]:
    """100 members here, the sender in another process, at most 50 messages on their way.

    ``module`` is the worker that has the side and the case ``sender``.
    """
    count, began = 0, asyncio.Event()
    sender: Any = None

    def hit(_: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        if count % MEMBERS == 0 and sender is not None:
            began.set()
            sender.stdin.write(b".")

    for _ in range(MEMBERS):
        await side.member("room", hit)
    command = [sys.executable, "-m", f"benchmarks.{module}", "uvloop", name, "sender", port]
    quiet = subprocess.DEVNULL
    sender = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=quiet)
    try:
        async with asyncio.timeout(STARTING):
            await began.wait()
        await asyncio.sleep(SECONDS / 2)
        first, start, watch = count, time.perf_counter(), Stopwatch()
        await asyncio.sleep(SECONDS)
        delivered, seconds = count - first, time.perf_counter() - start
        return {"rate": delivered / seconds, "cpu": watch.each(delivered)}
    finally:
        sender.kill()
        await sender.wait()


async def sender(side: Side, *_: str) -> dict[str, float]:
    """Send until killed; one byte on standard input is one message delivered to all."""
    room = asyncio.Semaphore(UNDELIVERED)

    def delivered() -> None:
        for _ in os.read(sys.stdin.fileno(), 4_096):
            room.release()

    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), delivered)

    async def one() -> None:
        while True:
            await room.acquire()
            await side.send("room", MESSAGE)

    await asyncio.gather(*(one() for _ in range(UNDELIVERED)))
    return {}


CASES: Final[dict[str, Any]] = {
    "one_group": one_group,
    "arrivals": arrivals,
    "many_groups": many_groups,
    "lone": lone,
    "replay": replay,
    "groups_of_two": groups_of_two,
    "two_processes": two_processes,
    "sender": sender,
}

if __name__ == "__main__":
    work(main)

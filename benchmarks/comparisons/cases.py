"""What the comparisons of layers measure of one side, beyond the scenarios of the matrix.

Each is a coroutine that a worker runs with a ``Task``; it returns figures: ``rate`` for each
second, ``cpu_us`` of the Python process for each message, and so on.
"""

import asyncio
import gc
import time
from typing import Any, Final

from benchmarks.scenarios.flood import SENDERS, Flood, flood
from benchmarks.scenarios.pair import Sender
from benchmarks.workers.measuring import MESSAGE, Score, Stopwatch
from benchmarks.workers.task import Clock, Task, settled

Figures = dict[str, float]

WARM_UP: Final = 0.25
GROUPS: Final = 10_000
KEPT: Final = 10_000
TOGETHER: Final = 4
RATE: Final = 200
"""Messages a second at which nobody is busy, and caches are warm."""

MOST: Final = 10_000_000


async def send(task: Task) -> Figures:
    """64 concurrent senders, to ``groups`` groups in turn whose members are elsewhere."""
    groups = task.params["groups"]

    async def run(seconds: float) -> Flood:
        options: dict[str, Any] = {"members": 0, "most": MOST}
        done = await flood(
            task, Score(), seconds, group=lambda number: f"room-{number % groups}", **options
        )
        await task.side.settled()
        return done

    await run(WARM_UP)  # connections, caches
    start, watch = time.perf_counter(), Stopwatch()
    return figures(await run(task.seconds), start, watch)


async def arrive(task: Task) -> Figures:
    """The same with a member of each group here, until all have arrived; the rest is ``lost``."""
    score, groups = Score(), task.params["groups"]
    for number in range(groups):
        await task.members(f"room-{number}", 1, lambda _: score.hit())

    async def run(seconds: float) -> Flood:
        return await flood(task, score, seconds, group=lambda number: f"room-{number % groups}")

    await run(WARM_UP)
    before, start, watch = score.count, time.perf_counter(), Stopwatch()
    done = await run(task.seconds)
    return figures(done, start, watch) | {"lost": before + done.sent - score.count}


def figures(done: Flood, start: float, watch: Stopwatch) -> Figures:
    """Return the figures of a flood that has just ended; raises ``RuntimeError`` for its errors."""
    if done.trouble:
        raise RuntimeError(done.trouble)
    rate = done.sent / (time.perf_counter() - start)
    return {"rate": rate, "cpu_us": watch.each(done.sent)}


async def four_processes(task: Task) -> Figures:
    """64 senders in each of four processes at once; messages of all for each second."""
    senders = [await Sender.start(task) for _ in range(TOGETHER)]

    async def run(seconds: float) -> list[dict[str, Any]]:
        command = {"do": "unbounded", "group": "room", "most": MOST, "seconds": seconds}
        return await asyncio.gather(*(each.do(**command) for each in senders))

    try:
        await run(WARM_UP)
        did = await run(task.seconds)
        if errors := sum(one["errors"] for one in did):
            raise RuntimeError(f"{errors:,} sends raised {did[0]['last']}")
        sent = sum(one["sent"] for one in did)
        cpu = sum(one["cpu"] for one in did) / sent * 1e6
        return {"rate": sum(one["sent"] / one["seconds"] for one in did), "cpu_us": cpu}
    finally:
        for each in senders:
            await each.stop()


async def server_cpu(task: Task) -> Figures:
    """The broker's CPU for a message to ``members`` here, from a sender in another process."""
    score, members = Score(), task.params["members"]
    sender = await Sender.start(task)
    command = {"do": "paced", "group": "room", "rate": RATE}
    try:
        await task.members("room", members, lambda _: score.hit())
        did = await sender.do(seconds=WARM_UP, **command)
        await settled(score, did["sent"] * members)
        clock, base = await Clock.start(task), score.count
        did = await sender.do(seconds=task.seconds, **command)
        if lost := await settled(score, base + did["sent"] * members):
            raise RuntimeError(f"{lost:,} deliveries are missing")
        measured = await clock.measures(did["sent"], did["sent"])
        return {"broker_cpu_us": measured["broker_cpu_us"]}
    finally:
        await sender.stop()


async def resume(task: Task) -> Figures:
    """A member that resumes ``behind`` messages behind: messages a second, and CPU for each."""
    side: Any = task.side
    count, result = task.params["behind"], Figures()
    start = await side.layer.group_position("room")
    await fill(task, "room", count)
    for _ in range(2):  # the first time is for the caches
        score, channel = Score(), await side.layer.new_channel()
        began, watch = time.perf_counter(), Stopwatch()
        side.read(channel, score.take)
        await side.layer.group_add("room", channel, since=start)
        await score.until(count)
        result = {"rate": count / (time.perf_counter() - began), "cpu_us": watch.each(count)}
    return result


async def pages(task: Task) -> Figures:
    """10,000 kept messages of one group, page by page: messages a second, and CPU for each."""
    side: Any = task.side
    await fill(task, "kept", KEPT)
    start, watch = time.perf_counter(), Stopwatch()
    await side.replay("kept", KEPT)
    return {"rate": KEPT / (time.perf_counter() - start), "cpu_us": watch.each(KEPT)}


async def fill(task: Task, group: str, messages: int) -> None:
    """So many messages were sent to the group, or a few more than asked for."""

    async def sender() -> None:
        for _ in range(-(-messages // SENDERS)):
            await task.side.send(group, MESSAGE)

    await asyncio.gather(*(sender() for _ in range(SENDERS)))


async def joins_at_once(task: Task) -> Figures:
    """Seconds in which one channel joins 10,000 groups at once."""
    side: Any = task.side
    start = time.perf_counter()
    channel = await side.layer.new_channel()
    await asyncio.gather(*(side.layer.group_add(f"g{n}", channel) for n in range(GROUPS)))
    return {"seconds": time.perf_counter() - start}


async def joins_in_turn(task: Task) -> Figures:
    """10,000 groups joined one after another: seconds, joins a second, and KiB for each."""
    import psutil  # the peers' environments have none

    side = task.side
    for number in range(200):
        await side.join(f"warm-{number}")
    gc.collect()
    before, start = psutil.Process().memory_info().rss, time.perf_counter()
    for number in range(GROUPS):
        await side.join(f"g{number}")
    seconds = time.perf_counter() - start
    gc.collect()
    grown = psutil.Process().memory_info().rss - before
    return {"seconds": seconds, "rate": GROUPS / seconds, "kib": grown / GROUPS / 1_024}

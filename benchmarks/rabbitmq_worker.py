"""One measurement over RabbitMQ: ``<loop> <side> <case> <port>``; see rabbitmq_layers.py."""

import asyncio
import time
from typing import Any, Final

from benchmarks.redis_worker import lone, sender, two_processes
from benchmarks.sides.compared import RABBITMQ
from benchmarks.sides.side import Side
from benchmarks.worker import MESSAGE, Score, Stopwatch, work

SECONDS: Final = 1.5
SENDERS: Final = 64
JOINS: Final = 10_000
KEPT: Final = 10_000
PATIENCE: Final = 20.0


async def main(name: str, case: str, port: str) -> dict[str, float]:
    """Measure one case of one side."""
    side = RABBITMQ[name](int(port))
    await side.open()
    try:
        result: dict[str, float] = await CASES[case](side, name, port)
        return result
    finally:
        await side.close()


async def flood(side: Side, groups: list[str]) -> dict[str, float]:
    """Send from 64 tasks to groups with a member each, until all of it has arrived.

    Returns messages per second, CPU microseconds for each (here are the sender and the members),
    and how many did not arrive.
    """
    score, sent, turn = Score(), 0, 0
    for group in dict.fromkeys(groups):
        await side.member(group, lambda _: score.hit())

    async def sender(end: float) -> None:
        nonlocal sent, turn
        while time.perf_counter() < end:
            turn += 1
            await side.send(groups[turn % len(groups)], MESSAGE)
            sent += 1

    async def run(seconds: float) -> None:
        end = time.perf_counter() + seconds
        await asyncio.gather(*(sender(end) for _ in range(SENDERS)))
        try:
            async with asyncio.timeout(PATIENCE):
                await score.until(sent)
        except TimeoutError:
            pass

    await run(SECONDS / 4)  # connections, caches
    before, start, watch = sent, time.perf_counter(), Stopwatch()
    await run(SECONDS)
    count = sent - before
    seconds = time.perf_counter() - start
    return {"rate": count / seconds, "cpu": watch.each(count), "lost": sent - score.count}


async def one_group(side: Side, *_: str) -> dict[str, float]:
    """64 concurrent senders to one group."""
    return await flood(side, ["room"])


async def many_groups(side: Side, *_: str) -> dict[str, float]:
    """64 concurrent senders to 1,000 groups in turn."""
    return await flood(side, [f"room-{number}" for number in range(1_000)])


async def send_only(side: Side, *_: str) -> dict[str, float]:
    """64 concurrent senders to one group whose members are elsewhere: CPU of the sender."""
    end, count = time.perf_counter() + SECONDS / 4, 0

    async def sender() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await side.send("room", MESSAGE)
            count += 1

    await asyncio.gather(*(sender() for _ in range(SENDERS)))
    count, start, watch = 0, time.perf_counter(), Stopwatch()
    end = start + SECONDS
    await asyncio.gather(*(sender() for _ in range(SENDERS)))
    return {"rate": count / (time.perf_counter() - start), "cpu": watch.each(count)}


async def replay(side: Any, *_: str) -> dict[str, float]:
    """Read 10,000 kept messages of one group, which were sent by 64 tasks."""
    for _ in range(KEPT // SENDERS + 1):
        await asyncio.gather(*(side.send("room", MESSAGE) for _ in range(SENDERS)))
    start, watch = time.perf_counter(), Stopwatch()
    await side.replay("room", KEPT)
    return {"rate": KEPT / (time.perf_counter() - start), "cpu": watch.each(KEPT)}


async def joins_at_once(side: Any, *_: str) -> dict[str, float]:
    """10,000 groups joined at once by one channel."""
    start = time.perf_counter()
    channel = await side.layer.new_channel()
    await asyncio.gather(*(side.layer.group_add(f"g{n}", channel) for n in range(JOINS)))
    return {"seconds": time.perf_counter() - start}


async def joins_in_turn(side: Side, *_: str) -> dict[str, float]:
    """10,000 groups joined one after another, each by a member of its own."""
    start = time.perf_counter()
    for number in range(JOINS):
        await side.join(f"g{number}")
    return {"seconds": time.perf_counter() - start}


async def across(side: Side, name: str, port: str) -> dict[str, float]:
    """100 members here, the sender in another process."""
    return await two_processes(side, name, port, "rabbitmq_worker")


CASES: Final[dict[str, Any]] = {
    "one_group": one_group,
    "many_groups": many_groups,
    "send_only": send_only,
    "lone": lone,
    "replay": replay,
    "joins_at_once": joins_at_once,
    "joins_in_turn": joins_in_turn,
    "two_processes": across,
    "sender": sender,
}


if __name__ == "__main__":
    work(main)

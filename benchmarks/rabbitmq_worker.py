"""One measurement over RabbitMQ: ``<loop> <side> <case> <port>``; see rabbitmq_layers.py."""

import asyncio
import os
import subprocess
import sys
import time
from typing import Any, Final

from benchmarks.rabbitmq_sides import SIDES, Layer
from benchmarks.redis_worker import lone
from benchmarks.worker import MESSAGE, Score, Stopwatch, work

SECONDS: Final = 1.5
SENDERS: Final = 64
JOINS: Final = 10_000
KEPT: Final = 10_000
MEMBERS: Final = 100
UNDELIVERED: Final = 50
PATIENCE: Final = 20.0


async def main(name: str, case: str, port: str) -> dict[str, float]:
    """Measure one case of one side."""
    side = SIDES[name](int(port))
    await side.open()
    try:
        result: dict[str, float] = await CASES[case](side, name, port)
        return result
    finally:
        await side.close()


async def flood(side: Layer, groups: list[str]) -> dict[str, float]:
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


async def one_group(side: Layer, *_: str) -> dict[str, float]:
    """64 concurrent senders to one group."""
    return await flood(side, ["room"])


async def many_groups(side: Layer, *_: str) -> dict[str, float]:
    """64 concurrent senders to 1,000 groups in turn."""
    return await flood(side, [f"room-{number}" for number in range(1_000)])


async def send_only(side: Layer, *_: str) -> dict[str, float]:
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


async def joins_at_once(side: Layer, *_: str) -> dict[str, float]:
    """10,000 groups joined at once."""
    start = time.perf_counter()
    await side.join_all([f"g{number}" for number in range(JOINS)])
    return {"seconds": time.perf_counter() - start}


async def joins_in_turn(side: Layer, *_: str) -> dict[str, float]:
    """10,000 groups joined one after another."""
    start = time.perf_counter()
    await side.join_each([f"g{number}" for number in range(JOINS)])
    return {"seconds": time.perf_counter() - start}


async def two_processes(side: Layer, name: str, port: str) -> dict[str, float]:
    """100 members here, the sender in another process, at most 50 messages on their way."""
    count = 0
    sending: Any = None

    def hit(_: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        if count % MEMBERS == 0 and sending is not None:
            sending.stdin.write(b".")

    for _ in range(MEMBERS):
        await side.member("room", hit)
    command = [sys.executable, "-m", "benchmarks.rabbitmq_worker", "uvloop", name, "sender", port]
    quiet = subprocess.DEVNULL
    sending = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=quiet)
    try:
        await asyncio.sleep(SECONDS)  # it starts
        first, start, watch = count, time.perf_counter(), Stopwatch()
        await asyncio.sleep(SECONDS)
        delivered, seconds = count - first, time.perf_counter() - start
        return {"rate": delivered / seconds, "cpu": watch.each(delivered)}
    finally:
        sending.kill()
        await sending.wait()


async def sender(side: Layer, *_: str) -> dict[str, float]:
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
    "many_groups": many_groups,
    "send_only": send_only,
    "lone": lone,
    "replay": replay,
    "joins_at_once": joins_at_once,
    "joins_in_turn": joins_in_turn,
    "two_processes": two_processes,
    "sender": sender,
}


if __name__ == "__main__":
    work(main)

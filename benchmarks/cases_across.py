"""Cases of the comparisons in which several processes take part, each with a side of its own."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import mean
from typing import Any, Final

from benchmarks.sides.side import Side
from benchmarks.worker import MESSAGE, Stopwatch

SECONDS: Final = 1.0
MEMBERS: Final = 100
UNDELIVERED: Final = 50
STARTING: Final = 30.0
"""Seconds in which another process has to start, on a busy machine."""
TOGETHER: Final = 4
MESSAGES: Final = 400
"""To a group whose members are in another process."""
PIPE: Final = asyncio.subprocess.PIPE


async def other(case: str, *options: str, **pipes: int) -> asyncio.subprocess.Process:
    """Start a process that measures another case of this one's side; its arguments are ours."""
    loop, name, _, url, *_ = sys.argv[1:]
    command = [sys.executable, "-m", "benchmarks.cases", loop, name, case, url, *options]
    return await asyncio.create_subprocess_exec(*command, **pipes)


async def two_processes(side: Side) -> dict[str, float]:
    """100 members here, the sender in another process, at most 50 messages on their way."""
    count, began = 0, asyncio.Event()
    sending: Any = None

    def hit(_: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        if count % MEMBERS == 0 and sending is not None:
            began.set()
            sending.stdin.write(b".")

    for _ in range(MEMBERS):
        await side.member("room", hit)
    sending = await other("sender", stdin=PIPE, stdout=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(STARTING):
            await began.wait()
        await asyncio.sleep(SECONDS / 2)
        first, start, watch = count, time.perf_counter(), Stopwatch()
        await asyncio.sleep(SECONDS)
        delivered, seconds = count - first, time.perf_counter() - start
        return {"rate": delivered / seconds, "cpu": watch.each(delivered)}
    finally:
        sending.kill()
        await sending.wait()


async def sender(side: Side) -> dict[str, float]:
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


async def processes(_: Side) -> dict[str, float]:
    """64 senders in each of four processes at once; messages of all for each second.

    They begin together: four interpreters that start take both cores for a second.
    """
    started = [await other("at_a_signal", stdin=PIPE, stdout=PIPE) for _ in range(TOGETHER)]
    for process in started:
        assert process.stdout is not None
        await process.stdout.readline()
    came = await asyncio.gather(*(process.communicate(b"go\n") for process in started))
    results = [json.loads(out.splitlines()[-1]) for out, _ in came]
    return {"rate": sum(r["rate"] for r in results), "cpu": mean(r["cpu"] for r in results)}


def at_a_signal(
    send: Callable[[Side], Awaitable[dict[str, float]]],
) -> Callable[[Side], Awaitable[dict[str, float]]]:
    """Return a case that sends when a line has come on standard input."""

    async def case(side: Side) -> dict[str, float]:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        return await send(side)

    return case


async def members(side: Side, many: str) -> dict[str, float]:
    """So many members of one group; a line on standard output is one message that all have."""
    count = 0

    def hit(_: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        if count % int(many) == 0:
            print("delivered", flush=True)

    for _ in range(int(many)):
        await side.member("room", hit)
    print("ready", flush=True)
    await asyncio.Event().wait()
    return {}


async def group_of(side: Side, server: str, many: str) -> dict[str, float]:
    """One group of so many members in another process, one message each 5 ms: the CPU of the
    server, whose process id is given, for each."""
    from benchmarks.servers import cpu_seconds  # the peers' environments lack what it imports

    listening = await other("members", many, stdout=PIPE)
    assert listening.stdout is not None
    try:
        await listening.stdout.readline()
        await side.send("room", MESSAGE)  # both have connected, and the server knows the statement
        await listening.stdout.readline()
        before = cpu_seconds(int(server))
        for _ in range(MESSAGES):
            await side.send("room", MESSAGE)
            await listening.stdout.readline()
            await asyncio.sleep(0.005)  # a server that waits longer has colder caches
        return {"cpu": (cpu_seconds(int(server)) - before) / MESSAGES * 1e6}
    finally:
        listening.kill()
        await listening.wait()

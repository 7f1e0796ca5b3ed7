"""One measurement over PostgreSQL; see postgres_layers.py.

``<loop> <side> <case> <port>``, and what the case takes behind them.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from statistics import mean
from typing import Any, Final

from benchmarks.redis_worker import lone, many_groups, one_group
from benchmarks.sides.compared import POSTGRES
from benchmarks.sides.side import Side
from benchmarks.worker import MESSAGE, Score, Stopwatch, work

MESSAGES: Final = 400
"""To a group whose members are in another process."""


async def main(name: str, case: str, port: str, *more: str) -> dict[str, float]:
    """Measure one case of one side."""
    side = POSTGRES[name](int(port))
    await side.open()
    try:
        result: dict[str, float] = await CASES[case](side, name, port, *more)
        return result
    finally:
        await side.close()


async def deliveries(side: Side, groups: int) -> dict[str, float]:
    """One member in each of so many groups: CPU for a message, sent and delivered by 64 senders."""
    score = Score()
    for number in range(groups):
        await side.member(f"g{number}", lambda _: score.hit())
    messages = 9_600

    async def sender(first: int) -> None:
        for number in range(first, messages, 64):
            await side.send(f"g{number * 7 % groups}", MESSAGE)

    watch = Stopwatch()
    await asyncio.gather(*map(sender, range(64)))
    await score.until(messages)
    return {"cpu": watch.each(messages)}


async def hundred_groups(side: Side, *_: str) -> dict[str, float]:
    """100 groups."""
    return await deliveries(side, 100)


async def many_thousand_groups(side: Side, *_: str) -> dict[str, float]:
    """10,000 groups."""
    return await deliveries(side, 10_000)


async def one_reader(side: Side, *_: str) -> dict[str, float]:
    """64 concurrent senders to one group that has a member here: some send to nobody else."""
    await side.member("room", lambda _: None)
    return await one_group(side)


async def at_a_signal(side: Side, *_: str) -> dict[str, float]:
    """64 concurrent senders, when a line has come on standard input."""
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    return await one_group(side)


async def four_processes(side: Side, name: str, port: str) -> dict[str, float]:
    """64 senders in each of four processes at once; messages of all for each second.

    They begin together: four interpreters that start take both cores for a second.
    """
    command = [sys.executable, "-m", "benchmarks.postgres_worker", "uvloop", name, "at_a_signal"]
    pipe = asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(*command, port, stdin=pipe, stdout=pipe)
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        await process.stdout.readline()
    came = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    results = [json.loads(out.splitlines()[-1]) for out, _ in came]
    return {"rate": sum(r["rate"] for r in results), "cpu": mean(r["cpu"] for r in results)}


async def replay(side: Side, *_: str) -> dict[str, float]:
    """A member that resumes 20,000 messages behind: messages for each second, and CPU for each."""
    layer: Any = side.layer  # type: ignore[attr-defined]
    messages, score = 20_000, Score()
    start = await layer.group_position("room")
    for _ in range(messages // 1_000):
        await asyncio.gather(*(side.send("room", MESSAGE) for _ in range(1_000)))
    channel = await layer.new_channel()
    side.read(channel, lambda _: score.hit())
    began, watch = time.perf_counter(), Stopwatch()
    await layer.group_add("room", channel, since=start)
    await score.until(messages)
    return {"rate": messages / (time.perf_counter() - began), "cpu": watch.each(messages)}


async def members(side: Side, _name: str, _port: str, many: str) -> dict[str, float]:
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


async def group_of(side: Side, name: str, port: str, server: str, many: str) -> dict[str, float]:
    """One group of so many members in another process, one message each 5 ms: the CPU of the
    server, whose process id is given, for each."""
    module = [sys.executable, "-m", "benchmarks.postgres_worker", "uvloop", name, "members"]
    pipe = asyncio.subprocess.PIPE
    other = await asyncio.create_subprocess_exec(*module, port, many, stdout=pipe)
    assert other.stdout is not None
    try:
        await other.stdout.readline()
        await side.send("room", MESSAGE)  # both have connected, and the server knows the statement
        await other.stdout.readline()
        before = server_cpu(int(server))
        for _ in range(MESSAGES):
            await side.send("room", MESSAGE)
            await other.stdout.readline()
            await asyncio.sleep(0.005)  # a server that waits longer has colder caches
        return {"cpu": (server_cpu(int(server)) - before) / MESSAGES}
    finally:
        other.kill()
        await other.wait()


def server_cpu(pid: int) -> float:
    """Return the CPU microseconds that the processes of a server have used, which all live."""
    import psutil  # the peers' environments have none

    main, total = psutil.Process(pid), 0.0
    for process in (main, *main.children()):
        precise = Path(f"/proc/{process.pid}/schedstat")
        if precise.exists():  # what psutil tells has steps of 10 ms
            total += int(precise.read_text().split()[0]) / 1e3
        else:
            times = process.cpu_times()
            total += (times.user + times.system) * 1e6
    return total


CASES: Final[dict[str, Any]] = {
    "one_group": one_group,
    "many_groups": many_groups,
    "lone": lone,
    "hundred_groups": hundred_groups,
    "many_thousand_groups": many_thousand_groups,
    "one_reader": one_reader,
    "at_a_signal": at_a_signal,
    "four_processes": four_processes,
    "members": members,
    "group_of": group_of,
    "replay": replay,
}

if __name__ == "__main__":
    work(main)

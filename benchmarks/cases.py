"""What the comparisons measure of one side: ``<loop> <broker/side> <case> <url>``, and its options.

Each case is a coroutine of the side and the options, and returns figures by name: ``rate`` for each
second, ``cpu`` in microseconds for each, and so on. Sides are those of ``sides.compared``.
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from benchmarks import cases_across
from benchmarks.sides.compared import side as make
from benchmarks.sides.side import Side
from benchmarks.worker import MESSAGE, Score, Stopwatch, work

SECONDS: Final = 1.0
SENDERS: Final = 64
GROUPS: Final = 10_000
KEPT: Final = 10_000
MOST: Final = 60_000
"""Messages that are sent at most: what is not read yet has to fit everywhere."""
ARRIVING: Final = 30.0
"""Seconds after which what has not arrived is lost."""


async def main(name: str, case: str, url: str, *options: str) -> dict[str, float]:
    """Measure one case of one side."""
    side = make(name, url)
    await side.open()
    try:
        return await CASES[case](side, *options)
    finally:
        await side.close()


async def send(side: Side, groups: str = "1") -> dict[str, float]:
    """64 concurrent senders, to so many groups in turn whose members are elsewhere."""
    names = [f"room-{number % int(groups)}" for number in range(SENDERS)]
    count = 0

    async def sender(group: str, end: float) -> None:
        nonlocal count
        while time.perf_counter() < end:
            await side.send(group, MESSAGE)
            count += 1

    async def run(seconds: float) -> None:
        end = time.perf_counter() + seconds
        await asyncio.gather(*(sender(name, end) for name in names))
        await side.settled()

    await run(SECONDS / 4)  # connections, caches
    count, start, watch = 0, time.perf_counter(), Stopwatch()
    await run(SECONDS)
    return {"rate": count / (time.perf_counter() - start), "cpu": watch.each(count)}


async def send_with_reader(side: Side) -> dict[str, float]:
    """The same, with a member here: some send to nobody else."""
    await side.member("room-0", lambda _: None)
    return await send(side)


async def arrive(side: Side, groups: str = "1") -> dict[str, float]:
    """64 concurrent senders to so many groups with a member each here, until all have arrived.

    CPU is that of the sender and the members; what has not arrived is ``lost``.
    """
    score, sent, turn = Score(), 0, 0
    names = [f"room-{number}" for number in range(int(groups))]
    for name in names:
        await side.member(name, lambda _: score.hit())

    async def sender(end: float, most: int) -> None:
        nonlocal sent, turn
        while time.perf_counter() < end and sent < most:
            turn += 1
            await side.send(names[turn % len(names)], MESSAGE)
            sent += 1

    async def run(seconds: float) -> None:
        end, most = time.perf_counter() + seconds, sent + MOST
        await asyncio.gather(*(sender(end, most) for _ in range(SENDERS)))
        try:
            await score.until(sent, ARRIVING)
        except TimeoutError:
            score.target = -1

    await run(SECONDS / 4)
    before, start, watch = sent, time.perf_counter(), Stopwatch()
    await run(SECONDS)
    count, seconds = sent - before, time.perf_counter() - start
    return {"rate": count / seconds, "cpu": watch.each(count), "lost": sent - score.count}


async def arrive_all(side: Side) -> dict[str, float]:
    """The same to one group; raises ``RuntimeError`` where something is lost."""
    measured = await arrive(side)
    if measured["lost"]:
        raise RuntimeError(f"{measured['lost']:.0f} messages have not arrived")
    return measured


async def lone(side: Side) -> dict[str, float]:
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


async def many_groups(side: Side, groups: str) -> dict[str, float]:
    """One member in each of so many groups: CPU for a message, sent and delivered by 64 senders."""
    score, messages, count = Score(), 9_600, int(groups)
    for number in range(count):
        await side.member(f"g{number}", lambda _: score.hit())

    async def sender(first: int) -> None:
        for number in range(first, messages, SENDERS):
            await side.send(f"g{number * 7 % count}", MESSAGE)

    watch = Stopwatch()
    await asyncio.gather(*map(sender, range(SENDERS)))
    await score.until(messages)
    return {"cpu": watch.each(messages)}


async def groups_of_two(side: Side) -> dict[str, float]:
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


async def resume(side: Any, messages: str) -> dict[str, float]:
    """A member that resumes so many messages behind: messages a second, and CPU for each."""
    count, result = int(messages), dict[str, float]()
    start = await side.layer.group_position("room")
    await fill(side, "room", count)
    for _ in range(2):  # the first time is for the caches
        score, channel = Score(), await side.layer.new_channel()
        began, watch = time.perf_counter(), Stopwatch()
        side.read(channel, partial(hit, score))
        await side.layer.group_add("room", channel, since=start)
        await score.until(count)
        result = {"rate": count / (time.perf_counter() - began), "cpu": watch.each(count)}
    return result


def hit(score: Score, _: object) -> None:
    """One message has arrived."""
    score.hit()


async def pages(side: Any) -> dict[str, float]:
    """10,000 kept messages of one group, page by page."""
    await fill(side, "kept", KEPT)
    start, watch = time.perf_counter(), Stopwatch()
    await side.replay("kept", KEPT)
    return {"rate": KEPT / (time.perf_counter() - start), "cpu": watch.each(KEPT)}


async def fill(side: Side, group: str, messages: int) -> None:
    """So many messages were sent to the group, or a few more than asked for."""

    async def sender() -> None:
        for _ in range(-(-messages // SENDERS)):
            await side.send(group, MESSAGE)

    await asyncio.gather(*(sender() for _ in range(SENDERS)))


async def joins_at_once(side: Any) -> dict[str, float]:
    """10,000 groups joined at once by one channel."""
    start = time.perf_counter()
    channel = await side.layer.new_channel()
    await asyncio.gather(*(side.layer.group_add(f"g{n}", channel) for n in range(GROUPS)))
    return {"seconds": time.perf_counter() - start}


async def joins_in_turn(side: Side) -> dict[str, float]:
    """10,000 groups joined one after another: seconds, joins a second, and KiB for each."""
    import psutil  # the peers' environments have none

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


CASES: Final[dict[str, Callable[..., Awaitable[dict[str, float]]]]] = {
    "send": send,
    "send_with_reader": send_with_reader,
    "arrive": arrive,
    "arrive_all": arrive_all,
    "lone": lone,
    "many_groups": many_groups,
    "groups_of_two": groups_of_two,
    "resume": resume,
    "pages": pages,
    "joins_at_once": joins_at_once,
    "joins_in_turn": joins_in_turn,
    "two_processes": cases_across.two_processes,
    "sender": cases_across.sender,
    "processes": cases_across.processes,
    "at_a_signal": cases_across.at_a_signal(send),
    "group_of": cases_across.group_of,
    "members": cases_across.members,
}

if __name__ == "__main__":
    work(main)

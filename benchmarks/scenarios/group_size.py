"""Fan-out against the size of the group: one message to N readers.

The sender and all members are in one process, which is what a server does whose user writes into a
room; with a broker, the message goes through it. Members join one group until there are N of them,
then:

- one message at a time, from the send to the last reader: its median and 99th percentile;
- then at most 20 messages on their way: deliveries for each second of wall time, CPU of the process
  and of the broker for each delivery, and broker messages for each message sent.

What has not arrived two seconds after the last arrival is lost.
"""

import gc
import time

from benchmarks.scenarios import Plan
from benchmarks.sides import BROKERS
from benchmarks.workers.measuring import MESSAGE, Score
from benchmarks.workers.task import Clock, Task, percentiles, settled

PLAN = Plan(
    title="Fan-out against the size of the group",
    unit="deliveries",
    brokers=BROKERS,
    quick={"seconds": 0.15, "sizes": [1, 100, 1_000]},
    full={"seconds": 0.2, "sizes": [1, 10, 100, 1_000, 10_000]},
    limit=(5.0, 14.0),
    budget=(40.0, 270.0),
    rounds=2,
    again={"sizes": [1, 10, 100]},
    more=6,
)
GROUP = "room"
LOST = float("inf")
IN_FLIGHT = 20
LONGEST = 2.0
"""Seconds that the messages under way may take together."""
SLOW = 0.05
"""Seconds that one message may take before larger groups are left out."""


async def measure(task: Task) -> None:
    """A row for each size."""
    score, fastest, members = Score(), 0.0, 0
    for size in task.params["sizes"]:
        if fastest == LOST:
            task.cannot(f"N={size:,}", "a lone message to fewer did not reach all", size)
        elif fastest > SLOW:
            task.cannot(f"N={size:,}", f"one message to fewer took {fastest * 1e3:.0f} ms", size)
        else:
            await task.members(GROUP, size - members, lambda _: score.hit())
            members = size
            fastest = await one_size(task, score, size)


async def one_size(task: Task, score: Score, size: int) -> float:
    """Measure the group with so many members; return the shortest time of one message.

    ``LOST`` is returned where the first message did not reach all of them.
    """
    took, lost = await one_at_a_time(task, score, size)
    gc.collect()
    each = min(took, default=LOST)
    together = max(1, min(IN_FLIGHT, int(LONGEST / each)))
    clock, sent, base = await Clock.start(task), 0, score.count
    while sent < 3 or clock.wall < task.seconds:
        await task.side.send(GROUP, MESSAGE)
        await task.turn()
        sent += 1
        behind = base + (sent - together) * size
        if score.count < behind:
            await settled(score, behind)
    await settled(score, base + sent * size)
    clock.stop()
    missing = base + sent * size - score.count
    measures = await clock.measures(score.count - base, sent)
    expected = (sent + len(took)) * size + lost
    case = f"N={size:,}"
    task.row(case, size, **measures, **percentiles(took), lost=lost + missing, expected=expected)
    return each


async def one_at_a_time(task: Task, score: Score, size: int) -> tuple[list[float], int]:
    """Return how long each message took to reach everybody, and how many deliveries were lost."""
    took: list[float] = []
    lost = 0
    end = time.perf_counter() + task.seconds
    while len(took) < 3 or time.perf_counter() < end:
        target = score.count + size
        start = time.perf_counter()
        await task.side.send(GROUP, MESSAGE)
        if missing := await settled(score, target):
            lost += missing
            break
        took.append(time.perf_counter() - start)
    return took, lost

"""A lone message: from its send to its arrival in the same process, nothing else under way.

The median and 99th percentile of 1,000 after a warm-up, and the process' CPU for each. What a
layer adds to its driver shows here.
"""

import time

from benchmarks.scenarios import Plan
from benchmarks.sides import BROKERS
from benchmarks.workers.measuring import MESSAGE, Score
from benchmarks.workers.task import Clock, Task, percentiles, settled

PLAN = Plan(
    title="A lone message, from send to arrival",
    unit="messages",
    brokers=BROKERS,
    quick={"seconds": 0.2, "messages": 300},
    full={"seconds": 0.8, "messages": 1_000},
    limit=(4.0, 8.0),
    budget=(20.0, 90.0),
    more=4,
    lower_is_better=True,
    figure="p50_us",
)


async def measure(task: Task) -> None:
    """One row."""
    score = Score()
    await task.members("room", 1, lambda _: score.hit())
    took: list[float] = []
    await send(task, score, 50, 0.2)
    clock = await Clock.start(task)
    took, lost = await send(task, score, task.params["messages"], task.seconds)
    clock.stop()
    measures = await clock.measures(len(took), len(took))
    task.row("one at a time", **measures, **percentiles(took), lost=lost, expected=len(took) + lost)


async def send(task: Task, score: Score, messages: int, seconds: float) -> tuple[list[float], int]:
    """Send so many in at most that time; return how long each took, and how many were lost."""
    took: list[float] = []
    end = time.perf_counter() + seconds
    while len(took) < messages and (time.perf_counter() < end or len(took) < 10):
        target = score.count + 1
        start = time.perf_counter()
        await task.side.send("room", MESSAGE)
        if await settled(score, target):
            return took, 1
        took.append(time.perf_counter() - start)
    return took, 0

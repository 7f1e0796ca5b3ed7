"""What a message costs the broker, against the number of processes that hear it.

Our layers only: one session sends, P more are each in the group with one member, all in one process
(to the broker, a session is a process). The broker's CPU for each message sent, and the CPU of the
Python process for each message that a session takes in. The model of ``model.py`` is fitted to it.
"""

import asyncio
from typing import Any

from benchmarks.scenarios import Plan
from benchmarks.sides import entry
from benchmarks.workers.measuring import MESSAGE, Score
from benchmarks.workers.task import Clock, Task, settled

PLAN = Plan(
    title="The broker's CPU against the number of processes",
    unit="messages",
    brokers=("redis", "postgres", "rabbitmq", "nats"),
    quick={"seconds": 0.2, "counts": [1, 8]},
    full={"seconds": 1.5, "counts": [1, 10, 40]},
    limit=(8.0, 25.0),
    budget=(10.0, 50.0),
    rounds=2,
    roles=("ours",),
    lower_is_better=True,
    figure="broker_cpu_us",
)


async def measure(task: Task) -> None:
    """A row for each number of processes."""
    score = Score()
    listening: list[Any] = []
    for count in task.params["counts"]:
        while len(listening) < count:
            side = entry(task.name).make(task.side.url, True)
            await side.open()
            side.read(await side.join("room"), lambda _: score.hit())
            listening.append(side)
        base, sent, clock = score.count, 0, await Clock.start(task)
        while clock.wall < task.seconds:
            # Alone, not packed with others: each of these is a message of the broker's.
            await task.side.send("room", MESSAGE)
            sent += 1
            await settled(score, base + sent * count)
        clock.stop()
        missing = base + sent * count - score.count
        measures = await clock.measures(sent, sent)
        case = f"{count} processes"
        task.row(case, count, **measures, lost=missing, expected=sent * count)
    await asyncio.gather(*(side.close() for side in listening))

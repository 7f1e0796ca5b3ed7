"""Joins per second: a new member each time, which is what a new connection costs.

- same group: one after another into one group;
- distinct groups: each into a group of its own, one after another, and 64 at once.

A join counts when it has returned. Afterwards one message goes to each of at most 500 of the
groups, in turn, and what does not arrive is lost: a join has to be live when it returns.
"""

import asyncio
import time
from typing import Any

from benchmarks.scenarios import Plan
from benchmarks.sides import BROKERS
from benchmarks.workers.measuring import MESSAGE, Score
from benchmarks.workers.task import Clock, Task, settled

PLAN = Plan(
    title="Joins per second",
    unit="joins",
    brokers=BROKERS,
    quick={"seconds": 0.15, "most": 500},
    full={"seconds": 0.3, "most": 5_000},
    limit=(6.0, 12.0),
    budget=(25.0, 170.0),
    rounds=2,
    more=4,
)
CHECKED = 500


async def measure(task: Task) -> None:
    """A row for each way to join."""
    await joins(task, "same group", 1, lambda _: "room")
    await joins(task, "distinct groups", 1, lambda number: f"own-{number}")
    await joins(task, "distinct groups, 64 at once", 64, lambda number: f"once-{number}")


async def joins(task: Task, case: str, tasks: int, name: Any) -> None:
    """Join until the time is over, then see who is in."""
    joined: dict[str, Any] = {}
    number = errors = 0
    last = ""
    clock = await Clock.start(task)

    async def joiner() -> None:
        nonlocal number, errors, last
        while clock.wall < task.seconds and number < task.params["most"]:
            number += 1
            group = name(number)
            try:
                joined[group] = await task.side.join(group)
            except Exception as error:  # a peer's: counted, and named in the table
                errors += 1
                last = type(error).__name__

    await asyncio.gather(*(joiner() for _ in range(tasks)))
    clock.stop()
    measures = await clock.measures(number - errors, number)
    measures.pop("broker_messages", None)
    lost = await deaf(task, joined)
    task.row(case, lost=lost, expected=min(CHECKED, len(joined)), **measures)
    if errors:
        task.cannot(case, f"{errors:,} of {number:,} joins raised {last}")


async def deaf(task: Task, joined: dict[str, Any]) -> int:
    """Return how many of the groups' members do not hear what is sent to their group."""
    score, groups = Score(), list(joined)[:CHECKED]
    for group in groups:
        task.side.read(joined[group], lambda _: score.hit())
    end = time.monotonic() + 2.0
    sent = 0
    for group in groups:
        await task.side.send(group, MESSAGE)
        sent += 1
        if time.monotonic() > end:
            break
    return await settled(score, sent)

"""Memory of a member that waits: its channel, its membership and a task that reads.

Resident bytes that each of the members adds to the process, all in one group, then each in a group
of its own; after a few hundred that came before, so that imports and first tables do not count.
"""

import asyncio
import gc
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.scenarios import Plan
from benchmarks.sides import BROKERS
from benchmarks.workers.task import Task

PLAN = Plan(
    title="Memory of a waiting member",
    unit="bytes",
    brokers=BROKERS,
    quick={"seconds": 1.0, "members": 1_000},
    full={"seconds": 3.0, "members": 5_000},
    limit=(5.0, 12.0),
    budget=(22.0, 60.0),
    rounds=1,
    alone=6.0,
    lower_is_better=True,
    figure="bytes",
)
FIRST = 300


async def measure(task: Task) -> None:
    """A row for each way to be in groups."""
    await bytes_each(task, "same group", lambda _: "room")
    await bytes_each(task, "own groups", lambda number: f"own-{number}")


async def bytes_each(task: Task, case: str, name: Any) -> None:
    """Measure what each member adds."""
    for number in range(FIRST):
        await task.members(name(-number), 1, lambda _: None)
    await asyncio.sleep(0.05)  # where joining does not suspend, no reader has run yet
    gc.collect()
    before, count, end = resident(), 0, time.monotonic() + task.seconds
    while count < task.params["members"] and (time.monotonic() < end or count < FIRST):
        await task.members(name(count + 1), 1, lambda _: None)
        count += 1
    await asyncio.sleep(0.05)
    gc.collect()
    task.row(case, bytes=(resident() - before) / count, expected=count, lost=0)


def resident() -> int:
    """Return the process' resident bytes; elsewhere than on Linux, the most that there were."""
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4_096
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1_024

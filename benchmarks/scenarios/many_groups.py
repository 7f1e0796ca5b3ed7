"""Many groups with two members each, all in one process: by one sender, and by 64 at once.

Every message goes to another group. Deliveries for each second until all have arrived, and CPU for
each. The members join one after another before.
"""

import gc
import time

from benchmarks.scenarios import Plan
from benchmarks.scenarios.flood import Flood, flood
from benchmarks.sides import BROKERS, Entry
from benchmarks.workers.measuring import Score
from benchmarks.workers.task import Clock, Task

PLAN = Plan(
    title="Many groups of two",
    unit="deliveries",
    brokers=BROKERS,
    quick={"seconds": 0.3, "groups": 500},
    full={"seconds": 0.6, "groups": 10_000},
    limit=(5.0, 20.0),
    budget=(30.0, 325.0),
    rounds=1,
    more=3,
    alone=8.0,
)
MEMBERS = 2
MOST = 30_000
WEIGHTS = {"memory": 5, "redis": 11, "postgres": 10, "rabbitmq": 27, "nats": 11}
"""The seconds that a side takes about, of a broker's share: joins into a new group differ so much,
and where few are slow, most are in all rounds."""
JOINING = 0.7
"""The part of a worker's time in which its members may join."""


def weight(entry: Entry) -> int:
    """Return how much of the scenario's time a side takes, against another one."""
    return WEIGHTS[entry.broker]


async def measure(task: Task) -> None:
    """A row for each number of senders."""
    score, groups = Score(), task.params["groups"]
    end = time.monotonic() + JOINING * task.params["limit"]
    for number in range(groups):
        await task.members(f"g{number}", MEMBERS, lambda _: score.hit())
        if time.monotonic() > end:
            seconds = JOINING * task.params["limit"]
            reason = f"{number + 1:,} of {groups:,} groups were joined in {seconds:.0f} s"
            task.cannot("one sender", reason)
            task.cannot("64 senders", reason)
            return

    async def send(senders: int, seconds: float) -> Flood:
        def group(number: int) -> str:
            return f"g{number * 7 % groups}"

        more = {"senders": senders, "most": MOST, "members": MEMBERS}
        return await flood(task, score, seconds, group=group, **more)

    await send(1, task.seconds / 4)
    # A pass of the collector over the members takes a third of the time measured here, and whether
    # one falls into it depends on how many objects were made before.
    gc.collect()
    for case, senders in (("one sender", 1), ("64 senders", 64)):
        clock, base = await Clock.start(task), score.count
        done = await send(senders, task.seconds)
        clock.stop()
        arrived = score.count - base
        measures = await clock.measures(arrived, done.sent)
        expected = done.sent * MEMBERS
        task.row(case, lost=expected - arrived, expected=expected, **measures)
        if done.trouble:
            task.cannot(case, done.trouble)

"""Many groups with two members each, all in one process: by one sender, and by 64 at once.

Every message goes to another group. Deliveries for each second until all have arrived, and CPU for
each. The members join one after another before.
"""

import time

from benchmarks.scenarios import Plan
from benchmarks.sides import BROKERS, Entry
from benchmarks.task import Clock, Task, at_once, settled
from benchmarks.worker import MESSAGE, Score

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
    await send(task, score, 1, task.seconds / 4)
    for case, senders in (("one sender", 1), ("64 senders", 64)):
        clock, base = await Clock.start(task), score.count
        sent, errors, last = await send(task, score, senders, task.seconds)
        clock.stop()
        arrived = score.count - base
        measures = await clock.measures(arrived, sent)
        expected = sent * MEMBERS
        task.row(case, lost=expected - arrived, expected=expected, **measures)
        if errors:
            task.cannot(case, f"{errors:,} of {sent + errors:,} sends raised {last}")


async def send(task: Task, score: Score, senders: int, seconds: float) -> tuple[int, int, str]:
    """Send from so many tasks; return how much was sent, what was raised, and the last of it."""
    sent = errors = turn = 0
    last = ""
    groups, base, end = task.params["groups"], score.count, time.perf_counter() + seconds

    async def sender() -> None:
        nonlocal sent, errors, turn, last
        while time.perf_counter() < end and sent < MOST:
            turn += 1
            try:
                await task.side.send(f"g{turn * 7 % groups}", MESSAGE)
                sent += 1
            except Exception as error:  # a peer's: counted, and named in the table
                errors += 1
                last = type(error).__name__
                if errors > 1_000:
                    return
            await task.turn()

    await at_once(senders, sender)
    await settled(score, base + sent * MEMBERS)
    return sent, errors, last

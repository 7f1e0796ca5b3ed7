"""Concurrent senders: 64 tasks of one process send to one group, which has one reader there.

Messages for each second until all have arrived, the process' CPU for each, what the broker did for
it. As many as can be sent: where a library does not wait for its readers, they fall behind.
"""

import time

from benchmarks.scenarios import Plan
from benchmarks.task import Clock, Task, at_once, settled
from benchmarks.worker import MESSAGE, Score

PLAN = Plan(
    title="64 concurrent senders to one group",
    unit="messages",
    brokers=("redis", "postgres", "rabbitmq", "nats"),
    quick={"seconds": 0.2},
    full={"seconds": 0.6},
    limit=(5.0, 12.0),
    budget=(20.0, 75.0),
)
SENDERS = 64
MOST = 60_000
"""Messages that are sent at most: what is not read yet has to fit everywhere."""


async def measure(task: Task) -> None:
    """One row."""
    score = Score()
    await task.members("room", 1, lambda _: score.hit())
    await flood(task, score, task.seconds / 4)  # connections, caches
    clock, base = await Clock.start(task), score.count
    sent, errors, last = await flood(task, score, task.seconds)
    clock.stop()
    arrived = score.count - base
    measures = await clock.measures(arrived, sent)
    more = {"errors": errors} if errors else {}
    task.row("64 senders", lost=sent - arrived, expected=sent, **measures, **more)
    if errors:
        task.cannot("64 senders", f"{errors:,} of {sent + errors:,} sends raised {last}")


async def flood(task: Task, score: Score, seconds: float) -> tuple[int, int, str]:
    """Send from all tasks; return how much was sent, how much raised, and the last of it."""
    sent = errors = 0
    last = ""
    base, end = score.count, time.perf_counter() + seconds

    async def sender() -> None:
        nonlocal sent, errors, last
        while time.perf_counter() < end and sent < MOST:
            try:
                await task.side.send("room", MESSAGE)
                sent += 1
            except Exception as error:  # a peer's: counted, and named in the table
                errors += 1
                last = type(error).__name__
                if errors > 1_000:
                    return

    await at_once(SENDERS, sender)
    await settled(score, base + sent)
    return sent, errors, last

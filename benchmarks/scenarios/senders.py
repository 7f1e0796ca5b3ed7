"""Concurrent senders: 64 tasks of one process send to one group, which has one reader there.

Messages for each second until all have arrived, the process' CPU for each, what the broker did for
it. As many as can be sent: where a library does not wait for its readers, they fall behind.
"""

from benchmarks.scenarios import Plan
from benchmarks.scenarios.flood import flood
from benchmarks.workers.measuring import Score
from benchmarks.workers.task import Clock, Task

PLAN = Plan(
    title="64 concurrent senders to one group",
    unit="messages",
    brokers=("redis", "postgres", "rabbitmq", "nats"),
    quick={"seconds": 0.2},
    full={"seconds": 0.6},
    limit=(5.0, 12.0),
    budget=(20.0, 75.0),
)


async def measure(task: Task) -> None:
    """One row."""
    score = Score()
    await task.members("room", 1, lambda _: score.hit())
    await flood(task, score, task.seconds / 4)  # connections, caches
    clock, base = await Clock.start(task), score.count
    done = await flood(task, score, task.seconds)
    clock.stop()
    arrived = score.count - base
    measures = await clock.measures(arrived, done.sent)
    task.row("64 senders", lost=done.sent - arrived, expected=done.sent, **measures)
    if done.trouble:
        task.cannot("64 senders", done.trouble)

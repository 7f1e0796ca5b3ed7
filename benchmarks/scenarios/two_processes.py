"""Throughput from one process to another, through the broker.

The sender is a process, the members are tasks of another: one member, then 100.

- at most 50 undelivered: a message counts as delivered when every member has it, and only then may
  another one be sent. Everything arrives, so this is the rate that a system can have all day.
- unbounded: 64 tasks send as fast as they may, at most 20,000 messages to one member, 4,000 to 100.

Deliveries for each second until everything has arrived; CPU of the receiver, of the sender and of
the broker for each. What has not arrived two seconds after the last arrival is lost.
"""

from benchmarks.scenarios import Plan
from benchmarks.scenarios.pair import Sender
from benchmarks.workers.measuring import Score
from benchmarks.workers.task import Clock, Task, settled

PLAN = Plan(
    title="Throughput from one process to another",
    unit="deliveries",
    brokers=("redis", "postgres", "rabbitmq", "nats"),
    quick={"seconds": 0.25, "sizes": [100]},
    full={"seconds": 0.6, "sizes": [1, 100]},
    limit=(9.0, 20.0),
    budget=(32.0, 165.0),
    rounds=1,
    more=2,
)
MOST = {1: 20_000, 100: 4_000}


async def measure(task: Task) -> None:
    """A row for each number of members and way to send."""
    sender = await Sender.start(task)
    try:
        for size in task.params["sizes"]:
            await one_size(task, sender, size)
    finally:
        await sender.stop()


async def one_size(task: Task, sender: Sender, size: int) -> None:
    """Measure a group of so many members."""
    group, score = f"room-{size}", Score()

    def hit(_: object) -> None:
        score.hit()
        if not score.count % size:
            sender.delivered()

    await task.members(group, size, hit)
    for case, command in (
        ("", {"do": "bounded", "seconds": task.seconds / 3}),  # connections, caches
        ("at most 50 undelivered", {"do": "bounded", "seconds": task.seconds}),
        ("unbounded", {"do": "unbounded", "seconds": task.seconds, "most": MOST[size]}),
    ):
        clock, base = await Clock.start(task), score.count
        did = await sender.do(group=group, **command)
        sent = did["sent"]
        await settled(score, base + sent * size, 8.0)
        clock.stop()
        if not case:
            continue
        arrived = score.count - base
        measures = await clock.measures(arrived, sent)
        measures["sender_cpu_us"] = did["cpu"] / max(sent, 1) * 1e6
        name, expected = f"N={size}, {case}", sent * size
        task.row(name, size, lost=expected - arrived, expected=expected, **measures)
        if did["errors"]:
            total = sent + did["errors"]
            task.cannot(name, f"{did['errors']:,} of {total:,} sends raised {did['last']}")

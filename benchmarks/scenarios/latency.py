"""Latency from one process to another against the rate, ten members in the receiver's process.

Every message is sent at its time, whether or not those before it have been sent, and its latency
counts from that time to each member's reader: a library that cannot keep up shows it here. Where
less than 80 % of a rate's messages arrive while it is kept, higher rates are left out.
"""

import time
from typing import Any

from benchmarks.scenarios import Plan
from benchmarks.scenarios.pair import Sender
from benchmarks.workers.measuring import Score
from benchmarks.workers.task import Clock, Task, percentiles, settled

PLAN = Plan(
    title="Latency from one process to another, against the rate",
    unit="messages",
    brokers=("redis", "postgres", "rabbitmq", "nats"),
    quick={"seconds": 0.4, "rates": [1_000]},
    full={"seconds": 0.5, "rates": [50, 500, 2_000, 5_000, 10_000]},
    limit=(7.0, 20.0),
    budget=(26.0, 200.0),
    rounds=2,
    again={"rates": [50, 500, 2_000]},
    more=4,
    lower_is_better=True,
    figure="p50_us",
)
MEMBERS = 10


async def measure(task: Task) -> None:
    """A row for each rate."""
    sender = await Sender.start(task)
    score, took = Score(), [0.0]

    def hit(message: dict[str, Any]) -> None:
        took.append(time.monotonic() - message["at"])
        score.hit()

    try:
        await task.members("room", MEMBERS, hit)
        command = {"do": "paced", "group": "room"}
        did = await sender.do(seconds=0.2, rate=50, **command)
        await settled(score, did["sent"] * MEMBERS, 5.0)
        for rate in task.params["rates"]:
            took.clear()
            clock, base = await Clock.start(task), score.count
            did = await sender.do(seconds=task.seconds, rate=rate, **command)
            in_time = score.count - base
            expected = did["sent"] * MEMBERS
            await settled(score, base + expected, 5.0)
            clock.stop()
            arrived = score.count - base
            measures = await clock.measures(arrived, did["sent"])
            measures |= {"rate": arrived / MEMBERS / did["seconds"], **percentiles(took)}
            lost = expected - arrived
            task.row(f"{rate:,} a second", rate, lost=lost, expected=expected, **measures)
            if in_time < 0.8 * rate * task.seconds * MEMBERS:
                for other in task.params["rates"]:
                    if other > rate:
                        reason = f"it does not keep up with {rate:,} a second"
                        task.cannot(f"{other:,} a second", reason, other)
                return
    finally:
        await sender.stop()

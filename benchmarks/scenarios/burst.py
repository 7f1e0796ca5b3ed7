"""A burst to a slow reader: 1,000 messages to a member that has read one and is busy with it.

Everything as the library comes: default capacity, default policy. The sender sends as fast as it
may, one after another; then the member reads until nothing comes any more. How many arrived, and
whether anybody was told of the rest: an exception to the sender, a message to the member, a counter
or a warning in the log. A rate is not measured.
"""

import asyncio
import logging

from benchmarks.scenarios import Plan
from benchmarks.sides import BROKERS
from benchmarks.workers.measuring import MESSAGE, Score
from benchmarks.workers.task import Task, settled

PLAN = Plan(
    title="A burst to a slow reader",
    unit="messages",
    brokers=BROKERS,
    quick={"seconds": 1.0, "messages": 1_000},
    full={"seconds": 5.0, "messages": 1_000},
    limit=(9.0, 40.0),
    budget=(20.0, 65.0),
    rounds=1,
    roles=("ours", "peer"),
    figure="arrived",
)
ROOMY = False


class Warnings(logging.Handler):
    """Counts what the log warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


async def measure(task: Task) -> None:
    """One row."""
    warnings, score, raised = Warnings(), Score(), 0
    logging.getLogger().addHandler(warnings)
    side, messages = task.side, task.params["messages"]
    side.gate = asyncio.Event()
    await task.members("room", 1, lambda _: score.hit())
    await side.send("room", MESSAGE)
    if await settled(score, 1, idle=5.0):
        task.cannot("as it comes", "the first message did not arrive")
        return
    names: set[str] = set()
    for _ in range(messages):
        try:
            await side.send("room", MESSAGE)
        except Exception as error:  # told to the sender: that is the question
            raised += 1
            names.add(type(error).__name__)
        await task.turn()
    side.gate.set()
    lost = await settled(score, 1 + messages, 15.0)
    told = side.told()
    if raised:
        told.append(f"{raised:,} sends raised {', '.join(sorted(names))}")
    if warnings.count:
        told.append(f"warnings in the log: {warnings.count:,}")
    share = (messages - lost) / messages
    task.row("as it comes", arrived=share, lost=lost, expected=messages, told="; ".join(told))

"""As many messages as tasks can send at once. No scenario: what several of them share."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.workers.measuring import MESSAGE, Score
from benchmarks.workers.task import Task, settled

SENDERS: Final = 64
MOST: Final = 60_000
"""Messages that are sent at most: what is not read yet has to fit everywhere."""

TOO_MANY: Final = 1_000
"""Errors after which a sender gives up."""


@dataclass
class Flood:
    """What came of it."""

    sent: int = 0
    errors: int = 0
    last: str = ""
    """The name of the last error."""

    @property
    def trouble(self) -> str:
        """What was raised, for the table; empty: nothing."""
        total = self.sent + self.errors
        return f"{self.errors:,} of {total:,} sends raised {self.last}" if self.errors else ""


async def flood(
    task: Task,
    score: Score,
    seconds: float,
    *,
    senders: int = SENDERS,
    most: int = MOST,
    members: int = 1,
    group: Callable[[int], str] = lambda number: "room",
) -> Flood:
    """Send from so many tasks for that time; then all has arrived, or nothing arrives any more.

    ``group`` names the group of each message by its number, ``members`` is how many each reaches.
    """
    side, done, number = task.side, Flood(), 0
    base, end = score.count, time.perf_counter() + seconds

    async def sender() -> None:
        nonlocal number
        while time.perf_counter() < end and done.sent < most:
            number += 1
            try:
                await side.send(group(number), MESSAGE)
                done.sent += 1
            except Exception as error:  # a peer's: counted, and named in the table
                done.errors += 1
                done.last = type(error).__name__
                if done.errors > TOO_MANY:
                    return
            if side.turn:
                await asyncio.sleep(0)

    await asyncio.gather(*(sender() for _ in range(senders)))
    await settled(score, base + done.sent * members)
    return done

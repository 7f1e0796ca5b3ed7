"""What a scenario has in a worker: the side, its parameters, clocks, and a line to the run.

The line is standard input and output: rows go out as soon as they are measured, so that a case that
never ends costs only itself, and the broker's counters come back when they are asked for.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from benchmarks.sides.side import Side
from benchmarks.workers.measuring import Score

IDLE: Final = 2.0
"""Seconds without an arrival after which what is missing is lost."""


class Task:
    """One measurement of one side."""

    def __init__(self, side: Side, name: str, params: dict[str, Any]) -> None:
        self.side = side
        self.name = name
        self.params = params
        self.seconds: float = params["seconds"]

    def row(self, case: str, x: float | None = None, **measures: Any) -> None:
        """Hand a row to the run; a measure that is None was not taken."""
        kept = {name: value for name, value in measures.items() if value is not None}
        print(json.dumps({"side": self.name, "case": case, "x": x, "measures": kept}), flush=True)

    def cannot(self, case: str, reason: str, x: float | None = None) -> None:
        """Hand over why a case was not measured."""
        print(json.dumps({"side": self.name, "case": case, "x": x, "reason": reason}), flush=True)

    async def counters(self) -> dict[str, float]:
        """Return what the broker counts now."""
        print(json.dumps({"ask": "counters"}), flush=True)
        line = await asyncio.to_thread(sys.stdin.readline)
        counted: dict[str, float] = json.loads(line)
        return counted

    async def members(self, group: str, count: int, hit: Callable[[Any], None]) -> None:
        """So many members join and read; one after another, which every library can."""
        for _ in range(count):
            self.side.read(await self.side.join(group), hit)

    async def turn(self) -> None:
        """Let readers run, where sending does not."""
        if self.side.turn:
            await asyncio.sleep(0)


class Clock:
    """Wall and CPU time of a phase, and what the broker did in it."""

    def __init__(self, task: Task, before: dict[str, float]) -> None:
        self._task = task
        self._before = before
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        self._end: tuple[float, float] | None = None

    @classmethod
    async def start(cls, task: Task) -> "Clock":
        """Return a clock that runs."""
        return cls(task, await task.counters())

    @property
    def wall(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._wall

    def stop(self) -> None:
        """What comes from now on does not count."""
        self._end = time.process_time() - self._cpu, self.wall

    async def measures(self, count: float, messages: int) -> dict[str, Any]:
        """Return what each of ``count`` cost, and the broker's messages for each of those sent."""
        if self._end is None:
            self.stop()
        assert self._end is not None
        cpu, wall = self._end
        count = max(count, 1)
        measured = {"rate": count / wall, "cpu_us": cpu / count * 1e6}
        return measured | used(self._before, await self._task.counters(), count, messages)


def used(
    before: dict[str, float], after: dict[str, float], count: float, messages: int
) -> dict[str, float]:
    """Return what the broker did for each of ``count``, and for each message; if there is one."""
    if not after:
        return {}
    return {
        "broker_cpu_us": (after["cpu"] - before["cpu"]) / max(count, 1) * 1e6,
        "broker_messages": (after["messages"] - before["messages"]) / max(messages, 1),
    }


async def settled(score: Score, target: int, longest: float = 10.0, idle: float = IDLE) -> int:
    """Wait until so many arrived, or nothing arrives any more; return how many are missing."""
    end = time.monotonic() + longest
    last = -1
    while score.count < target and time.monotonic() < end and score.count != last:
        last = score.count
        try:
            await score.until(target, idle)
        except TimeoutError:
            score.target = -1
    return target - score.count


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """Return the median and the 99th percentile of seconds, in microseconds."""
    ordered: Sequence[float] = sorted(values)
    if not ordered:
        return {}
    last = len(ordered) - 1
    return {"p50_us": ordered[last // 2] * 1e6, "p99_us": ordered[round(last * 0.99)] * 1e6}

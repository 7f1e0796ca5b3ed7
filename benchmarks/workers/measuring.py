"""What every worker needs: the message, a count of what arrived, CPU clocks, and its main loop."""

import asyncio
import importlib
import json
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

MESSAGE: Final[dict[str, Any]] = {"type": "chat.message", "text": "x" * 67}
"""Flat, and 100 bytes as compact JSON."""


class Score:
    """Counts what arrived, and wakes who waits for a number of them."""

    def __init__(self) -> None:
        self.count = 0
        self.target = -1
        self.reached: asyncio.Future[None] | None = None

    def hit(self) -> None:
        """One more has arrived."""
        self.count += 1
        if self.count == self.target and self.reached is not None:
            self.reached.set_result(None)

    def take(self, message: object) -> None:
        """A message has arrived."""
        self.hit()

    async def until(self, count: int, seconds: float = 60.0) -> None:
        """Wait until ``count`` have arrived; raises ``TimeoutError``."""
        if self.count < count:
            self.target = count
            self.reached = asyncio.get_running_loop().create_future()
            async with asyncio.timeout(seconds):
                await self.reached


class Stopwatch:
    """CPU time of this process: what others on the machine do lengthens it little."""

    def __init__(self) -> None:
        self._start = time.process_time()

    @property
    def seconds(self) -> float:
        """CPU seconds since the making."""
        return time.process_time() - self._start

    def each(self, count: int) -> float:
        """Return CPU microseconds for each of ``count``."""
        return self.seconds / count * 1e6


def process_cpu(pid: int) -> float:
    """Return a process' user and system seconds: on Linux by its clock, else in ticks of 10 ms."""
    if sys.platform == "linux":
        return time.clock_gettime((~pid << 3) | 2)
    psutil: Any = importlib.import_module("psutil")
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def work(main: Callable[..., Coroutine[Any, Any, Any]]) -> None:
    """Run ``main`` on the loop named by the first argument, with the others; tell what it found.

    The last line of a worker's output says that it is done, and the figures that ``main`` returned.
    """
    loop, *args = sys.argv[1:]
    make: Any = asyncio.new_event_loop
    if loop == "uvloop":
        make = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=make) as runner:
        print(json.dumps({"done": True, "figures": runner.run(main(*args))}), flush=True)

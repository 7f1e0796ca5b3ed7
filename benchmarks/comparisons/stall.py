"""How long a fan-out to 10,000 channels keeps the event loop from other work.

A callback that runs in every turn of the loop notes the longest time between two of its runs, while
messages go to a group of 10,000: one at a time, then 20 at once. The time is CPU time of the
process, garbage collection included, so that other programs on the machine do not count; wall time
is shown beside it. The greatest of all rounds counts, not the median.

- receivers: 10,000 tasks that wait in ``layer.receive()``.
- consumers: 10,000 served consumers whose handler does a trivial thing, started in place.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Any, Final

from benchmarks.comparisons.table import Row, measure
from benchmarks.comparisons.turns import in_turns, worker
from benchmarks.workers.measuring import MESSAGE, Score, work

CHANNELS: Final = 10_000
AT_ONCE: Final = 20
LIMIT_MS: Final = 20.0


def rows() -> Iterator[Row]:
    """Yield a row for each kind of member and loop; the targets are meant for uvloop."""
    for loop in ("uvloop", "asyncio"):
        for kind in ("receivers", "consumers"):
            [stalls] = in_turns(worker("stall", kind, loop=loop))
            cpu = max(stalls["cpu_ms"])
            wall = f"wall {max(stalls['wall_ms']):.3g} ms"
            limit = LIMIT_MS if loop == "uvloop" else None
            case = f"{CHANNELS:,} {kind}, {loop}"
            yield Row("stall", case, measure(cpu, "ms"), wall, cpu, " ms", at_most=limit)


class Ticker:
    """Runs in every turn of the loop until stopped."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.cpu = self.wall = 0.0
        """The longest times between two turns, in seconds."""
        self._last = time.process_time(), time.perf_counter()
        self._next = self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        now = time.process_time(), time.perf_counter()
        self.cpu = max(self.cpu, now[0] - self._last[0])
        self.wall = max(self.wall, now[1] - self._last[1])
        self._last = now
        self._next = self._loop.call_soon(self._tick)

    def stop(self) -> None:
        """It does not run any more."""
        self._next.cancel()


async def join_receivers(layer: Any, score: Score) -> None:
    """Let tasks wait for messages of the group."""

    async def listen(channel: str) -> None:
        while True:
            await layer.receive(channel)
            score.hit()

    for _ in range(CHANNELS):
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        tasks.append(asyncio.create_task(listen(channel)))


async def join_consumers(layer: Any, score: Score) -> None:
    """Serve consumers that are in the group."""
    from fast_channels import AsyncWebsocketConsumer, register_channel_layer

    register_channel_layer("default", layer)

    class Counting(AsyncWebsocketConsumer):
        groups = ["room"]  # noqa: RUF012  # as users write it

        async def connect(self) -> None:
            await self.accept()
            score.hit()

        async def chat_message(self, event: dict[str, Any]) -> None:
            score.hit()

    async def send(message: Any) -> None:
        pass

    application = Counting.as_asgi()
    for _ in range(CHANNELS):
        queue: asyncio.Queue[Any] = asyncio.Queue()
        queue.put_nowait({"type": "websocket.connect"})
        tasks.append(asyncio.create_task(application({"type": "websocket"}, queue.get, send)))
    await score.until(CHANNELS)


async def main(kind: str) -> dict[str, float]:
    """Return the longest stalls, in milliseconds."""
    from fast_channels import InMemoryChannelLayer

    layer = InMemoryChannelLayer()
    score = Score()
    await (join_receivers if kind == "receivers" else join_consumers)(layer, score)
    await asyncio.sleep(0.1)
    ticker = Ticker()
    for burst in (1, 1, 1, 1, 1, AT_ONCE):
        goal = score.count + burst * CHANNELS
        await asyncio.gather(*(layer.group_send("room", MESSAGE) for _ in range(burst)))
        await score.until(goal)
    ticker.stop()
    return {"cpu_ms": ticker.cpu * 1e3, "wall_ms": ticker.wall * 1e3}


tasks: list[asyncio.Task[None]] = []

if __name__ == "__main__":
    work(main)

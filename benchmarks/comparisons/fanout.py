"""Fan-out in one process: one message to N receivers that wait in ``receive()``.

Deliveries for each second of CPU time. A 100-byte flat message goes to a group of N channels; each
channel has a task that does nothing but ``await layer.receive(channel)`` and count. At most 20
messages are on their way at a time.

References, each measured in turns with ours:
- a bare loop: a list of mailboxes, each a deque and at most one Future, the message shared, and one
  ``sleep(0)`` per message. No names, no bytes, no bounds, no expiry.
- fast-channels 1.1's in-memory layer, by the same worker in its own environment.

Every measurement has a fresh process: where two sides share one, the side that was made last has
its objects scattered in memory, and pays a third for that.
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

from benchmarks.comparisons.table import Row, compare
from benchmarks.comparisons.turns import in_turns, worker
from benchmarks.launch.environments import python
from benchmarks.sides.bare import Box
from benchmarks.workers.measuring import MESSAGE, Score, work

IN_FLIGHT: Final = 20
WARM_UP: Final = 0.1
SECONDS: Final = 0.5
TARGETS: Final = {100: 0.45, 1_000: 0.45, 10_000: 0.35}


def rows() -> Iterator[Row]:
    """Yield a row for each N and loop; the targets are meant for uvloop."""
    for loop in ("uvloop", "asyncio"):
        for members, target in TARGETS.items():
            kinds = (worker("fanout", kind, members, loop=loop) for kind in ("layer", "bare"))
            ours, bare = in_turns(*kinds)
            goal = target if loop == "uvloop" else None
            case = f"N={members:,}, bare loop, {loop}"
            yield compare("fanout", case, ours["rate"], bare["rate"], "/s", at_least=goal)
    for loop in ("uvloop", "asyncio"):
        older = worker("fanout", "layer", 1_000, loop=loop, python=python("fast-channels"))
        ours, theirs = in_turns(worker("fanout", "layer", 1_000, loop=loop), older)
        goal = 40 if loop == "uvloop" else None
        case = f"N=1,000, fast-channels 1.1, {loop}"
        yield compare("fanout", case, ours["rate"], theirs["rate"], "/s", at_least=goal)


class Side:
    """One implementation, with its receivers running."""

    def __init__(
        self,
        channels: Sequence[Any],
        receive: Callable[[Any], Awaitable[Any]],
        publish: Callable[[], Awaitable[None]],
    ) -> None:
        self.members = len(channels)
        self.score = Score()
        self._publish = publish
        self._tasks = [asyncio.create_task(self._listen(receive, one)) for one in channels]

    async def _listen(self, receive: Callable[[Any], Awaitable[Any]], channel: Any) -> None:
        score = self.score
        while True:
            await receive(channel)
            score.count += 1
            if score.count == score.target and score.reached is not None:
                score.reached.set_result(None)

    async def rate(self, seconds: float) -> float:
        """Publish for that CPU time; return deliveries for each second of it."""
        gc.collect()
        score, members, publish = self.score, self.members, self._publish
        base = score.count
        sent = 0
        start = time.process_time()
        while sent < 3 or time.process_time() - start < seconds:
            await publish()
            sent += 1
            if base + sent * members - score.count > IN_FLIGHT * members:
                await score.until(base + (sent - IN_FLIGHT) * members)
        await score.until(base + sent * members)
        return sent * members / (time.process_time() - start)


def bare_side(members: int) -> Side:
    """Return the bare loop."""
    boxes = [Box() for _ in range(members)]

    async def publish() -> None:
        for box in boxes:
            box.put(MESSAGE)
        await asyncio.sleep(0)

    return Side(boxes, Box.get, publish)


async def layer_side(members: int) -> Side:
    """Return the memory layer of whichever ``fast_channels`` is installed."""
    from fast_channels.layers import InMemoryChannelLayer

    layer = InMemoryChannelLayer()
    channels = [await layer.new_channel() for _ in range(members)]
    for channel in channels:
        await layer.group_add("room", channel)
    return Side(channels, layer.receive, lambda: layer.group_send("room", MESSAGE))


async def main(kind: str, members: str) -> dict[str, float]:
    """Measure the bare loop, or the layer."""
    side = bare_side(int(members)) if kind == "bare" else await layer_side(int(members))
    await asyncio.sleep(0.1)
    await side.rate(WARM_UP)
    return {"rate": await side.rate(SECONDS)}


if __name__ == "__main__":
    work(main)

"""What single calls of the memory layer cost, for information.

- send to receive: one task sends to one channel and receives from it; messages for each second of
  CPU time, one at a time.
- group_add and group_discard: pairs for each second of CPU time, over 1,000 channels, into one
  group, and each into a group of its own.
- a frame: encoding one message into a broker payload and decoding it, as every broker costs it;
  open, and sealed as with ``encryption_keys``.

All but the frame have fast-channels 1.1's in-memory layer as a reference.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final

from benchmarks.comparisons.table import Row, compare
from benchmarks.comparisons.table import measure as text
from benchmarks.comparisons.turns import in_turns, worker
from benchmarks.launch.environments import python
from benchmarks.workers.measuring import MESSAGE, Stopwatch, work

if TYPE_CHECKING:
    from fast_channels.layers.codec import Frames

SECONDS: Final = 0.3
CHANNELS: Final = 1_000
FRAMES: Final = 20_000
CALLS: Final = ("send to receive", "join and leave one group", "join and leave own groups")


def rows() -> Iterator[Row]:
    """Yield a row for each call; the frame's rows have no reference."""
    ours, theirs = in_turns(
        worker("layer", "calls"), worker("layer", "calls", python=python("fast-channels"))
    )
    for call in CALLS:
        yield compare("layer", f"{call}, fast-channels 1.1", ours[call], theirs[call], "/s")
    [frame] = in_turns(worker("layer", "frame"))
    for name, values in frame.items():
        cost = sorted(values)[len(values) // 2]
        yield Row("layer", name, text(cost, "us"), "-", cost, " us")


async def rate(step: Callable[[], Coroutine[Any, Any, int]]) -> float:
    """Repeat the step for that CPU time; return what it counts for each second of it."""
    await step()
    watch = Stopwatch()
    count = 0
    while watch.seconds < SECONDS:
        count += await step()
    return count / watch.seconds


async def calls() -> dict[str, float]:
    """Measure the calls of whichever ``fast_channels`` is installed."""
    from fast_channels.layers import InMemoryChannelLayer

    layer = InMemoryChannelLayer()
    channels = [await layer.new_channel() for _ in range(CHANNELS)]

    async def ping() -> int:
        for _ in range(100):
            await layer.send(channels[0], MESSAGE)
            await layer.receive(channels[0])
        return 100

    async def join() -> int:
        for channel in channels:
            await layer.group_add("room", channel)
        for channel in channels:
            await layer.group_discard("room", channel)
        return CHANNELS

    async def join_new() -> int:
        for index, channel in enumerate(channels):
            await layer.group_add(f"user-{index}", channel)
        for index, channel in enumerate(channels):
            await layer.group_discard(f"user-{index}", channel)
        return CHANNELS

    steps = (ping, join, join_new)
    return {name: await rate(step) for name, step in zip(CALLS, steps, strict=True)}


def frame() -> dict[str, float]:
    """Measure what a frame of one message costs, open and sealed."""
    from fast_channels.layers.codec import Frames, OpenFrames
    from fast_channels.layers.sealing import SealedFrames

    kinds: dict[str, Frames] = {
        "a frame": OpenFrames(),
        "a sealed frame": SealedFrames([b"a key of at least 16 characters"], False),
    }
    return {
        f"{step} {kind}{size}": cost
        for kind, frames in kinds.items()
        for size, message in (("", MESSAGE), (", 64 KiB", {**MESSAGE, "text": "x" * 65_536}))
        for step, cost in steps(frames, message).items()
    }


def steps(frames: "Frames", message: dict[str, Any]) -> dict[str, float]:
    """Return what encoding the message and decoding it costs each, in microseconds."""
    from fast_channels.layers.codec import Entry, decode_entries, encode_entries
    from fast_channels.layers.messages import decode_message, encode_message

    topic, node = "fc:g.room", "0123456789abcdef"

    def encode() -> bytes:
        body = encode_entries([Entry(encode_message(message, 1_048_576))])
        return frames.encode(topic, node, 1_000, 999, body)

    def decode() -> dict[str, Any]:
        _, received = frames.decode(topic, encoded)
        return decode_message(decode_entries(received.body)[0].payload)

    encoded = encode()
    if decode() != message:
        raise RuntimeError("a frame does not decode to what was encoded")
    result: dict[str, float] = {}
    for name, function in (("encode", encode), ("decode", decode)):
        watch = Stopwatch()
        for _ in range(FRAMES):
            function()
        result[name] = watch.each(FRAMES)
    return result


async def main(kind: str) -> dict[str, float]:
    """Measure the layer's calls, or frames."""
    await asyncio.sleep(0)
    return await calls() if kind == "calls" else frame()


if __name__ == "__main__":
    work(main)

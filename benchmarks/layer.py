"""What single calls of the memory layer cost, for information.

- send to receive: one task sends to one channel and receives from it; messages for each second of
  CPU time, one at a time.
- group_add and group_discard: pairs for each second of CPU time, over 1,000 channels, into one
  group, and each into a group of its own.
- a frame: encoding one message into a broker payload and decoding it, as every broker costs it.

All but the frame have fast-channels 1.1's in-memory layer as a reference.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

from benchmarks.processes import OURS, in_turns, peers
from benchmarks.table import Row, compare
from benchmarks.table import measure as text
from benchmarks.worker import MESSAGE, Stopwatch, work

SECONDS: Final = 0.3
CHANNELS: Final = 1_000
CALLS: Final = ("send to receive", "join and leave one group", "join and leave own groups")


def rows() -> Iterator[Row]:
    """Yield a row for each call; the frame's rows have no reference."""
    ours, theirs = in_turns(
        (OURS, "layer", "uvloop", "calls"), (peers(), "layer", "uvloop", "calls")
    )
    for call in CALLS:
        yield compare("layer", f"{call}, fast-channels 1.1", ours[call], theirs[call], "/s")
    [frame] = in_turns((OURS, "layer", "uvloop", "frame"))
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
    """Measure what a frame of one message costs."""
    from fast_channels.layers.codec import (
        Entry,
        decode_entries,
        decode_frame,
        encode_entries,
        encode_frame,
    )
    from fast_channels.layers.messages import decode_message, encode_message

    def encode() -> bytes:
        payload = encode_message(MESSAGE, 1_048_576)
        return encode_frame("0123456789abcdef", 1_000, 999, encode_entries([Entry(payload)]))

    def decode() -> dict[str, Any]:
        _, received = decode_frame(encoded)
        return decode_message(decode_entries(received.body)[0].payload)

    encoded = encode()
    if decode() != MESSAGE:
        raise RuntimeError("a frame does not decode to what was encoded")
    result: dict[str, float] = {}
    for name, function in (("encode a frame", encode), ("decode a frame", decode)):
        watch = Stopwatch()
        for _ in range(50_000):
            function()
        result[name] = watch.each(50_000)
    return result


async def main(kind: str) -> dict[str, float]:
    """Measure the layer's calls, or frames."""
    await asyncio.sleep(0)
    return await calls() if kind == "calls" else frame()


if __name__ == "__main__":
    work(main)

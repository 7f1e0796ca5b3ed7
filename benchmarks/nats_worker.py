"""One measurement over NATS: ``<loop> <side> <case> <port>``; see nats_layers.py."""

import asyncio
import gc
import json
import time
from typing import Any, Final

import psutil

from benchmarks.worker import MESSAGE, Stopwatch, work

SECONDS: Final = 1.0
SENDERS: Final = 64
GROUPS: Final = 10_000
KEPT: Final = 10_000
PAGE: Final = 200


class Ours:
    """fast-channels-nats."""

    group = "room"

    async def open(self, port: str) -> None:
        """Connected."""
        from fast_channels.layers import HistoryPolicy
        from fast_channels_nats import NatsChannelLayer

        kept = {"kept": HistoryPolicy(keep=KEPT)}
        self.layer = NatsChannelLayer(f"nats://127.0.0.1:{port}", history=kept, max_groups=20_000)
        self.channel = await self.layer.new_channel()

    async def flood(self, end: float) -> int:
        """64 concurrent senders to one group."""
        count = 0

        async def sender() -> None:
            nonlocal count
            while time.perf_counter() < end:
                await self.layer.group_send(self.group, MESSAGE)
                count += 1

        await asyncio.gather(*(sender() for _ in range(SENDERS)))
        return count

    async def join(self, group: str) -> None:
        """One group more."""
        await self.layer.group_add(group, self.channel)

    async def echo(self) -> None:
        """One message from send to its arrival here."""
        await self.layer.group_send("room", MESSAGE)
        await self.layer.receive(self.channel)

    async def replay(self) -> int:
        """Read everything that is kept; return how much."""
        count, since = 0, None
        while page := await self.layer.group_history("kept", since=since, limit=PAGE):
            count += len(page)
            since = page[-1].position
        return count

    async def close(self) -> None:
        """Nothing is left."""
        await self.layer.close()


class Durable(Ours):
    """fast-channels-nats, a group with a history."""

    group = "kept"


class Plain(Ours):
    """nats-py itself: JSON of the same message."""

    async def open(self, port: str) -> None:
        import nats

        self.client: Any = await nats.connect(f"nats://127.0.0.1:{port}")
        self.arrived = asyncio.Event()
        self.body = json.dumps(MESSAGE).encode()

    async def flood(self, end: float) -> int:
        count = 0
        while time.perf_counter() < end:
            for _ in range(SENDERS):
                await self.client.publish("room", self.body)
            await self.client.flush()
            count += SENDERS
        return count

    async def join(self, group: str) -> None:
        async def arrived(_: Any) -> None:
            self.arrived.set()

        await self.client.subscribe(group, cb=arrived)
        await self.client.flush()

    async def echo(self) -> None:
        self.arrived.clear()
        await self.client.publish("room", self.body)
        await self.arrived.wait()

    async def close(self) -> None:
        await self.client.close()


class JetStream(Plain):
    """nats-py's JetStream: publishes that are acknowledged, and a consumer that is pulled."""

    async def open(self, port: str) -> None:
        await super().open(port)
        self.stream = self.client.jetstream()
        await self.stream.add_stream(
            name="plain", subjects=["plain"], max_msgs_per_subject=KEPT, max_age=3_600
        )

    async def flood(self, end: float) -> int:
        count = 0
        while time.perf_counter() < end:
            await asyncio.gather(*(self.stream.publish("plain", self.body) for _ in range(SENDERS)))
            count += SENDERS
        return count

    async def replay(self) -> int:
        from nats.js.api import AckPolicy, ConsumerConfig

        config = ConsumerConfig(ack_policy=AckPolicy.NONE)  # or it stops at 1,000 without acks
        reader, count = await self.stream.pull_subscribe("plain", config=config), 0
        total = (await self.stream.stream_info("plain")).state.messages
        while count < total:
            count += len(await reader.fetch(min(PAGE, total - count)))
        return count


async def main(name: str, case: str, port: str) -> dict[str, float]:
    """Measure one case of one side."""
    side = {"ours": Ours, "plain": Plain, "durable": Durable, "jetstream": JetStream}[name]()
    await side.open(port)
    try:
        return await {"flood": flood, "lone": lone, "groups": groups, "replay": replay}[case](side)
    finally:
        await side.close()


async def flood(side: Ours) -> dict[str, float]:
    """Return messages a second, and CPU microseconds for each."""
    await side.flood(time.perf_counter() + SECONDS / 4)
    start, watch = time.perf_counter(), Stopwatch()
    count = await side.flood(start + SECONDS)
    return {"rate": count / (time.perf_counter() - start), "cpu": watch.each(count)}


async def lone(side: Ours) -> dict[str, float]:
    """Return the median microseconds from one send to its arrival in the same process."""
    await side.join("room")
    took: list[float] = []
    for _ in range(2_500):
        start = time.perf_counter()
        await side.echo()
        took.append(time.perf_counter() - start)
    return {"p50": sorted(took[500:])[1_000] * 1e6}


async def replay(side: Ours) -> dict[str, float]:
    """Return how many kept messages are read in a second, page by page, and CPU for each."""
    while await side.replay() < KEPT:
        await side.flood(time.perf_counter() + SECONDS / 4)
    start, watch = time.perf_counter(), Stopwatch()
    count = await side.replay()
    return {"rate": count / (time.perf_counter() - start), "cpu": watch.each(count)}


async def groups(side: Ours) -> dict[str, float]:
    """Join 10,000 groups, one confirmed after another; return joins a second, KiB for each."""
    for number in range(200):
        await side.join(f"warm-{number}")
    gc.collect()
    before, start = psutil.Process().memory_info().rss, time.perf_counter()
    for number in range(GROUPS):
        await side.join(f"group-{number}")
    seconds = time.perf_counter() - start
    gc.collect()
    grown = psutil.Process().memory_info().rss - before
    return {"rate": GROUPS / seconds, "kib": grown / GROUPS / 1024}


if __name__ == "__main__":
    work(main)

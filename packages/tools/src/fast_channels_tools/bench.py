"""``fast-channels bench``: how fast this broker is, from this machine, in a few seconds.

Two layers in this process: one sends, the other one has the members. So a message always goes
through the broker, and the CPU time is that of both ends. Exit status: 0 measured, 1 the broker
cannot be reached or messages were lost, 2 the command line is wrong.
"""

import asyncio
import json
import secrets
import statistics
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final

from rich.console import Console
from rich.progress import Progress
from typer import Option

from fast_channels.exceptions import FastChannelsError
from fast_channels.layers import Channel, ChannelLayer

from .connecting import AsJson, Options, Place, Prefix, Url, bar, closed, quiet, used

WINDOW: Final = 20
"""Messages that are on their way to the members at once: less than a channel holds."""

PATIENCE: Final = 10.0
"""Seconds for which a message may be missing."""


def bench(
    url: Url,
    prefix: Prefix = "fc",
    options: Options = "{}",
    seconds: Annotated[
        float, Option(metavar="SECONDS", min=0.1, help="How long each of the three parts takes.")
    ] = 3.0,
    senders: Annotated[
        int, Option(metavar="N", min=1, help="How many send at the same time.")
    ] = 64,
    members: Annotated[
        int, Option(metavar="N", min=1, help="How many are in the group that is delivered to.")
    ] = 100,
    size: Annotated[int, Option(metavar="BYTES", min=1, help="Of the text in a message.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Measure a broker from this machine.

    How long a message takes, how many are sent and delivered, and the CPU that each costs. The
    groups have random names, and nothing stays. Exit status: 0 measured, 1 the broker cannot be
    reached or messages were lost, 2 the command line is wrong.
    """
    place = Place.of(url, prefix, options)
    quiet()

    async def run() -> dict[str, Any]:
        here, there = place.layer(), place.layer()
        try:
            with bar() as progress:
                measuring = Measuring(here, there, seconds, size, progress)
                return {
                    "latency": await measuring.latency(),
                    "sending": await measuring.sending(senders),
                    "delivering": await measuring.delivering(members),
                }
        finally:
            await closed(here, there, seconds=PATIENCE)

    report = used(run, place)
    if as_json:
        print(json.dumps({"url": place.shown, "prefix": prefix, **report}, indent=2))
    else:
        show(Console(highlight=False), place, report)


def show(console: Console, place: Place, report: dict[str, Any]) -> None:
    """The three lines are printed."""
    latency, sending, delivering = (report[n] for n in ("latency", "sending", "delivering"))
    console.print(place.shown, markup=False, soft_wrap=True)
    for name, text in (
        (
            "latency",
            f"median {_ms(latency['median'])}, p99 {_ms(latency['p99'])} "
            f"({latency['messages']:,} messages, one at a time)",
        ),
        (
            "sending",
            f"{sending['per_second']:,.0f} messages/s by {sending['senders']} senders, "
            f"{_us(sending['cpu'])} of CPU each",
        ),
        (
            "delivering",
            f"{delivering['per_second']:,.0f} deliveries/s to {delivering['members']} members, "
            f"{_us(delivering['cpu'])} of CPU each",
        ),
    ):
        console.print(f"{name:10}  {text}", markup=False, soft_wrap=True)


@dataclass
class Measuring:
    """The three measurements; all durations are seconds."""

    here: ChannelLayer
    there: ChannelLayer
    seconds: float
    size: int
    progress: Progress

    async def latency(self) -> dict[str, Any]:
        """Return how long one message takes, alone on its way, from the send to the member."""
        samples: list[float] = []
        async with AsyncExitStack() as stack:
            group, [channel] = await self._group(stack, 1)
            message = self._message()
            async with self._part("latency") as until:
                while time.monotonic() < until or not samples:
                    began = time.perf_counter()
                    await self.here.group_send(group, message)
                    await _soon(channel.receive())
                    samples.append(time.perf_counter() - began)
        p99 = sorted(samples)[max(0, round(0.99 * len(samples)) - 1)]
        return {
            "median": round(statistics.median(samples), 7),
            "p99": round(p99, 7),
            "messages": len(samples),
        }

    async def sending(self, senders: int) -> dict[str, Any]:
        """Return how much many send together, each to a group in which nobody is."""
        sent = 0

        async def send(group: str, until: float) -> None:
            nonlocal sent
            message = self._message()
            while time.monotonic() < until:
                await self.here.group_send(group, message)
                sent += 1

        await self.here.open()
        cpu, began = time.process_time(), time.perf_counter()
        async with self._part("sending") as until, asyncio.TaskGroup() as group:
            for _ in range(senders):
                group.create_task(send(_name(), until))
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        return {"senders": senders, **_rate(sent, took, cpu)}

    async def delivering(self, members: int) -> dict[str, Any]:
        """Return how much comes to many members of one group."""
        async with AsyncExitStack() as stack:
            group, channels = await self._group(stack, members)
            message = self._message()
            came = 0

            async def read(channel: Channel) -> None:
                nonlocal came
                for _ in range(WINDOW):
                    await channel.receive()
                    came += 1

            cpu, began = time.process_time(), time.perf_counter()
            async with self._part("delivering") as until:
                rounds = 0
                while time.monotonic() < until or not rounds:
                    rounds += 1
                    # Members read while it is sent, or their mailboxes would have to hold it all.
                    async with asyncio.TaskGroup() as tasks:
                        for channel in channels:
                            tasks.create_task(_soon(read(channel)))
                        for _ in range(WINDOW):
                            await self.here.group_send(group, message)
            took, cpu = time.perf_counter() - began, time.process_time() - cpu
        return {"members": members, **_rate(came, took, cpu)}

    async def _group(self, stack: AsyncExitStack, members: int) -> tuple[str, list[Channel]]:
        """Return a fresh group, and its members on the other layer."""
        group, channels = _name(), list[Channel]()
        for _ in range(members):
            channel = await stack.enter_async_context(self.there.channel())
            await self.there.group_add(group, channel.name)
            channels.append(channel)
        return group, channels

    @asynccontextmanager
    async def _part(self, name: str) -> AsyncGenerator[float]:
        """Give the moment at which the part is to end; its bar grows until then."""
        task = self.progress.add_task(f"{name:10}", total=self.seconds)
        began = time.monotonic()

        async def grow() -> None:
            while not self.progress.disable:
                self.progress.update(task, completed=time.monotonic() - began)
                await asyncio.sleep(0.1)

        growing = asyncio.create_task(grow())
        try:
            yield began + self.seconds
        finally:
            growing.cancel()
            await asyncio.wait([growing])
        self.progress.update(task, completed=self.seconds)

    def _message(self) -> dict[str, Any]:
        return {"type": "fast.channels.bench", "text": "x" * self.size}


async def _soon(coming: Any) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            await coming
    except TimeoutError:
        text = f"a message that the broker took did not come within {PATIENCE:g} s"
        raise FastChannelsError(text) from None


def _rate(count: int, took: float, cpu: float) -> dict[str, Any]:
    return {
        "messages": count,
        "per_second": round(count / took, 1),
        "cpu": round(cpu / max(count, 1), 9),
    }


def _name() -> str:
    return f"fast-channels-bench-{secrets.token_hex(6)}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1_000:.2f} ms"


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} us"

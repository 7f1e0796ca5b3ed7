"""``python -m tests.chaos.publishers <number> <settings> <seed> <groups>``: one publisher.

It publishes from the line ``go`` on its standard input until the line ``end``, then one message
more to each group, which shows that all before have passed. It prints a line of JSON when it
begins to send a message, and one when the layer took it.
"""

import asyncio
import contextlib
import json
import random
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from pathlib import Path

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import BaseChannelLayer

from .ledger import Ledger, Stream
from .settings import DURABLE, ROOT, Settings

PAD = 700
"""Bytes of a message that say nothing."""

PAUSE = 0.5
"""Seconds between two bursts to a group, on average."""

BURST = 4
"""Messages of a burst at most."""


async def publish(
    layer: BaseChannelLayer, number: int, group: str, chance: random.Random, end: asyncio.Event
) -> None:
    """Send 1, 2, 3, ... to the group, in order, and one more after ``end``."""
    sent = 0
    while not end.is_set():
        for _ in range(chance.randint(1, BURST)):
            sent += 1
            await publish_one(layer, number, group, sent)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(chance.uniform(0, 2 * PAUSE)):
                await end.wait()
    await publish_one(layer, number, group, sent + 1, certain=True)


async def publish_one(
    layer: BaseChannelLayer, publisher: int, group: str, number: int, *, certain: bool = False
) -> None:
    """The group has the message, once; if it is not durable, perhaps, unless ``certain``.

    Without a history the layer cannot know that it has a message already, so there a failure is
    the end of it.
    """
    durable = group.startswith(DURABLE)
    message = {"type": "chaos", "publisher": publisher, "number": number, "pad": "." * PAD}
    once = {"id": f"{publisher}-{number}"} if durable else {}
    note("began", group, number, time.monotonic())
    while True:
        try:
            await layer.group_send(group, message, **once)
        except BackendUnavailable as error:
            print(f"{time.monotonic():.3f} {group} {number}: {error}", file=sys.stderr)  # noqa: T201
            if not durable:
                if not certain:
                    return
                number += 1
                message["number"] = number
                note("began", group, number, time.monotonic())
            await asyncio.sleep(0.1)
        else:
            note("confirmed", group, number)
            return


def note(*entry: object) -> None:
    """The parent process reads this."""
    print(json.dumps(entry), flush=True)  # noqa: T201


async def main(number: str, settings: str, seed: str, groups: str) -> None:
    """Publish between the lines ``go`` and ``end``."""
    layer, end = Settings.read(settings).register(), asyncio.Event()
    await layer.open()
    note("ready")
    await asyncio.to_thread(sys.stdin.readline)
    async with asyncio.TaskGroup() as tasks:
        for group in groups.split(","):
            chance = random.Random(f"{seed} {number} {group}")
            tasks.create_task(publish(layer, int(number), group, chance, end))
        await asyncio.to_thread(sys.stdin.readline)
        end.set()
    await layer.close()


class Publisher:
    """A publisher's process, seen from the run."""

    def __init__(self, number: int, process: Process, ledger: Ledger) -> None:
        self.number = number
        self._process = process
        self._ledger = ledger
        self._ready = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls,
        number: int,
        settings: Settings,
        seed: int,
        groups: list[str],
        ledger: Ledger,
        log: Path,
    ) -> AsyncGenerator["Publisher"]:
        """A publisher that starts, and is killed in the end if it still runs."""
        arguments = [str(number), settings.text(), str(seed), ",".join(groups)]
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", __spec__.name, *arguments),
                stdin=PIPE,
                stdout=PIPE,
                stderr=errors,
                cwd=ROOT,
            )
        publisher = cls(number, process, ledger)
        try:
            yield publisher
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            await publisher._reader

    async def ready(self) -> None:
        """It is connected; raises ``RuntimeError`` if it failed."""
        await self._ready.wait()
        if self._reader.done():
            await self.finished()

    def say(self, word: str) -> None:
        """The process gets a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())

    async def finished(self) -> None:
        """It has sent everything; raises ``RuntimeError`` if it failed."""
        await self._reader
        if code := await self._process.wait():
            raise RuntimeError(f"publisher {self.number} ended with {code}; its log says why")

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            match json.loads(line):
                case ["began", group, number, at]:
                    self._ledger.began(Stream(group, self.number), number, at)
                case ["confirmed", group, number]:
                    self._ledger.confirmed(Stream(group, self.number), number)
                case _:
                    self._ready.set()
        self._ready.set()  # it has ended


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

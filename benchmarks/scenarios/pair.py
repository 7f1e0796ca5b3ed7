"""A sender in a process of its own, and the line by which the receiver's process commands it.

No scenario: what ``two_processes`` and ``latency`` share. A command is a line of JSON; a dot says
that one message has been delivered to everybody.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from benchmarks.scenarios.flood import SENDERS, TOO_MANY
from benchmarks.workers.measuring import MESSAGE
from benchmarks.workers.task import Task

UNDELIVERED: Final = 50
OUTSTANDING: Final = 2_000
"""Sends under way at a fixed rate, above which the rate is not kept."""

STARTING: Final = 15.0


class Sender:
    """The sender's process, as the receiver sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._delivered = 0
        self._soon: asyncio.Handle | None = None

    @classmethod
    async def start(cls, task: Task) -> "Sender":
        """Return it when it is ready to send."""
        command = [sys.executable, "-m", "benchmarks.workers.side", task.params["loop"], task.name]
        command += ["scenarios.pair:sender", task.side.url, json.dumps(task.params)]
        pipe = asyncio.subprocess.PIPE
        sender = cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe))
        async with asyncio.timeout(STARTING):
            await sender._answer()
        return sender

    async def do(self, **command: Any) -> dict[str, Any]:
        """Let it send; return what it says of that when it has done it."""
        self._write(json.dumps(command).encode() + b"\n")
        return await self._answer()

    def delivered(self) -> None:
        """One message more has reached everybody; it is told soon, many at a time."""
        self._delivered += 1
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._soon = None
        count, self._delivered = self._delivered, 0
        self._write(b"." * count)

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the sender's process has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def stop(self) -> None:
        """It is gone."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


async def sender(task: Task) -> None:
    """Do what comes on standard input until it ends."""
    commands: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    work = Sending(task)

    def came() -> None:
        data = os.read(sys.stdin.fileno(), 1 << 16)
        if not data:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            commands.put_nowait(None)
        work.text += data
        while True:
            rest = work.text.lstrip(b".")
            work.release(len(work.text) - len(rest))
            line, end, work.text = rest.partition(b"\n")
            if not end:
                work.text = line
                return
            commands.put_nowait(json.loads(line))

    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), came)
    print(json.dumps({"ready": True}), flush=True)
    while (command := await commands.get()) is not None:
        print(json.dumps(await work.do(command)), flush=True)


class Sending:
    """Sends in each of the ways."""

    def __init__(self, task: Task) -> None:
        self._side = task.side
        self.text = b""
        self._room = asyncio.Semaphore(0)
        self._sent = self._errors = 0
        self._last = ""

    def release(self, count: int) -> None:
        """So many messages more may be under way."""
        for _ in range(count):
            self._room.release()

    async def do(self, command: dict[str, Any]) -> dict[str, Any]:
        """Send as commanded; return how much, in which time, at what CPU."""
        self._sent = self._errors = 0
        way: dict[str, Callable[..., Any]] = {
            "bounded": self.bounded, "unbounded": self.unbounded, "paced": self.paced
        }  # fmt: skip
        cpu, start = time.process_time(), time.perf_counter()
        await way[command.pop("do")](**command)
        return {
            "sent": self._sent,
            "errors": self._errors,
            "last": self._last,
            "seconds": time.perf_counter() - start,
            "cpu": time.process_time() - cpu,
        }

    async def send(self, group: str, message: dict[str, Any]) -> None:
        """Send one message, or count what is raised."""
        try:
            await self._side.send(group, message)
            self._sent += 1
        except Exception as error:  # a peer's: counted, and named in the table
            self._errors += 1
            self._last = type(error).__name__

    async def bounded(self, group: str, seconds: float) -> None:
        """Keep 50 messages under way: a task of each sends the next when one is delivered."""
        self._room = asyncio.Semaphore(UNDELIVERED)
        over = False

        def end() -> None:  # for all at once: a time limit for each wait costs more than a send
            nonlocal over
            over = True
            self.release(UNDELIVERED)

        async def one() -> None:
            while True:
                await self._room.acquire()
                if over or self._errors >= TOO_MANY:
                    return
                await self.send(group, MESSAGE)

        asyncio.get_running_loop().call_later(seconds, end)
        await asyncio.gather(*(one() for _ in range(UNDELIVERED)))

    async def unbounded(self, group: str, seconds: float, most: int) -> None:
        """Send from 64 tasks as fast as it goes."""
        end = time.perf_counter() + seconds

        async def one() -> None:
            while time.perf_counter() < end and self._sent < most and self._errors < TOO_MANY:
                await self.send(group, MESSAGE)

        await asyncio.gather(*(one() for _ in range(SENDERS)))

    async def paced(self, group: str, seconds: float, rate: float) -> None:
        """Send so many a second, each at its time whether or not those before have been sent.

        A message says when it should have been sent.
        """
        start = time.monotonic()
        tasks: set[asyncio.Task[None]] = set()
        number = 0
        while number < rate * seconds:
            due = min(int((time.monotonic() - start) * rate) + 1, int(rate * seconds))
            for index in range(number, due):
                if len(tasks) < OUTSTANDING:
                    message = {**MESSAGE, "at": start + index / rate}
                    sending = asyncio.create_task(self.send(group, message))
                    tasks.add(sending)
                    sending.add_done_callback(tasks.discard)
            number = due
            await asyncio.sleep(max(0.0, start + number / rate - time.monotonic()))
        if tasks:
            await asyncio.wait(tasks, timeout=3.0)

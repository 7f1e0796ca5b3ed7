"""What goes wrong, and when: a schedule that a seed determines, and who carries it out."""

import asyncio
import contextlib
import random
import sys
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

from tests.ports import Port

from .brokers import Broker
from .clients import Client
from .settings import ROOT, Settings

Kind = Literal["server killed", "broker killed", "sockets cut", "client frozen"]

ROUND: Final[tuple[Kind, ...]] = (
    *("server killed", "sockets cut", "client frozen") * 2,  # type: ignore[assignment]  # literals
    "broker killed",
)
"""Of so many faults, in any order, these are the kinds."""

PAUSE: Final = 1.5
"""Seconds between two faults, on average; less where a whole round would not fit in."""

AWAY: Final = 2.0
"""Seconds at most for which a server or the broker stays away after it was killed."""

FROZEN: Final = 8.0
"""Seconds at most for which a client reads nothing: less than its messages are kept for."""

PATIENCE: Final = 120.0
"""Seconds in which a server listens: not before its broker does, which takes as much as 50 s."""


class Fault(NamedTuple):
    """One fault; ``targets`` are numbers of servers or clients."""

    at: float
    kind: Kind
    targets: tuple[int, ...]
    lasts: float


def schedule(seed: int, seconds: float, servers: int, clients: int) -> list[Fault]:
    """Return the faults of so many seconds; the same for the same arguments."""
    chance = random.Random(seed)
    pause = min(PAUSE, seconds / (len(ROUND) + 1))
    faults: list[Fault] = []
    kinds: list[Kind] = []
    at = pause / 2
    while at < seconds:
        kinds = kinds or chance.sample(ROUND, len(ROUND))
        kind = kinds.pop()
        match kind:
            case "server killed":
                targets, lasts = [chance.randrange(servers)], chance.uniform(0, AWAY)
            case "broker killed":
                targets, lasts = [], chance.uniform(0, AWAY)
            case "sockets cut":
                targets, lasts = chance.sample(range(clients), chance.randint(1, clients // 3)), 0.0
            case "client frozen":
                count = chance.randint(1, max(1, clients // 12))
                targets = chance.sample(range(clients), count)
                lasts = chance.uniform(1, min(FROZEN, seconds / 2))
        faults.append(Fault(at, kind, tuple(targets), lasts))
        at += chance.uniform(0.8, 1.2) * pause
    return faults


class Server:
    """One of the servers, which comes back on the same port."""

    def __init__(self, settings: Settings, log: Path, module: str = "tests.chaos.app") -> None:
        self._port = Port()
        self.port = self._port.number
        self._settings = settings
        self._log = log
        self._module = module
        self._process: Process | None = None
        self._busy = asyncio.Lock()

    async def start(self) -> None:
        """It runs and listens; a server whose broker is away ends, and is started again."""
        arguments = ["-m", self._module, str(self.port), self._settings.text()]
        deadline = time.monotonic() + PATIENCE
        while True:
            if self._process is None or self._process.returncode is not None:
                with self._log.open("ab") as log:
                    self._process = await asyncio.create_subprocess_exec(
                        sys.executable, *arguments, stdout=log, stderr=log, cwd=ROOT
                    )
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"a server does not listen: {self._log.read_text()[-5_000:]}")
            await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """It is gone, as with ``kill -9``."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    @property
    def is_away(self) -> bool:
        """Whether it was killed and is not back yet."""
        return self._busy.locked()

    async def stop(self) -> int:
        """It was told to stop, and has; return its exit status."""
        assert self._process is not None
        self._process.terminate()
        return await self._process.wait()

    def said(self) -> list[str]:
        """Return the lines of its log, of all its lives."""
        return self._log.read_text().splitlines()

    async def away(self, seconds: float) -> None:
        """It is gone for so long, and then back."""
        async with self._busy:
            await self.kill()
            await asyncio.sleep(seconds)
            await self.start()


@contextlib.asynccontextmanager
async def serving(
    count: int, settings: Settings, folder: Path, module: str = "tests.chaos.app"
) -> AsyncGenerator[list[Server]]:
    """So many servers that listen, all gone in the end; the module takes a port and settings."""
    servers = [Server(settings, folder / f"server-{number}.log", module) for number in range(count)]
    try:
        async with asyncio.TaskGroup() as tasks:
            for server in servers:
                tasks.create_task(server.start())
        yield servers
    finally:
        for server in servers:
            await server.kill()


class Havoc:
    """Carries faults out."""

    def __init__(
        self, broker: Broker, servers: Sequence[Server], clients: Sequence[Client], log: Path
    ) -> None:
        self.done: Counter[Kind] = Counter()
        """How often each kind was carried out: a fault for each server, socket and client."""
        self._broker = broker
        self._servers = servers
        self._clients = clients
        self._log = log
        self._broker_busy = asyncio.Lock()
        self._frozen: Counter[int] = Counter()

    async def wreak(self, faults: Sequence[Fault]) -> None:
        """Carry the faults out in time; all is whole again after the last one."""
        start = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for fault in faults:
                await asyncio.sleep(start + fault.at - time.monotonic())
                tasks.create_task(self._carry_out(fault))

    async def _carry_out(self, fault: Fault) -> None:
        """Nothing is killed again that is not back yet: on a slow machine it never would be."""
        match fault.kind:
            case "server killed" if self._servers[fault.targets[0]].is_away:
                return
            case "broker killed" if self._broker_busy.locked():
                return
            case _:
                pass
        with self._log.open("a") as log:
            print(f"{time.monotonic():.3f}", *fault[1:], file=log)
        self.done[fault.kind] += max(1, len(fault.targets))
        match fault.kind:
            case "server killed":
                for target in fault.targets:
                    await self._servers[target].away(fault.lasts)
            case "broker killed":
                async with self._broker_busy:
                    await asyncio.to_thread(self._broker.kill)
                    await asyncio.sleep(fault.lasts)
                    await asyncio.to_thread(self._broker.start)
            case "sockets cut":
                for target in fault.targets:
                    self._clients[target].cut()
            case "client frozen":
                await self._freeze(fault)

    async def _freeze(self, fault: Fault) -> None:
        self._frozen.update(fault.targets)
        for target in fault.targets:
            self._clients[target].freeze()
        await asyncio.sleep(fault.lasts)
        self._frozen.subtract(fault.targets)
        for target in fault.targets:
            if not self._frozen[target]:
                self._clients[target].thaw()

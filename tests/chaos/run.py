"""``python -m tests.chaos.run``: everything breaks, and nobody misses a message or sees one twice.

Prints one line for each broker; the exit code is 0 if no client saw anything wrong.
"""

import argparse
import asyncio
import contextlib
import logging
import math
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, get_args

from .brokers import BROKERS, keeps
from .clients import Client
from .faults import Havoc, Kind, schedule, serving
from .ledger import Findings, Ledger
from .publishers import Publisher
from .settings import DURABLE, Settings

logger = logging.getLogger(__name__)

ROOMS = ("a", "b")
LIVE = "live."
"""How the names of groups begin that are not durable."""

LONGEST = 300.0
"""Seconds that a run takes at most, on one broker."""

MOST_FAULTS = 200.0
"""Seconds of faults after which there is time for an end."""

PATIENCE = 90.0
"""Seconds in which all clients are back, and have everything, after the last fault."""


class Size(NamedTuple):
    """How many there are of each."""

    servers: int = 3
    clients: int = 60
    publishers: int = 6


WHOLE = Size()

QUIET = 1.0
"""Seconds in the end in which what comes for the second time would come."""


@dataclass
class Result:
    """What a run on one broker came to."""

    broker: str
    seed: int
    durable: bool
    ledger: Ledger
    findings: Findings
    faults: Counter[Kind]
    reconnects: int
    took: float

    def cells(self) -> dict[str, object]:
        """Return the row of the table, by its headings."""
        return {
            "broker": self.broker,
            "durable": "yes" if self.durable else "no history",
            "messages": self.ledger.messages,
            "deliveries": self.ledger.deliveries,
            **{kind: self.faults[kind] for kind in get_args(Kind)},
            "reconnects": self.reconnects,
            "gaps told": self.ledger.gaps,
            "out of order": len(self.findings.disorders) + len(self.findings.strangers),
            "duplicates": len(self.findings.duplicates),
            "silent losses": len(self.findings.losses),
            "seconds": f"{self.took:.0f}",
            "seed": self.seed,
        }


async def run(name: str, seconds: float, seed: int, folder: Path, size: Size = WHOLE) -> Result:
    """Return what so many seconds of faults on the broker came to; the folder gets the logs."""
    faults = schedule(seed, seconds, size.servers, size.clients)
    start = time.monotonic()
    with BROKERS[name](folder) as broker:
        settings = Settings(broker.url, f"x{os.urandom(6).hex()}", keeps(broker.url))
        ledger = Ledger()
        durable = frozenset(
            group for group in groups_of(settings.durable) if group.startswith(DURABLE)
        )
        async with (
            publishing(size.publishers, settings, seed, ledger, folder) as publishers,
            serving(size.servers, settings, folder) as servers,
        ):
            ports = [server.port for server in servers]
            clients = make_clients(size.clients, settings.durable, ports, ledger, seed)
            havoc = Havoc(broker, servers, clients, folder / "faults.log")
            async with living(clients):
                await settled(clients)
                for publisher in publishers:
                    await publisher.ready()
                    publisher.say("go")
                logger.info("%4.0f s: all are there, and faults begin", time.monotonic() - start)
                await havoc.wreak(faults)
                logger.info("%4.0f s: the last fault is over", time.monotonic() - start)
                await settled(clients, time.monotonic())
                logger.info("%4.0f s: all clients were back", time.monotonic() - start)
                for publisher in publishers:
                    publisher.say("end")
                for publisher in publishers:
                    await publisher.finished()
                await settled(clients)
                with contextlib.suppress(TimeoutError):  # the verdict says what is missing
                    await until(lambda: ledger.complete(durable))
                await asyncio.sleep(QUIET)
                logger.info("%4.0f s: all is sent and read", time.monotonic() - start)
        reconnects = sum(client.connections - 1 for client in clients)
        findings = ledger.verdict(durable)
        took = time.monotonic() - start
        return Result(name, seed, settings.durable, ledger, findings, havoc.done, reconnects, took)


def groups_of(durable: bool) -> list[str]:
    """Return what is published to."""
    kinds = (DURABLE, LIVE) if durable else (LIVE,)
    return [f"{kind}{room}" for kind in kinds for room in ROOMS]


def make_clients(
    count: int, durable: bool, ports: Sequence[int], ledger: Ledger, seed: int
) -> list[Client]:
    """Return clients of which as many are in a durable group, in one that is not, and in both."""
    kinds = ((DURABLE,), (LIVE,), (DURABLE, LIVE)) if durable else ((LIVE,),)
    clients: list[Client] = []
    for number in range(count):
        room = ROOMS[number // len(kinds) % len(ROOMS)]
        groups = [f"{kind}{room}" for kind in kinds[number % len(kinds)]]
        clients.append(Client(f"client-{number}", groups, ports, ledger, seed))
    return clients


@contextlib.asynccontextmanager
async def living(clients: Sequence[Client]) -> AsyncGenerator[None]:
    """The clients run; one that fails is an error here."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(client.run()) for client in clients]
        try:
            yield
        finally:
            for task in running:
                task.cancel()


@contextlib.asynccontextmanager
async def publishing(
    count: int, settings: Settings, seed: int, ledger: Ledger, folder: Path
) -> AsyncGenerator[list[Publisher]]:
    """Publishers that will wait for their ``go``."""
    groups = groups_of(settings.durable)
    async with contextlib.AsyncExitStack() as stack:
        starting = [
            Publisher.running(
                number, settings, seed, groups, ledger, folder / f"publisher-{number}.log"
            )
            for number in range(count)
        ]
        yield [await stack.enter_async_context(publisher) for publisher in starting]


async def settled(clients: Sequence[Client], since: float = math.inf) -> None:
    """All clients are in their groups, or were once since; ``RuntimeError`` if some never are.

    While messages go out a slow machine is never without one that was just cut off as too slow.
    """

    def away() -> list[Client]:
        return [client for client in clients if not client.ready and client.was_ready < since]

    try:
        await until(lambda: not away())
    except TimeoutError as error:
        lost = [client.story for client in away()]
        raise RuntimeError(f"{len(lost)} clients found no way back: {'; '.join(lost)}") from error


async def until(condition: Callable[[], bool]) -> None:
    """Return when it is true; ``TimeoutError`` after ``PATIENCE``."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # it is about other processes
            await asyncio.sleep(0.05)


async def bounded(running: Awaitable[Result]) -> Result:
    """Return what it returns; ``TimeoutError`` after ``LONGEST``."""
    async with asyncio.timeout(LONGEST):
        return await running


def table(results: Sequence[Result]) -> str:
    """Return the results, a column for each broker."""
    rows = [
        [heading, *(str(result.cells()[heading]) for result in results)]
        for heading in results[0].cells()
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(results) + 1)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0 if nothing was wrong on any broker."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.run", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of faults, on each broker")
    parser.add_argument("--seed", type=int, help="of an earlier run, to have its faults again")
    parser.add_argument("--broker", choices=BROKERS, action="append", help="only this one")
    given = parser.parse_args(arguments)
    if not 0 < given.seconds <= MOST_FAULTS:
        parser.error(f"--seconds {given.seconds:g}: more than 0, at most {MOST_FAULTS:g}")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    seed = random.randrange(1_000_000) if given.seed is None else given.seed
    results: list[Result] = []
    failed: list[str] = []
    for broker in given.broker or BROKERS:
        folder = Path(tempfile.mkdtemp(prefix=f"fc-chaos-{broker}-"))
        print(f"chaos: {broker}, {given.seconds:g} s of faults, seed {seed}", flush=True)
        try:
            result = asyncio.run(bounded(run(broker, given.seconds, seed, folder)))
        except Exception:
            failed.append(broker)
            traceback.print_exc()
            print(f"chaos: {broker} failed; its logs are in {folder}", flush=True)
            continue
        results.append(result)
        if wrong := list(result.findings):
            print(*wrong[:50], sep="\n")
            print(f"{len(wrong)} in all; the logs are in {folder}")
        else:
            shutil.rmtree(folder)
    if results:
        print(table(results))
    if failed:
        print(f"chaos: no result of {', '.join(failed)}")
    return 1 if failed or any(list(result.findings) for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())

"""``fast-channels worker`` as processes that share a channel, are stopped, and are killed."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.journal import Journal
from tests.waiting import PATIENCE, STARTING, soon

from .broker import Broker, TcpLayer

COMMAND = Path(sys.executable).with_name("fast-channels")

pytestmark = pytest.mark.timeout(150)


@pytest.fixture(autouse=True, params=[True], ids=["in-place"])
def in_place() -> None:
    """One way to start handlers is enough here."""


class Process:
    """A worker: its process, and what stands in its log."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[str] = []

    async def serves(self) -> None:
        """Wait until it takes jobs."""
        assert self.process.stderr is not None
        async with asyncio.timeout(STARTING):
            async for line in self.process.stderr:
                self.log.append(line.decode().rstrip())
                if "serves " in self.log[-1]:
                    return
        raise AssertionError(self.log)

    async def ends(self) -> int:
        """Wait until it has ended; return its exit status."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            self.log += (await self.process.stderr.read()).decode().splitlines()
            return await self.process.wait()


Start = Callable[..., Awaitable[Process]]


class Workers:
    """Starts workers; ``journal`` has what they do: ``(process, what, number)``."""

    def __init__(self, port: int) -> None:
        self.journal = Journal()
        self._port = port
        self.started: list[Process] = []
        self._reading: list[asyncio.Task[None]] = []

    async def start(self, *options: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            *("worker", "served:application", "jobs", *options),
            cwd=Path(__file__).parent,
            env={**os.environ, "BROKER_PORT": str(self._port)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        worker = Process(process)
        self.started.append(worker)
        self._reading.append(asyncio.create_task(self._read(process.stdout)))
        await worker.serves()
        return worker

    async def _read(self, stream: Any) -> None:
        async for line in stream:
            process, what, number = line.decode().split()
            self.journal((int(process), what, int(number)))

    def count(self, what: str) -> Counter[int]:
        """How often each job was begun or done."""
        return Counter(n for _, each, n in self.journal if each == what)

    async def end(self) -> None:
        for worker in self.started:
            if worker.process.returncode is None:
                worker.process.kill()
                await worker.ends()
        for task in self._reading:
            await soon(task)


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    async with Broker() as broker:
        yield broker


@pytest.fixture
async def layer(broker: Broker) -> AsyncIterator[TcpLayer]:
    layer = TcpLayer(broker.port)
    yield layer
    await layer.close()


@pytest.fixture
async def workers(broker: Broker) -> AsyncIterator[Workers]:
    workers = Workers(broker.port)
    yield workers
    await workers.end()


async def send(layer: TcpLayer, numbers: Any, **more: Any) -> None:
    for n in numbers:
        await layer.send("jobs", {"type": "test.job", "n": n, **more})


async def permit(layer: TcpLayer, count: int) -> None:
    """Let that many jobs end that wait."""
    for _ in range(count):
        await layer.send("permissions", {"type": "test.permission"})


async def test_two_processes_share_a_channel_and_each_job_is_done_once(
    workers: Workers, layer: TcpLayer, broker: Broker
) -> None:
    both = await asyncio.gather(*(workers.start("--concurrency", "1") for _ in range(2)))
    await send(layer, [0, 1], waits=True)  # each takes one of these, having one place
    await workers.journal.until(lambda: workers.count("begun").total() == 2)
    await send(layer, range(2, 200))
    await permit(layer, 2)
    await workers.journal.until(lambda: len(workers.count("done")) == 200)
    for worker in both:
        worker.process.terminate()
    assert [await worker.ends() for worker in both] == [0, 0]
    assert workers.count("begun") == workers.count("done") == Counter(range(200))
    assert {process for process, _, n in workers.journal if n < 2} == {
        worker.process.pid for worker in both
    }
    assert (broker.waiting("fc:q.jobs"), broker.leased()) == (0, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_running_handlers_finish_and_nothing_new_begin(
    workers: Workers, layer: TcpLayer, broker: Broker, number: signal.Signals
) -> None:
    worker = await workers.start("--concurrency", "3")
    await send(layer, range(5), waits=True)
    await workers.journal.until(lambda: workers.count("begun").total() == 3)
    worker.process.send_signal(number)
    await permit(layer, 3)
    assert await worker.ends() == 0
    assert workers.count("begun") == workers.count("done") == Counter(range(3))
    assert (broker.waiting("fc:q.jobs"), broker.leased()) == (2, 0)
    assert "stops; 3 jobs are being finished" in worker.log[-1]


async def test_handlers_that_are_not_finished_in_time_are_cut_off_and_released(
    workers: Workers, layer: TcpLayer, broker: Broker
) -> None:
    for ending in ("time is over", "second signal"):
        workers.journal.clear()
        timeout = "0" if ending == "time is over" else "60"
        worker = await workers.start("--shutdown-timeout", timeout)
        await send(layer, [7], waits=True)
        await workers.journal.has((worker.process.pid, "begun", 7))
        worker.process.terminate()
        if ending == "second signal":
            async with asyncio.timeout(PATIENCE):
                assert worker.process.stderr is not None
                assert b"stops; 1 jobs" in await worker.process.stderr.readline()
            worker.process.terminate()
        assert await worker.ends() == 0
        await workers.journal.has((worker.process.pid, "cancelled", 7))
        assert "a handler of 'jobs' was cut off" in worker.log[-1]
        assert (broker.waiting("fc:q.jobs"), broker.leased()) == (1, 0)
        await soon(layer.receive("jobs"))


async def test_the_job_of_a_killed_worker_goes_to_another(
    workers: Workers, layer: TcpLayer, broker: Broker
) -> None:
    first = await workers.start()
    await send(layer, [7], waits=True)
    await workers.journal.has((first.process.pid, "begun", 7))
    second = await workers.start()
    first.process.kill()
    assert await first.ends() == -signal.SIGKILL
    await workers.journal.has((second.process.pid, "begun", 7))
    await permit(layer, 1)
    await workers.journal.has((second.process.pid, "done", 7))
    second.process.terminate()
    assert await second.ends() == 0
    assert (workers.count("done"), broker.leased()) == ({7: 1}, 0)


async def test_a_failing_handler_is_one_traceback_and_the_worker_goes_on(
    workers: Workers, layer: TcpLayer, broker: Broker
) -> None:
    worker = await workers.start("--concurrency", "1")
    await send(layer, [1], fails="marker")
    await send(layer, [2])
    await workers.journal.has((worker.process.pid, "done", 2))
    worker.process.terminate()
    assert await worker.ends() == 0
    assert [line for line in worker.log if "marker" in line] == ["RuntimeError: marker"]
    assert workers.count("begun") == {1: 1, 2: 1}
    assert (broker.waiting("fc:q.jobs"), broker.leased()) == (0, 0)


async def test_a_process_takes_no_more_jobs_than_it_may_handle_at_once(
    workers: Workers, layer: TcpLayer
) -> None:
    worker = await workers.start("--concurrency", "2")
    await send(layer, range(5), waits=True)
    await workers.journal.until(lambda: workers.count("begun").total() == 2)
    left = [(await soon(layer.receive("jobs")))["n"] for _ in range(3)]
    assert left == [2, 3, 4]
    await permit(layer, 2)
    await workers.journal.until(lambda: workers.count("done").total() == 2)
    worker.process.terminate()
    assert await worker.ends() == 0


async def test_a_broker_that_cannot_be_reached_is_one_line_and_status_1() -> None:
    async with Broker() as gone:
        pass
    workers = Workers(gone.port)
    try:
        with pytest.raises(AssertionError):
            await workers.start()
        [worker] = workers.started
        assert await worker.ends() == 1
    finally:
        await workers.end()
    [line] = worker.log
    assert line.startswith("fast-channels: channel layer 'default'")
    assert f"no broker on port {gone.port}" in line

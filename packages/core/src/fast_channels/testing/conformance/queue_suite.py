"""What the suites for worker queues share: queues of the clause's own, and who works on them."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fast_channels.layers import Job, WorkerQueues
from fast_channels.testing.conformance.process import Process, soon
from fast_channels.testing.conformance.sealed import sealed
from fast_channels.testing.conformance.suite import BackendSuite

T = TypeVar("T")
_FENCE = b"fence"


class Worker:
    """A process that puts jobs into queues and takes them; every wait is bounded."""

    def __init__(self, process: Process, suite: BackendSuite) -> None:
        self.process = process
        self._patience = suite.patience
        self._quiet = suite.quiet

    @property
    def queues(self) -> WorkerQueues:
        """The backend's queues."""
        queues = self.process.backend.queues
        assert queues is not None, "the backend's queues are None"
        return queues

    async def soon(self, call: Awaitable[T], what: str) -> T:
        """Await what has to end within patience."""
        return await soon(call, what, self._patience)

    async def put(self, queue: str, *payloads: bytes, expires_in: float = 60.0) -> None:
        """The broker holds the jobs, in this order."""
        for payload in payloads:
            await self.soon(self.queues.put(queue, payload, expires_in), "put")

    async def take(self, queue: str) -> Job:
        """Return the next job, which has to be there soon."""
        return await self.soon(self.queues.take(queue), "take")

    async def work(self, queue: str, count: int = 1) -> list[bytes]:
        """Return the payloads of the next jobs, each finished."""
        payloads: list[bytes] = []
        for _ in range(count):
            job = await self.take(queue)
            payloads.append(job.payload)
            await self.soon(job.done(), "done")
        return payloads

    async def rest(self, queue: str) -> list[bytes]:
        """Return the payloads of all jobs that are in the queue, which is empty then.

        Shown by a marker that is put now, and by quiet after it: a job that was released may come
        after the marker.
        """
        await self.put(queue, _FENCE)
        payloads = await self.work(queue)
        while _FENCE not in payloads:
            payloads += await self.work(queue)
        while True:
            taking = asyncio.create_task(self.queues.take(queue))
            await asyncio.wait([taking], timeout=self._quiet)
            taking.cancel()
            await asyncio.wait([taking])
            if taking.cancelled():
                payloads.remove(_FENCE)
                return payloads
            await self.soon(taking.result().done(), "done")
            payloads.append(taking.result().payload)


class QueueSuite(BackendSuite):
    """A suite over worker queues."""

    @sealed
    async def worker(self) -> Worker:
        """Return a worker with a backend of its own, open until the clause ends."""
        return Worker(await self.process(), self)

    @sealed
    def queue(self, name: str = "jobs") -> str:
        """Return a queue that no other clause uses; the same name, the same queue."""
        return f"{self.prefix()}:q.{name}"

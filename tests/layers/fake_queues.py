"""Worker queues that do as they are told."""

import asyncio

from fast_channels.layers import Job, WorkerQueues
from fast_channels.layers.in_memory import MemoryBroker

from .backends import WatchedBackend


class FakeJob:
    """A job that notes what became of it."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.fate = ""
        self.may_finish = asyncio.Event()

    async def done(self) -> None:
        await self.may_finish.wait()
        self.fate = "done"

    async def release(self) -> None:
        self.fate = "released"


class FakeQueues:
    """Queues that hand out the jobs they are given."""

    def __init__(self) -> None:
        self.put_calls: list[tuple[str, bytes, float]] = []
        self.jobs: asyncio.Queue[FakeJob] = asyncio.Queue()
        self.hangs = False
        self.error: Exception | None = None

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        self.put_calls.append((queue, payload, expires_in))
        if self.error is not None:
            raise self.error
        if self.hangs:
            await asyncio.Event().wait()

    async def take(self, queue: str, /) -> Job:
        if self.error is not None:
            raise self.error
        return await self.jobs.get()

    async def clear(self, prefix: str, /) -> None: ...


class QueuesBackend(WatchedBackend):
    """Has the fake queues."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.fake = FakeQueues()
        self.queues: WorkerQueues = self.fake

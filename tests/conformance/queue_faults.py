"""What mutants of worker queues are made of: right queues and jobs, to be spoilt."""

from typing import Any

from fast_channels.layers.in_memory import MemoryJob, MemoryQueue

from .breakable import BreakableQueues


class Spoilt(BreakableQueues):
    """Has the broker's queues at hand."""

    def queue(self, name: str) -> MemoryQueue:
        return self.backend.broker.queue(name)

    def wraps(self, job: MemoryJob) -> MemoryJob:
        """Return what the taker gets instead of the job."""
        return job

    async def next_job(self, queue: str) -> MemoryJob:
        return self.wraps(await super().next_job(queue))


class SpoiltJob(MemoryJob):
    """A job of which something is wrong, around one that is right."""

    def __init__(self, job: MemoryJob, queues: Spoilt) -> None:
        self.job: Any = job
        self.payload = job.payload
        self.deadline = job.deadline
        self.queues = queues

    async def done(self) -> None:
        await self.job.done()

    async def release(self) -> None:
        await self.job.release()

"""Mutants that finish or release a job wrongly, or lose one that was taken."""

import asyncio
import time
from collections import deque

from fast_channels.layers.in_memory import MemoryJob

from .breakable import BreakableBackend
from .queue_faults import Spoilt, SpoiltJob
from .subject import caught_by


class NeverDone(SpoiltJob):
    async def done(self) -> None:
        pass


@caught_by("test_a_finished_job_does_not_come_again")
class DoneIsNotTold(Spoilt):
    """Does not tell the broker that a job is done."""

    def wraps(self, job: MemoryJob) -> MemoryJob:
        return NeverDone(job, self)


class NeverReleased(SpoiltJob):
    async def release(self) -> None:
        pass


@caught_by("test_a_released_job_comes_again")
class ReleaseIsNotTold(Spoilt):
    """Does not tell the broker that a job is free."""

    def wraps(self, job: MemoryJob) -> MemoryJob:
        return NeverReleased(job, self)


class SilentlyReleased(SpoiltJob):
    released = False

    async def release(self) -> None:
        if not self.released:
            self.released = True
            queue = self.job._queue
            if queue is not None:
                takers, queue._takers = queue._takers, deque()
                await self.job.release()
                queue._takers = takers


@caught_by("test_a_released_job_goes_to_a_worker_that_waits")
class WakesNobody(Spoilt):
    """Puts a released job back without waking who waits."""

    def wraps(self, job: MemoryJob) -> MemoryJob:
        return SilentlyReleased(job, self)


class ReleasedTwice(SpoiltJob):
    def __init__(self, job: MemoryJob, queues: Spoilt) -> None:
        super().__init__(job, queues)
        self.home = job._queue

    finished = False

    async def done(self) -> None:
        self.finished = True
        await super().done()

    async def release(self) -> None:
        if not self.finished and self.home is not None:
            self.home.put_back(MemoryJob(self.payload, self.deadline, self.home))


@caught_by("test_finishing_or_releasing_a_job_twice_does_nothing")
class DoublesWhatIsReleasedTwice(Spoilt):
    """Puts a job back each time that it is released."""

    def wraps(self, job: MemoryJob) -> MemoryJob:
        return ReleasedTwice(job, self)


@caught_by("test_a_job_outlives_who_put_it")
class QueueOfItsMaker(Spoilt):
    """A queue ends with the backend that made it."""

    def __init__(self, backend: BreakableBackend) -> None:
        super().__init__(backend)
        self.made: set[str] = set()

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        if queue not in self.backend.broker.queues:
            self.made.add(queue)
        await super().put(queue, payload, expires_in)

    def close(self) -> None:
        super().close()
        for queue in self.made:
            self.queue(queue).jobs.clear()


@caught_by("test_a_job_outlives_who_took_it_and_did_not_finish")
class ForgetsWhatIsTaken(Spoilt):
    """A job is gone when it is taken, although the class says that it comes again."""

    def close(self) -> None:
        super().close()

    async def take(self, queue: str, /) -> MemoryJob:
        job = await super().take(queue)
        self.taken.clear()
        return job


class ExpiresInHand(SpoiltJob):
    async def done(self) -> None:
        if time.monotonic() > self.deadline:
            raise LookupError("the job is not there any more")
        await super().done()


@caught_by("test_a_job_that_was_taken_in_time_does_not_expire")
class LosesWhatIsTaken(Spoilt):
    """A job expires while a worker has it."""

    def wraps(self, job: MemoryJob) -> MemoryJob:
        return ExpiresInHand(job, self)


class WaitsForTheBroker(SpoiltJob):
    async def done(self) -> None:
        while self.queues.backend.broker.down:  # noqa: ASYNC110  # what the mutant does wrong
            await asyncio.sleep(0.001)
        await super().done()


@caught_by("test_a_job_can_be_finished_or_released_in_an_outage")
class DoneWaits(Spoilt):
    """``done`` waits until the broker is back."""

    def wraps(self, job: MemoryJob) -> MemoryJob:
        return WaitsForTheBroker(job, self)

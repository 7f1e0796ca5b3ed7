"""Mutants whose jobs are lost, doubled, mixed up, or wait for ever."""

import asyncio
import time
from collections import deque
from typing import Any

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers.in_memory import MemoryJob, MemoryQueue

from .breakable import BreakableBackend, BreakableQueues
from .subject import caught_by


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


@caught_by("test_a_job_waits_until_a_worker_comes")
class OnlyForThoseWhoListen(Spoilt):
    """Forgets a job that nobody waits for."""

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        await super().put(queue, payload, expires_in)
        for _ in range(3):
            await asyncio.sleep(0)
        self.queue(queue).jobs.clear()


@caught_by("test_a_worker_waits_until_a_job_comes")
class WaitsOnce(Spoilt):
    """The broker ends a long wait, and so does take."""

    async def next_job(self, queue: str) -> MemoryJob:
        try:
            return await asyncio.wait_for(super().next_job(queue), 0.005)
        except TimeoutError:
            raise LookupError(f"no job in {queue}") from None


@caught_by("test_jobs_are_taken_in_the_order_in_which_they_were_put")
class NewestFirst(Spoilt):
    """A stack."""

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        await super().put(queue, payload, expires_in)
        self.queue(queue).jobs.rotate(1)


@caught_by("test_each_job_is_taken_by_exactly_one_of_several_workers")
class TwoTakers(Spoilt):
    """Reads a job, and marks it as taken some time later."""

    async def next_job(self, queue: str) -> MemoryJob:
        job = await super().next_job(queue)
        if job.payload.endswith(b"7"):
            self.queue(queue).put(job.payload, 60.0, 1_000)
            await asyncio.sleep(0.001)
            again = [each for each in self.queue(queue).jobs if each.payload == job.payload]
            if again:
                self.queue(queue).jobs.remove(again[0])
        return job


@caught_by("test_a_busy_worker_keeps_no_other_job")
class Prefetching(Spoilt):
    """Takes several jobs from the broker at a time."""

    def __init__(self, backend: BreakableBackend) -> None:
        super().__init__(backend)
        self.fetched: dict[str, deque[MemoryJob]] = {}

    async def next_job(self, queue: str) -> MemoryJob:
        fetched = self.fetched.setdefault(queue, deque())
        if not fetched:
            fetched.append(await super().next_job(queue))
            while self.queue(queue).jobs and len(fetched) < 5:
                fetched.append(await super().next_job(queue))
        return fetched.popleft()


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


@caught_by("test_a_cancelled_take_loses_no_job")
class LostOnCancel(Spoilt):
    """The job has left the broker when take still waits for something."""

    async def next_job(self, queue: str) -> MemoryJob:
        job = await super().next_job(queue)
        await asyncio.sleep(0)
        return job


@caught_by("test_what_a_cancelled_take_leaves_goes_to_one_that_waits")
class WakesOnlyTheFirst(Spoilt):
    """A wake-up for a take that is cancelled is nobody's."""

    async def next_job(self, queue: str) -> MemoryJob:
        own = self.queue(queue)
        try:
            return await super().next_job(queue)
        except asyncio.CancelledError:
            # What the queue has scheduled for the next taker is taken back.
            asyncio.get_running_loop().call_soon(self.put_to_sleep, own)
            raise

    def put_to_sleep(self, queue: MemoryQueue) -> None:
        if queue.jobs:
            self.lost = [queue.jobs.popleft()]
            asyncio.get_running_loop().call_later(0.5, queue.jobs.extend, self.lost)


@caught_by("test_a_cancelled_put_leaves_queues_that_work")
class PutsTwice(Spoilt):
    """Puts again what it does not know to be put."""

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        try:
            await super().put(queue, payload, expires_in)
        except asyncio.CancelledError:
            self.queue(queue).put(payload, expires_in, 1_000)
            raise


@caught_by("test_a_job_that_nobody_took_in_time_is_not_delivered")
class NeverExpires(Spoilt):
    """Does not tell the broker when a job expires."""

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        await super().put(queue, payload, 3_600.0)


@caught_by("test_a_job_that_nobody_took_in_time_is_not_delivered")
class ExpiryOfTheQueue(Spoilt):
    """The shortest expiry becomes that of all in the queue."""

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        await super().put(queue, payload, expires_in)
        jobs = self.queue(queue).jobs
        for job in jobs:
            job.deadline = min(each.deadline for each in jobs)


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


@caught_by("test_a_full_queue_takes_no_more")
class Bottomless(Spoilt):
    """Has no capacity."""

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        await self.backend.round_trip()
        self.queue(queue).put(payload, expires_in, 1_000_000)


@caught_by("test_a_full_queue_takes_no_more")
class DropsTheOldest(Spoilt):
    """Makes room for the newest job."""

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        jobs = self.queue(queue).jobs
        if len(jobs) == 100:
            jobs.popleft()
        await super().put(queue, payload, expires_in)


@caught_by("test_clear_empties_the_queues_of_a_prefix_alone")
class ClearsTooMuch(Spoilt):
    """A pattern: ``_`` is any character."""

    async def clear(self, prefix: str, /) -> None:
        head = prefix.partition("_")[0]
        await super().clear(head)


@caught_by("test_clear_empties_the_queues_of_a_prefix_alone")
class ClearsTooLittle(Spoilt):
    """Clears the queue of that name alone."""

    async def clear(self, prefix: str, /) -> None:
        self.queue(prefix).jobs.clear()


@caught_by("test_queues_with_similar_names_stay_apart")
class OneCaseOfQueues(Spoilt):
    """The broker does not tell capitals from small letters."""

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        await super().put(queue.lower(), payload, expires_in)

    async def next_job(self, queue: str) -> MemoryJob:
        return await super().next_job(queue.lower())


@caught_by("test_every_job_arrives_as_it_was")
class JobsAreText(Spoilt):
    """Jobs travel as text."""

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        await super().put(queue, payload.decode("utf-8", "replace").encode(), expires_in)


@caught_by("test_one_worker_waits_at_many_queues")
class TenConnections(Spoilt):
    """Each take has a connection of the pool, which has ten."""

    def __init__(self, backend: BreakableBackend) -> None:
        super().__init__(backend)
        self.pool = asyncio.Semaphore(10)

    async def next_job(self, queue: str) -> MemoryJob:
        async with self.pool:
            return await super().next_job(queue)


@caught_by("test_closing_ends_a_take_with_backend_unavailable")
class TakersAreNotTold(Spoilt):
    """Does not tell who waits that it is closed."""

    def close(self) -> None:
        pass


@caught_by("test_takers_in_two_loops_share_a_queue")
class WakesAcrossLoops(Spoilt):
    """Wakes a taker of another loop as if it were its own."""

    def __init__(self, backend: BreakableBackend) -> None:
        super().__init__(backend)
        self.waiting_here: list[asyncio.Future[None]]
        self.waiting_here = backend.broker.__dict__.setdefault("waiting", [])

    async def next_job(self, queue: str) -> MemoryJob:
        while not self.queue(queue).jobs:
            put = asyncio.get_running_loop().create_future()
            self.waiting_here.append(put)
            await put
        return await super().next_job(queue)

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        await super().put(queue, payload, expires_in)
        while self.waiting_here:
            put = self.waiting_here.pop()
            if not put.done():
                put.set_result(None)


@caught_by("test_a_take_waits_through_outages")
class TakeEndsWithTheConnection(Spoilt):
    """A take ends with the error of its connection."""

    async def next_job(self, queue: str) -> MemoryJob:
        taking = asyncio.create_task(super().next_job(queue))
        try:
            while not taking.done():
                await asyncio.wait([taking], timeout=0.001)
                if not self.backend.connected and not taking.done():
                    raise BackendUnavailable("the connection was lost")
            return await taking
        finally:
            taking.cancel()
            await asyncio.wait([taking])


@caught_by("test_a_take_may_begin_during_an_outage")
class TakeNeedsAConnection(Spoilt):
    """A take fails where there is no connection."""

    async def take(self, queue: str, /) -> MemoryJob:
        await self.backend.round_trip()
        return await super().take(queue)


@caught_by("test_a_take_cancelled_in_an_outage_ends")
class SwallowsTheCancellation(Spoilt):
    """Takes a cancellation during an outage for the loss of its connection."""

    async def take(self, queue: str, /) -> MemoryJob:
        try:
            return await super().take(queue)
        except asyncio.CancelledError:
            if self.backend.connected:
                raise
            return await super().take(queue)


@caught_by("test_put_fails_in_time_during_an_outage")
class PutWaits(Spoilt):
    """Keeps a job until the broker is back."""

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        while self.backend.broker.down:  # noqa: ASYNC110  # what the mutant does wrong
            await asyncio.sleep(0.001)
        await super().put(queue, payload, expires_in)


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


@caught_by("test_closing_in_an_outage_ends_a_take")
class ClosesOnlyWhatIsConnected(Spoilt):
    """Close does not tell takers that wait for the connection."""

    def close(self) -> None:
        if not self.backend.broker.down:
            super().close()

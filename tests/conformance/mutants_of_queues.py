"""Mutants whose queues lose, double or mix up jobs, or let workers wait for ever."""

import asyncio
from collections import deque

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers.in_memory import MemoryJob, MemoryQueue

from .breakable import BreakableBackend
from .queue_faults import Spoilt
from .subject import caught_by


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


@caught_by("test_closing_in_an_outage_ends_a_take")
class ClosesOnlyWhatIsConnected(Spoilt):
    """Close does not tell takers that wait for the connection."""

    def close(self) -> None:
        if not self.backend.broker.down:
            super().close()

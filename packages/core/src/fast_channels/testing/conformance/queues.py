"""The suite for worker queues: jobs wait until a worker comes, and exactly one takes each."""

import asyncio
from concurrent.futures import Future

import pytest

from fast_channels.exceptions import BackendUnavailable, ChannelFull
from fast_channels.layers import Job
from fast_channels.testing.conformance.cancelling import cancelled_everywhere
from fast_channels.testing.conformance.clause import clause, clause_unless
from fast_channels.testing.conformance.holdings import Holdings
from fast_channels.testing.conformance.queue_outages import QueueOutageClauses
from fast_channels.testing.conformance.queue_suite import Worker

_LARGEST_MESSAGE = 1_048_576 + 4_096


def _no_capacity(suite: "QueueTests") -> str | None:
    if suite.queue_capacity is not None:
        return None
    return "queue_capacity is None: it is not known when a queue of build()'s backend is full"


def _no_redelivery(suite: "QueueTests") -> str | None:
    if suite.redelivers:
        return None
    return "redelivers is False: the broker forgets a job when it is taken"


class QueueTests(QueueOutageClauses, power="queues"):
    """Add it to the bases of your test class, and ``"queues"`` to its ``capabilities``."""

    queue_capacity: int | None = None
    """How many jobs a queue of ``build()``'s backend holds, at least 100; None: not known, and the
    clause is skipped."""

    short_expiry: float = 0.3
    """Seconds: the shortest time after which your broker can let a job expire."""

    redelivers: bool = False
    """True if the broker gives a job to another worker when its taker is gone."""

    @clause
    async def test_a_job_waits_until_a_worker_comes(self) -> None:
        """Usual cause: jobs go to those who listen now; the queue is made by the first take."""
        putter = await self.worker()
        await putter.put(self.queue(), b"job")
        await asyncio.sleep(self.quiet)
        worker = await self.worker()
        assert await worker.work(self.queue()) == [b"job"]

    @clause
    async def test_a_worker_waits_until_a_job_comes(self) -> None:
        """Usual cause: take returns None or raises when its first wait at the broker times out."""
        putter, worker = await self.worker(), await self.worker()
        taking = asyncio.create_task(worker.queues.take(self.queue()))
        await asyncio.sleep(self.quiet)
        assert not taking.done()
        await putter.put(self.queue(), b"job")
        job = await worker.soon(taking, "take")
        assert job.payload == b"job"
        await job.done()

    @clause
    async def test_jobs_are_taken_in_the_order_in_which_they_were_put(self) -> None:
        """Usual cause: the newest is taken first, or the oldest are looked for by a time that is
        too coarse."""
        putter, worker = await self.worker(), await self.worker()
        payloads = self.numbered(20)
        await putter.put(self.queue(), *payloads)
        assert await worker.work(self.queue(), 20) == payloads

    @clause
    async def test_each_job_is_taken_by_exactly_one_of_several_workers(self) -> None:
        """Usual cause: reading a job and marking it as taken are two steps."""
        putter = await self.worker()
        workers = [await self.worker() for _ in range(3)]
        taken: list[bytes] = []
        enough = asyncio.Event()

        async def work(worker: Worker) -> None:
            while True:
                job = await worker.queues.take(self.queue())
                taken.append(job.payload)
                await job.done()
                if len(taken) >= 60:
                    enough.set()

        working = [asyncio.create_task(work(worker)) for worker in workers for _ in range(2)]
        try:
            for payload in self.numbered(60):
                await putter.put(self.queue(), payload)
            await putter.soon(enough.wait(), "taking 60 jobs")
        finally:
            for task in working:
                task.cancel()
            await asyncio.wait(working)
        taken += await putter.rest(self.queue())
        assert sorted(taken) == sorted(self.numbered(60))

    @clause
    async def test_a_busy_worker_keeps_no_other_job(self) -> None:
        """Who has taken one job and takes no more holds one. Usual cause: the driver prefetches;
        ask the broker for one job at a time."""
        putter, busy, free = [await self.worker() for _ in range(3)]
        await putter.put(self.queue(), *self.numbered(10))
        job = await busy.take(self.queue())
        assert job.payload == b"0"
        assert await free.work(self.queue(), 9) == self.numbered(9, first=1)
        await job.done()

    @clause
    async def test_a_finished_job_does_not_come_again(self) -> None:
        """Usual cause: done tells the broker nothing, and it gives the job to the next one when
        the first worker is closed."""
        putter = await self.worker()
        await putter.put(self.queue(), b"job")
        async with self.opened() as process:
            assert await Worker(process, self).work(self.queue()) == [b"job"]
        assert await putter.rest(self.queue()) == []

    @clause
    async def test_a_released_job_comes_again(self) -> None:
        """Once, to another taker. Usual cause: release forgets it, or does nothing until the first
        worker is closed."""
        putter, one, two = [await self.worker() for _ in range(3)]
        await putter.put(self.queue(), b"job")
        job = await one.take(self.queue())
        await one.soon(job.release(), "release")
        again = await two.take(self.queue())
        assert again.payload == b"job"
        await again.done()
        assert await putter.rest(self.queue()) == []

    @clause
    async def test_a_released_job_goes_to_a_worker_that_waits(self) -> None:
        """Usual cause: release puts the job back and wakes nobody."""
        putter, one, two = [await self.worker() for _ in range(3)]
        await putter.put(self.queue(), b"job")
        job = await one.take(self.queue())
        taking = asyncio.create_task(two.queues.take(self.queue()))
        await asyncio.sleep(self.quiet)
        assert not taking.done(), "two workers have one job"
        await one.soon(job.release(), "release")
        again = await two.soon(taking, "take")
        assert again.payload == b"job"
        await again.done()

    @clause
    async def test_finishing_or_releasing_a_job_twice_does_nothing(self) -> None:
        """Usual cause: the broker ends the connection of who acknowledges twice; or the second
        release puts the job into the queue a second time."""
        worker = await self.worker()
        await worker.put(self.queue(), *self.numbered(3))
        finished, released, both = [await worker.take(self.queue()) for _ in range(3)]
        for call in (finished.done, finished.done, released.release, released.release):
            await worker.soon(call(), "done or release")
        for call in (both.done, both.release):
            await worker.soon(call(), "done or release")
        assert await worker.rest(self.queue()) == [released.payload]

    @clause
    async def test_a_job_outlives_who_put_it(self) -> None:
        """Usual cause: the queue belongs to the connection that made it."""
        async with self.opened() as process:
            await Worker(process, self).put(self.queue(), b"job")
        worker = await self.worker()
        assert await worker.work(self.queue()) == [b"job"]

    @clause_unless(_no_redelivery)
    async def test_a_job_outlives_who_took_it_and_did_not_finish(self) -> None:
        """Where ``redelivers`` is True. Usual cause: the job is acknowledged when it is taken."""
        worker = await self.worker()
        async with self.opened() as process:
            taker = Worker(process, self)
            await taker.put(self.queue(), b"job")
            await taker.take(self.queue())
        assert await worker.work(self.queue()) == [b"job"]

    @clause
    async def test_a_cancelled_take_loses_no_job(self) -> None:
        """Whenever it is cancelled. Usual cause: the job has left the broker when the call that
        waits for it is cancelled; give it back."""
        putter, worker = await self.worker(), await self.worker()
        count = 0
        taken: list[bytes] = []

        async def take() -> None:
            nonlocal count
            count += 1
            putting = asyncio.create_task(putter.put(self.queue(), b"%d" % count))
            try:
                job = await worker.queues.take(self.queue())
                taken.append(job.payload)
                await asyncio.shield(job.done())
            finally:
                await putting

        async def check(_: bool) -> None:
            if len(taken) < count:
                taken.extend(await worker.work(self.queue(), count - len(taken)))

        await cancelled_everywhere(take, check, self.patience)
        taken += await worker.rest(self.queue())
        assert sorted(taken) == sorted(self.numbered(count, first=1))

    @clause
    async def test_what_a_cancelled_take_leaves_goes_to_one_that_waits(self) -> None:
        """Usual cause: the wake-up, or the broker's delivery, was for the one that is cancelled,
        and nobody is told; the second waits beside a job."""
        putter, one, two = [await self.worker() for _ in range(3)]
        for turns in (0, 1, 2, 3, 5, 10, 30, 100):
            first = asyncio.create_task(one.queues.take(self.queue()))
            await asyncio.sleep(0.01)
            second = asyncio.create_task(two.queues.take(self.queue()))
            await asyncio.sleep(0.01)
            await putter.put(self.queue(), b"job")
            for _ in range(turns):
                await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait([first])
            if first.cancelled():
                job = await two.soon(second, "the take of who still waits")
            else:
                job = first.result()
                second.cancel()
                await asyncio.wait([second])
                assert second.cancelled(), "two workers have one job"
            assert job.payload == b"job"
            await job.done()

    @clause
    async def test_a_cancelled_put_leaves_queues_that_work(self) -> None:
        """The job is there whole, once, or not at all. Usual cause: as for publish."""
        worker = await self.worker()
        count = 0
        complete: list[bytes] = []

        async def put() -> None:
            nonlocal count
            count += 1
            await worker.queues.put(self.queue(), b"%d" % count, 60.0)
            complete.append(b"%d" % count)

        async def nothing(_: bool) -> None:
            await asyncio.sleep(0)

        await cancelled_everywhere(put, nothing, self.patience)
        came = await worker.rest(self.queue())
        assert set(complete) <= set(came) <= set(self.numbered(count, first=1))
        assert len(set(came)) == len(came)

    @clause
    async def test_a_job_that_nobody_took_in_time_is_not_delivered(self) -> None:
        """Usual cause: expiry is not passed on, or the broker looks only at the first job, or one
        job's expiry becomes the queue's."""
        worker = await self.worker()
        await worker.put(self.queue(), b"lasting 1")
        await worker.put(self.queue(), b"expired 1", b"expired 2", expires_in=self.short_expiry)
        await worker.put(self.queue(), b"lasting 2")
        await worker.put(self.queue("other"), b"expired 3", expires_in=self.short_expiry)
        await asyncio.sleep(self.short_expiry + self.quiet)
        assert await worker.rest(self.queue()) == [b"lasting 1", b"lasting 2"]
        assert await worker.rest(self.queue("other")) == []

    @clause
    async def test_a_job_that_was_taken_in_time_does_not_expire(self) -> None:
        """``expires_in`` counts while nobody takes it. Usual cause: done fails, or the job is gone
        when it is released."""
        worker = await self.worker()
        await worker.put(self.queue(), b"job", expires_in=self.short_expiry)
        job = await worker.take(self.queue())
        await asyncio.sleep(self.short_expiry + self.quiet)
        await worker.soon(job.done(), "done")
        assert job.payload == b"job"
        assert await worker.rest(self.queue()) == []

    @clause_unless(_no_capacity)
    async def test_a_full_queue_takes_no_more(self) -> None:
        """``ChannelFull`` from the first job above ``queue_capacity`` on; other queues have room,
        and this one when a job is taken. Usual cause: the broker drops the oldest instead."""
        worker = await self.worker()
        capacity = self.queue_capacity or 0
        await worker.put(self.queue(), *self.numbered(capacity))
        for _ in range(2):
            with pytest.raises(ChannelFull):
                await worker.put(self.queue(), b"too many")
        await worker.put(self.queue("other"), b"another")
        assert await worker.work(self.queue()) == [b"0"]
        await worker.put(self.queue(), b"last")
        assert await worker.work(self.queue(), capacity) == [
            *self.numbered(capacity - 1, first=1),
            b"last",
        ]
        assert await worker.rest(self.queue("other")) == [b"another"]

    @clause
    async def test_clear_empties_the_queues_of_a_prefix_alone(self) -> None:
        """Usual cause: the prefix is a pattern to the broker (``_``, ``.``, ``*``), or only queues
        that this process knows are emptied."""
        putter, worker = await self.worker(), await self.worker()
        kept = [self.queue("ab"), self.queue("aXb"), self.queue("A_b"), f"x{self.queue('a_b')}"]
        cleared = [self.queue("a_b"), self.queue("a_b.c"), self.queue("a_b-c")]
        for queue in [*kept, *cleared]:
            await putter.put(queue, b"job")
        await worker.soon(worker.queues.clear(self.queue("a_b")), "clear")
        for queue in cleared:
            assert await putter.rest(queue) == []
        for queue in kept:
            assert await putter.rest(queue) == [b"job"]

    @clause
    async def test_queues_with_similar_names_stay_apart(self) -> None:
        """Up to 165 characters, and apart from topics. Usual cause: as for topics."""
        worker = await self.worker()
        names = ["a", "A", "a.", ".a", "a..a", "a.a", "a-a", "a_a", "aa", ".", "..", "-", "_"]
        queues = [self.queue(name) for name in [*names, "n" * 98 + "a", "n" * 98 + "b"]]
        queues += [f"{self.prefix(63)}:q.{'n' * 98}{last}" for last in "aAb."]
        await worker.process.subscribe(self.topic("a"))
        for queue in queues:
            await worker.put(queue, queue.encode())
        for queue in reversed(queues):  # where two are one, the first job of both comes first
            assert await worker.work(queue) == [queue.encode()]
        for queue in queues[:3]:
            assert await worker.rest(queue) == []
        assert worker.process.received == []

    @clause
    async def test_every_job_arrives_as_it_was(self) -> None:
        """Every byte, none at all, and what a layer's largest message needs, which is 1 MiB and
        4 KiB whatever ``max_payload`` is. Usual cause: jobs travel as text; a size limit of the
        broker, above which the backend must cut."""
        putter, worker = await self.worker(), await self.worker()
        large = (bytes(range(256)) * (_LARGEST_MESSAGE // 256 + 1))[:_LARGEST_MESSAGE]
        for payload in (bytes(range(256)), b"", b"{", b"\r\n", large):
            await putter.put(self.queue(), payload)
            [came] = await worker.work(self.queue())
            assert len(came) == len(payload)
            assert came == payload

    @clause
    async def test_one_worker_waits_at_many_queues(self) -> None:
        """Fifty at once. Usual cause: each take blocks a connection, and the pool has fewer."""
        putter, worker = await self.worker(), await self.worker()
        queues = [self.queue(f"many-{number}") for number in range(50)]
        takes = [asyncio.create_task(worker.work(queue)) for queue in queues]
        await asyncio.sleep(self.quiet)
        for queue, take in zip(reversed(queues), reversed(takes), strict=True):
            await putter.put(queue, queue.encode())
            await worker.soon(asyncio.wait([take]), f"taking from {queue}")
        assert [take.result() for take in takes] == [[queue.encode()] for queue in queues]

    @clause
    async def test_closing_ends_a_take_with_backend_unavailable(self) -> None:
        """And leaves no task or socket. Usual cause: the take waits for ever, or its connection
        is not the one that close closes."""
        before = Holdings.now()
        worker = await self.worker()
        taking = [asyncio.create_task(worker.queues.take(self.queue(name))) for name in "aab"]
        await asyncio.sleep(self.quiet)
        await worker.process.close()
        await worker.soon(asyncio.wait(taking), "take after close")
        ends = [task.exception() for task in taking]
        assert [type(end) for end in ends] == [BackendUnavailable] * 3, ends
        del taking
        before.refuse_more()

    @clause
    async def test_takers_in_two_loops_share_a_queue(self) -> None:
        """One in this event loop, one in another thread. Usual cause: a future or a lock that is
        set or awaited across loops."""
        here = await self.worker()
        ready: Future[None] = Future()

        async def there() -> list[bytes]:
            async with self.opened() as process:
                worker = Worker(process, self)
                taking: asyncio.Task[Job] = asyncio.create_task(
                    worker.queues.take(self.queue("there"))
                )
                await asyncio.sleep(0)
                ready.set_result(None)
                job = await worker.soon(taking, "take")
                await job.done()
                came = [job.payload, *await worker.work(self.queue("there"), 9)]
                await worker.put(self.queue("here"), *came)
                return came

        working = asyncio.create_task(self.elsewhere(there))
        try:
            await here.soon(asyncio.wrap_future(ready), "opening in the other thread")
            await asyncio.sleep(self.quiet)
            await here.put(self.queue("there"), *self.numbered(10))
            assert await here.soon(working, "the other thread") == self.numbered(10)
            assert await here.work(self.queue("here"), 10) == self.numbered(10)
        finally:
            await asyncio.wait([working])

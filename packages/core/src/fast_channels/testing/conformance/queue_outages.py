"""Clauses: worker queues while the broker cannot be reached."""

import asyncio
from contextlib import suppress

import pytest

from fast_channels.exceptions import BackendUnavailable
from fast_channels.testing.conformance.broker import no_outage
from fast_channels.testing.conformance.clause import clause_unless
from fast_channels.testing.conformance.process import soon
from fast_channels.testing.conformance.queue_suite import QueueSuite


class QueueOutageClauses(QueueSuite):
    """``take`` waits, everything else ends in time."""

    @clause_unless(no_outage)
    async def test_a_take_waits_through_outages(self) -> None:
        """Three, one after another. Usual cause: the take's own connection is not repaired, or its
        error ends the call."""
        worker = await self.worker()
        taking = asyncio.create_task(worker.queues.take(self.queue()))
        await asyncio.sleep(self.quiet)
        for _ in range(3):
            async with self.outage():
                await asyncio.sleep(self.quiet)
            assert not taking.done(), f"take ended: {taking}"
        putter = await self.worker()
        await putter.put(self.queue(), b"job")
        job = await soon(taking, "take", self.recovers_within)
        assert job.payload == b"job"
        await job.done()

    @clause_unless(no_outage)
    async def test_a_take_may_begin_during_an_outage(self) -> None:
        """Usual cause: take opens its connection first, and fails; wait until it is repaired."""
        worker = await self.worker()
        async with self.outage():
            taking = asyncio.create_task(worker.queues.take(self.queue()))
            await asyncio.sleep(self.quiet)
            assert not taking.done(), f"take ended: {taking}"
        putter = await self.worker()
        await putter.put(self.queue(), b"job")
        job = await soon(taking, "take", self.recovers_within)
        assert job.payload == b"job"
        await job.done()

    @clause_unless(no_outage)
    async def test_a_take_cancelled_in_an_outage_ends(self) -> None:
        """And the next one works. Usual cause: the loop that repairs swallows the cancellation."""
        worker = await self.worker()
        taking = asyncio.create_task(worker.queues.take(self.queue()))
        await asyncio.sleep(0.01)
        async with self.outage():
            taking.cancel()
            await soon(asyncio.wait([taking]), "a cancelled take", self.unavailable_within)
            assert taking.cancelled()
        putter = await self.worker()
        await putter.put(self.queue(), b"job")
        taken = await soon(worker.queues.take(self.queue()), "take", self.recovers_within)
        assert taken.payload == b"job"

    @clause_unless(no_outage)
    async def test_put_fails_in_time_during_an_outage(self) -> None:
        """``BackendUnavailable`` within ``unavailable_within`` seconds; after the outage it works.
        Usual cause: the driver retries for ever, or keeps the job for later."""
        worker = await self.worker()
        async with self.outage():
            for _ in range(2):
                call = worker.queues.put(self.queue(), b"lost", 60.0)
                with pytest.raises(BackendUnavailable):
                    await soon(call, "put", self.unavailable_within)
        async with asyncio.timeout(self.recovers_within):
            while True:
                with suppress(BackendUnavailable):
                    await worker.put(self.queue("after"), b"job")
                    break
                await asyncio.sleep(0.01)
        assert await worker.rest(self.queue("after")) == [b"job"]

    @clause_unless(no_outage)
    async def test_a_job_can_be_finished_or_released_in_an_outage(self) -> None:
        """Each ends in time, with success or ``BackendUnavailable``. Usual cause: as for put."""
        worker = await self.worker()
        await worker.put(self.queue(), b"a", b"b")
        jobs = [await worker.take(self.queue()) for _ in range(2)]
        async with self.outage():
            with suppress(BackendUnavailable):
                await soon(jobs[0].done(), "done", self.unavailable_within)
            with suppress(BackendUnavailable):
                await soon(jobs[1].release(), "release", self.unavailable_within)

    @clause_unless(no_outage)
    async def test_closing_in_an_outage_ends_a_take(self) -> None:
        """With ``BackendUnavailable``. Usual cause: it waits for a repair that nobody makes."""
        worker = await self.worker()
        taking = asyncio.create_task(worker.queues.take(self.queue()))
        await asyncio.sleep(0.01)
        async with self.outage():
            await soon(worker.process.close(), "close", self.unavailable_within)
            await soon(asyncio.wait([taking]), "take after close", self.unavailable_within)
        assert isinstance(taking.exception(), BackendUnavailable)

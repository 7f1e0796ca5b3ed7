"""Clauses about names without ``!``: worker queues, where the layer has them."""

import asyncio

import pytest

from fast_channels.exceptions import ChannelFull, InvalidChannelLayerError
from fast_channels.testing.conformance.clause import clause, clause_unless
from fast_channels.testing.conformance.layer_suite import (
    LayerSuite,
    Message,
    message,
    messages,
    no_queues,
    numbers,
)


class QueueClauses(LayerSuite):
    """Messages that wait until somebody receives them, and exactly one does."""

    @clause
    async def test_the_layer_has_the_declared_capabilities_and_no_other(self) -> None:
        """A layer without queues refuses names without ``!``, with an error that has the name.
        Usual cause: a power was lost by mistake, or ``capabilities`` was not told of a new one."""
        node = await self.node()
        if "queues" in self.capabilities:
            await node.send("jobs", message(1))
            assert await self.receive(node, "jobs") == [message(1)]
        else:
            with pytest.raises(InvalidChannelLayerError, match="'jobs'"):
                await self.soon(node.send("jobs", message(1)), "send")
            with pytest.raises(InvalidChannelLayerError, match="'jobs'"):
                await self.soon(node.receive("jobs"), "receive")

    @clause_unless(no_queues)
    async def test_a_job_waits_for_a_worker_on_any_node(self) -> None:
        """In order. Usual cause: the message is published to who listens now."""
        sender, worker = await self.node(), self.unopened()
        for each in messages(20):
            await sender.send("jobs", each)
        assert numbers(await self.receive(worker, "jobs", 20)) == list(range(20))

    @clause_unless(no_queues)
    async def test_each_job_goes_to_one_of_many_workers(self) -> None:
        """On one node and on several. Usual cause: every reader gets it, or a cancelled reader
        blocks the next."""
        nodes = [await self.node() for _ in range(2)]
        done: list[Message] = []
        finished = asyncio.Event()

        async def work(number: int) -> None:
            node = nodes[number % 2]
            while True:
                done.append(await node.receive("jobs"))
                if len(done) >= 60:
                    finished.set()

        workers = [asyncio.create_task(work(number)) for number in range(6)]
        for each in messages(30):
            await nodes[0].send("jobs", each)
        for worker in workers[::2]:  # whether they wait or have just been woken
            worker.cancel()
        for each in messages(30, 30):
            await nodes[1].send("jobs", each)
        await self.soon(finished.wait(), f"the last of 60 jobs (done: {len(done)})")
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)
        assert sorted(numbers(done)) == list(range(60))

    @clause_unless(no_queues)
    async def test_a_cancelled_receive_of_a_job_loses_nothing(self) -> None:
        """Usual cause: the broker gave the job to a reader that was gone."""
        sender, worker = await self.node(), await self.node()
        got: list[Message] = []
        for number in range(40):
            reader = asyncio.create_task(worker.receive("jobs"))
            await asyncio.sleep(0)
            await sender.send("jobs", message(number))
            for _ in range(number % 12):
                await asyncio.sleep(0)
            reader.cancel()
            await asyncio.wait([reader])
            if not reader.cancelled():
                got.append(reader.result())
        got += await self.receive(worker, "jobs", 40 - len(got))
        assert sorted(numbers(got)) == list(range(40))

    @clause_unless(no_queues)
    async def test_a_full_queue_refuses_the_next_job(self) -> None:
        """``ChannelFull``, for each sender; another queue takes it. Usual cause:
        ``queue_capacity`` is not handed to the broker."""
        here, there = await self.node(queue_capacity=3), await self.node(queue_capacity=3)
        for each in messages(3):
            await here.send("jobs", each)
        for sender in (here, there):
            with pytest.raises(ChannelFull, match="jobs"):
                await sender.send("jobs", message(-1))
            await sender.send("other", message(1))
        assert numbers(await self.receive(there, "jobs", 3)) == [0, 1, 2]

    @clause_unless(no_queues)
    async def test_a_queue_in_a_group_gets_its_messages_once(self) -> None:
        """As long as it is a member. Usual cause: each node puts the group's message into the
        queue."""
        here, there = await self.node(), await self.node()
        await here.group_add("room", "jobs")
        members = [await self.member(node, "room") for node in (here, there)]
        await there.group_send("room", message(1))
        assert await self.receive(there, "jobs") == [message(1)]
        await here.group_discard("room", "jobs")
        await there.group_send("room", message(2))
        await self.fenced(here, members[0], there)
        await here.send("jobs", message(3))
        assert await self.receive(there, "jobs") == [message(3)]

    @clause_unless(no_queues)
    async def test_flush_empties_the_queues(self) -> None:
        """Usual cause: only what this process holds is cleared."""
        here, there = await self.node(), await self.node()
        await there.send("jobs", message(1))
        await self.soon(here.flush(), "flush")
        await there.send("jobs", message(2))
        assert await self.receive(here, "jobs") == [message(2)]

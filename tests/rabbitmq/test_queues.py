"""Worker queues over one RabbitMQ node, beyond what the kit asks for."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from tests.waiting import soon, until

from fast_channels.exceptions import BackendUnavailable, ChannelFull
from fast_channels.layers import WorkerQueues
from fast_channels_rabbitmq import RabbitMQBackend
from fast_channels_rabbitmq.urls import parse_servers

from .conftest import Make
from .servers import Node


class Deaf:
    """An inbox for who has no topics."""

    def deliver(self, *_: object) -> None: ...

    def gap(self, *_: object) -> None: ...


@asynccontextmanager
async def opened(
    node: Node, prefix: str, queue_type: str = "classic"
) -> AsyncGenerator[WorkerQueues]:
    """The worker queues of a backend of its own."""
    servers = parse_servers(node.url)
    backend = RabbitMQBackend(servers, exchange=prefix, queue_type=queue_type)
    await backend.open(Deaf())
    try:
        assert backend.queues is not None
        yield backend.queues
    finally:
        await backend.close()


@pytest.mark.timeout(120)
async def test_jobs_survive_a_server_that_is_killed(node: Node, make: Make) -> None:
    # The queue was made a moment before: that is when a server forgets it.
    here, there = make(node.url), make(node.url)
    for number in range(3):
        await here.send("jobs", {"type": "job", "n": number})
    node.kill()
    await asyncio.to_thread(node.start)
    assert [(await soon(there.receive("jobs")))["n"] for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
async def test_a_job_whose_connection_was_lost_comes_again_and_cannot_be_finished(
    node: Node, prefix: str, queue_type: str
) -> None:
    async with opened(node, prefix, queue_type) as here, opened(node, prefix, queue_type) as there:
        await here.put(f"{prefix}:q.jobs", b"job", 60.0)
        job = await soon(there.take(f"{prefix}:q.jobs"))
        await asyncio.to_thread(node.kick)
        again = await soon(here.take(f"{prefix}:q.jobs"))
        assert again.payload == b"job"
        with pytest.raises(BackendUnavailable, match="the job comes again"):
            await job.done()
        await again.done()


async def test_closing_gives_back_what_was_taken(node: Node, prefix: str) -> None:
    async with opened(node, prefix) as here:
        async with opened(node, prefix) as there:
            for number in range(3):
                await here.put(f"{prefix}:q.jobs", b"%d" % number, 60.0)
            for _ in range(2):
                await soon(there.take(f"{prefix}:q.jobs"))
        jobs = [await soon(here.take(f"{prefix}:q.jobs")) for _ in range(3)]
        assert [job.payload for job in jobs] == [b"0", b"1", b"2"]


async def test_a_queue_that_is_deleted_is_made_again(node: Node, make: Make, prefix: str) -> None:
    here, there = make(node.url), make(node.url)
    await here.send("jobs", {"type": "job"})
    assert await soon(there.receive("jobs")) == {"type": "job"}
    waiting = asyncio.create_task(there.receive("jobs"))
    await here.send("other", {"type": "marker"})
    assert await soon(there.receive("other")) == {"type": "marker"}
    await asyncio.to_thread(node.delete_queues, f"{prefix}:q.")
    await here.send("jobs", {"type": "another"})
    assert await soon(waiting) == {"type": "another"}


async def test_a_queue_that_is_gone_does_not_double_the_jobs_of_another(
    node: Node, make: Make, prefix: str
) -> None:
    layer = make(node.url)
    for queue in ("gone", "there"):
        await layer.send(queue, {"type": "first"})
        assert await soon(layer.receive(queue)) == {"type": "first"}
    await asyncio.to_thread(node.delete_queues, f"{prefix}:q.gone")
    await asyncio.gather(
        *(layer.send(("gone", "there")[n % 2], {"type": "job", "n": n}) for n in range(40))
    )
    for queue in ("gone", "there"):
        await layer.send(queue, {"type": "last"})
    for first, queue in enumerate(("gone", "there")):
        came = [await soon(layer.receive(queue)) for _ in range(21)]
        assert sorted(job["n"] for job in came if "n" in job) == list(range(first, 40, 2))


async def test_a_queue_keeps_the_capacity_that_it_was_made_with(node: Node, make: Make) -> None:
    small, large = make(node.url, queue_capacity=100), make(node.url, queue_capacity=5_000)
    for number in range(100):
        await small.send("jobs", {"type": "job", "n": number})
    with pytest.raises(ChannelFull, match="holds 100 jobs, and its capacity is 100"):
        await small.send("jobs", {"type": "job"})
    with pytest.raises(BackendUnavailable, match="could not take a job"):
        await large.send("jobs", {"type": "job"})


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
async def test_jobs_that_expire_are_counted_once_by_one_of_the_processes(
    node: Node, make: Make, queue_type: str
) -> None:
    here, there = (make(node.url, queue_type=queue_type, expiry=0.05) for _ in range(2))
    await there.send("other", {"type": "job"})
    for number in range(3):
        await here.send("jobs", {"type": "job", "n": number})
    await until(lambda: here.stats()["expired"] + there.stats()["expired"] == 4)
    lasting = make(node.url, queue_type=queue_type)
    await lasting.send("jobs", {"type": "last"})
    assert await soon(there.receive("jobs")) == {"type": "last"}
    assert sum(layer.stats()["expired"] for layer in (here, there, lasting)) == 4


async def test_many_workers_share_two_connections_a_process(
    node: Node, make: Make, prefix: str
) -> None:
    layer = make(node.url)
    before = await asyncio.to_thread(node.connections)
    takers = [asyncio.create_task(layer.receive(f"jobs-{n % 7}")) for n in range(21)]
    for n in range(21):
        await layer.send(f"jobs-{n % 7}", {"type": "job", "n": n})
    assert sorted(job["n"] for job in await soon(asyncio.gather(*takers))) == list(range(21))
    assert await asyncio.to_thread(node.connections) == before + 2


async def test_flush_empties_the_queues_that_other_processes_made(
    node: Node, make: Make, prefix: str
) -> None:
    here, there = make(node.url), make(node.url)
    for name in ("a", "b"):
        await here.send(name, {"type": "old"})
    for _ in range(2):  # what is noted of the queues outlives being read
        await there.flush()
        for name in ("a", "b"):
            await here.send(name, {"type": "new"})
            assert await soon(here.receive(name)) == {"type": "new"}
            await here.send(name, {"type": "old"})
    assert f"{prefix}.queues" in await asyncio.to_thread(node.queues)


async def test_a_closed_layer_leaves_no_queue_of_its_own(
    node: Node, make: Make, prefix: str
) -> None:
    layer = make(node.url)
    await layer.group_add("room", await layer.new_channel())
    own = [name for name in await asyncio.to_thread(node.queues) if name.startswith(f"{prefix}.")]
    assert len(own) == 1
    await layer.close()
    await until(lambda: not any(name in node.queues() for name in own))


@pytest.mark.parametrize("missing", ["configure", "read"])
async def test_a_worker_who_may_not_is_told_and_others_of_its_process_go_on(
    node: Node, make: Make, prefix: str, missing: str
) -> None:
    allowed = dict.fromkeys(("configure", "write", "read"), ".*")
    allowed[missing] = f"^{prefix}($|[.]|:q.allowed)"
    layer = make(await asyncio.to_thread(node.user, f"{prefix}-{missing}", **allowed))
    if missing == "read":
        await make(node.url).send("denied", {"type": "job"})
    working = asyncio.create_task(layer.receive("allowed"))
    text = f"queue '{prefix}:q.denied' in vhost '/' refused.*needs the permission to {missing}"
    with pytest.raises(BackendUnavailable, match=text):
        await soon(layer.receive("denied"))
    await layer.send("allowed", {"type": "job"})
    assert await soon(working) == {"type": "job"}

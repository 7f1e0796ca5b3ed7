"""Worker queues on a table: wait for a worker, one taker each, nothing lost."""

import asyncio
import sys
from datetime import timedelta

import asyncpg
import pytest
from tests.waiting import STARTING, soon, until

from fast_channels.exceptions import BackendUnavailable, ChannelFull, InvalidChannelLayerError
from fast_channels_postgres import PostgresChannelLayer
from fast_channels_postgres.driver import Raw
from fast_channels_postgres.hosts import Source
from fast_channels_postgres.job_sql import RENEW
from fast_channels_postgres.tables import Tables

from .conftest import Make
from .servers import Server


async def numbers(layer: PostgresChannelLayer, queue: str, count: int) -> list[int]:
    """Return the numbers of the next jobs."""
    return [(await soon(layer.receive(queue)))["n"] for _ in range(count)]


async def test_every_job_has_exactly_one_taker(server: Server, make: Make) -> None:
    here, workers = make(server.url), [make(server.url) for _ in range(3)]
    takers = [asyncio.create_task(worker.receive("jobs")) for worker in workers for _ in range(10)]
    for n in range(30):
        await here.send("jobs", {"type": "job", "n": n})
    jobs = await soon(asyncio.gather(*takers))
    assert sorted(job["n"] for job in jobs) == list(range(30))


async def test_a_full_queue_refuses_and_takes_again_when_there_is_room(
    server: Server, make: Make
) -> None:
    layer = make(server.url, queue_capacity=3)
    for n in range(3):
        await layer.send("jobs", {"type": "job", "n": n})
    with pytest.raises(ChannelFull, match=r"queue '.*jobs' holds 3 jobs"):
        await layer.send("jobs", {"type": "job", "n": 3})
    assert await numbers(layer, "jobs", 1) == [0]
    await layer.send("jobs", {"type": "job", "n": 4})
    assert await numbers(layer, "jobs", 3) == [1, 2, 4]


@pytest.mark.timeout(90)
async def test_a_job_of_a_process_that_was_killed_comes_again(
    server: Server, make: Make, prefix: str
) -> None:
    here = make(server.url, job_lease=2.0)
    await here.send("jobs", {"type": "job", "n": 1})
    program = (
        "import asyncio, sys\n"
        "from fast_channels_postgres import PostgresChannelLayer\n"
        "async def main():\n"
        "    layer = PostgresChannelLayer(sys.argv[1], prefix=sys.argv[2], job_lease=2.0)\n"
        "    await layer.take('jobs')\n"
        "    print('taken', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, server.url, prefix), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert await soon(process.stdout.readline(), STARTING) == b"taken\n"
    finally:
        process.kill()
        await process.wait()
    lease = await soon(here.take("jobs"))
    assert lease.message == {"type": "job", "n": 1}
    await lease.done()


async def test_a_job_stays_with_a_worker_for_as_long_as_it_lives(
    server: Server, make: Make, prefix: str
) -> None:
    here = make(server.url, job_lease=1.0)
    await here.send("jobs", {"type": "job"})
    lease = await here.take("jobs")
    query = "SELECT taken_until FROM fast_channels.jobs WHERE queue = $1"
    [first] = await server.run(query, f"{prefix}:q.jobs")
    over = first["taken_until"] + timedelta(seconds=1)
    later = f"{query} AND taken_until > $2"
    while not await server.run(later, f"{prefix}:q.jobs", over):  # noqa: ASYNC110  # the server's
        await asyncio.sleep(0.05)
    await lease.done()
    assert not await server.run(query, f"{prefix}:q.jobs")


async def test_jobs_do_not_wait_for_one_another(server: Server, make: Make, prefix: str) -> None:
    layer = make(f"{server.url}?application_name={prefix}", queue_capacity=100)
    await layer.send("jobs", {"type": "job", "n": 0})
    held = await layer.take("jobs")
    blocker = await asyncpg.connect(server.url)
    try:
        async with blocker.transaction():  # as another application's long statement
            await blocker.execute(
                "SELECT FROM fast_channels.jobs WHERE queue = $1 FOR UPDATE", f"{prefix}:q.jobs"
            )
            finishing = asyncio.create_task(held.done())
            for n in range(1, 20):
                await soon(layer.send("jobs", {"type": "job", "n": n}))
                assert await numbers(layer, "jobs", 1) == [n]
            assert not finishing.done()
    finally:
        await blocker.close()
    await soon(finishing)
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
    assert 3 <= (await server.run(count, prefix))[0]["count"] <= 6


async def test_connections_for_jobs_are_few_and_go_when_nobody_needs_them(
    server: Server, prefix: str
) -> None:
    tables = Tables(asyncio.get_running_loop(), Source(f"{server.url}?application_name={prefix}"))
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
    try:
        nap = [tables.run(lambda raw: raw.fetch("SELECT pg_sleep(0.02)")) for _ in range(20)]
        await soon(asyncio.gather(*nap))
        assert (await server.run(count, prefix))[0]["count"] == 4
        tables.tidy(older_than=0.0)
        while (await server.run(count, prefix))[0]["count"]:  # noqa: ASYNC110  # the server's
            await asyncio.sleep(0.01)
        await tables.run(lambda raw: raw.fetch("SELECT 1"))
    finally:
        await tables.close()


async def test_closing_ends_statements_under_way_and_leaves_no_task(server: Server) -> None:
    loop = asyncio.get_running_loop()
    tables = Tables(loop, Source(server.url))
    started = asyncio.Event()

    async def sleep(raw: Raw) -> object:
        started.set()
        return await raw.fetch("SELECT pg_sleep(60)")

    before = asyncio.all_tasks()
    running = asyncio.create_task(tables.run(sleep))
    await soon(started.wait())
    await soon(tables.close())
    with pytest.raises(BackendUnavailable, match="the layer was closed"):
        await soon(running)
    assert asyncio.all_tasks() == before


async def test_a_job_that_was_released_is_not_renewed(
    server: Server, make: Make, prefix: str
) -> None:
    await make(server.url).migrate()
    await server.run(
        "INSERT INTO fast_channels.jobs (queue, payload, lifetime, expires_at, takes)"
        " VALUES ($1, '', '1 min', now() + interval '1 min', 1)",
        prefix,
    )
    [job] = await server.run("SELECT id FROM fast_channels.jobs WHERE queue = $1", prefix)
    await server.run(RENEW, [job["id"]], [1], timedelta(seconds=30))
    [job] = await server.run("SELECT taken_until FROM fast_channels.jobs WHERE queue = $1", prefix)
    assert job["taken_until"] is None


async def test_a_late_done_does_not_take_a_job_from_its_next_taker(
    server: Server, make: Make, prefix: str
) -> None:
    here, there = make(server.url), make(server.url)
    await here.send("jobs", {"type": "job"})
    late = await here.take("jobs")
    over = "UPDATE fast_channels.jobs SET taken_until = now() WHERE queue = $1"
    await server.run(over, f"{prefix}:q.jobs")
    second = await soon(there.take("jobs"))
    await late.done()
    await second.release()
    assert await soon(there.receive("jobs")) == {"type": "job"}


async def test_expired_jobs_leave_the_table_and_are_counted(
    server: Server, make: Make, prefix: str
) -> None:
    brief = make(server.url, expiry=0.05)
    await brief.send("jobs", {"type": "job"})
    await asyncio.sleep(0.1)  # it is time that has to pass
    later = make(server.url)
    taking = asyncio.create_task(later.receive("jobs"))
    await until(lambda: later.stats()["expired"] >= 1)
    left = "SELECT count(*) FROM fast_channels.jobs WHERE queue = $1"
    assert (await server.run(left, f"{prefix}:q.jobs"))[0]["count"] == 0
    taking.cancel()


async def test_many_processes_make_the_schema_at_once(make: Make, server: Server) -> None:
    await server.run("DROP SCHEMA IF EXISTS fast_channels CASCADE")
    layers = [make(server.url) for _ in range(6)]
    await asyncio.gather(*(layer.migrate() for layer in layers))
    await server.run("DROP SCHEMA IF EXISTS fast_channels CASCADE")
    await asyncio.gather(*(layer.send("jobs", {"type": "job"}) for layer in layers))
    for layer in layers:
        assert await soon(layer.receive("jobs")) == {"type": "job"}


async def test_a_schema_of_another_version_is_told(server: Server, make: Make) -> None:
    layer = make(server.url)
    await layer.migrate()
    await server.run("UPDATE fast_channels.version SET version = 3")
    try:
        with pytest.raises(InvalidChannelLayerError, match=r"has version 3, .* with version 2"):
            await layer.send("jobs", {"type": "job"})
        with pytest.raises(InvalidChannelLayerError, match=r"has version 3, .* with version 2"):
            await soon(layer.receive("jobs"))
        with pytest.raises(InvalidChannelLayerError, match="version 3"):
            await layer.migrate()
    finally:
        await server.run("UPDATE fast_channels.version SET version = 2")

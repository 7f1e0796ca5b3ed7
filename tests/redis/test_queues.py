"""Worker queues over one Redis server: wait for a worker, one taker each, nothing lost."""

import asyncio

import pytest
from tests.waiting import soon, until

from fast_channels.exceptions import BackendUnavailable, ChannelFull

from .conftest import Make
from .servers import Server


async def numbers(layer, queue, count):
    """Return the numbers of the next jobs."""
    return [(await soon(layer.receive(queue)))["n"] for _ in range(count)]


async def test_jobs_wait_for_a_worker_and_come_in_order(server: Server, make: Make) -> None:
    here = make(server.url)
    for n in range(20):
        await here.send("jobs", {"type": "job", "n": n})
    assert await numbers(make(server.url), "jobs", 20) == list(range(20))


async def test_every_job_has_exactly_one_taker(server: Server, make: Make) -> None:
    here, workers = make(server.url), [make(server.url) for _ in range(3)]
    takers = [asyncio.create_task(worker.receive("jobs")) for worker in workers for _ in range(10)]
    for n in range(30):
        await here.send("jobs", {"type": "job", "n": n})
    jobs = await soon(asyncio.gather(*takers))
    assert sorted(job["n"] for job in jobs) == list(range(30))


async def test_takers_of_a_process_share_one_connection(
    server: Server, make: Make, prefix: str
) -> None:
    layer = make(f"{server.url}?client_name={prefix}")
    takers = [asyncio.create_task(layer.receive(f"jobs-{n % 7}")) for n in range(21)]
    for n in range(21):
        await layer.send(f"jobs-{n % 7}", {"type": "job", "n": n})
    assert sorted(job["n"] for job in await soon(asyncio.gather(*takers))) == list(range(21))
    with server.client() as client:
        assert [each["name"] for each in client.client_list()].count(prefix) == 3


async def test_a_queue_that_is_asked_for_later_is_served_at_once(
    server: Server, make: Make
) -> None:
    here, there = make(server.url), make(server.url)
    waits = asyncio.create_task(there.receive("quiet"))
    for n in range(20):  # while the connection is blocked for the other queue
        await here.send("busy", {"type": "job", "n": n})
        assert await numbers(there, "busy", 1) == [n]
    await here.send("quiet", {"type": "job"})
    assert await soon(waits) == {"type": "job"}


async def test_a_cancelled_receive_loses_nothing(server: Server, make: Make) -> None:
    here, there = make(server.url), make(server.url)
    got: list[int] = []

    async def impatient() -> None:
        timeout = 0.0001
        while len(got) < 100:
            try:
                async with asyncio.timeout(timeout):
                    got.append((await there.receive("jobs"))["n"])
            except TimeoutError:
                timeout = timeout * 1.5 if timeout < 0.002 else 0.0001

    reading = asyncio.create_task(impatient())
    for n in range(100):
        await here.send("jobs", {"type": "job", "n": n})
    await soon(reading)
    assert sorted(got) == list(range(100))


async def test_a_job_on_its_way_to_a_closing_layer_goes_back(server: Server, make: Make) -> None:
    here = make(server.url)
    for n in range(10):
        there = make(server.url)
        await there.open()
        waits = asyncio.create_task(there.receive("jobs"))
        await asyncio.sleep(0)
        closing = asyncio.create_task(there.close())
        await here.send("jobs", {"type": "job", "n": n})
        await soon(closing)
        [result] = await asyncio.gather(waits, return_exceptions=True)
        if isinstance(result, Exception):
            assert await numbers(here, "jobs", 1) == [n]
        else:
            assert result["n"] == n


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


async def test_jobs_expire_by_the_servers_clock_and_are_counted(server: Server, make: Make) -> None:
    brief, lasting = make(server.url, expiry=0.05), make(server.url)
    for n, layer in enumerate((lasting, brief, lasting)):  # the first has the key stay
        await layer.send("jobs", {"type": "job", "n": n})
    with server.client() as client:

        def clock() -> int:
            seconds, microseconds = client.time()
            return int(seconds) * 1_000_000 + int(microseconds)

        expired = clock() + 60_000
        await until(lambda: clock() > expired)
    assert await numbers(lasting, "jobs", 2) == [0, 2]
    assert lasting.stats()["expired"] == 1


async def test_an_expired_job_takes_no_room(server: Server, make: Make) -> None:
    brief = make(server.url, expiry=0.02, queue_capacity=1)
    await brief.send("jobs", {"type": "job", "n": 0})
    async with asyncio.timeout(10):
        while True:
            try:
                await brief.send("jobs", {"type": "job", "n": 1})
                break
            except ChannelFull:
                await asyncio.sleep(0.01)


async def test_a_queue_that_nobody_reads_leaves_nothing_in_redis(
    server: Server, make: Make, prefix: str
) -> None:
    layer = make(server.url, expiry=0.05)
    await layer.send("jobs", {"type": "job"})
    with server.client() as client:
        await until(lambda: not client.keys(f"*{prefix}*"))


async def test_flush_touches_its_own_prefix_only(server: Server, make: Make, prefix: str) -> None:
    mine, other = make(server.url), make(server.url, prefix=f"{prefix}x")
    for layer in (mine, other):
        for n in range(5):
            await layer.send(f"jobs-{n}", {"type": "job", "n": n})
    await mine.flush()
    for n in range(5):
        await mine.send(f"jobs-{n}", {"type": "job", "n": n + 100})
        assert await numbers(mine, f"jobs-{n}", 1) == [n + 100]
        assert await numbers(other, f"jobs-{n}", 1) == [n]


async def test_what_others_pushed_into_a_queue_is_counted_and_skipped(
    server: Server, make: Make, prefix: str
) -> None:
    layer = make(server.url)
    for garbage in (b"", b"{}", b"12:", b"99999999999999:\x01\x00", b"\xff" * 100):
        server.command("RPUSH", f"{{{prefix}:q.}}jobs", garbage)
    await layer.send("jobs", {"type": "job", "n": 1})
    assert await numbers(layer, "jobs", 1) == [1]
    assert layer.stats()["malformed"] + layer.stats()["expired"] == 5


async def test_a_key_of_another_kind_is_a_clear_error(
    server: Server, make: Make, prefix: str
) -> None:
    layer = make(server.url)
    server.command("SET", f"{{{prefix}:q.}}jobs", "text")
    with pytest.raises(BackendUnavailable, match="WRONGTYPE"):
        await layer.send("jobs", {"type": "job"})
    with pytest.raises(BackendUnavailable, match="WRONGTYPE"):
        await soon(layer.receive("jobs"))

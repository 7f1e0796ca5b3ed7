"""A worker that is stopped or cancelled finishes or gives back what it has begun."""

import asyncio
from typing import Any

import pytest
from tests.journal import Journal
from tests.waiting import soon

from fast_channels import InMemoryChannelLayer
from fast_channels.worker import Worker

from .jobs import Start, job, may_end, unread


async def test_a_worker_that_is_stopped_finishes_what_it_has_begun(
    layer: InMemoryChannelLayer, journal: Journal, jobs: Any, start: Start
) -> None:
    worker = Worker(jobs, ["jobs"], layer, 2)
    running = start(worker)
    for n in range(4):
        await layer.send("jobs", job(n, waits=True))
    await journal.has(("begun", 0), ("begun", 1))
    worker.stop()
    await asyncio.sleep(0)
    assert not running.done()
    may_end(jobs).set()
    await soon(running)
    assert journal[2:] == [("done", 0), ("done", 1)]
    assert unread(layer) == 2


async def test_what_takes_longer_than_the_timeout_is_cancelled_and_released(
    layer: InMemoryChannelLayer, journal: Journal, jobs: Any, start: Start
) -> None:
    worker = Worker(jobs, ["jobs"], layer, shutdown_timeout=0.01)
    running = start(worker)
    await layer.send("jobs", job(1, waits=True))
    await journal.has(("begun", 1))
    worker.stop()
    await soon(running)
    assert journal == [("begun", 1), ("cancelled", 1)]
    assert (await soon(layer.receive("jobs")))["n"] == 1


async def test_a_worker_that_is_stopped_now_or_cancelled_releases_what_it_has_begun(
    layer: InMemoryChannelLayer, journal: Journal, jobs: Any, start: Start
) -> None:
    for n in range(2):
        worker = Worker(jobs, ["jobs"], layer)
        running = start(worker)
        await layer.send("jobs", job(n, waits=True))
        await journal.has(("begun", n))
        if n == 0:
            worker.stop(now=True)
            await soon(running)
        else:
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await soon(running)
        assert journal[-1] == ("cancelled", n)
        assert (await soon(layer.receive("jobs")))["n"] == n


@pytest.mark.parametrize("turns", range(6))
async def test_a_worker_stopped_at_any_moment_loses_no_job(
    layer: InMemoryChannelLayer, journal: Journal, jobs: Any, start: Start, turns: int
) -> None:
    for n in range(20):
        worker = Worker(jobs, ["jobs"], layer, 3)
        running = start(worker)
        await layer.send("jobs", job(n))
        for _ in range(turns):
            await asyncio.sleep(0)
        worker.stop(now=n % 2 == 0)
        await soon(running)
    done = {n for what, n in journal if what == "done"}
    left = {(await soon(layer.receive("jobs")))["n"] for _ in range(unread(layer))}
    assert (done | left, done & left) == (set(range(20)), set())


async def test_a_handler_that_cleans_up_when_cut_off_is_not_cut_off_again(
    layer: InMemoryChannelLayer, journal: Journal, start: Start
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            journal("begun")
            await asyncio.Event().wait()
        finally:
            for _ in range(20):
                await asyncio.sleep(0)
            journal("cleaned up")

    worker = Worker(application, ["jobs"], layer)
    running = start(worker)
    await layer.send("jobs", job(1))
    await journal.has("begun")
    worker.stop(now=True)
    await asyncio.sleep(0)
    worker.stop(now=True)
    await soon(running)
    assert journal == ["begun", "cleaned up"]
    assert unread(layer) == 1


async def test_a_worker_that_was_stopped_takes_nothing_any_more(
    layer: InMemoryChannelLayer, journal: Journal, jobs: Any
) -> None:
    worker = Worker(jobs, ["jobs"], layer)
    worker.stop()
    await layer.send("jobs", job(1))
    await soon(worker.run())
    assert (unread(layer), journal) == (1, [])


async def test_a_worker_leaves_no_task_behind(
    layer: InMemoryChannelLayer, journal: Journal, jobs: Any, start: Start
) -> None:
    await layer.open()
    before = asyncio.all_tasks()
    worker = Worker(jobs, ["a", "b"], layer)
    running = start(worker)
    await layer.send("a", job(1))
    await journal.has(("done", 1))
    worker.stop()
    await soon(running)
    assert asyncio.all_tasks() == before

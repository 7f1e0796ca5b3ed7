"""Worker queues: names without ``!``, whose messages wait until somebody takes them."""

import asyncio
import logging
import time
from typing import Any

import pytest

from fast_channels.exceptions import ChannelFull, LayerClosed
from fast_channels.layers import InMemoryChannelLayer, events

from .backends import MakeMemory
from .waiting import message, numbers, past, receive, soon, turns, until


async def test_a_job_waits_for_a_worker(memory: MakeMemory) -> None:
    layer = memory()
    await layer.send("jobs", message(1))
    await turns()
    assert await receive(layer, "jobs", 1) == [message(1)]


async def test_a_worker_waits_for_a_job(memory: MakeMemory) -> None:
    layer = memory()
    working = asyncio.create_task(layer.receive("jobs"))
    await turns()
    await layer.send("jobs", message(1))
    assert await soon(working) == message(1)


async def test_jobs_are_taken_in_the_order_in_which_they_were_put(memory: MakeMemory) -> None:
    layer = memory()
    for n in range(50):
        await layer.send("jobs", message(n))
    assert numbers(await receive(layer, "jobs", 50)) == list(range(50))


async def test_a_job_outlives_the_layer_that_put_it(memory: MakeMemory) -> None:
    producer, worker = memory(url="memory://queues"), memory(url="memory://queues")
    await producer.send("jobs", message(1))
    await producer.close()
    assert await receive(worker, "jobs", 1) == [message(1)]


async def test_each_job_goes_to_exactly_one_of_several_workers(memory: MakeMemory) -> None:
    workers = [memory(url="memory://workers") for _ in range(4)]
    taken: list[dict[str, Any]] = []

    async def work(layer: InMemoryChannelLayer) -> None:
        while True:
            taken.append(await layer.receive("jobs"))
            await asyncio.sleep(0)

    working = [asyncio.create_task(work(layer)) for layer in workers for _ in range(3)]
    for n in range(100):
        await workers[n % 4].send("jobs", message(n))
    await until(lambda: len(taken) >= 100)
    for each in working:
        each.cancel()
    await asyncio.wait(working)
    assert sorted(numbers(taken)) == list(range(100))
    assert workers[0].channels == {}


async def test_cancelled_takes_lose_nothing_and_keep_the_order(memory: MakeMemory) -> None:
    layer = memory(queue_capacity=1_000)
    taken: list[dict[str, Any]] = []
    cancelled = 0

    async def work() -> None:
        nonlocal cancelled
        while len(taken) < 500:
            try:
                taken.append(await asyncio.wait_for(layer.receive("jobs"), 0.000_2))
            except TimeoutError:
                cancelled += 1

    working = asyncio.create_task(work())
    for n in range(500):
        if n % 4 == 0:
            await asyncio.sleep(0.000_2 * (n % 7))  # about as long as the worker waits
        await layer.send("jobs", message(n))
    await soon(working)
    assert numbers(taken) == list(range(500))
    assert cancelled > 10


@pytest.mark.parametrize("pause", range(5))
async def test_a_take_cancelled_at_any_moment_loses_nothing(memory: MakeMemory, pause: int) -> None:
    layer = memory()
    for n in range(30):
        working = [asyncio.create_task(layer.receive("jobs")) for _ in range(2)]
        await turns(3)
        putting = asyncio.create_task(layer.send("jobs", message(n)))
        await turns(pause)
        working[0].cancel()
        done, _ = await asyncio.wait(working, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        if not working[0].cancelled() and working[0] in done:
            assert working[0].result() == message(n)
            working[1].cancel()
        else:
            assert await soon(working[1]) == message(n)
        await asyncio.wait([*working, putting])
    assert layer.channels == {}


async def test_a_queue_holds_its_capacity_and_not_that_of_channels(memory: MakeMemory) -> None:
    layer = memory(capacity=1, queue_capacity=3)
    for n in range(3):
        await layer.send("jobs", message(n))
    with pytest.raises(ChannelFull, match=r"queue 'fc:q\.jobs' holds 3 jobs, its capacity"):
        await layer.send("jobs", message(3))
    await layer.send("others", message(0))
    assert numbers(await receive(layer, "jobs", 1)) == [0]
    await layer.send("jobs", message(4))
    assert numbers(await receive(layer, "jobs", 3)) == [1, 2, 4]
    assert layer.stats()["failed"] == 1


async def test_a_queue_may_have_a_capacity_by_its_name(memory: MakeMemory) -> None:
    layer = memory(channel_capacity={"mail.*": 1})
    await layer.send("mail.out", message(0))
    with pytest.raises(ChannelFull):
        await layer.send("mail.out", message(1))
    for n in range(100):
        await layer.send("other", message(n))


async def test_a_job_that_nobody_takes_in_time_is_dropped_and_logged(
    memory: MakeMemory, caplog: pytest.LogCaptureFixture
) -> None:
    layer = memory(expiry=0.05)
    await layer.send("jobs", message(0))
    await layer.send("jobs", message(1))
    await past(time.monotonic() + 0.05)
    await layer.send("jobs", message(2))
    assert numbers(await receive(layer, "jobs", 1)) == [2]
    assert "queue 'fc:q.jobs' lost 2 jobs that nobody took in time" in caplog.text


async def test_jobs_that_expired_take_no_capacity(memory: MakeMemory) -> None:
    layer = memory(expiry=0.05, queue_capacity=2)
    for n in range(2):
        await layer.send("jobs", message(n))
    await past(time.monotonic() + 0.05)
    for n in range(2, 4):
        await layer.send("jobs", message(n))
    assert numbers(await receive(layer, "jobs", 2)) == [2, 3]


async def test_a_job_that_expires_while_a_worker_waits_for_another_queue_is_gone(
    memory: MakeMemory,
) -> None:
    layer = memory(expiry=0.05)
    await layer.send("jobs", message(0))
    await past(time.monotonic() + 0.05)
    working = asyncio.create_task(layer.receive("jobs"))
    await turns()
    await layer.send("jobs", message(1))
    assert await soon(working) == message(1)


async def test_queues_of_another_application_are_apart(memory: MakeMemory) -> None:
    first = memory(url="memory://apart", prefix="a")
    second = memory(url="memory://apart", prefix="b")
    await first.send("jobs", message(1))
    await second.send("jobs", message(2))
    assert await receive(second, "jobs", 1) == [message(2)]
    assert await receive(first, "jobs", 1) == [message(1)]


async def test_flush_empties_the_queues_of_the_prefix_and_no_other(memory: MakeMemory) -> None:
    first = memory(url="memory://flushed", prefix="a")
    longer = memory(url="memory://flushed", prefix="ab")
    for layer in (first, longer):
        await layer.send("jobs", message(1))
    await first.flush()
    await first.send("jobs", message(2))
    assert await receive(first, "jobs", 1) == [message(2)]
    assert await receive(longer, "jobs", 1) == [message(1)]


async def test_a_message_may_be_changed_by_whoever_took_it(memory: MakeMemory) -> None:
    layer = memory()
    sent = {"type": "x", "list": [1]}
    await layer.send("jobs", sent)
    sent["list"] = []
    (got,) = await receive(layer, "jobs", 1)
    assert got == {"type": "x", "list": [1]}


async def test_a_taker_in_another_thread_is_woken(memory: MakeMemory) -> None:
    layer = memory()

    def work() -> dict[str, Any]:
        async def take() -> dict[str, Any]:
            return await soon(layer.receive("jobs"))

        return asyncio.run(take())

    working = asyncio.create_task(asyncio.to_thread(work))
    await until(lambda: layer.stats()["sessions"] == 1)
    await turns()
    await layer.send("jobs", message(1))
    assert await soon(working) == message(1)


async def test_a_worker_that_waits_learns_that_the_layer_is_closed(memory: MakeMemory) -> None:
    layer = memory()
    working = asyncio.create_task(layer.receive("jobs"))
    await turns()
    await layer.close()
    try:
        with pytest.raises(LayerClosed, match="was closed"):
            await soon(working)
    finally:
        working.cancel()


async def test_a_lost_job_is_one_warning(
    memory: MakeMemory, caplog: pytest.LogCaptureFixture
) -> None:
    layer = memory(expiry=0.05)
    await layer.send("jobs", message(0))
    await past(time.monotonic() + 0.05)
    await layer.send("jobs", message(1))
    await receive(layer, "jobs", 1)
    assert layer.stats()["expired"] == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_plugins_are_told_of_jobs_that_expired_once_for_each_look(
    memory: MakeMemory,
) -> None:
    layer = memory(expiry=0.05, queue_capacity=2)
    told: list[tuple[object, object]] = []

    def listener(event: str, **facts: object) -> None:
        if event == "messages_dropped":
            locked = layer._queues()["jobs"]._lock.locked()
            assert not locked, "who listens may use the queue"
            told.append((facts["layer"], facts["losses"]))

    events.connect(listener)
    try:
        for n in range(2):
            await layer.send("jobs", message(n))
        await past(time.monotonic() + 0.05)
        await layer.send("jobs", message(2))  # a look, for the queue is full
        await past(time.monotonic() + 0.05)
        taking = asyncio.create_task(layer.receive("jobs"))
        await turns()  # another look, before it waits
        assert told == [(layer, {"expired": 2}), (layer, {"expired": 1})]
        await layer.send("jobs", message(3))
        assert await soon(taking) == message(3)
        assert len(told) == 2
    finally:
        events.disconnect(listener)

"""Worker queues: names without ``!``, whose messages wait until somebody takes them."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from fast_channels.exceptions import (
    BackendUnavailable,
    ChannelFull,
    InvalidChannelLayerError,
    LayerClosed,
)
from fast_channels.layers import InMemoryChannelLayer, Job, WorkerQueues, events
from fast_channels.layers.in_memory import MemoryBroker

from .backends import Make, WatchedBackend, layers
from .clock import virtual_time
from .waiting import numbers, past, receive, soon, turns, until

MakeMemory = Callable[..., InMemoryChannelLayer]


@pytest.fixture
async def memory() -> AsyncGenerator[MakeMemory]:
    """What makes memory layers that are closed when the test ends."""
    made: list[InMemoryChannelLayer] = []

    def make(**options: Any) -> InMemoryChannelLayer:
        made.append(InMemoryChannelLayer(**options))
        return made[-1]

    yield make
    for layer in made:
        await layer.close()


def job(n: int) -> dict[str, Any]:
    return {"type": "test.job", "n": n}


async def test_a_job_waits_for_a_worker(memory: MakeMemory) -> None:
    layer = memory()
    await layer.send("jobs", job(1))
    await turns()
    assert await receive(layer, "jobs", 1) == [job(1)]


async def test_a_worker_waits_for_a_job(memory: MakeMemory) -> None:
    layer = memory()
    working = asyncio.create_task(layer.receive("jobs"))
    await turns()
    await layer.send("jobs", job(1))
    assert await soon(working) == job(1)


async def test_jobs_are_taken_in_the_order_in_which_they_were_put(memory: MakeMemory) -> None:
    layer = memory()
    for n in range(50):
        await layer.send("jobs", job(n))
    assert numbers(await receive(layer, "jobs", 50)) == list(range(50))


async def test_a_job_outlives_the_layer_that_put_it(memory: MakeMemory) -> None:
    producer, worker = memory(url="memory://queues"), memory(url="memory://queues")
    await producer.send("jobs", job(1))
    await producer.close()
    assert await receive(worker, "jobs", 1) == [job(1)]


async def test_each_job_goes_to_exactly_one_of_several_workers(memory: MakeMemory) -> None:
    workers = [memory(url="memory://workers") for _ in range(4)]
    taken: list[dict[str, Any]] = []

    async def work(layer: InMemoryChannelLayer) -> None:
        while True:
            taken.append(await layer.receive("jobs"))
            await asyncio.sleep(0)

    working = [asyncio.create_task(work(layer)) for layer in workers for _ in range(3)]
    for n in range(100):
        await workers[n % 4].send("jobs", job(n))
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
        await layer.send("jobs", job(n))
    await soon(working)
    assert numbers(taken) == list(range(500))
    assert cancelled > 10


@pytest.mark.parametrize("pause", range(5))
async def test_a_take_cancelled_at_any_moment_loses_nothing(memory: MakeMemory, pause: int) -> None:
    layer = memory()
    for n in range(30):
        working = [asyncio.create_task(layer.receive("jobs")) for _ in range(2)]
        await turns(3)
        putting = asyncio.create_task(layer.send("jobs", job(n)))
        await turns(pause)
        working[0].cancel()
        done, _ = await asyncio.wait(working, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        if not working[0].cancelled() and working[0] in done:
            assert working[0].result() == job(n)
            working[1].cancel()
        else:
            assert await soon(working[1]) == job(n)
        await asyncio.wait([*working, putting])
    assert layer.channels == {}


async def test_a_queue_holds_its_capacity_and_not_that_of_channels(memory: MakeMemory) -> None:
    layer = memory(capacity=1, queue_capacity=3)
    for n in range(3):
        await layer.send("jobs", job(n))
    with pytest.raises(ChannelFull, match=r"queue 'fc:q\.jobs' holds 3 jobs, its capacity"):
        await layer.send("jobs", job(3))
    await layer.send("others", job(0))
    assert numbers(await receive(layer, "jobs", 1)) == [0]
    await layer.send("jobs", job(4))
    assert numbers(await receive(layer, "jobs", 3)) == [1, 2, 4]
    assert layer.stats()["failed"] == 1


async def test_a_queue_may_have_a_capacity_by_its_name(memory: MakeMemory) -> None:
    layer = memory(channel_capacity={"mail.*": 1})
    await layer.send("mail.out", job(0))
    with pytest.raises(ChannelFull):
        await layer.send("mail.out", job(1))
    for n in range(100):
        await layer.send("other", job(n))


async def test_a_job_that_nobody_takes_in_time_is_dropped_and_logged(
    memory: MakeMemory, caplog: pytest.LogCaptureFixture
) -> None:
    layer = memory(expiry=0.05)
    await layer.send("jobs", job(0))
    await layer.send("jobs", job(1))
    await past(time.monotonic() + 0.05)
    await layer.send("jobs", job(2))
    assert numbers(await receive(layer, "jobs", 1)) == [2]
    assert "queue 'fc:q.jobs' lost 2 jobs that nobody took in time" in caplog.text


async def test_jobs_that_expired_take_no_capacity(memory: MakeMemory) -> None:
    layer = memory(expiry=0.05, queue_capacity=2)
    for n in range(2):
        await layer.send("jobs", job(n))
    await past(time.monotonic() + 0.05)
    for n in range(2, 4):
        await layer.send("jobs", job(n))
    assert numbers(await receive(layer, "jobs", 2)) == [2, 3]


async def test_a_job_that_expires_while_a_worker_waits_for_another_queue_is_gone(
    memory: MakeMemory,
) -> None:
    layer = memory(expiry=0.05)
    await layer.send("jobs", job(0))
    await past(time.monotonic() + 0.05)
    working = asyncio.create_task(layer.receive("jobs"))
    await turns()
    await layer.send("jobs", job(1))
    assert await soon(working) == job(1)


async def test_queues_of_another_application_are_apart(memory: MakeMemory) -> None:
    first = memory(url="memory://apart", prefix="a")
    second = memory(url="memory://apart", prefix="b")
    await first.send("jobs", job(1))
    await second.send("jobs", job(2))
    assert await receive(second, "jobs", 1) == [job(2)]
    assert await receive(first, "jobs", 1) == [job(1)]


async def test_flush_empties_the_queues_of_the_prefix_and_no_other(memory: MakeMemory) -> None:
    first = memory(url="memory://flushed", prefix="a")
    longer = memory(url="memory://flushed", prefix="ab")
    for layer in (first, longer):
        await layer.send("jobs", job(1))
    await first.flush()
    await first.send("jobs", job(2))
    assert await receive(first, "jobs", 1) == [job(2)]
    assert await receive(longer, "jobs", 1) == [job(1)]


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
    await layer.send("jobs", job(1))
    assert await soon(working) == job(1)


async def test_a_worker_that_waits_learns_that_the_layer_is_closed(memory: MakeMemory) -> None:
    layer = memory()
    working = asyncio.create_task(layer.receive("jobs"))
    await turns()
    await layer.close()
    try:
        with pytest.raises(LayerClosed, match="was closed"):
            await asyncio.wait_for(working, 0.2)
    finally:
        working.cancel()


# --- queues in groups -------------------------------------------------------------------------


async def test_a_queue_in_a_group_gets_the_group_s_messages(memory: MakeMemory) -> None:
    layer = memory()
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.group_add("group", "jobs")
    for n in range(5):
        await layer.group_send("group", job(n))
    assert numbers(await receive(layer, "jobs", 5)) == list(range(5))
    assert numbers(await receive(layer, channel, 5)) == list(range(5))


async def test_a_queue_that_left_its_group_gets_nothing_more(memory: MakeMemory) -> None:
    layer = memory()
    await layer.group_add("group", "jobs")
    await layer.group_send("group", job(0))
    assert await receive(layer, "jobs", 1) == [job(0)]
    await layer.group_discard("group", "jobs")
    await layer.group_send("group", job(1))
    await layer.send("jobs", job(2))
    assert await receive(layer, "jobs", 1) == [job(2)]


async def test_a_queue_that_left_its_last_group_leaves_no_task_behind(memory: MakeMemory) -> None:
    layer = memory()
    await layer.new_channel()
    before = asyncio.all_tasks()
    for group in "ab":
        await layer.group_add(group, "jobs")
    assert len(asyncio.all_tasks() - before) == 1
    for group in "ab":
        await layer.group_discard(group, "jobs")
    await until(lambda: asyncio.all_tasks() == before)


async def test_a_queue_in_two_groups_stays_in_the_second(memory: MakeMemory) -> None:
    layer = memory()
    await layer.group_add("first", "jobs")
    await layer.group_add("second", "jobs")
    await layer.group_discard("first", "jobs")
    await layer.group_send("first", job(1))
    await layer.group_send("second", job(2))
    assert await receive(layer, "jobs", 1) == [job(2)]


async def test_what_a_full_queue_in_a_group_refuses_is_counted(memory: MakeMemory) -> None:
    layer = memory(queue_capacity=2)
    await layer.group_add("group", "jobs")
    for n in range(5):
        await layer.group_send("group", job(n))
    await until(lambda: layer.stats()["overflowed"] == 3)
    assert numbers(await receive(layer, "jobs", 2)) == [0, 1]


async def test_a_queue_in_a_group_has_the_bounds_of_a_queue_not_of_a_channel(
    memory: MakeMemory,
) -> None:
    layer = memory(capacity=2, queue_capacity=100, overflow="disconnect")
    await layer.group_add("group", "jobs")
    await asyncio.gather(*(layer.group_send("group", job(n)) for n in range(20)))
    assert numbers(await receive(layer, "jobs", 20)) == list(range(20))


async def test_a_queue_in_a_group_is_never_cut_off(memory: MakeMemory) -> None:
    layer = memory(queue_capacity=2, overflow="disconnect")
    await layer.group_add("group", "jobs")
    await asyncio.gather(*(layer.group_send("group", job(n)) for n in range(10)))
    await until(lambda: layer.stats()["overflowed"] == 8)
    assert numbers(await receive(layer, "jobs", 2)) == [0, 1]
    await layer.group_send("group", job(10))
    assert numbers(await receive(layer, "jobs", 1)) == [10]


async def test_a_queue_in_a_group_outlives_the_failures_of_its_broker(make: Make) -> None:
    layer = make(QueuesBackend)
    await layer.group_add("group", "jobs")
    for error in (OSError("broken"), BackendUnavailable("no broker"), KeyError("odd")):
        layer.backend.fake.error = error
        lost = layer.stats()["undeliverable"]
        await layer.group_send("group", job(0))
        await until(lambda lost=lost: layer.stats()["undeliverable"] == lost + 1)
    layer.backend.fake.error = None
    await layer.group_send("group", job(1))
    await until(lambda: len(layer.backend.fake.put_calls) == 4)


async def test_flush_ends_the_membership_of_a_queue(memory: MakeMemory) -> None:
    layer = memory()
    await layer.group_add("group", "jobs")
    await layer.flush()
    await layer.group_send("group", job(1))
    await layer.send("jobs", job(2))
    assert await receive(layer, "jobs", 1) == [job(2)]


# --- other backends ---------------------------------------------------------------------------


async def test_a_backend_without_queues_says_so(make: Make) -> None:
    layer = make()
    expected = (
        f"{layer} has no worker queues, and channel 'jobs' is one (it has no '!'); "
        "use a channel made by new_channel(), or another backend"
    )
    with pytest.raises(InvalidChannelLayerError) as caught:
        await layer.send("jobs", job(1))
    assert str(caught.value) == expected
    with pytest.raises(InvalidChannelLayerError) as caught:
        await layer.receive("jobs")
    assert str(caught.value) == expected


class FakeJob:
    """A job that notes what became of it."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.fate = ""
        self.may_finish = asyncio.Event()

    async def done(self) -> None:
        await self.may_finish.wait()
        self.fate = "done"

    async def release(self) -> None:
        self.fate = "released"


class FakeQueues:
    """Queues that hand out the jobs they are given."""

    def __init__(self) -> None:
        self.put_calls: list[tuple[str, bytes, float]] = []
        self.jobs: asyncio.Queue[FakeJob] = asyncio.Queue()
        self.hangs = False
        self.error: Exception | None = None

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        self.put_calls.append((queue, payload, expires_in))
        if self.error is not None:
            raise self.error
        if self.hangs:
            await asyncio.Event().wait()

    async def take(self, queue: str, /) -> Job:
        if self.error is not None:
            raise self.error
        return await self.jobs.get()

    async def clear(self, prefix: str, /) -> None: ...


class QueuesBackend(WatchedBackend):
    """Has the fake queues."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.fake = FakeQueues()
        self.queues: WorkerQueues = self.fake


async def test_a_job_is_done_when_receive_returns(make: Make) -> None:
    layer = make(QueuesBackend, expiry=7.0)
    await layer.send("jobs", job(1))
    ((queue, payload, expires_in),) = layer.backend.fake.put_calls
    assert (queue, expires_in) == ("fc:q.jobs", 7.0)
    taken = FakeJob(payload)
    layer.backend.fake.jobs.put_nowait(taken)
    working = asyncio.create_task(layer.receive("jobs"))
    await turns()
    assert not working.done()
    taken.may_finish.set()
    assert await soon(working) == job(1)
    assert taken.fate == "done"


async def test_a_receive_cancelled_before_the_job_is_done_gives_it_back(make: Make) -> None:
    layer = make(QueuesBackend)
    await layer.send("jobs", job(1))
    taken = FakeJob(layer.backend.fake.put_calls[0][1])
    layer.backend.fake.jobs.put_nowait(taken)
    working = asyncio.create_task(layer.receive("jobs"))
    await turns()
    working.cancel()
    await asyncio.wait([working])
    assert working.cancelled()
    assert taken.fate == "released"


async def test_a_job_that_was_taken_is_done_when_its_taker_says_so(make: Make) -> None:
    layer = make(QueuesBackend)
    await layer.send("jobs", job(1))
    taken = FakeJob(layer.backend.fake.put_calls[0][1])
    taken.may_finish.set()
    layer.backend.fake.jobs.put_nowait(taken)
    lease = await soon(layer.take("jobs"))
    assert (lease.message, taken.fate, layer.stats()["delivered"]) == (job(1), "", 0)
    await lease.done()
    assert (taken.fate, layer.stats()["delivered"]) == ("done", 1)


async def test_a_job_that_was_taken_may_go_back_to_its_queue(memory: MakeMemory) -> None:
    layer = memory()
    for n in range(2):
        await layer.send("jobs", job(n))
    lease = await soon(layer.take("jobs"))
    await lease.release()
    assert numbers(await receive(layer, "jobs", 2)) == [0, 1]
    assert layer.stats()["delivered"] == 2


async def test_only_a_worker_queue_can_be_taken_from(memory: MakeMemory) -> None:
    layer = memory()
    with pytest.raises(ValueError, match="is one process's mailbox and no worker queue"):
        await layer.take(await layer.new_channel())
    with pytest.raises(TypeError, match="illegal character ' '"):
        await layer.take("a queue")


async def test_a_job_that_is_released_is_the_next_one_again() -> None:
    queues = InMemoryChannelLayer().create_backend().queues
    assert queues is not None
    for payload in (b"first", b"second"):
        await queues.put("fc:q.jobs", payload, 60.0)
    taken = await queues.take("fc:q.jobs")
    await taken.release()
    again = [(await queues.take("fc:q.jobs")).payload for _ in range(2)]
    assert again == [b"first", b"second"]


async def test_a_backend_that_gives_up_taking_is_no_closed_layer(make: Make) -> None:
    layer = make(QueuesBackend)
    await layer.open()
    layer.backend.fake.error = BackendUnavailable("no broker")
    with pytest.raises(BackendUnavailable, match="no broker"):
        await layer.receive("jobs")


@pytest.mark.parametrize("payload", [b"", b"garbage", b"\x01\x00\x90", b'{"type": "x"}', b"\x02"])
async def test_a_job_that_cannot_be_read_is_counted_and_skipped(make: Make, payload: bytes) -> None:
    layer = make(QueuesBackend)
    await layer.send("jobs", job(1))
    good = layer.backend.fake.put_calls[0][1]
    jobs = [FakeJob(each) for each in (payload, good)]
    for each in jobs:
        each.may_finish.set()
        layer.backend.fake.jobs.put_nowait(each)
    assert await receive(layer, "jobs", 1) == [job(1)]
    assert [each.fate for each in jobs] == ["done", "done"]
    assert layer.stats()["malformed"] == 1
    assert layer.stats()["delivered"] == 1


@virtual_time
async def test_a_queue_that_hangs_makes_a_send_fail_in_time() -> None:
    async with layers() as make:
        layer = make(QueuesBackend, send_timeout=5.0)
        await layer.open()
        layer.backend.fake.hangs = True
        start = asyncio.get_running_loop().time()
        with pytest.raises(BackendUnavailable, match="within 5 s; the message was perhaps sent"):
            await layer.send("jobs", job(1))
        assert asyncio.get_running_loop().time() - start < 5.5
        assert layer.stats()["failed"] == 1


async def test_a_lost_job_is_one_warning(
    memory: MakeMemory, caplog: pytest.LogCaptureFixture
) -> None:
    layer = memory(expiry=0.05)
    await layer.send("jobs", job(0))
    await past(time.monotonic() + 0.05)
    await layer.send("jobs", job(1))
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
            await layer.send("jobs", job(n))
        await past(time.monotonic() + 0.05)
        await layer.send("jobs", job(2))  # a look, for the queue is full
        await past(time.monotonic() + 0.05)
        taking = asyncio.create_task(layer.receive("jobs"))
        await turns()  # another look, before it waits
        assert told == [(layer, {"expired": 2}), (layer, {"expired": 1})]
        await layer.send("jobs", job(3))
        assert await soon(taking) == job(3)
        assert len(told) == 2
    finally:
        events.disconnect(listener)

"""A job from its taking to its end, whatever its queue does."""

import asyncio

import pytest

from fast_channels.exceptions import BackendUnavailable, InvalidChannelLayerError
from fast_channels.layers import InMemoryChannelLayer

from .backends import Make, MakeMemory, layers
from .clock import virtual_time
from .fake_queues import FakeJob, QueuesBackend
from .waiting import message, numbers, receive, soon, turns


async def test_a_backend_without_queues_says_so(make: Make) -> None:
    layer = make()
    expected = (
        f"{layer} has no worker queues, and channel 'jobs' is one (it has no '!'); "
        "use a channel made by new_channel(), or another backend"
    )
    with pytest.raises(InvalidChannelLayerError) as caught:
        await layer.send("jobs", message(1))
    assert str(caught.value) == expected
    with pytest.raises(InvalidChannelLayerError) as caught:
        await layer.receive("jobs")
    assert str(caught.value) == expected


async def test_a_job_is_done_when_receive_returns(make: Make) -> None:
    layer = make(QueuesBackend, expiry=7.0)
    await layer.send("jobs", message(1))
    ((queue, payload, expires_in),) = layer.backend.fake.put_calls
    assert (queue, expires_in) == ("fc:q.jobs", 7.0)
    taken = FakeJob(payload)
    layer.backend.fake.jobs.put_nowait(taken)
    working = asyncio.create_task(layer.receive("jobs"))
    await turns()
    assert not working.done()
    taken.may_finish.set()
    assert await soon(working) == message(1)
    assert taken.fate == "done"


async def test_a_receive_cancelled_before_the_job_is_done_gives_it_back(make: Make) -> None:
    layer = make(QueuesBackend)
    await layer.send("jobs", message(1))
    taken = FakeJob(layer.backend.fake.put_calls[0][1])
    layer.backend.fake.jobs.put_nowait(taken)
    working = asyncio.create_task(layer.receive("jobs"))
    await turns()
    working.cancel()
    await asyncio.wait([working])
    assert working.cancelled()
    assert taken.fate == "released"


async def test_a_cancelled_receive_that_cannot_give_its_job_back_ends_cancelled(
    make: Make,
) -> None:
    class Unreachable(FakeJob):
        async def release(self) -> None:
            raise BackendUnavailable("no connection")

    layer = make(QueuesBackend)
    await layer.send("jobs", message(1))
    layer.backend.fake.jobs.put_nowait(Unreachable(layer.backend.fake.put_calls[0][1]))
    working = asyncio.create_task(layer.receive("jobs"))
    await turns()
    working.cancel()
    await asyncio.wait([working])
    assert working.cancelled()


async def test_a_job_that_was_taken_is_done_when_its_taker_says_so(make: Make) -> None:
    layer = make(QueuesBackend)
    await layer.send("jobs", message(1))
    taken = FakeJob(layer.backend.fake.put_calls[0][1])
    taken.may_finish.set()
    layer.backend.fake.jobs.put_nowait(taken)
    lease = await soon(layer.take("jobs"))
    assert (lease.message, taken.fate, layer.stats()["delivered"]) == (message(1), "", 0)
    await lease.done()
    assert (taken.fate, layer.stats()["delivered"]) == ("done", 1)


async def test_a_job_that_was_taken_may_go_back_to_its_queue(memory: MakeMemory) -> None:
    layer = memory()
    for n in range(2):
        await layer.send("jobs", message(n))
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
    await layer.send("jobs", message(1))
    good = layer.backend.fake.put_calls[0][1]
    jobs = [FakeJob(each) for each in (payload, good)]
    for each in jobs:
        each.may_finish.set()
        layer.backend.fake.jobs.put_nowait(each)
    assert await receive(layer, "jobs", 1) == [message(1)]
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
            await layer.send("jobs", message(1))
        assert asyncio.get_running_loop().time() - start < 5.5
        assert layer.stats()["failed"] == 1

"""Worker queues that are members of groups."""

import asyncio

from fast_channels.exceptions import BackendUnavailable

from .backends import Make, MakeMemory
from .fake_queues import QueuesBackend
from .waiting import message, numbers, receive, until


async def test_a_queue_in_a_group_gets_the_group_s_messages(memory: MakeMemory) -> None:
    layer = memory()
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.group_add("group", "jobs")
    for n in range(5):
        await layer.group_send("group", message(n))
    assert numbers(await receive(layer, "jobs", 5)) == list(range(5))
    assert numbers(await receive(layer, channel, 5)) == list(range(5))


async def test_a_queue_that_left_its_group_gets_nothing_more(memory: MakeMemory) -> None:
    layer = memory()
    await layer.group_add("group", "jobs")
    await layer.group_send("group", message(0))
    assert await receive(layer, "jobs", 1) == [message(0)]
    await layer.group_discard("group", "jobs")
    await layer.group_send("group", message(1))
    await layer.send("jobs", message(2))
    assert await receive(layer, "jobs", 1) == [message(2)]


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
    await layer.group_send("first", message(1))
    await layer.group_send("second", message(2))
    assert await receive(layer, "jobs", 1) == [message(2)]


async def test_what_a_full_queue_in_a_group_refuses_is_counted(memory: MakeMemory) -> None:
    layer = memory(queue_capacity=2)
    await layer.group_add("group", "jobs")
    for n in range(5):
        await layer.group_send("group", message(n))
    await until(lambda: layer.stats()["overflowed"] == 3)
    assert numbers(await receive(layer, "jobs", 2)) == [0, 1]


async def test_a_queue_in_a_group_has_the_bounds_of_a_queue_not_of_a_channel(
    memory: MakeMemory,
) -> None:
    layer = memory(capacity=2, queue_capacity=100, overflow="disconnect")
    await layer.group_add("group", "jobs")
    await asyncio.gather(*(layer.group_send("group", message(n)) for n in range(20)))
    assert numbers(await receive(layer, "jobs", 20)) == list(range(20))


async def test_a_queue_in_a_group_is_never_cut_off(memory: MakeMemory) -> None:
    layer = memory(queue_capacity=2, overflow="disconnect")
    await layer.group_add("group", "jobs")
    await asyncio.gather(*(layer.group_send("group", message(n)) for n in range(10)))
    await until(lambda: layer.stats()["overflowed"] == 8)
    assert numbers(await receive(layer, "jobs", 2)) == [0, 1]
    await layer.group_send("group", message(10))
    assert numbers(await receive(layer, "jobs", 1)) == [10]


async def test_a_queue_in_a_group_outlives_the_failures_of_its_broker(make: Make) -> None:
    layer = make(QueuesBackend)
    await layer.group_add("group", "jobs")
    for error in (OSError("broken"), BackendUnavailable("no broker"), KeyError("odd")):
        layer.backend.fake.error = error
        lost = layer.stats()["undeliverable"]
        await layer.group_send("group", message(0))
        await until(lambda lost=lost: layer.stats()["undeliverable"] == lost + 1)
    layer.backend.fake.error = None
    await layer.group_send("group", message(1))
    await until(lambda: len(layer.backend.fake.put_calls) == 4)


async def test_flush_ends_the_membership_of_a_queue(memory: MakeMemory) -> None:
    layer = memory()
    await layer.group_add("group", "jobs")
    await layer.flush()
    await layer.group_send("group", message(1))
    await layer.send("jobs", message(2))
    assert await receive(layer, "jobs", 1) == [message(2)]

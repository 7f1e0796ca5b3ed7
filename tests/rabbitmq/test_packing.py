"""What goes to several groups at once: one message or many, whichever is faster at that server."""

import asyncio

import pytest
from tests.waiting import read_until, soon

from fast_channels.layers import Publication
from fast_channels_rabbitmq.packing import AGAIN, KEPT, Packing

from .conftest import Make, overhearing
from .durable import Process
from .servers import Node

LAST = {"type": "last"}


def batches(packing: Packing, count: int, together: float, alone: float, times: int) -> list[bool]:
    """Return how so many batches went out where a group takes that long either way."""
    ways: list[bool] = []
    for _ in range(times):
        ways.append(packing.together(count))
        packing.took(count, ways[-1], (together if ways[-1] else alone) * count)
    return ways


def test_both_ways_are_tried_and_the_faster_one_is_kept() -> None:
    for together, alone in ((1.0, 2.0), (2.0, 1.0)):
        ways = batches(Packing(), 50, together, alone, 2 * KEPT + 2 * AGAIN)
        assert ways[: 2 * KEPT] == [True] * KEPT + [False] * KEPT
        later = ways[2 * KEPT :]
        assert later.count(together > alone) == 2, "the slower one is tried once in a while"


def test_a_way_that_became_faster_is_taken() -> None:
    packing = Packing()
    batches(packing, 50, 1.0, 2.0, 2 * KEPT)  # the one that is slow now is noticed at once
    assert not any(batches(packing, 50, 3.0, 2.0, 2 * KEPT)[KEPT:])
    assert batches(packing, 50, 0.5, 2.0, 2 * AGAIN).count(True) > AGAIN


def test_one_slow_answer_changes_nothing() -> None:
    packing = Packing()
    batches(packing, 50, 1.0, 2.0, 2 * KEPT)
    packing.took(50, True, 1_000.0)
    assert packing.together(50)


def test_few_groups_and_many_are_judged_apart() -> None:
    packing = Packing()
    batches(packing, 3, 2.0, 1.0, 2 * KEPT)
    batches(packing, 60, 1.0, 2.0, 2 * KEPT)
    assert not packing.together(2)
    assert packing.together(63)
    assert packing.together(100) is packing.together(10_000)


async def measured(node: Node) -> bool:
    """Return whether both ways are tried at the node."""
    return (await asyncio.to_thread(node.ask, "rabbit_misc:version().")).startswith('"3.')


async def test_each_group_gets_all_in_order_and_once_either_way(
    node: Node, make: Make, prefix: str
) -> None:
    here, there = make(node.url), make(node.url, capacity=10_000)
    channels = [await there.new_channel() for _ in range(2)]
    for number in range(50):
        await there.group_add(f"room-{number}", channels[number % 2])
    await here.open()
    rounds = 2 * KEPT + 4
    async with overhearing(node, prefix, 50) as sent:
        for turn in range(rounds):  # the first of each goes at once, the other 49 gather
            await asyncio.gather(
                *(here.group_send(f"room-{n}", {"type": "n", "n": (turn, n)}) for n in range(50))
            )
        for number in range(2):
            await here.group_send(f"room-{number}", LAST)
        seen = await sent()
    for number, name in enumerate(channels):
        came = [message["n"] for message in await read_until(there, name, LAST)]
        assert came == [[turn, n] for turn in range(rounds) for n in range(number, 50, 2)]
    if await measured(node):
        assert seen >= rounds + 50 * KEPT + 2, "some went out alone"
    else:
        assert seen == 2 * rounds + 2


async def test_a_way_that_takes_too_long_for_its_senders_is_left(
    node: Node, one: Process, prefix: str
) -> None:
    batch = [Publication(f"{prefix}:g.room-{number}", b"x") for number in range(50)]
    async with overhearing(node, prefix, 50) as sent:
        node.freeze()
        try:
            for _ in range(KEPT):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await one.backend.publish(batch)
        finally:
            node.thaw()
        await soon(one.backend.publish(batch))
        assert await sent() == KEPT + (50 if await measured(node) else 1)

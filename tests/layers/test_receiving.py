"""Receivers: several, cancelled ones, and each with a message that is its own."""

import asyncio
import random
from typing import Any

import pytest

from .backends import Make, frame, from_callback, node_of
from .waiting import message, numbers, read_to_fence, receive, soon, turns, until


async def test_cancelled_receives_lose_nothing_and_keep_the_order(make: Make) -> None:
    layer = make(capacity=1_000)
    channel = await layer.new_channel()
    received: list[dict[str, Any]] = []
    cancelled = 0

    async def read() -> None:
        nonlocal cancelled
        while len(received) < 1_000:
            try:
                received.append(await asyncio.wait_for(layer.receive(channel), 0.000_2))
            except TimeoutError:
                cancelled += 1

    reading = asyncio.create_task(read())
    dice = random.Random(7)
    for n in range(1_000):
        if n % 4 == 0:
            await asyncio.sleep(dice.random() * 0.002)  # about as long as the reader waits
        await layer.send(channel, message(n))
    await soon(reading)
    assert numbers(received) == list(range(1_000))
    assert cancelled > 50


@pytest.mark.parametrize("pause", range(6))
async def test_a_receive_cancelled_at_any_moment_loses_nothing(make: Make, pause: int) -> None:
    layer = make()
    channel = await layer.new_channel()
    for n in range(50):
        reading = asyncio.create_task(layer.receive(channel))
        await asyncio.sleep(0)
        sending = asyncio.create_task(layer.send(channel, message(n)))
        await turns(pause)
        reading.cancel()
        await asyncio.wait([reading])
        await sending
        if reading.cancelled():
            assert numbers(await receive(layer, channel, 1)) == [n]
        else:
            assert reading.result() == message(n)


async def test_readers_cancelled_together_give_their_messages_back_in_order(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    readers = [asyncio.create_task(layer.receive(channel)) for _ in range(4)]
    await turns()

    def give_and_cancel() -> None:  # four have theirs, and have not run yet
        for n in range(6):
            layer.backend.inbox.deliver(node_of(channel), frame(message(n), channel))
        assert layer.stats()["unread"] == 2
        for reader in readers:
            reader.cancel()

    await from_callback(give_and_cancel)
    await asyncio.wait(readers)
    assert all(reader.cancelled() for reader in readers)
    assert numbers(await receive(layer, channel, 6)) == list(range(6))


async def test_what_a_cancelled_reader_was_given_goes_to_the_next_one(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    first, second = (asyncio.create_task(layer.receive(channel)) for _ in range(2))
    await turns()

    def give_and_cancel() -> None:
        layer.backend.inbox.deliver(node_of(channel), frame(message(1), channel))
        assert layer.stats()["delivered"] == 1
        first.cancel()

    await from_callback(give_and_cancel)
    assert await soon(second) == message(1)
    assert first.cancelled()


async def test_each_message_goes_to_exactly_one_of_several_readers(make: Make) -> None:
    layer = make(capacity=1_000)
    channel = await layer.new_channel()
    received: list[dict[str, Any]] = []

    async def read() -> None:
        while True:
            received.append(await layer.receive(channel))
            await asyncio.sleep(0)

    readers = [asyncio.create_task(read()) for _ in range(5)]
    for n in range(500):
        await layer.send(channel, message(n))
    await until(lambda: len(received) >= 500)
    for reader in readers:
        reader.cancel()
    await asyncio.wait(readers)
    assert sorted(numbers(received)) == list(range(500))
    assert await read_to_fence(layer, channel) == []


async def test_a_reader_takes_what_is_there_without_suspending(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    for n in range(10):
        await layer.send(channel, message(n))
    await until(lambda: layer.stats()["unread"] == 10)
    others = 0

    def count() -> None:
        nonlocal others
        others += 1

    asyncio.get_running_loop().call_soon(count)
    assert numbers([await layer.receive(channel) for _ in range(10)]) == list(range(10))
    assert others == 0
    await turns(1)


# --- nobody shares what a receiver got --------------------------------------------------------


@pytest.mark.parametrize("extra", [{}, {"nested": {"list": [1, 2]}}], ids=["flat", "nested"])
async def test_a_receiver_may_change_what_it_got(make: Make, extra: dict[str, Any]) -> None:
    layer = make()
    other = make(broker=layer.broker)
    channels = [await layer.new_channel() for _ in range(3)]
    remote = await other.new_channel()
    for channel in channels:
        await layer.group_add("group", channel)
    await other.group_add("group", remote)
    sent = {"type": "x", **extra}
    await layer.group_send("group", sent)
    for channel in channels:
        (got,) = await receive(layer, channel, 1)
        assert got == {"type": "x", **extra}
        spoil(got)
    (got,) = await receive(other, remote, 1)
    assert got == {"type": "x", **extra}
    assert sent == {"type": "x", **extra}


@pytest.mark.parametrize("extra", [{}, {"nested": {"list": [1, 2]}}], ids=["flat", "nested"])
async def test_a_sender_may_change_what_it_sent(make: Make, extra: dict[str, Any]) -> None:
    layer = make()
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    sent = {"type": "x", **{key: {"list": [1, 2]} for key in extra}}
    original = {"type": "x", **extra}
    await layer.group_send("group", sent)
    await layer.send(channel, sent)
    spoil(sent)
    assert await receive(layer, channel, 2) == [original, original]


def spoil(got: dict[str, Any]) -> None:
    """Change everything in a message that can be changed."""
    got["type"] = "spoilt"
    got["more"] = 1
    if "nested" in got:
        got["nested"]["list"].append(3)
        got["nested"]["more"] = 2

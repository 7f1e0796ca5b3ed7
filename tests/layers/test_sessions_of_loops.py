"""Every event loop has a session of its own, which ends with the loop."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable

import pytest
from asgiref.sync import async_to_sync

from fast_channels.exceptions import ChannelNotFound, LayerClosed
from fast_channels.layers import InMemoryChannelLayer

from .backends import Layer, SteppedBackend
from .waiting import message, numbers, round_trip, soon, until


def test_one_layer_works_in_one_loop_after_another() -> None:
    layer = Layer()
    for n in range(1, 6):
        assert asyncio.run(round_trip(layer)) == 1
        assert len(layer.backends) == n
        assert layer.backend.calls[-1] == "close"
    assert layer.stats()["sent"] == 5


def test_a_session_sends_what_gathered_before_its_loop_ends() -> None:
    """Its last act; that it must not hang in it is tested with the outbox."""
    layer = Layer(SteppedBackend)

    async def main() -> None:
        await layer.open()
        first = asyncio.create_task(layer.group_send("group", message(0)))
        await until(lambda: layer.backend.published)
        asyncio.get_running_loop().call_soon(layer.backend.steps.release)
        await first

    asyncio.run(main())
    assert layer.backend.calls == ["open", "subscribe", "publish", "close"]


def test_layers_in_several_threads_speak_to_each_other() -> None:
    layer = InMemoryChannelLayer()
    names: dict[int, str] = {}
    ready = threading.Barrier(4, timeout=20)
    failures: list[BaseException] = []

    async def talk(number: int) -> None:
        async with layer.channel() as channel:
            names[number] = channel.name
            await channel.join("all")
            await asyncio.to_thread(ready.wait)
            await layer.group_send("all", message(number))
            await layer.send(names[(number + 1) % 4], message(10 + number))
            got = [(await soon(channel.receive()))["n"] for _ in range(5)]
            assert sorted(got) == [0, 1, 2, 3, 10 + (number - 1) % 4]
            await asyncio.to_thread(ready.wait)

    def run(number: int) -> None:
        try:
            asyncio.run(talk(number))
        except BaseException as failure:
            failures.append(failure)
            ready.abort()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert len({name.partition("!")[0] for name in names.values()}) == 4


def test_a_channel_of_another_loop_is_reached_and_not_read() -> None:
    layer = InMemoryChannelLayer()
    with asyncio.Runner() as first, asyncio.Runner() as second:
        channel = first.run(layer.new_channel())
        second.run(layer.send(channel, message(1)))
        second.run(layer.group_send("group", message(2)))
        with pytest.raises(ChannelNotFound, match="belongs to another process or event loop"):
            second.run(layer.receive(channel))
        assert first.run(soon(layer.receive(channel))) == message(1)
        assert layer.stats()["sessions"] == 2
    assert layer.stats()["sessions"] == 0


def test_a_channel_is_read_in_its_own_loop_only_whoever_read_last() -> None:
    layer = InMemoryChannelLayer()

    async def reads(channel: str, n: int) -> None:
        await layer.send(channel, message(n))
        assert await soon(layer.receive(channel)) == message(n)

    async def does_not_read(channel: str) -> None:
        with pytest.raises(ChannelNotFound, match="belongs to another process or event loop"):
            await layer.receive(channel)

    async def asks_elsewhere(channel: str) -> None:
        await reads(channel, 1)
        await asyncio.to_thread(asyncio.run, does_not_read(channel))
        await reads(channel, 2)

    with asyncio.Runner() as first, asyncio.Runner() as second:
        mine, yours = first.run(layer.new_channel()), second.run(layer.new_channel())
        for n in range(3):
            first.run(reads(mine, n))
            second.run(does_not_read(mine))
            second.run(reads(yours, n))
            first.run(does_not_read(yours))
        first.run(asks_elsewhere(mine))
    with asyncio.Runner() as third:
        third.run(does_not_read(mine))


def test_each_loop_sends_by_its_own_session_whichever_sent_last() -> None:
    layer = Layer()

    async def sends(n: int) -> None:
        await layer.group_send("group", message(n))

    async def sends_elsewhere(n: int) -> None:
        await sends(n)
        await asyncio.to_thread(other.run, sends(n))
        await sends(n)

    with asyncio.Runner() as first, asyncio.Runner() as second, asyncio.Runner() as other:
        for n in range(3):
            first.run(sends(n))
            second.run(sends(n))
            first.run(sends_elsewhere(n))
        sent = [len(backend.published) for backend in layer.backends]
        assert sent == [9, 3, 3]


def test_the_session_of_a_loop_that_was_just_closed_is_let_go() -> None:
    """Closed without ``asyncio.run``, so nobody told the session."""
    layer = Layer()
    loop = asyncio.new_event_loop()
    channel = loop.run_until_complete(layer.new_channel())
    loop.run_until_complete(layer.send(channel, message(1)))
    loop.run_until_complete(layer.receive(channel))
    backend = weakref.ref(layer.backends.pop())
    loop.close()
    assert asyncio.run(round_trip(layer)) == 1
    del loop
    gc.collect()
    assert layer.stats()["sessions"] == 0
    assert backend() is None


def test_publishing_to_a_loop_that_was_just_closed_harms_nobody() -> None:
    layer = InMemoryChannelLayer()
    loop = asyncio.new_event_loop()

    async def join() -> None:
        await layer.group_add("group", await layer.new_channel())

    loop.run_until_complete(join())
    loop.close()
    for _ in range(3):
        asyncio.run(round_trip(layer))


def test_async_to_sync_works_from_any_thread_any_number_of_times() -> None:
    layer = InMemoryChannelLayer()
    with asyncio.Runner() as runner:
        channel = runner.run(layer.new_channel())
        runner.run(layer.group_add("group", channel))
        for n in range(5):
            async_to_sync(layer.group_send)("group", message(n))
        thread = threading.Thread(target=async_to_sync(layer.send), args=(channel, message(5)))
        thread.start()
        thread.join(20)
        got = [runner.run(soon(layer.receive(channel))) for _ in range(6)]
        assert numbers(got) == list(range(6))
        assert layer.stats()["sessions"] == 1


def test_closing_in_one_loop_closes_the_sessions_of_running_ones() -> None:
    layer = Layer()
    opened, ended = threading.Event(), threading.Event()

    async def wait_for_the_end() -> None:
        reading = asyncio.create_task(layer.receive(await layer.new_channel()))
        opened.set()
        with pytest.raises(LayerClosed):
            await soon(reading)

    def run() -> None:
        asyncio.run(wait_for_the_end())
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert opened.wait(20)

    async def close() -> None:
        await layer.open()
        await layer.close()

    asyncio.run(close())
    assert ended.wait(20)
    thread.join(20)
    assert layer.stats()["sessions"] == 0
    assert [backend.calls[-1] for backend in layer.backends] == ["close", "close"]


def test_a_loop_that_rests_while_its_layer_is_closed_finds_it_closed() -> None:
    layer = Layer()
    with asyncio.Runner() as resting:
        resting.run(layer.open())
        asyncio.run(layer.close())
        with pytest.raises(LayerClosed, match=r"call await layer\.open"):
            resting.run(layer.group_send("group", message(0)))


def test_every_session_has_a_node_of_its_own() -> None:
    layer = InMemoryChannelLayer()
    make: Callable[[], str] = lambda: asyncio.run(layer.new_channel())  # noqa: E731  # short
    assert len({make().partition("!")[0] for _ in range(5)}) == 5

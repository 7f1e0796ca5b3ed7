"""Senders while the broker hangs, the outbox is full or the layer closes: all are told in time."""

import asyncio

import pytest

from fast_channels.exceptions import BackendUnavailable, LayerClosed

from .backends import Layer, Make, layers
from .clock import virtual_time
from .sends import batches, blocked, send
from .waiting import message, numbers, receive, soon, turns

MIB = 1_048_576


async def full(layer: Layer) -> "list[asyncio.Task[None]]":
    """Return sends: one in flight, one that fills the outbox, and three that wait for room."""
    sends = [await blocked(layer), send(layer, "group", 1, data=b"x" * 17 * MIB)]
    await turns()
    sends += [send(layer, "group", n) for n in range(2, 5)]
    await turns()
    return sends


@virtual_time
async def test_a_broker_that_hangs_makes_every_send_fail_in_time() -> None:
    async with layers() as make:
        layer = make(send_timeout=5.0)
        await layer.open()
        layer.backend.may_publish.clear()
        loop = asyncio.get_running_loop()
        start = loop.time()
        results: dict[int, tuple[float, BaseException]] = {}

        async def one(n: int) -> None:
            await asyncio.sleep(n)
            begun = loop.time()
            with pytest.raises(BackendUnavailable) as caught:
                await layer.group_send("group", message(n))
            results[n] = loop.time() - begun, caught.value

        await asyncio.gather(*(one(n) for n in range(4)))
        assert loop.time() - start < 15
        assert all(took <= 5.5 for took, _ in results.values())
        assert str(results[0][1]) == (
            "the broker did not answer within 5 s; the message was perhaps sent"
        )
        assert all("sent" in str(error) for _, error in results.values())
        assert layer.stats()["failed"] == 4


@virtual_time
async def test_a_send_succeeds_again_once_the_broker_answers_again() -> None:
    async with layers() as make:
        layer = make(send_timeout=1.0)
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        layer.backend.may_publish.clear()
        with pytest.raises(BackendUnavailable, match="did not answer within 1 s"):
            await layer.group_send("group", message(0))
        layer.backend.may_publish.set()
        await layer.group_send("group", message(1))
        assert numbers([await layer.receive(channel)]) == [1]


@virtual_time
async def test_a_full_outbox_makes_senders_wait_and_drops_nothing() -> None:
    async with layers() as make:
        layer = make(max_message_size=20 * MIB)
        first, large, *late = await full(layer)
        assert not any(each.done() for each in (first, large, *late))
        layer.backend.may_publish.set()
        await soon(asyncio.gather(first, large, *late))
        sent = [n for call in batches(layer)[1:] for _, frame in call for n in frame]
        assert sent == [1, 2, 3, 4]
        assert batches(layer)[1] == [("group", [1])]


@virtual_time
async def test_a_sender_cancelled_while_it_waits_for_room_is_forgotten() -> None:
    async with layers() as make:
        layer = make(max_message_size=20 * MIB)
        first, large, *late = await full(layer)
        late[0].cancel()
        late[2].cancel()
        await turns()
        layer.backend.may_publish.set()
        await soon(asyncio.gather(first, large, late[1]))
        sent = [n for call in batches(layer)[1:] for _, frame in call for n in frame]
        assert sent == [1, 3]


@virtual_time
async def test_a_full_outbox_whose_broker_hangs_fails_every_sender_clearly() -> None:
    async with layers() as make:
        layer = make(send_timeout=5.0)
        await layer.open()
        layer.backend.may_publish.clear()
        loop = asyncio.get_running_loop()
        start = loop.time()
        sends = [send(layer, "group", n) for n in range(20_100)]
        results = await asyncio.gather(*sends, return_exceptions=True)
        assert loop.time() - start < 11
        texts = {str(result) for result in results}
        assert {type(result) for result in results} == {BackendUnavailable}
        assert "the broker did not answer within 5 s; the message was perhaps sent" in texts
        assert any("messages wait for the broker, and none went out for 5 s" in t for t in texts)
        assert layer.stats()["failed"] == 20_100


# --- closing ----------------------------------------------------------------------------------


async def test_closing_sends_what_was_accepted_before(make: Make) -> None:
    layer = make()
    reader = make(broker=layer.broker)
    channel = await reader.new_channel()
    await reader.group_add("group", channel)
    first = await blocked(layer)
    sends = [send(layer, "group", n) for n in range(5)]
    await turns()
    closing = asyncio.create_task(layer.close())
    await turns()
    assert not closing.done()
    layer.backend.may_publish.set()
    await soon(asyncio.gather(first, *sends, closing))
    assert numbers(await receive(reader, channel, 5)) == list(range(5))
    assert layer.backend.calls[-1] == "close"


@virtual_time
async def test_closing_does_not_wait_for_ever_for_a_broker_that_hangs() -> None:
    async with layers() as make:
        layer = make(send_timeout=5.0)
        first = await blocked(layer)
        sends = [send(layer, "group", n) for n in range(5)]
        await turns()
        loop = asyncio.get_running_loop()
        start = loop.time()
        await layer.close()
        assert loop.time() - start <= 10
        results = await asyncio.gather(first, *sends, return_exceptions=True)
        assert all(isinstance(each, BackendUnavailable | LayerClosed) for each in results)
        assert "close" in layer.backend.calls


@virtual_time
async def test_a_send_in_flight_fails_in_time_even_if_closing_is_cancelled() -> None:
    async with layers() as make:
        layer = make(send_timeout=5.0, max_message_size=20 * MIB)
        first = await blocked(layer)
        waiting = send(layer, "group", 1, data=b"x" * 17 * MIB)
        await turns()
        for_room = send(layer, "group", 2)
        await turns()
        closing = asyncio.create_task(layer.close())
        await turns()
        closing.cancel()
        _, pending = await asyncio.wait([first, waiting, for_room, closing], timeout=30)
        assert not pending
        for each in (first, waiting, for_room):
            assert isinstance(each.exception(), BackendUnavailable | LayerClosed)


async def test_nothing_is_published_once_the_layer_is_closed(make: Make) -> None:
    layer = make(max_message_size=20 * MIB, send_timeout=0.05)
    first = await blocked(layer)
    large = send(layer, "group", 1, data=b"x" * 17 * MIB)
    await turns()
    late = [send(layer, "group", n) for n in range(2, 5)]
    await turns()
    await soon(layer.close())
    results = await soon(asyncio.gather(first, large, *late, return_exceptions=True))
    assert all(isinstance(each, BackendUnavailable | LayerClosed) for each in results)
    calls = layer.backend.calls
    assert calls.index("close") == len(calls) - 1

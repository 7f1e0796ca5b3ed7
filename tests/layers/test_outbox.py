"""Natural batching: what goes out together, in which order, and who is told of what."""

import asyncio
import random
from typing import Any

import pytest

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers.codec import OVERHEAD

from .backends import Make, RefusingBackend, SteppedBackend, node_of, packed
from .sends import batches, blocked, send
from .waiting import message, numbers, receive, soon, turns, until


async def test_a_lone_send_is_published_in_the_same_turn_of_the_loop(make: Make) -> None:
    layer = make()
    await layer.open()
    sending = send(layer, "group", 1)
    await asyncio.sleep(0)
    assert batches(layer) == [[("group", [1])]]
    await sending


async def test_sends_one_after_another_are_published_one_by_one(make: Make) -> None:
    layer = make()
    for n in range(5):
        await layer.group_send("group", message(n))
    assert batches(layer) == [[("group", [n])] for n in range(5)]


async def test_what_gathers_meanwhile_goes_out_together_one_frame_for_each_topic(
    make: Make,
) -> None:
    layer = make()
    first = await blocked(layer)
    sends = [send(layer, "ab"[n % 2], n) for n in range(10)]
    await turns()
    assert len(layer.backend.published) == 1
    layer.backend.may_publish.set()
    await soon(asyncio.gather(first, *sends))
    assert batches(layer)[1:] == [[("a", [0, 2, 4, 6, 8]), ("b", [1, 3, 5, 7, 9])]]
    assert layer.stats()["sent"] == 11
    assert layer.stats()["published"] == 3


async def test_direct_messages_to_one_node_share_a_frame(make: Make) -> None:
    layer = make()
    other = make(broker=layer.broker)
    channels = [await other.new_channel() for _ in range(3)]
    first = await blocked(layer)
    sends = [asyncio.create_task(layer.send(c, message(n))) for n, c in enumerate(channels)]
    await turns()
    layer.backend.may_publish.set()
    await soon(asyncio.gather(first, *sends))
    assert [publication.topic for publication in layer.backend.published[1]] == [
        node_of(channels[0])
    ]
    for n, channel in enumerate(channels):
        assert await receive(other, channel, 1) == [message(n)]


async def test_frames_are_packed_no_fuller_than_the_backend_wants(make: Make) -> None:
    layer = make()
    first = await blocked(layer)
    layer.backend.frame_bytes = 65_536
    sends = [send(layer, "group", n, data=b"x" * 10_000) for n in range(20)]
    sends.append(send(layer, "group", 20, data=b"x" * 100_000))
    await turns()
    layer.backend.may_publish.set()
    await soon(asyncio.gather(first, *sends))
    (batch,) = layer.backend.published[1:]
    frames = [numbers(packed(publication)) for publication in batch]
    assert [n for frame in frames for n in frame] == list(range(21))
    assert frames[-1] == [20]
    assert len(frames) == 5
    assert max(len(each.payload) for each in batch[:-1]) <= 65_536 + OVERHEAD


async def test_each_sender_waits_until_the_broker_has_its_message(make: Make) -> None:
    layer = make(SteppedBackend)
    await layer.open()
    first = send(layer, "group", 0)
    await until(lambda: layer.backend.published)
    second = send(layer, "group", 1)
    await turns()
    layer.backend.steps.release()
    await soon(first)
    await until(lambda: len(layer.backend.published) == 2)
    await turns()
    assert not second.done()
    layer.backend.steps.release()
    await soon(second)


async def test_the_first_sender_does_not_wait_for_what_others_sent_meanwhile(make: Make) -> None:
    layer = make(SteppedBackend)
    await layer.open()
    first = send(layer, "group", 0)
    await until(lambda: layer.backend.published)
    others = [send(layer, "group", n) for n in range(1, 10)]
    await turns()
    layer.backend.steps.release()
    await soon(first)
    assert not any(other.done() for other in others)
    layer.backend.steps.release()
    await soon(asyncio.gather(*others))


async def test_only_one_publish_call_is_under_way_at_a_time(make: Make) -> None:
    under_way = most = 0

    class Backend(SteppedBackend):
        async def hand_over(self, publications: Any) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            await super(SteppedBackend, self).hand_over(publications)
            under_way -= 1

    layer = make(Backend)
    await soon(asyncio.gather(*(layer.group_send("ab"[n % 2], message(n)) for n in range(200))))
    for n in range(5):
        await layer.group_send("a", message(n))
    assert most == 1


async def test_concurrent_sends_arrive_in_order_for_each_group_and_channel(make: Make) -> None:
    layer = make(capacity=1_000)
    reader = make(broker=layer.broker, capacity=1_000)
    dice = random.Random(7)
    channels = {name: await reader.new_channel() for name in "abc"}
    for name, channel in channels.items():
        await reader.group_add(name, channel)
    sent: dict[str, list[int]] = {name: [] for name in "abc"}
    tasks = []
    for n in range(600):
        name = dice.choice("abc")
        sent[name].append(n)
        tasks.append(send(layer, name, n))
        if dice.random() < 0.05:
            await turns(dice.randrange(5))
    await soon(asyncio.gather(*tasks))
    for name, channel in channels.items():
        assert numbers(await receive(reader, channel, len(sent[name]))) == sent[name]
    assert len(layer.backend.published) < 600


async def test_no_two_payloads_are_ever_the_same(make: Make) -> None:
    """PostgreSQL folds identical notifications of one transaction into one."""
    layer = make()
    for _ in range(20):
        await layer.group_send("group", message(0))
    payloads = [publication.payload for publication in layer.backend.publications]
    assert len(set(payloads)) == 20


@pytest.mark.parametrize("members", [0, 1, 100, 1_000])
async def test_a_group_send_is_one_publication_however_large_the_group(
    make: Make, members: int
) -> None:
    layer = make()
    await layer.open()
    for _ in range(members):
        await layer.group_add("group", await layer.new_channel())
    await layer.group_send("group", message(0))
    assert [len(call) for call in layer.backend.published] == [1]
    await until(lambda: layer.stats()["delivered"] == members)


# --- cancelled senders ------------------------------------------------------------------------


async def test_the_message_of_a_cancelled_sender_is_withdrawn_if_it_only_waits(make: Make) -> None:
    layer = make()
    first = await blocked(layer)
    sends = [send(layer, "group", n) for n in range(5)]
    await turns()
    for n in (0, 3):
        sends[n].cancel()
    layer.backend.may_publish.set()
    await asyncio.wait([first, *sends])
    assert batches(layer)[1:] == [[("group", [1, 2, 4])]]
    assert [each.cancelled() for each in sends] == [True, False, False, True, False]


async def test_when_all_who_wait_are_cancelled_nothing_is_published(make: Make) -> None:
    layer = make()
    first = await blocked(layer)
    sends = [send(layer, "group", n) for n in range(5)]
    await turns()
    for each in sends:
        each.cancel()
    layer.backend.may_publish.set()
    await asyncio.wait([first, *sends])
    await layer.group_send("group", message(9))
    assert batches(layer)[1:] == [[("group", [9])]]


async def test_cancelling_the_sender_in_flight_holds_up_nobody(make: Make) -> None:
    layer = make()
    first = await blocked(layer)
    others = [send(layer, "group", n) for n in range(3)]
    await turns()
    first.cancel()
    await asyncio.wait([first])
    layer.backend.may_publish.set()
    await soon(asyncio.gather(*others))
    assert batches(layer)[1:] == [[("group", [0, 1, 2])]]


async def test_cancelling_a_sender_whose_batch_is_in_flight_harms_no_other(make: Make) -> None:
    layer = make(SteppedBackend)
    await layer.open()
    first = send(layer, "group", 0)
    await until(lambda: layer.backend.published)
    others = [send(layer, "group", n) for n in range(1, 4)]
    await turns()
    layer.backend.steps.release()
    await until(lambda: len(layer.backend.published) == 2)
    others[1].cancel()
    await turns()
    layer.backend.steps.release()
    await asyncio.wait([first, *others])
    assert [each.cancelled() for each in others] == [False, True, False]
    assert batches(layer)[1:] == [[("group", [1, 2, 3])]]


# --- what the broker refuses ------------------------------------------------------------------


async def test_a_refused_publication_is_an_error_for_its_own_senders_only(make: Make) -> None:
    layer = make(RefusingBackend)
    first = await blocked(layer)
    layer.backend.refused = {"fc:g.bad"}
    good = [send(layer, "good", n) for n in range(3)]
    bad = [send(layer, "bad", n) for n in range(3)]
    await turns()
    layer.backend.may_publish.set()
    await soon(asyncio.gather(first, *good))
    for each in bad:
        with pytest.raises(BackendUnavailable, match=r"fc:g\.bad is refused"):
            await each
    assert len({id(each.exception()) for each in bad}) == 3
    assert layer.stats()["failed"] == 3
    assert layer.stats()["sent"] == 4


async def test_the_refusal_of_a_lone_send_is_raised_as_its_reason(make: Make) -> None:
    layer = make(RefusingBackend)
    await layer.open()
    layer.backend.refused = {"fc:g.bad"}
    with pytest.raises(BackendUnavailable, match=r"fc:g\.bad is refused"):
        await layer.group_send("bad", message(0))
    await layer.group_send("good", message(0))


async def test_a_refused_fragment_is_an_error_for_the_sender_of_the_message(make: Make) -> None:
    class Backend(RefusingBackend):
        max_payload = 512

    layer = make(Backend)
    first = await blocked(layer)
    layer.backend.refused = {"fc:g.bad"}
    good = send(layer, "good", 1, data=b"x" * 2_000)
    bad = send(layer, "bad", 2, data=b"x" * 2_000)
    await turns()
    layer.backend.may_publish.set()
    await soon(asyncio.gather(first, good))
    with pytest.raises(BackendUnavailable, match=r"fc:g\.bad is refused"):
        await bad


class StrangeError(BackendUnavailable):
    """An error that cannot be made again from its args."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port} is down")
        self.port = port


@pytest.mark.parametrize("error", [StrangeError("host", 1), OSError("broken"), ValueError("odd")])
async def test_whatever_the_backend_raises_reaches_every_sender(
    make: Make, error: Exception
) -> None:
    layer = make()
    first = await blocked(layer)
    sends = [send(layer, "group", n) for n in range(3)]
    await turns()
    layer.backend.publish_error = error
    layer.backend.may_publish.set()
    results = await soon(asyncio.gather(first, *sends, return_exceptions=True))
    assert [(type(each), str(each)) for each in results] == [(type(error), str(error))] * 4
    layer.backend.publish_error = None
    await layer.group_send("group", message(9))
    assert layer.stats()["failed"] == 4

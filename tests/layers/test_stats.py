"""``layer.stats()``: every counter, over all sessions, the ended ones included."""

import asyncio
import sys

import pytest

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import HistoryPolicy, InMemoryChannelLayer
from fast_channels.layers.counters import BOUNDS, Durations
from fast_channels.layers.names import channel_node

from .backends import Layer, Make, RefusingBackend, SmallBackend, frame
from .waiting import message, receive, turns, until

COUNTERS = {
    "sent",
    "published",
    "received",
    "delivered",
    "overflowed",
    "expired",
    "backlogged",
    "undeliverable",
    "malformed",
    "refused",
    "repeated",
    "gaps",
    "reconnects",
    "batches",
    "failed",
}
LEVELS = {"sessions", "channels", "groups", "unread", "waiting"}


async def test_a_new_layer_has_counted_nothing() -> None:
    assert InMemoryChannelLayer().stats() == dict.fromkeys(COUNTERS | LEVELS, 0)


async def test_the_groups_of_all_event_loops_are_told_with_their_members(make: Make) -> None:
    layer = make()

    async def join(*groups: str) -> None:
        channel = await layer.new_channel()
        for group in groups:
            await layer.group_add(group, channel)

    async def elsewhere() -> dict[str, int]:
        await join("a", "c")
        return layer.local_groups()

    await join("a", "b")
    await join("a")
    assert await asyncio.to_thread(asyncio.run, elsewhere()) == {"a": 3, "b": 1, "c": 1}
    assert layer.local_groups() == {"a": 2, "b": 1}
    await layer.flush()
    assert layer.local_groups() == {}


async def test_what_a_layer_holds_is_told(make: Make) -> None:
    layer = make()
    channels = [await layer.new_channel() for _ in range(3)]
    for channel in channels:
        await layer.group_add("a", channel)
    await layer.group_add("b", channels[0])
    await layer.group_send("a", message(1))
    await until(lambda: layer.stats()["unread"] == 3)
    assert {name: layer.stats()[name] for name in LEVELS} == {
        "sessions": 1,
        "channels": 3,
        "groups": 2,
        "unread": 3,
        "waiting": 0,
    }
    await receive(layer, channels[0], 1)
    await layer.group_discard("b", channels[0])
    stats = layer.stats()
    assert (stats["unread"], stats["groups"]) == (2, 1)


async def test_messages_and_frames_are_counted_apart(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    layer.backend.may_publish.clear()
    sends = [asyncio.create_task(layer.group_send("group", message(n))) for n in range(11)]
    await turns()
    layer.backend.may_publish.set()
    await asyncio.gather(*sends)
    await until(lambda: layer.stats()["delivered"] == 11)
    stats = layer.stats()
    assert (stats["sent"], stats["published"], stats["received"]) == (11, 2, 2)


async def test_every_member_counts_as_a_delivery(make: Make) -> None:
    layer = make()
    for _ in range(300):
        await layer.group_add("group", await layer.new_channel())
    await layer.group_send("group", message(1))
    await until(lambda: layer.stats()["delivered"] == 300)
    assert layer.stats()["sent"] == 1


async def test_what_nodes_tell_each_other_is_in_frames_and_no_message(make: Make) -> None:
    asked = make(RefusingBackend)
    asking = make(RefusingBackend, broker=asked.broker)
    channel = await asked.new_channel()
    await asking.group_add("group", channel, presence={"user": "ann"})
    await asking.group_discard("group", channel)
    assert asking.stats()["published"] >= 2
    asking.backend.refused = {f"fc:n.{channel_node(channel)}"}
    with pytest.raises(BackendUnavailable):
        await asking.group_add("group", channel)
    for layer in (asking, asked):
        assert (layer.stats()["sent"], layer.stats()["failed"]) == (0, 0)


async def test_fragments_are_frames_of_one_message(make: Make) -> None:
    layer = make(SmallBackend)
    await layer.group_send("group", message(1, data=bytes(2_000)))
    assert (layer.stats()["sent"], layer.stats()["published"]) == (1, 6)


async def test_a_partly_refused_batch_counts_what_was_sent_and_what_failed(make: Make) -> None:
    layer = make(RefusingBackend)
    await layer.open()
    layer.backend.refused = {"fc:g.bad"}
    layer.backend.may_publish.clear()
    groups = ["good", "good", "bad", "good"]
    sends = [
        asyncio.create_task(layer.group_send(name, message(n))) for n, name in enumerate(groups)
    ]
    await turns()
    layer.backend.may_publish.set()
    await asyncio.gather(*sends, return_exceptions=True)
    assert (layer.stats()["sent"], layer.stats()["failed"]) == (3, 1)


def test_counters_outlive_sessions_and_what_was_held_does_not() -> None:
    layer = Layer()

    async def use() -> None:
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        await layer.group_send("group", message(1))
        await until(lambda: layer.stats()["unread"] == 1)

    for _ in range(3):
        asyncio.run(use())
    stats = layer.stats()
    assert (stats["sent"], stats["delivered"]) == (3, 3)
    assert all(stats[name] == 0 for name in LEVELS)


async def test_stats_are_a_copy(make: Make) -> None:
    layer = make()
    layer.stats()["sent"] = 5
    assert layer.stats()["sent"] == 0


async def test_looking_opens_nothing(make: Make) -> None:
    layer = make()
    layer.stats()
    assert layer.backends == []


async def test_a_repeat_is_counted(make: Make) -> None:
    layer = make()
    await layer.group_add("group", await layer.new_channel())
    for _ in range(3):
        layer.backend.inbox.deliver("fc:g.group", frame(message(1), seq=5))
    await turns()
    stats = layer.stats()
    assert (stats["received"], stats["repeated"], stats["delivered"]) == (3, 2, 1)


async def test_each_batch_is_timed_once_however_many_messages_it_has(make: Make) -> None:
    layer = make()
    await layer.open()
    layer.backend.may_publish.clear()
    sends = [asyncio.create_task(layer.group_send("group", message(n))) for n in range(11)]
    await until(lambda: layer.stats()["waiting"] == 10)
    await asyncio.sleep(0.06)  # what the broker takes for the first
    layer.backend.may_publish.set()
    await asyncio.gather(*sends)
    publishing = layer.publishing
    assert (layer.stats()["batches"], publishing.count) == (2, 2)
    assert publishing.seconds >= 0.06
    assert sum(publishing.counts[BOUNDS.index(0.1) :]) == 1
    assert layer.stats()["waiting"] == 0


async def test_what_durable_groups_send_waits_and_is_timed_as_all_else() -> None:
    layer = InMemoryChannelLayer(history={"kept": HistoryPolicy()})
    await layer.open()
    sends = [asyncio.create_task(layer.group_send("kept", message(n))) for n in range(11)]
    waited = 0
    while not all(send.done() for send in sends):
        waited = max(waited, layer.stats()["waiting"])
        await asyncio.sleep(0)
    stats = layer.stats()
    assert (waited, stats["waiting"], stats["batches"], stats["sent"]) == (10, 0, 2, 11)
    await layer.close()


async def test_a_batch_that_fails_is_timed_too(make: Make) -> None:
    layer = make()
    await layer.open()
    layer.backend.publish_error = BackendUnavailable("gone")
    with pytest.raises(BackendUnavailable):
        await layer.group_send("group", message(1))
    assert layer.stats()["batches"] == 1


def test_durations_outlive_sessions_and_a_duration_of_a_bound_is_within_it() -> None:
    layer = Layer()
    for _ in range(2):
        asyncio.run(layer.group_send("group", message(1)))
    assert layer.publishing.count == 2
    durations = Durations()
    for seconds in (0.0005, 0.00051, 5.0, 5.1):
        durations.note(seconds)
    assert durations.counts == [1, 1, *[0] * (len(BOUNDS) - 3), 1, 1]


async def test_a_backend_that_comes_back_is_a_reconnect_and_a_jump_in_the_numbers_is_none(
    make: Make,
) -> None:
    layer = make()
    await layer.group_add("group", await layer.new_channel())
    layer.backend.inbox.deliver("fc:g.group", frame(message(1), seq=5))
    layer.backend.inbox.deliver("fc:g.group", frame(message(2), seq=9, prev=8))
    stats = layer.stats()
    assert (stats["gaps"], stats["reconnects"]) == (1, 0)
    layer.backend.inbox.gap(BackendUnavailable("the connection broke"))
    stats = layer.stats()
    assert (stats["gaps"], stats["reconnects"]) == (2, 1)


async def test_another_thread_may_look_while_channels_and_groups_come_and_go(make: Make) -> None:
    layer = make()
    for _ in range(500):  # so that a look takes a while
        await layer.new_channel()
    done = False

    def look() -> int:
        looks = 0
        while not done:
            layer.stats()
            looks += 1
        return looks

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    looking = asyncio.create_task(asyncio.to_thread(look))
    try:
        for number in range(300):
            async with layer.channel() as channel:
                await channel.join(f"group-{number}")
                await asyncio.sleep(0)
    finally:
        done = True
        sys.setswitchinterval(interval)
    assert await looking > 0

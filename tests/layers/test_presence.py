"""Who is in a group, on nodes that come, go and lose messages; time passes at once."""

import asyncio
import re
from typing import Any

import pytest

from fast_channels.exceptions import BackendUnavailable, LayerClosed, MessageTooLarge
from fast_channels.layers import InMemoryChannelLayer, Publication
from fast_channels.layers.codec import (
    PRESENCE,
    Entry,
    decode_frame,
    encode_entries,
    encode_frame,
)
from fast_channels.layers.messages import encode_message

from .backends import Layer
from .clock import virtual_time
from .presence_nodes import CutOffBackend, leave, member, nodes, told, users
from .waiting import read_to_fence

ROOM = "fc:p.room"
BEATS = "fc:b.presence"
HELD = 2.1
"""Seconds after which a leave has been told."""


# --- who is there -----------------------------------------------------------------------------


@virtual_time
async def test_who_is_present_is_known_on_every_node() -> None:
    async with nodes(3) as (here, there, elsewhere):
        ann = await member(here, "room", "ann")
        bob = await member(there, "room", "bob")
        await member(there, "other", "eve")
        present = {ann: {"user": "ann"}, bob: {"user": "bob"}}
        for node in (here, there, elsewhere):
            assert await node.presence("room") == present
            assert await node.group_channels("room") == sorted(present)
            assert await node.group_count("room") == 2


@virtual_time
async def test_what_presence_returns_is_the_callers_own() -> None:
    async with nodes(2) as (here, there):
        channel = await here.new_channel()
        given = {"tags": ["a"], "nested": {"deep": [1, None, 2.5, b"\x00"]}}
        await here.group_add("room", channel, presence=given)
        for node in (here, there):
            got = await node.presence("room")
            assert got == {channel: given}
            got[channel]["tags"].append("b")
            got.clear()
            assert await node.presence("room") == {channel: given}


@virtual_time
async def test_two_members_of_one_user_are_two() -> None:
    async with nodes(2) as (here, there):
        first = await member(here, "room", "ann")
        await member(here, "room", "ann")
        await member(there, "room", "ann")
        assert await users(here) == ["ann"] * 3
        await leave(here, "room", first)
        await asyncio.sleep(HELD)
        assert await users(there) == ["ann"] * 2


@virtual_time
async def test_a_member_that_joined_without_presence_is_not_present() -> None:
    async with nodes(2) as (here, there):
        await member(here, "room")
        await member(here, "room", watch=True)
        await member(here, "room", "ann")
        for node in (here, there):
            assert await users(node) == ["ann"]
            assert await node.group_count("room") == 1


@virtual_time
async def test_an_empty_presence_is_one() -> None:
    async with nodes(2) as (here, there):
        channel = await here.new_channel()
        await here.group_add("room", channel, presence={})
        assert await there.presence("room") == {channel: {}}


@virtual_time
async def test_joining_again_without_presence_changes_nothing() -> None:
    async with nodes(1) as (here,):
        channel = await member(here, "room", "ann", watch=True)
        await here.group_add("room", channel)
        assert await users(here) == ["ann"]
        assert told(await read_to_fence(here, channel)) == ["+ann"]


@virtual_time
async def test_a_channel_of_another_process_joins_with_a_presence_and_watches() -> None:
    async with nodes(2) as (here, there):
        channel = await there.new_channel()
        await here.group_add("room", channel, presence={"user": "ann"}, watch=True)
        await member(here, "room", "bob")
        assert await users(here) == ["ann", "bob"]
        assert told(await read_to_fence(there, channel, sender=here)) == ["+ann", "+bob"]
        await leave(here, "room", channel)
        await asyncio.sleep(HELD)
        assert await users(there) == ["bob"]


@virtual_time
async def test_the_first_question_waits_a_second_and_the_next_ones_do_not() -> None:
    loop = asyncio.get_running_loop()
    async with nodes(2) as (here, there):
        for seconds in (1.0, 0.0):
            began = loop.time()
            assert await here.presence("room") == {}
            assert loop.time() - began == pytest.approx(seconds, abs=0.01)
        await member(there, "room", "ann")
        began = loop.time()
        assert await users(there) == ["ann"]  # it was answered when it came
        assert loop.time() - began < 0.01


@virtual_time
async def test_a_node_that_does_not_answer_is_waited_for_one_second() -> None:
    loop = asyncio.get_running_loop()
    async with nodes(3) as (here, there, elsewhere):
        await member(here, "room", "ann")
        await member(there, "room", "bob")
        assert await users(elsewhere) == ["ann", "bob"]
        there.backend.cut = True
        began = loop.time()
        assert await users(elsewhere) == ["ann"]
        assert loop.time() - began == pytest.approx(1.0, abs=0.01)


# --- what watchers are told -------------------------------------------------------------------


@virtual_time
async def test_watchers_on_every_node_are_told_once_of_who_comes_and_goes() -> None:
    async with nodes(3) as (here, there, elsewhere):
        watchers = [(node, await member(node, "room", watch=True)) for node in (here, there)]
        await asyncio.sleep(1)
        ann = await member(elsewhere, "room", "ann")
        bob = await member(here, "room", "bob")
        await leave(elsewhere, "room", ann)
        await asyncio.sleep(HELD)
        for node, watcher in watchers:
            first, second, last = await read_to_fence(node, watcher, sender=elsewhere)
            assert first == {
                "type": "presence.join",
                "group": "room",
                "members": {ann: {"user": "ann"}},
                "replaces": {},
            }
            assert second["members"] == {bob: {"user": "bob"}}
            assert last == {
                "type": "presence.leave",
                "group": "room",
                "members": {ann: {"user": "ann"}},
            }


@virtual_time
async def test_who_does_not_watch_is_not_told() -> None:
    async with nodes(2) as (here, there):
        quiet = await member(here, "room", "ann")
        left = await member(here, "room", watch=True)
        await leave(here, "room", left)
        await member(there, "room", "bob")
        await asyncio.sleep(HELD)
        for channel in (quiet, left):
            assert await read_to_fence(here, channel, sender=there) == []


@virtual_time
async def test_who_was_there_before_the_watcher_is_no_news() -> None:
    async with nodes(2) as (here, there):
        await member(there, "room", "ann")
        watcher = await member(here, "room", watch=True)
        assert await users(here) == ["ann"]
        assert await read_to_fence(here, watcher, sender=there) == []


@virtual_time
async def test_another_presence_replaces_the_former_one_in_one_message() -> None:
    async with nodes(2) as (here, there):
        watcher = await member(there, "room", watch=True)
        ann = await member(here, "room", "ann")
        await here.group_add("room", ann, presence={"user": "ann", "away": True})
        await asyncio.sleep(HELD)
        _, update = await read_to_fence(there, watcher, sender=here)
        assert update["type"] == "presence.join"
        assert update["members"] == {ann: {"user": "ann", "away": True}}
        assert update["replaces"] == {ann: ann}
        assert await there.presence("room") == update["members"]


@virtual_time
@pytest.mark.parametrize("other", [False, True], ids=["the same node", "another node"])
async def test_a_rejoin_within_the_hold_makes_no_leave(other: bool) -> None:
    async with nodes(3) as (here, there, watching):
        watcher = await member(watching, "room", watch=True)
        await asyncio.sleep(1)
        first = await member(here, "room", "ann")
        await leave(here, "room", first)
        await asyncio.sleep(1)
        assert await users(watching) == ["ann"]  # it is held
        assert await watching.group_channels("room") == []
        second = await member(there if other else here, "room", "ann")
        await asyncio.sleep(HELD)
        messages = await read_to_fence(watching, watcher, sender=there)
        assert told(messages) == ["+ann", "=ann"]
        assert messages[1]["replaces"] == {second: first}
        assert await watching.group_channels("room") == [second]


@virtual_time
async def test_a_rejoin_of_the_same_channel_within_the_hold_is_not_told() -> None:
    async with nodes(2) as (here, there):
        watcher = await member(there, "room", watch=True)
        ann = await member(here, "room", "ann")
        await leave(here, "room", ann)
        await here.group_add("room", ann, presence={"user": "ann"})
        await asyncio.sleep(HELD)
        assert told(await read_to_fence(there, watcher, sender=here)) == ["+ann"]


@virtual_time
async def test_a_rejoin_of_one_of_two_keeps_one_leave() -> None:
    async with nodes(2) as (here, there):
        watcher = await member(there, "room", watch=True)
        for channel in [await member(here, "room", "ann") for _ in range(2)]:
            await leave(here, "room", channel)
        await member(here, "room", "ann")
        await asyncio.sleep(HELD)
        said = told(await read_to_fence(there, watcher, sender=here))
        assert said == ["+ann", "+ann", "=ann", "-ann"]


@virtual_time
async def test_the_order_of_keys_makes_no_other_presence() -> None:
    async with nodes(2) as (here, there):
        watcher = await member(there, "room", watch=True)
        first, second = await here.new_channel(), await here.new_channel()
        await here.group_add("room", first, presence={"user": "ann", "id": 1})
        await asyncio.sleep(0.01)
        await leave(here, "room", first)
        await here.group_add("room", second, presence={"id": 1, "user": "ann"})
        await asyncio.sleep(HELD)
        assert told(await read_to_fence(there, watcher, sender=here)) == ["+ann", "=ann"]


@virtual_time
async def test_a_channel_that_ends_leaves_and_so_does_one_that_is_flushed() -> None:
    async with nodes(2) as (here, there):
        watcher = await member(there, "room", watch=True)
        async with here.channel() as channel:
            await here.group_add("room", channel.name, presence={"user": "ann"})
            await member(here, "room", "bob")
            assert await users(there) == ["ann", "bob"]
        await asyncio.sleep(HELD)
        await here.flush()
        await asyncio.sleep(HELD)
        said = told(await read_to_fence(there, watcher, sender=here))
        assert said == ["+ann", "+bob", "-ann", "-bob"]
        assert await there.presence("room") == {}


# --- nodes that end ---------------------------------------------------------------------------


@virtual_time
async def test_a_node_that_is_killed_disappears_within_its_lease() -> None:
    loop = asyncio.get_running_loop()
    async with nodes(3) as (here, there, elsewhere):
        watcher = await member(there, "room", watch=True)
        await member(here, "room", "ann")
        await asyncio.sleep(60)
        assert await users(there) == ["ann"]
        here.backend.cut = True
        killed = loop.time()
        [leave] = (await read_to_fence(there, watcher, sender=elsewhere))[1:] or [
            await there.receive(watcher)
        ]
        assert leave["type"] == "presence.leave"
        assert 15 - 6 <= loop.time() - killed <= 15.01
        assert await there.presence("room") == {}
        assert await elsewhere.presence("room") == {}


@virtual_time
async def test_a_node_that_is_closed_leaves_within_the_hold() -> None:
    loop = asyncio.get_running_loop()
    async with nodes(2) as (here, there):
        watcher = await member(there, "room", watch=True)
        await member(here, "room", "ann")
        assert (await there.receive(watcher))["type"] == "presence.join"
        closed = loop.time()
        await here.close()
        assert (await there.receive(watcher))["type"] == "presence.leave"
        assert loop.time() - closed <= HELD


@virtual_time
async def test_members_that_come_to_another_node_when_theirs_is_closed_do_not_leave() -> None:
    async with nodes(3) as (here, there, watching):
        watcher = await member(watching, "room", watch=True)
        for number in range(20):
            await member(here, "room", f"user {number}")
        await here.close()
        for number in range(20):
            await member(there, "room", f"user {number}")
        await asyncio.sleep(HELD)
        said = told(await read_to_fence(watching, watcher, sender=there))
        assert sorted(said) == sorted(f"{mark}user {n}" for n in range(20) for mark in "+=")


@virtual_time
async def test_a_node_that_was_dropped_and_beats_again_is_there_once() -> None:
    async with nodes(2) as (here, there):
        watcher = await member(there, "room", "bob", watch=True)
        here_watcher = await member(here, "room", "ann", watch=True)
        await asyncio.sleep(1)
        here.backend.cut = True
        await asyncio.sleep(60)
        assert await users(there) == ["bob"]
        assert await users(here) == ["ann", "bob"]  # it hears nobody, and judges nobody
        here.backend.heal()
        await asyncio.sleep(10)
        for node in (here, there):
            assert await users(node) == ["ann", "bob"]
        assert told(await read_to_fence(there, watcher, sender=here)) == [
            *("+bob", "+ann"),
            *("-ann", "+ann"),
        ]
        said = told(await read_to_fence(here, here_watcher, sender=there))
        assert [each for each in said if each != "+ann"] == []


@virtual_time
async def test_changes_on_both_sides_of_a_partition_are_learnt_when_it_heals() -> None:
    async with nodes(2) as (here, there):
        ann = await member(here, "room", "ann")
        bob = await member(there, "room", "bob")
        assert await users(here) == ["ann", "bob"]
        here.backend.cut = True
        await leave(here, "room", ann)
        await member(here, "room", "cy")
        await leave(there, "room", bob)
        await member(there, "room", "dan")
        await asyncio.sleep(30)
        here.backend.heal()
        await asyncio.sleep(15)
        for node in (here, there):
            assert await users(node) == ["cy", "dan"]


@virtual_time
async def test_an_outage_of_the_broker_makes_nobody_leave() -> None:
    async with nodes(3) as layers:
        watchers = [(each, await member(each, "room", "ann", watch=True)) for each in layers]
        await asyncio.sleep(10)
        for layer in layers:
            layer.backend.cut = True
        await asyncio.sleep(120)
        for layer in layers:
            assert await users(layer) == ["ann"] * 3
            layer.backend.heal()
        await asyncio.sleep(60)
        for layer, watcher in watchers:
            said = told(await read_to_fence(layer, watcher))
            assert set(said) == {"+ann"}
            assert len(said) <= 3
        layers[0].backend.cut = True
        await asyncio.sleep(15.1)  # and afterwards leases count again
        assert await users(layers[1]) == ["ann"] * 2


@virtual_time
async def test_a_process_that_was_frozen_does_not_blame_the_others() -> None:
    loop: Any = asyncio.get_running_loop()
    async with nodes(2) as (here, there):
        watcher = await member(there, "room", watch=True)
        await member(here, "room", "ann")
        await asyncio.sleep(10)
        loop._impatient.now += 60  # every timer of the two is late now
        await asyncio.sleep(20)
        assert told(await read_to_fence(there, watcher)) == ["+ann"]


# --- what is lost -----------------------------------------------------------------------------


@virtual_time
async def test_a_change_that_the_broker_lost_is_asked_for_at_the_next_one() -> None:
    async with nodes(2) as (here, there):
        watcher = await member(there, "room", "bob", watch=True)
        await member(here, "room", "ann")
        assert await users(there) == ["ann", "bob"]
        here.backend.loses = lambda publication: publication.topic == ROOM
        await member(here, "room", "cy")
        await asyncio.sleep(0.1)
        here.backend.loses = None
        await member(here, "room", "dan")
        await asyncio.sleep(0.1)
        assert await users(there) == ["ann", "bob", "cy", "dan"]
        said = told(await read_to_fence(there, watcher, sender=here))
        assert sorted(said) == ["+ann", "+bob", "+cy", "+dan"]


@virtual_time
async def test_a_last_change_that_the_broker_lost_is_asked_for_soon() -> None:
    async with nodes(2) as (here, there):
        await member(there, "room", "bob")
        ann = await member(here, "room", "ann")
        assert await users(there) == ["ann", "bob"]
        here.backend.loses = lambda publication: publication.topic == ROOM
        await leave(here, "room", ann)
        await asyncio.sleep(0.1)
        here.backend.loses = None
        await asyncio.sleep(6 + HELD)  # an empty frame tells a lost tail after 5 s
        assert await users(there) == ["bob"]


@virtual_time
async def test_a_change_that_the_broker_did_not_take_is_sent_again() -> None:
    async with nodes(2) as (here, there):
        await member(there, "room", "bob")
        await member(here, "room", "ann")
        here.backend.publish_error = BackendUnavailable("not now")
        await member(here, "room", "cy")
        await asyncio.sleep(1)
        assert await users(there) == ["ann", "bob"]
        here.backend.publish_error = None
        await asyncio.sleep(7)
        assert await users(there) == ["ann", "bob", "cy"]


@virtual_time
async def test_a_lost_answer_is_asked_for_again() -> None:
    async with nodes(2) as (here, there):
        await member(there, "room", "bob")
        there.backend.loses = lambda publication: ":n." in publication.topic
        await member(here, "room", "ann")
        await asyncio.sleep(2)
        assert await users(here) == ["ann"]
        there.backend.loses = None
        await asyncio.sleep(7)
        assert await users(here) == ["ann", "bob"]


# --- size and cost ----------------------------------------------------------------------------


class SmallBackend(CutOffBackend):
    max_payload = 2_000


@virtual_time
async def test_ten_thousand_members_are_learnt_in_pages_over_a_broker_of_small_payloads() -> None:
    async with nodes(3, SmallBackend) as (here, there, elsewhere):
        for number in range(10_000):
            channel = await here.new_channel()
            await here.group_add("room", channel, presence={"number": number, "bio": "x" * 20})
        asking = asyncio.create_task(there.presence("room"))
        channel = await there.new_channel()
        await there.group_add("room", channel, presence={"number": -1})
        for present in (await there.presence("room"), await elsewhere.presence("room")):
            assert {each["number"] for each in present.values()} == set(range(-1, 10_000))
        assert len(await asking) >= 10_000
        sizes = [len(payload) for _, payload in here.backend.publications]
        assert max(sizes) <= SmallBackend.max_payload


@virtual_time
async def test_many_that_join_at_once_are_few_messages() -> None:
    async with nodes(2) as (here, there):
        watcher = await member(there, "room", watch=True)
        await asyncio.sleep(1)
        for number in range(1_000):
            await here.group_add("room", await here.new_channel(), presence={"user": f"{number}"})
        await asyncio.sleep(1)
        messages = await read_to_fence(there, watcher, sender=here)
        assert len(told(messages)) == 1_000
        assert len(messages) < 10
        assert len(here.backend.on(ROOM)) < 10


@virtual_time
async def test_a_beat_is_one_message_however_many_are_present() -> None:
    async with nodes(2) as layers:
        for layer in layers:
            for number in range(300):
                await member(layer, f"room-{number % 30}", f"{number}")
        await asyncio.sleep(30)
        before = [len(layer.backend.publications) for layer in layers]
        await asyncio.sleep(600)
        for layer, count in zip(layers, before, strict=True):
            published = layer.backend.publications[count:]
            assert {publication.topic for publication in published} == {BEATS}
            beats = [payload for _, payload in published if b"presence.beat" in payload]
            assert 600 / 6 - 2 <= len(beats) <= 600 / 4 + 2  # the others are empty: lost tails
            assert max(len(payload) for _, payload in published) < 200


@virtual_time
async def test_a_layer_that_never_uses_presence_runs_nothing_for_it() -> None:
    async with nodes(2) as (here, there):
        await member(here, "room", "ann")
        await asyncio.sleep(2)
        before = asyncio.all_tasks()
        await member(there, "room")
        await there.group_send("room", {"type": "hello"})
        await asyncio.sleep(60)
        assert asyncio.all_tasks() == before
        assert all(":b." not in topic for topic in there.backend.topics)
        assert all(":p." not in topic for topic in there.backend.topics)
        assert {each.topic for each in there.backend.publications} == {"fc:g.room"}


@virtual_time
async def test_a_node_listens_to_no_group_without_its_own_members_and_watchers() -> None:
    async with nodes(2) as (here, there):
        ann = await member(here, "room", "ann")
        await there.presence("room")
        assert ROOM in here.backend.topics
        assert ROOM not in there.backend.topics
        await leave(here, "room", ann)
        await asyncio.sleep(HELD)
        assert ROOM not in here.backend.topics


# --- what others may make of it ---------------------------------------------------------------


@virtual_time
async def test_plain_json_cannot_forge_presence() -> None:
    async with nodes(2) as (here, there):
        ann = await member(here, "room", "ann")
        watcher = await member(here, "room", watch=True)
        forged = b'{"type": "presence.change", "version": 9, "prev": 0, "joins": {}, "leaves": []}'
        for topic in (ROOM, BEATS, f"fc:n.{ann.split('.')[1].split('!')[0]}"):
            await there.backend.publish([Publication(topic, forged)])
        await asyncio.sleep(0.1)
        assert here.stats()["malformed"] == 3
        assert await users(here) == ["ann"]
        assert await read_to_fence(here, watcher) == []


@virtual_time
async def test_keys_seal_presence() -> None:
    pytest.importorskip("cryptography")
    async with nodes(2, encryption_keys=["a key of sixteen characters"]) as (here, there):
        stranger = Layer(CutOffBackend, broker=here.broker)
        await member(here, "room", "secret-ann")
        assert await users(there) == ["secret-ann"]
        assert await stranger.presence("room") == {}
        await member(stranger, "room", "mallory")
        await asyncio.sleep(7)
        assert await users(here) == ["secret-ann"]
        assert here.stats()["refused"] > 0
        assert all(b"secret-ann" not in payload for _, payload in here.backend.publications)
        await stranger.close()


def forge(backend: CutOffBackend, node: str, message: dict[str, Any]) -> Any:
    """Publish a presence message to the room in that node's name."""
    body = encode_entries([Entry(encode_message(message, 2**20), PRESENCE)])
    return backend.publish([Publication(ROOM, encode_frame(node, 0, 0, body))])


OWN = f"specific.{'0' * 16}!1"
CHANGE = {"type": "presence.change", "version": 1, "prev": 0, "joins": {}, "leaves": []}

STATE = {"type": "presence.state", "number": 1, "page": 0, "pages": 1, "clock": 1, "states": []}


@virtual_time
@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("no node", CHANGE),
        ("0" * 16, {"type": "presence.nonsense"}),
        ("0" * 16, {"type": "presence.change"}),
        ("0" * 16, CHANGE | {"version": -1}),
        ("0" * 16, CHANGE | {"joins": {f"specific.{'1' * 16}!1": b"\x80"}}),
        ("0" * 16, CHANGE | {"joins": {"no channel": b"\x80"}}),
        ("0" * 16, CHANGE | {"joins": {OWN: b"\xc1"}}),
        ("0" * 16, CHANGE | {"joins": {OWN: b"\x90"}}),
        ("0" * 16, CHANGE | {"joins": {OWN: b"\x81\xa1a\xda\x20\x00" + b"x" * 8192}}),
        ("0" * 16, STATE | {"pages": 0}),
        ("0" * 16, STATE | {"states": [["room", 1]]}),
        ("0" * 16, {"type": "presence.ask", "number": 1, "groups": "room"}),
    ],
)
async def test_what_no_node_says_is_counted_and_skipped(node: str, message: dict[str, Any]) -> None:
    async with nodes(1) as (here,):
        await member(here, "room", "ann")
        await forge(here.backend, node, message)
        await asyncio.sleep(0.1)
        assert here.stats()["malformed"] == 1
        assert await users(here) == ["ann"]


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("presence", "error", "text"),
    [
        ("ann", TypeError, "presence must be a dict, got str: 'ann'"),
        ({"at": object()}, TypeError, "presence['at'] is a object, which cannot be sent"),
        ({"a": {"b": [{1, 2}]}}, TypeError, "presence['a']['b'][0] is a set"),
        ({(1, 2): 1}, TypeError, "presence has the key (1, 2) of type tuple; use str"),
        (
            {"user": "ann", "avatar": b"x" * 5_000},
            MessageTooLarge,
            "more than 4096; the largest part is presence['avatar'] with 5003",
        ),
    ],
)
async def test_a_presence_that_cannot_be_sent_is_refused_before_any_io(
    presence: Any, error: type[Exception], text: str
) -> None:
    layer = Layer(CutOffBackend)
    with pytest.raises(error, match=re.escape(text)):
        await layer.group_add("room", "specific.0123456789abcdef!1", presence=presence)
    assert layer.backends == []


async def test_bad_names_and_worker_queues_are_refused_before_any_io() -> None:
    layer = Layer(CutOffBackend)
    with pytest.raises(ValueError, match=r"channel 'jobs' is a worker queue, which cannot be"):
        await layer.group_add("room", "jobs", presence={})
    with pytest.raises(ValueError, match=r"channel 'jobs' is a worker queue"):
        await layer.group_add("room", "jobs", watch=True)
    for call in (layer.presence, layer.group_channels, layer.group_count):
        with pytest.raises(TypeError, match="group name 'no group' has the illegal character"):
            await call("no group")
    assert layer.backends == []


@pytest.mark.parametrize("lease", [0, -1, "15", float("nan"), True])
def test_a_lease_that_cannot_be_meant_is_refused(lease: Any) -> None:
    with pytest.raises(ValueError, match="presence_lease must be seconds above 0"):
        InMemoryChannelLayer(presence_lease=lease)


# --- the broker, and the end ------------------------------------------------------------------


@virtual_time
async def test_without_the_broker_a_question_and_a_first_join_fail() -> None:
    async with nodes(2) as (here, there):
        await there.presence("room")
        there.backend.cut = True
        with pytest.raises(BackendUnavailable):
            await there.presence("room")
        here.backend.subscribe_error = BackendUnavailable("no subscription")
        channel = await here.new_channel()
        with pytest.raises(BackendUnavailable):
            await here.group_add("room", channel, presence={"user": "ann"})
        here.backend.subscribe_error = None
        await here.group_add("room", channel, presence={"user": "ann"})
        assert await users(here) == ["ann"]


@virtual_time
async def test_who_waits_for_an_answer_when_the_layer_is_closed_is_told() -> None:
    async with nodes(1) as (here,):
        asking = asyncio.create_task(here.presence("room"))
        await asyncio.sleep(0.1)
        await here.close()
        with pytest.raises(LayerClosed):
            await asking


@virtual_time
async def test_a_question_may_be_cancelled() -> None:
    async with nodes(2) as (here, there):
        await member(there, "room", "ann")
        asking = asyncio.create_task(here.presence("room"))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await users(here) == ["ann"]


@virtual_time
async def test_a_layer_that_was_closed_and_opened_again_is_another_node() -> None:
    async with nodes(2) as (here, there):
        await member(here, "room", "ann")
        await here.close()
        await here.open()
        await member(here, "room", "bob")
        await asyncio.sleep(HELD)
        assert await users(there) == ["bob"]


def test_code_without_an_event_loop_asks_with_sync() -> None:
    layer = InMemoryChannelLayer(presence_lease=0.2)
    try:
        channel = layer.sync.new_channel()
        layer.sync.group_add("room", channel, presence={"user": "ann"}, watch=True)
        assert layer.sync.presence("room") == {channel: {"user": "ann"}}
        assert layer.sync.group_channels("room") == [channel]
        assert layer.sync.group_count("room") == 1
        assert layer.sync.receive(channel, timeout=5)["type"] == "presence.join"
    finally:
        layer.sync.close()


def test_frames_of_presence_are_ordinary_ones() -> None:
    @virtual_time
    async def run() -> None:
        async with nodes(1) as (here,):
            await member(here, "room", "ann")
            await asyncio.sleep(1)
            for payload in (p.payload for p in here.backend.publications):
                flags, frame = decode_frame(payload)
                assert (flags, frame.seq > 0) == (0, True)

    run()

"""Who is in a group, on every node, and what watchers are told; time passes at once."""

import asyncio

import pytest

from fast_channels.layers import InMemoryChannelLayer

from .clock import virtual_time
from .presence_nodes import HELD, leave, member, nodes, told, users
from .waiting import read_to_fence

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

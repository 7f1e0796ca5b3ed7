"""Who is present while nodes end, connections are cut and changes are lost; time passes at once."""

import asyncio
from typing import Any

import pytest

from fast_channels.exceptions import BackendUnavailable, LayerClosed

from .clock import virtual_time
from .presence_nodes import HELD, ROOM, leave, member, nodes, told, users
from .waiting import read_to_fence

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

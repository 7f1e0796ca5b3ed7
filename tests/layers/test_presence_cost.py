"""What presence costs: pages of a bounded size, few messages, nothing where it is not used."""

import asyncio

from fast_channels.layers.codec import decode_frame

from .clock import virtual_time
from .presence_nodes import BEATS, HELD, ROOM, CutOffBackend, leave, member, nodes, told
from .waiting import read_to_fence


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

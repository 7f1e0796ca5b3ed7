"""Membership, exclusion, order, and channels of other nodes."""

import asyncio
from typing import Any

import pytest

from fast_channels.exceptions import BackendUnavailable, ChannelNotFound, TooManyGroups
from fast_channels.layers import HistoryPolicy, InMemoryChannelLayer
from fast_channels.layers.in_memory import memory_layer

from .backends import LosingBackend, Make, frame, layers, node_of, packed
from .clock import virtual_time
from .waiting import message, numbers, read_to_fence, receive, soon, turns, until


async def test_every_member_gets_a_group_message_once(make: Make) -> None:
    layer = make()
    other = make(broker=layer.broker)
    members = [(each, await each.new_channel()) for each in (layer, layer, other, other)]
    for each, channel in members:
        await each.group_add("group", channel)
    await layer.group_send("group", message(1))
    for each, channel in members:
        assert await read_to_fence(each, channel, sender=layer) == [message(1)]


async def test_joining_twice_is_one_membership(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.group_add("group", channel)
    await layer.group_send("group", message(1))
    assert await read_to_fence(layer, channel) == [message(1)]
    await layer.group_discard("group", channel)
    await layer.group_send("group", message(2))
    assert await read_to_fence(layer, channel) == []


async def test_in_memory_the_first_member_joins_with_no_turn_of_the_loop() -> None:
    layer = InMemoryChannelLayer()
    channel = await layer.new_channel()
    with pytest.raises(StopIteration):
        layer.group_add("group", channel).send(None)
    await layer.group_send("group", message(1))
    assert await soon(layer.receive(channel)) == message(1)
    await layer.close()


async def test_who_joined_stays_when_an_earlier_call_for_the_same_is_cancelled(make: Make) -> None:
    for count in range(6):  # at one of them the group is live, and the first call does not know it
        layer = make()
        channel = await layer.new_channel()
        layer.backend.may_subscribe.clear()
        first = asyncio.create_task(layer.group_add("group", channel))
        await until(lambda layer=layer: len(layer.backend.subscribed) == 2)
        layer.backend.may_subscribe.set()
        await turns(count)
        await layer.group_add("group", channel)
        first.cancel()
        await asyncio.wait([first])
        await layer.group_send("group", message(1))
        assert await read_to_fence(layer, channel) == [message(1)]


async def test_who_has_left_gets_nothing(make: Make) -> None:
    layer = make()
    stays, leaves = await layer.new_channel(), await layer.new_channel()
    for channel in (stays, leaves):
        await layer.group_add("group", channel)
    await layer.group_discard("group", leaves)
    await layer.group_send("group", message(1))
    assert await receive(layer, stays, 1) == [message(1)]
    assert await read_to_fence(layer, leaves) == []


@virtual_time
async def test_leaving_a_group_that_one_is_not_in_is_no_error() -> None:
    async with layers() as make:
        layer = make()
        await layer.group_discard("group", await layer.new_channel())
        await layer.group_discard("group", "specific.0123456789abcdef!1")
        await layer.group_discard("group", "queue")


async def test_a_group_without_members_may_be_sent_to(make: Make) -> None:
    await make().group_send("nobody", message(1))


async def test_groups_with_similar_names_are_apart(make: Make) -> None:
    layer = make()
    names = ["a", "A", "a.", "a.b", "a_b", "a-b", "n.a", "a" * 99]
    channels = {name: await layer.new_channel() for name in names}
    for name, channel in channels.items():
        await layer.group_add(name, channel)
    for n, name in enumerate(names):
        await layer.group_send(name, message(n))
    for n, channel in enumerate(channels.values()):
        assert numbers(await read_to_fence(layer, channel)) == [n]


async def test_the_excluded_channel_gets_nothing(make: Make) -> None:
    layer = make()
    other = make(broker=layer.broker)
    here, there = await layer.new_channel(), await other.new_channel()
    await layer.group_add("group", here)
    await other.group_add("group", there)
    await layer.group_send("group", message(1), exclude=here)
    await layer.group_send("group", message(2), exclude=there)
    await layer.group_send("group", message(3), exclude="specific.0123456789abcdef!1")
    assert numbers(await read_to_fence(layer, here)) == [2, 3]
    assert numbers(await read_to_fence(other, there, sender=layer)) == [1, 3]
    assert len(layer.backend.published) >= 3


async def test_direct_and_group_messages_arrive_in_the_order_in_which_they_were_sent(
    make: Make,
) -> None:
    layer = make()
    other = make(broker=layer.broker)
    channel = await other.new_channel()
    for group in "ab":
        await other.group_add(group, channel)
    for n in range(0, 90, 3):
        await layer.group_send("a", message(n))
        await layer.send(channel, message(n + 1))
        await layer.group_send("b", message(n + 2))
    assert numbers(await receive(other, channel, 90)) == list(range(90))


async def test_order_holds_behind_a_fan_out_that_takes_several_turns(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    for _ in range(2_000):
        await layer.group_add("group", await layer.new_channel())
    last = await layer.new_channel()
    await layer.group_add("group", last)
    for n in range(0, 10, 2):
        await layer.group_send("group", message(n))
        await layer.send(last, message(n + 1))
    assert numbers(await receive(layer, last, 10)) == list(range(10))


async def test_a_message_sent_to_a_group_by_its_reader_comes_after_what_is_there(
    make: Make,
) -> None:
    layer = make()
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.group_send("group", message(0))
    for n in range(1, 50):
        (got,) = await receive(layer, channel, 1)
        assert got["n"] == n - 1
        await layer.group_send("group", message(n))


# --- channels of other nodes ------------------------------------------------------------------


async def test_a_channel_of_another_node_joins_and_leaves(make: Make) -> None:
    here = make()
    there = make(broker=here.broker)
    channel = await there.new_channel()
    await here.group_add("group", channel)
    await here.group_send("group", message(1))
    assert await receive(there, channel, 1) == [message(1)]
    await here.group_discard("group", channel)
    await here.group_send("group", message(2))
    assert await read_to_fence(there, channel, sender=here) == []


async def test_joining_for_another_node_returns_when_its_subscription_is_live(make: Make) -> None:
    here = make()
    there = make(broker=here.broker)
    channel = await there.new_channel()
    there.backend.may_subscribe.clear()
    joining = asyncio.create_task(here.group_add("group", channel))
    await until(lambda: ["fc:g.group"] in there.backend.subscribed)
    await turns()
    assert not joining.done()
    there.backend.may_subscribe.set()
    await soon(joining)


async def test_a_question_to_another_node_is_one_message_and_so_is_its_answer(make: Make) -> None:
    here = make()
    there = make(broker=here.broker)
    mine, channel = await here.new_channel(), await there.new_channel()
    await here.group_add("group", channel)
    assert [each.topic for each in here.backend.publications] == [node_of(channel)]
    assert [each.topic for each in there.backend.publications] == [node_of(mine)]
    assert packed(here.backend.publications[0])[0]["type"] == "add"


async def test_a_channel_that_its_node_does_not_have_is_not_found(make: Make) -> None:
    here = make()
    there = make(broker=here.broker)
    async with there.channel() as left:
        gone = left.name
    with pytest.raises(ChannelNotFound, match=f"channel '{gone}' does not exist any more"):
        await here.group_add("group", gone)
    await here.group_discard("group", gone)


@virtual_time
async def test_a_channel_whose_node_has_ended_is_not_found_in_time() -> None:
    async with layers() as make:
        here = make(send_timeout=5.0)
        there = make(broker=here.broker)
        channel = await there.new_channel()
        await there.close()
        start = asyncio.get_running_loop().time()
        with pytest.raises(ChannelNotFound) as caught:
            await here.group_add("group", channel)
        assert asyncio.get_running_loop().time() - start < 5.5
        assert str(caught.value) == (
            f"the process of channel '{channel}' did not answer within 5 s; it has probably ended"
        )
        await here.group_discard("group", channel)


@virtual_time
async def test_a_broker_that_hangs_is_no_channel_that_is_gone() -> None:
    async with layers() as make:
        here = make(send_timeout=5.0)
        await here.open()
        here.backend.may_publish.clear()
        for change in (here.group_add, here.group_discard):
            start = asyncio.get_running_loop().time()
            with pytest.raises(BackendUnavailable, match="did not answer within 5 s"):
                await change("group", "specific.0123456789abcdef!1")
            assert asyncio.get_running_loop().time() - start < 5.5


async def test_a_failure_on_the_other_node_is_told(make: Make) -> None:
    here = make()
    there = make(broker=here.broker)
    channel = await there.new_channel()
    there.backend.subscribe_error = BackendUnavailable("no broker for me")
    with pytest.raises(BackendUnavailable) as caught:
        await here.group_add("group", channel)
    assert str(caught.value) == (f"the process of channel '{channel}' answered: no broker for me")
    assert there.stats()["groups"] == 0


async def test_many_questions_at_once_get_their_own_answers(make: Make) -> None:
    here = make()
    there = make(broker=here.broker)
    channels = [await there.new_channel() for _ in range(50)]
    async with there.channel() as left:
        gone = left.name
    results = await soon(
        asyncio.gather(
            *(here.group_add("group", channel) for channel in [*channels, gone]),
            return_exceptions=True,
        )
    )
    assert results[:50] == [None] * 50
    assert isinstance(results[50], ChannelNotFound)
    await here.group_send("group", message(1))
    for channel in channels:
        assert await receive(there, channel, 1) == [message(1)]


async def test_a_cancelled_question_leaves_nothing_behind(make: Make) -> None:
    here = make(LosingBackend)
    there = make(broker=here.broker)
    channel = await there.new_channel()
    await here.open()
    here.backend.loses = lambda publication: True
    asking = asyncio.create_task(here.group_add("group", channel))
    await until(lambda: here.backend.published)
    asking.cancel()
    await asyncio.wait([asking])
    here.backend.loses = lambda publication: False
    await here.group_add("group", channel)


async def test_closing_while_asking_is_an_error_and_no_hang(make: Make) -> None:
    here = make(LosingBackend)
    await here.open()
    here.backend.loses = lambda publication: True
    asking = asyncio.create_task(here.group_add("group", "specific.0123456789abcdef!1"))
    await until(lambda: here.backend.published)
    await soon(here.close())
    with pytest.raises(BackendUnavailable, match="the layer was closed"):
        await soon(asking)


@virtual_time
async def test_a_node_that_closes_before_it_answers_is_not_found_in_time() -> None:
    async with layers() as make:
        here = make(send_timeout=5.0)
        there = make(broker=here.broker)
        channel = await there.new_channel()
        there.backend.may_subscribe.clear()
        asking = asyncio.create_task(here.group_add("group", channel))
        await until(lambda: ["fc:g.group"] in there.backend.subscribed)
        await there.close()
        with pytest.raises((ChannelNotFound, BackendUnavailable)):
            await soon(asking)


@pytest.mark.parametrize("error", [BackendUnavailable("no broker"), OSError("broken")])
async def test_an_answer_that_cannot_be_sent_harms_nobody(make: Make, error: Exception) -> None:
    here = make(send_timeout=0.1)
    there = make(broker=here.broker)
    channel = await there.new_channel()
    there.backend.publish_error = error
    with pytest.raises(ChannelNotFound):
        await here.group_add("group", channel)
    there.backend.publish_error = None
    assert there.stats()["groups"] == 1
    await here.group_add("group", channel)


@pytest.mark.parametrize(
    "control",
    [
        {"type": "add", "group": "group", "channel": "x!1"},
        {"type": "add", "number": 1, "group": "no group", "channel": "x!1"},
        {"type": "add", "number": 1, "group": "group"},
        {"type": "add", "number": 1, "group": 5, "channel": []},
        {"type": "conquer", "number": 1},
        {"type": "answer", "number": "1"},
        {"type": "answer", "number": [], "error": {}},
    ],
)
async def test_a_malformed_control_message_is_counted_and_skipped(
    make: Make, control: dict[str, Any]
) -> None:
    layer = make()
    channel = await layer.new_channel()
    payload = frame(control, "!", node="0123456789abcdef")  # of a node that could be answered
    layer.backend.inbox.deliver(node_of(channel), payload)
    assert layer.stats()["malformed"] == 1
    assert await read_to_fence(layer, channel) == []


async def test_an_answer_that_nobody_waits_for_is_ignored(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    answer = {"type": "answer", "number": 77, "error": ""}
    layer.backend.inbox.deliver(node_of(channel), frame(answer, "!"))
    assert await read_to_fence(layer, channel) == []


# --- how many ---------------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [False, True], ids=["kept by nobody", "durable"])
async def test_a_channel_is_in_at_most_max_groups_groups(durable: bool) -> None:
    history = {"*": HistoryPolicy(keep=1)} if durable else None
    layer = InMemoryChannelLayer(history=history, max_groups=100)
    channel = await layer.new_channel()
    for number in range(100):
        await layer.group_add(f"group.{number}", channel)
    with pytest.raises(TooManyGroups, match="in 100 groups already"):
        await layer.group_add("one.more", channel)
    assert layer.stats()["groups"] == 100
    await layer.group_add("group.7", channel)  # it is there already
    await layer.group_discard("group.7", channel)
    await layer.group_add("one.more", channel)
    await layer.group_add("one.more", await layer.new_channel())
    await layer.close()


async def test_who_adds_a_channel_of_another_process_is_told_of_its_too_many_groups() -> None:
    here, there = [memory_layer("memory://groups", max_groups=2) for _ in range(2)]
    channel = await there.new_channel()
    for group in "ab":
        await here.group_add(group, channel)
    with pytest.raises(TooManyGroups, match=r"in 2 groups already.*max_groups"):
        await here.group_add("c", channel)
    with pytest.raises(TooManyGroups):
        await here.group_add("d", channel, presence={"name": "Ann"})
    assert await here.presence("d") == {}
    for layer in (here, there):
        await layer.close()

"""Which topics the broker delivers here: confirmed, shared, lingering, rolled back."""

import asyncio
import gc
from typing import Any

import pytest

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers.subscriptions import Subscriptions

from .backends import Layer, Make, layers
from .clock import virtual_time
from .waiting import message, numbers, read_to_fence, receive, soon, turns, until


def groups(calls: list[list[str]]) -> list[list[str]]:
    """Return the groups of each call; the session's own topic is none."""
    named = [[t.removeprefix("fc:g.") for t in call if t.startswith("fc:g.")] for call in calls]
    return [call for call in named if call]


def join(layer: Layer, group: str, channel: str) -> "asyncio.Task[None]":
    return asyncio.create_task(layer.group_add(group, channel))


async def test_a_session_subscribes_to_its_own_topic_before_it_is_open(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    node = channel.partition("!")[0].rpartition(".")[2]
    assert layer.backend.subscribed == [[f"fc:n.{node}"]]


async def test_joining_returns_only_when_the_subscription_is_live(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    layer.backend.may_subscribe.clear()
    joining = join(layer, "group", channel)
    await until(lambda: groups(layer.backend.subscribed))
    await turns()
    assert not joining.done()
    layer.backend.may_subscribe.set()
    await soon(joining)
    await make(broker=layer.broker).group_send("group", message(1))
    assert await receive(layer, channel, 1) == [message(1)]


async def test_first_joins_at_once_share_one_subscription(make: Make) -> None:
    layer = make()
    channels = [await layer.new_channel() for _ in range(5)]
    layer.backend.may_subscribe.clear()
    joining = [join(layer, "group", channel) for channel in channels]
    await until(lambda: groups(layer.backend.subscribed))
    late = join(layer, "group", await layer.new_channel())
    await turns()
    assert not any(each.done() for each in (*joining, late))
    layer.backend.may_subscribe.set()
    await soon(asyncio.gather(*joining, late))
    assert groups(layer.backend.subscribed) == [["group"]]


async def test_many_groups_joined_at_once_are_one_call(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    names = [f"group-{n}" for n in range(1_000)]
    await soon(asyncio.gather(*(layer.group_add(name, channel) for name in names)))
    assert groups(layer.backend.subscribed) == [names]


async def test_groups_joined_during_a_call_are_the_next_call(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    layer.backend.may_subscribe.clear()
    joining = [join(layer, "first", channel)]
    await until(lambda: groups(layer.backend.subscribed))
    joining += [join(layer, name, channel) for name in ("second", "third")]
    await turns()
    layer.backend.may_subscribe.set()
    await soon(asyncio.gather(*joining))
    assert groups(layer.backend.subscribed) == [["first"], ["second", "third"]]


async def test_a_second_member_costs_the_broker_nothing(make: Make) -> None:
    layer = make()
    for _ in range(10):
        await layer.group_add("group", await layer.new_channel())
    assert groups(layer.backend.subscribed) == [["group"]]


@virtual_time
async def test_a_failed_subscription_rolls_the_membership_back() -> None:
    async with layers() as make:
        layer = make()
        channel = await layer.new_channel()
        layer.backend.subscribe_error = BackendUnavailable("no broker")
        with pytest.raises(BackendUnavailable, match="no broker"):
            await layer.group_add("group", channel)
        assert layer.stats()["groups"] == 0
        layer.backend.subscribe_error = None
        other = await layer.new_channel()
        await layer.group_add("group", other)
        await layer.group_send("group", message(1))
        assert await receive(layer, other, 1) == [message(1)]
        assert await read_to_fence(layer, channel) == []
        await layer.group_add("group", channel)
        await layer.group_send("group", message(2))
        assert await receive(layer, channel, 1) == [message(2)]


async def test_a_failure_reaches_everybody_who_waited_for_the_subscription(make: Make) -> None:
    layer = make()
    channels = [await layer.new_channel() for _ in range(3)]
    layer.backend.subscribe_error = OSError("broken")
    results = await soon(
        asyncio.gather(*(join(layer, "group", c) for c in channels), return_exceptions=True)
    )
    assert [str(result) for result in results] == ["broken"] * 3
    assert layer.stats()["groups"] == 0


async def test_who_waited_for_several_topics_leaves_no_error_unseen(make: Make) -> None:
    layer, loop = make(), asyncio.get_running_loop()
    await layer.open()
    layer.backend.subscribe_error = OSError("broken")
    subscriptions = Subscriptions(loop, layer.backend, 2.0, 5.0, lambda _: None)
    unseen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: unseen.append(context))
    with pytest.raises(OSError, match="broken"):
        await subscriptions.ensure("fc:g.one", "fc:g.two")
    await subscriptions.close()
    layer.backend.subscribe_error = None  # whose traceback holds what was waited for
    gc.collect()
    loop.set_exception_handler(None)
    assert unseen == []


@virtual_time
async def test_a_broker_that_does_not_confirm_is_an_error_in_time() -> None:
    async with layers() as make:
        layer = make(send_timeout=5.0)
        channel = await layer.new_channel()
        layer.backend.may_subscribe.clear()
        start = asyncio.get_running_loop().time()
        with pytest.raises(BackendUnavailable, match="did not confirm a subscription within 5 s"):
            await layer.group_add("group", channel)
        assert asyncio.get_running_loop().time() - start < 6
        assert layer.stats()["groups"] == 0


async def test_a_cancelled_join_is_no_membership_and_harms_no_other(make: Make) -> None:
    layer = make()
    first, second = await layer.new_channel(), await layer.new_channel()
    layer.backend.may_subscribe.clear()
    joining = [join(layer, "group", first), join(layer, "group", second)]
    await until(lambda: groups(layer.backend.subscribed))
    joining[0].cancel()
    await asyncio.wait(joining[:1])
    layer.backend.may_subscribe.set()
    await soon(joining[1])
    await layer.group_send("group", message(1))
    assert await receive(layer, second, 1) == [message(1)]
    assert await read_to_fence(layer, first) == []


async def test_a_join_cancelled_while_the_same_join_goes_on_takes_nothing_from_it(
    make: Make,
) -> None:
    layer = make()
    channel = await layer.new_channel()
    layer.backend.may_subscribe.clear()
    first, second = join(layer, "group", channel), join(layer, "group", channel)
    await until(lambda: groups(layer.backend.subscribed))
    first.cancel()
    await asyncio.wait([first])
    layer.backend.may_subscribe.set()
    await soon(second)
    await layer.group_send("group", message(1))
    assert await read_to_fence(layer, channel) == [message(1)]


@pytest.mark.parametrize("pause", range(6))
@pytest.mark.parametrize("number", [0, 1])
async def test_one_of_two_joins_cancelled_as_they_succeed_takes_nothing_from_the_other(
    make: Make, number: int, pause: int
) -> None:
    layer = make()
    channel = await layer.new_channel()
    layer.backend.may_subscribe.clear()
    joining = [join(layer, "group", channel) for _ in range(2)]
    await until(lambda: groups(layer.backend.subscribed))
    layer.backend.may_subscribe.set()
    await turns(pause)
    joining[number].cancel()
    await asyncio.wait(joining)
    assert joining[number].cancelled() or joining[number].result() is None
    assert joining[1 - number].result() is None
    await layer.group_send("group", message(1))
    assert await read_to_fence(layer, channel) == [message(1)]


@virtual_time
async def test_a_group_stays_subscribed_for_the_linger_time() -> None:
    async with layers() as make:
        layer = make(linger=2.0)
        channel = await layer.new_channel()
        for _ in range(5):
            await layer.group_add("group", channel)
            await layer.group_discard("group", channel)
            await asyncio.sleep(1.9)
        assert groups(layer.backend.subscribed) == [["group"]]
        assert layer.backend.unsubscribed == []
        await asyncio.sleep(0.2)
        assert layer.backend.unsubscribed == [["fc:g.group"]]


@virtual_time
async def test_a_group_rejoined_after_the_linger_time_is_subscribed_anew() -> None:
    async with layers() as make:
        layer = make(linger=2.0)
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        await layer.group_discard("group", channel)
        await asyncio.sleep(2.1)
        await layer.group_add("group", channel)
        assert groups(layer.backend.subscribed) == [["group"], ["group"]]
        await layer.group_send("group", message(1))
        assert await receive(layer, channel, 1) == [message(1)]
        await asyncio.sleep(10)
        assert layer.backend.unsubscribed == [["fc:g.group"]]


@virtual_time
async def test_many_groups_left_together_are_left_in_one_call() -> None:
    async with layers() as make:
        layer = make(linger=2.0)
        async with layer.channel() as channel:
            await asyncio.gather(*(channel.join(f"group-{n}") for n in range(100)))
        await asyncio.sleep(2.5)
        assert [len(call) for call in layer.backend.unsubscribed] == [100]


@virtual_time
async def test_a_group_is_not_left_while_it_has_a_member() -> None:
    async with layers() as make:
        layer = make(linger=0.0)
        stays, leaves = await layer.new_channel(), await layer.new_channel()
        for channel in (stays, leaves):
            await layer.group_add("group", channel)
        await layer.group_discard("group", leaves)
        await asyncio.sleep(5)
        await layer.group_send("group", message(1))
        assert await receive(layer, stays, 1) == [message(1)]
        assert layer.backend.unsubscribed == []


@virtual_time
async def test_a_group_joined_again_while_it_is_being_left_is_live() -> None:
    async with layers() as make:
        layer = make(linger=0.0)
        channel = await layer.new_channel()
        for turn in range(12):
            await layer.group_add("group", channel)
            await layer.group_discard("group", channel)
            await turns(turn)
            await layer.group_add("group", channel)
            await layer.group_send("group", message(turn))
            assert numbers(await receive(layer, channel, 1)) == [turn]
            await layer.group_discard("group", channel)
            await asyncio.sleep(1)


async def test_a_join_waits_for_a_new_subscription_while_the_topic_is_being_left(
    make: Make,
) -> None:
    sender = make()
    reader = make(broker=sender.broker, linger=0.0, gaps=True)
    channel = await reader.new_channel()
    await reader.group_add("group", channel)
    await sender.group_send("group", message(0))
    assert await receive(reader, channel, 1) == [message(0)]
    reader.backend.may_unsubscribe.clear()
    await reader.group_discard("group", channel)
    await until(lambda: reader.backend.unsubscribed)
    joining = join(reader, "group", channel)
    await sender.group_send("group", message(-1))
    await turns()
    assert not joining.done()
    reader.backend.may_unsubscribe.set()
    await soon(joining)
    await sender.group_send("group", message(1))
    # What was published while the topic was left is no loss.
    assert await read_to_fence(reader, channel, sender=sender) == [message(1)]
    assert reader.stats()["gaps"] == 0


@virtual_time
@pytest.mark.parametrize("linger", [0.0, 1.0])
async def test_a_join_that_was_cancelled_leaves_nothing_subscribed(linger: float) -> None:
    async with layers() as make:
        layer = make(linger=linger, send_timeout=60.0)
        channel = await layer.new_channel()
        layer.backend.may_subscribe.clear()
        busy = join(layer, "busy", channel)
        await turns()
        waiting = join(layer, "group", channel)
        await turns()
        waiting.cancel()
        await asyncio.wait([waiting])
        await asyncio.sleep(5)
        layer.backend.may_subscribe.set()
        await busy
        await asyncio.sleep(5)
        subscribed = {group for call in groups(layer.backend.subscribed) for group in call}
        left = {group for call in groups(layer.backend.unsubscribed) for group in call}
        assert subscribed - left == {"busy"}


@virtual_time
async def test_a_failing_unsubscribe_is_no_error_for_anybody() -> None:
    async with layers() as make:
        layer = make(linger=0.0)

        async def unsubscribe(topics: Any) -> None:
            raise OSError("broken")

        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        layer.backend.unsubscribe = unsubscribe
        await layer.group_discard("group", channel)
        await asyncio.sleep(1)
        await layer.group_add("group", channel)
        await layer.group_send("group", message(1))
        assert await receive(layer, channel, 1) == [message(1)]


@virtual_time
async def test_a_closed_layer_calls_its_backend_no_more() -> None:
    async with layers() as make:
        layer = make(linger=2.0)
        async with layer.channel() as channel:
            await channel.join("group")
            await layer.close()
        await asyncio.sleep(10)
        assert layer.backend.calls[-1] == "close"
        assert layer.backend.calls.count("close") == 1


async def test_joining_while_the_layer_closes_ends_with_an_error(make: Make) -> None:
    layer = make(send_timeout=0.05)
    channel = await layer.new_channel()
    layer.backend.may_subscribe.clear()
    joining = [join(layer, name, channel) for name in "ab"]
    await until(lambda: groups(layer.backend.subscribed))
    await soon(layer.close())
    results = await soon(asyncio.gather(*joining, return_exceptions=True))
    assert [type(result) for result in results] == [BackendUnavailable] * 2

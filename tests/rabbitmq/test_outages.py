"""Whatever happens to the server: the listener comes back and tells the gap once.

Every test ends with a message that arrives, so what it shows is that nobody is deaf.
"""

import asyncio
import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from tests.proxy import proxied
from tests.waiting import hears, read_until, send_when_back, soon, until

from fast_channels.exceptions import BackendUnavailable

from .conftest import Make, Pair, member
from .servers import Node

GAP = {"type": "channels.gap", "group": "room"}
LAST = {"type": "last"}


@pytest.mark.timeout(120)
async def test_a_killed_and_restarted_server_costs_one_gap_and_no_subscription(
    node: Node, pair: Pair
) -> None:
    here, there, channel = await pair()
    for number in range(1_200):  # more than two answers' worth
        await there.group_add(f"more-{number}", channel)
    node.kill()
    try:
        for number in range(2):
            began = time.monotonic()
            with pytest.raises(BackendUnavailable, match=str(node.port)):
                await here.group_send("room", {"type": "lost", "number": number})
            assert time.monotonic() - began < 4
    finally:
        await asyncio.to_thread(node.start)
    await until(lambda: there.stats()["gaps"] == 1)
    for group in ("more-0", "more-600", "more-1199"):
        await send_when_back(here, group, {"type": group})
    await here.group_send("room", LAST)
    came = await read_until(there, channel, LAST)
    # The gaps, one for each group of the member, and then what was sent; nothing that had failed.
    assert sum(message["type"] == GAP["type"] for message in came) == 1_201
    assert [message["type"] for message in came[1_201:]] == ["more-0", "more-600", "more-1199"]


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_a_server_that_is_stopped_and_started_costs_one_gap(node: Node, pair: Pair) -> None:
    here, there, channel = await pair()
    await here.send("jobs", {"type": "job"})
    try:
        await asyncio.to_thread(node.stop)
        with pytest.raises(BackendUnavailable):
            await here.group_send("room", {"type": "lost"})
    finally:
        await asyncio.to_thread(node.kill)  # if it would not stop
        await asyncio.to_thread(node.start)
    await until(lambda: there.stats()["gaps"] == 1)
    await send_when_back(here, "room", LAST)
    assert await read_until(there, channel, LAST) == [GAP]
    assert await soon(there.receive("jobs")) == {"type": "job"}


@pytest.mark.parametrize("how", [Node.kick, Node.break_channels])
async def test_connections_that_are_closed_at_the_server_cost_one_gap(
    node: Node, pair: Pair, how: Callable[[Node], None]
) -> None:
    here, there, channel = await pair()
    await asyncio.to_thread(how, node)
    await send_when_back(here, "room", {"type": "perhaps"})
    assert await soon(there.receive(channel)) == GAP
    await here.group_send("room", LAST)
    assert await read_until(there, channel, LAST) in ([], [{"type": "perhaps"}])


async def test_a_queue_that_is_deleted_under_us_costs_one_gap(
    node: Node, pair: Pair, prefix: str
) -> None:
    here, there, channel = await pair()
    await asyncio.to_thread(node.delete_queues, f"{prefix}.")
    assert await soon(there.receive(channel)) == GAP
    await here.group_send("room", LAST)
    assert await read_until(there, channel, LAST) == []
    assert there.stats()["gaps"] == 1


async def test_an_exchange_that_is_deleted_is_made_again(
    node: Node, make: Make, prefix: str
) -> None:
    here = make(node.url)
    channel = await member(here)
    await asyncio.to_thread(node.delete_exchange, prefix)
    [error] = await asyncio.gather(
        here.group_send("room", {"type": "perhaps"}), return_exceptions=True
    )
    # Unless it was noticed before.
    assert error is None or f"no exchange '{prefix}' in vhost" in str(error)
    assert await soon(here.receive(channel)) == GAP
    await send_when_back(here, "room", LAST)
    assert await read_until(here, channel, LAST) in ([], [{"type": "perhaps"}])


async def test_members_of_every_process_hear_of_an_exchange_that_was_deleted(
    node: Node, make: Make, prefix: str
) -> None:
    # The second one is made anew at once: who looks for it finds it, and it leads to nobody.
    names = [f"{prefix}1", f"{prefix}2"]
    layers = [make(node.url, prefix=name) for name in names for _ in range(2)]
    members = [(layer, await member(layer)) for layer in layers]
    for name in names:
        await asyncio.to_thread(node.delete_exchange, name, again=name == names[1])
    for layer, channel in members:
        assert await soon(layer.receive(channel)) == GAP  # nobody sends anything
    for layer in (layers[0], layers[2]):
        await layer.group_send("room", LAST)
    for layer, channel in members:
        assert await read_until(layer, channel, LAST) == []


async def test_a_road_that_goes_dead_without_a_word_is_replaced(node: Node, make: Make) -> None:
    async with proxied(node.port) as proxy:
        here, there = make(node.url), make(node.by(proxy.port))
        channel = await member(there)
        proxy.forget()
        assert await soon(there.receive(channel)) == GAP
        await here.group_send("room", LAST)
        assert await read_until(there, channel, LAST) == []
        await there.close()


async def test_a_frozen_server_is_noticed_and_found_again(
    node: Node, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    here, there, channel = await pair()
    node.freeze()
    try:
        errors: list[BaseException | None] = []
        while not any(errors):  # some may get through before the last of its threads stops
            began = time.monotonic()
            sends = [layer.group_send("room", {"type": "perhaps"}) for layer in (here, there)]
            errors = await asyncio.gather(*sends, return_exceptions=True)
            assert all(isinstance(error, BackendUnavailable | None) for error in errors), errors
            assert time.monotonic() - began < 6
        await until(lambda: caplog.text.count("(listening); connecting again") == 2)
    finally:
        node.thaw()
    await until(lambda: there.stats()["gaps"] == 1)
    await hears(there)
    await send_when_back(here, "room", LAST)
    came = await read_until(there, channel, LAST)
    assert came.count(GAP) == 1
    assert all(message in (GAP, {"type": "perhaps"}) for message in came)


async def test_a_server_that_only_stalls_costs_nothing(node: Node, pair: Pair) -> None:
    here, there, channel = await pair()
    node.freeze()
    sending = asyncio.create_task(here.group_send("room", {"type": "late"}))
    await asyncio.sleep(1.8)  # it is time that has to pass: longer than a sign of life may take
    node.thaw()
    await soon(sending)
    await here.group_send("room", LAST)
    assert await read_until(there, channel, LAST) == [{"type": "late"}]


async def test_a_server_short_of_memory_says_so_to_senders_and_takes_them_later(
    node: Node, pair: Pair
) -> None:
    here, there, channel = await pair()
    await here.group_send("room", LAST)
    assert await read_until(there, channel, LAST) == []
    errors: list[str] = []
    await asyncio.to_thread(node.alarm, on=True)
    try:
        for number in range(2):
            began = time.monotonic()
            with pytest.raises(BackendUnavailable, match="low on memory") as caught:
                await here.group_send("room", {"type": f"lost-{number}"})
            assert time.monotonic() - began < 5
            errors.append(str(caught.value))
        assert "nothing was sent" in errors[1]  # it is known by now
        with pytest.raises(BackendUnavailable, match="low on memory"):
            await here.send("jobs", {"type": "job"})
        working = asyncio.create_task(there.receive("fresh"))  # its queue is not there yet
        await asyncio.sleep(0.5)  # it is time that has to pass: it finds that out
        await there.group_add("other", channel)  # who only listens is not held up
        waiting = asyncio.create_task(here.group_send("room", {"type": "patient"}))
    finally:
        await asyncio.to_thread(node.alarm, on=False)
    await soon(waiting)
    await here.send("fresh", {"type": "job"})
    assert await soon(working) == {"type": "job"}
    await here.group_send("room", LAST)
    came = [message["type"] for message in await read_until(there, channel, LAST)]
    # What was perhaps sent was; what was not does not come, and the frames' numbers tell it.
    perhaps = ["lost-0"] if "perhaps sent, and then comes when it takes" in errors[0] else []
    assert came == [*perhaps, GAP["type"], "patient"]


async def test_an_alarm_names_itself_within_a_short_send_timeout(node: Node, make: Make) -> None:
    layer = make(node.url, send_timeout=2.0)  # as long as the longest wait for an alarm's end
    await layer.open()
    await asyncio.to_thread(node.alarm, on=True)
    try:
        with pytest.raises(BackendUnavailable, match="low on memory"):
            await layer.group_send("room", {"type": "lost"})
    finally:
        await asyncio.to_thread(node.alarm, on=False)
    await send_when_back(layer, "room", LAST)


async def test_what_the_server_drops_for_a_slow_process_is_told_as_a_gap(
    node: Node, make: Make
) -> None:
    async with proxied(node.port) as proxy:
        here = make(node.url)
        there = make(node.by(proxy.port), queue_length=5, capacity=600, capacity_bytes=100_000_000)
        channel = await member(there)
        proxy.passing.clear()
        flood = [{"type": "flood", "n": number, "text": "x" * 60_000} for number in range(600)]
        # More than the sockets and the server's own buffers hold, and at once: a connection that
        # is silent for too long is replaced.
        await asyncio.gather(*(here.group_send("room", message) for message in flood))
        proxy.passing.set()
        await here.group_send("room", LAST)
        came = await read_until(there, channel, LAST)
        numbers = [message["n"] for message in came if message != GAP]
        assert numbers == sorted(numbers)
        assert numbers[-1] == 599  # the oldest go
        assert len(numbers) < 600
        jumps = sum(later != number + 1 for number, later in pairwise(numbers))
        assert came.count(GAP) == jumps, "each loss is told once"
        await there.close()


async def test_a_worker_waits_through_an_outage(node: Node, make: Make) -> None:
    here, there = make(node.url), make(node.url)
    taking = asyncio.create_task(there.receive("jobs"))
    await here.send("other", {"type": "job"})
    await asyncio.to_thread(node.cut_off)
    await asyncio.to_thread(node.let_in)
    async with asyncio.timeout(10):
        while True:
            try:
                await here.send("jobs", LAST)
                break
            except BackendUnavailable:
                await asyncio.sleep(0.02)
    assert await soon(taking) == LAST

"""Reading durable groups back, in pages, from streams that have others between them."""

import asyncio
import os
import time

import pytest
from tests.proxy import proxied
from tests.waiting import soon, turns, until

from fast_channels.exceptions import BackendUnavailable, HistoryLost
from fast_channels.layers import Append, Entry, Position
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.history.records import message, pack
from fast_channels_rabbitmq.history.scanning import Scan
from fast_channels_rabbitmq.history.streams import shard_of

from .durable import Process, Processes, payloads, publish
from .servers import Node


def consumers(node: Node, stream: str) -> int:
    """Return how many consumers the stream has at the node."""
    return int(
        node.ask(
            "length([P || Row <- ets:tab2list(consumer_created),"
            " {{resource, _, _, Name}, P, _} <- [element(1, Row)],"
            f' Name =:= <<"{stream}">>, is_process_alive(P)]).'
        )
    )


async def test_a_read_passes_over_what_others_have_in_the_stream(
    process: Processes, one: Process, topic: str, stream: str, prefix: str, connection: Connection
) -> None:
    await one.publish(topic, b"first")
    position = (await one.all(topic))[0].position
    other = Append(f"{prefix}:h.busy", [], 100, 60.0)
    body = message([pack(other, [(None, b"x")] * 10)], 0)
    for _ in range(6):
        await publish(connection, stream, *[body] * 1_000)
    await one.publish(topic, b"second")
    page = await soon(one.history.read(topic, position, 100))
    assert (list(page.entries), page.more) == ([], True), "it is bounded, and went on"
    assert page.position > position
    assert payloads(await one.all(topic, position)) == [b"second"]
    late = await process()  # which has seen nothing of it
    assert await late.last(topic, 5) == [b"first", b"second"]


async def test_pages_that_follow_each_other_look_for_the_end_once(one: Process, topic: str) -> None:
    sent = [[b"%d-%d" % (each, part) for part in range(5)] for each in range(10)]
    for some in sent:
        await one.publish_all(topic, *map(Entry, some))
    found, place = await one.pages(topic, None, 2)
    assert payloads(found) == [payload for some in sent for payload in some]
    await one.publish(topic, b"later")
    [later] = await one.all(topic, place)
    assert later.payload == b"later"
    # Each look is a message of the stream.
    assert (later.position.offset >> 16) - (place.offset >> 16) <= 4


async def test_a_page_has_what_was_sent_since_the_one_before(
    process: Processes, one: Process, topic: str
) -> None:
    other = await process()
    place = None
    for number in range(20):  # another process sends two for each one that is read
        for _ in range(2):
            await other.publish(topic, b"%d" % number)
        page = await soon(one.history.read(topic, place, 1))
        assert payloads(page.entries) == [b"%d" % (number // 2)]
        place = page.position
        assert page.more
    found, _ = await one.pages(topic, place, 3)
    assert payloads(found) == [b"%d" % (number // 2) for number in range(20, 40)]


async def test_a_following_page_has_what_was_sent_before_and_did_not_come_here_yet(
    process: Processes, topic: str, node: Node
) -> None:
    async with proxied(node.port) as proxy:
        one, other = await process(node.by(proxy.port)), await process()
        await one.publish_all(topic, Entry(b"first"), Entry(b"second"))
        page = await soon(one.history.read(topic, None, 1))
        assert (payloads(page.entries), page.more) == ([b"first"], True)
        proxy.passing.clear()
        await other.publish(topic, b"third")
        following = asyncio.create_task(one.history.read(topic, page.position, 100))
        await turns()
        proxy.passing.set()
        assert payloads((await soon(following)).entries) == [b"second", b"third"]
        await one.backend.close()


async def test_readers_at_one_place_do_not_share_what_is_ahead(
    one: Process, topic: str, prefix: str
) -> None:
    history = one.history
    others = (f"{prefix}:h.room-{number}" for number in range(1_000))
    other = next(name for name in others if shard_of(name) == shard_of(topic))
    both = [Append(topic, [Entry(b"r"), Entry(b"s")], 100, 60.0)]
    both.append(Append(other, [Entry(b"o"), Entry(b"p")], 100, 60.0))
    for _ in range(5):
        await soon(history.publish(both))
    readers = [one.pages(each, None, 1) for each in (topic, topic, other, other)]
    found = [payloads(kept) for kept, _ in await asyncio.gather(*readers)]
    assert found == [[b"r", b"s"] * 5] * 2 + [[b"o", b"p"] * 5] * 2
    first = await soon(history.read(topic, None, 2))
    again = [await soon(history.read(topic, first.position, 2)) for _ in range(2)]
    assert again[0] == again[1]


async def begun(process: Process, topic: str) -> Position:
    """Publish three entries and read one; return the place after it."""
    for _ in range(3):
        await process.publish(topic, b"entry")
    page = await soon(process.history.read(topic, None, 1))
    assert page.more
    return page.position


async def test_what_is_ahead_of_a_reader_who_stops_is_let_go(
    one: Process, topic: str, stream: str, node: Node
) -> None:
    await one.all(topic)
    await until(lambda: consumers(node, stream) == 1)  # who follows it
    place = await begun(one, topic)
    assert consumers(node, stream) == 2
    await until(lambda: consumers(node, stream) == 1)
    assert payloads((await one.pages(topic, place, 1))[0]) == [b"entry"] * 2


async def test_what_is_ahead_of_a_reader_has_a_limit(
    one: Process, topic: str, stream: str, connection: Connection
) -> None:
    await one.publish(topic, bytes(1_000))
    scan = await Scan.begin(connection, stream, "first", 500)
    scan.most = 2_000
    for _ in range(3):
        await one.publish(topic, bytes(1_000))
    await until(lambda: scan.ended)
    with pytest.raises(BackendUnavailable):
        await scan.take(lambda *_: True, 1_000)


async def test_what_is_ahead_of_a_reader_is_not_of_another_time(
    one: Process, topic: str, prefix: str, node: Node
) -> None:
    async def read_on() -> list[bytes]:
        async with asyncio.timeout(20):
            while True:
                try:
                    return payloads((await one.pages(topic, place, 1))[0])
                except BackendUnavailable:
                    await asyncio.sleep(0.02)

    place = await begun(one, topic)
    await asyncio.to_thread(node.cut_off)
    await asyncio.to_thread(node.let_in)
    assert await read_on() == [b"entry"] * 2
    place = (await soon(one.history.read(topic, None, 1))).position
    await asyncio.to_thread(node.delete_queues, f"{prefix}:h.")
    with pytest.raises(HistoryLost):
        await read_on()


async def test_what_is_not_ours_in_a_stream_is_passed_over(
    one: Process, topic: str, stream: str, connection: Connection
) -> None:
    await one.backend.subscribe([topic])
    good = message([pack(Append(topic, [], 9, 60.0), [(None, b"good")])], 0)
    await publish(connection, stream, b"", b"{}", good[:-1], good[:20], os.urandom(50), good + b"x")
    await one.publish(topic, b"end")
    await until(lambda: one.kept and one.kept[-1].payload == b"end")
    assert payloads(one.kept) in ([b"good", b"end"], [b"end"])
    assert await one.all(topic) == one.kept


async def test_expired_entries_are_not_shown_to_who_has_no_position(
    one: Process, topic: str
) -> None:
    history = one.history
    start = (await soon(history.last(topic, 0))).position
    await soon(history.publish([Append(topic, [Entry(b"short")], 9, 0.2)]))
    ends = time.time() + 0.3
    await one.publish(topic, b"long")
    await asyncio.sleep(max(0.0, ends - time.time()))
    assert payloads(await one.all(topic)) == [b"long"]
    assert await one.last(topic, 5) == [b"long"]
    assert payloads(await one.all(topic, start)) == [b"short", b"long"]

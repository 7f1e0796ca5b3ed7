"""Durable groups on streams: what RabbitMQ does to them, and what is promised nevertheless."""

import asyncio
import itertools
import logging
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from pamqp import commands
from tests.waiting import hears, read_until, send_when_back, soon, until

from fast_channels.exceptions import BackendUnavailable, HistoryLost, InvalidChannelLayerError
from fast_channels.layers import Append, Entry, History, HistoryPolicy, Kept, Position
from fast_channels_rabbitmq import RabbitMQBackend, RabbitMQChannelLayer
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.history.records import id_of, message, pack
from fast_channels_rabbitmq.history.scanning import Scan
from fast_channels_rabbitmq.history.streams import name_of, shard_of
from fast_channels_rabbitmq.publisher import address_of
from fast_channels_rabbitmq.server import connect
from fast_channels_rabbitmq.urls import parse_servers

from .conftest import Make
from .servers import Names, Node

KEPT = {"kept*": HistoryPolicy(keep=1_000, ttl=600.0)}
GAP = {"type": "channels.gap", "group": "kept"}
LAST = {"type": "last"}


class Process:
    """A backend and its inbox."""

    def __init__(self, backend: RabbitMQBackend) -> None:
        self.backend = backend
        self.kept: list[Kept] = []
        self.gaps: list[Collection[str] | None] = []

    def deliver(self, topic: str, payload: bytes, position: Position | None = None, /) -> None:
        assert position is not None
        self.kept.append(Kept(position, payload))

    def gap(self, cause: Exception, topics: Collection[str] | None = None, /) -> None:
        self.gaps.append(topics)

    async def publish(self, topic: str, payload: bytes, known: str | None = None) -> None:
        assert self.backend.history is not None
        append = Append(topic, [Entry(payload, known)], 100, 60.0)
        await soon(self.backend.history.publish([append]))

    async def all(self, topic: str, after: Position | None = None) -> list[Kept]:
        assert self.backend.history is not None
        found: list[Kept] = []
        more = True
        while more:
            page = await soon(self.backend.history.read(topic, after, 100))
            found += page.entries
            after, more = page.position, page.more
        return found


@pytest.fixture
async def process(node: Node, prefix: str) -> AsyncGenerator[Callable[[], Awaitable[Process]]]:
    """Makes open backends that share an exchange and its streams."""
    async with AsyncExitStack() as stack:

        async def opened() -> Process:
            made = Process(RabbitMQBackend(parse_servers(node.url), exchange=prefix))
            stack.push_async_callback(made.backend.close)
            await made.backend.open(made)
            return made

        yield opened


@pytest.fixture
async def connection(node: Node) -> AsyncGenerator[Connection]:
    """A connection of somebody else."""
    made = await connect(parse_servers(node.url)[0], 4.0)
    yield made
    await made.close()


async def publish(connection: Connection, queue: str, *bodies: bytes) -> None:
    """The queue has the messages."""
    channel = connection.channel()
    await soon(channel.ask(commands.Confirm.Select()))
    publishing = channel.publishing()
    address = address_of("", queue)
    for body in bodies:
        connection.write(channel.message(publishing, address, b"\0\0", body)[1])
    await soon(publishing.done)
    channel.close()


async def kept_member(layer: RabbitMQChannelLayer) -> str:
    channel = await layer.new_channel()
    await layer.group_add("kept", channel)
    return channel


# --- outages --------------------------------------------------------------------------------------


@pytest.mark.timeout(90)
async def test_members_go_on_where_they_were_after_the_server_was_killed(
    node: Node, make: Make
) -> None:
    here, there = (make(node.url, history=KEPT) for _ in range(2))
    channel = await kept_member(there)
    await there.group_add("room", channel)
    for number in range(10):
        await here.group_send("kept", {"type": "before", "n": number})
    await asyncio.to_thread(node.settle)
    node.kill()
    await asyncio.to_thread(node.start)
    for number in range(10):  # by whoever is back first
        await _sent_once(here, {"type": "after", "n": number}, f"{number}")
    await here.group_send("kept", LAST)
    came = await read_until(there, channel, LAST)
    kept = [(each["type"], each["n"]) for each in came if "n" in each]
    assert kept == [(when, n) for when in ("before", "after") for n in range(10)]
    gaps = [each["group"] for each in came if each["type"] == "channels.gap"]
    assert gaps in ([], ["room"])  # of the group that keeps nothing; it may come later


async def _sent_once(layer: RabbitMQChannelLayer, message: dict[str, Any], known: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await layer.group_send("kept", message, id=known)
                return
            except BackendUnavailable:
                await asyncio.sleep(0.02)


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_a_server_that_lost_what_it_had_confirmed_begins_another_history(
    node: Node, make: Make, tmp_path: Any
) -> None:
    """As after a loss of power: its files are those of a while ago."""
    here, there = (make(node.url, history=KEPT) for _ in range(2))
    channel = await kept_member(there)
    await here.group_send("kept", {"type": "early"})
    assert await soon(there.receive(channel)) == {"type": "early"}
    await asyncio.to_thread(node.settle)
    node.kill()
    data, copy = node.folder / "data", tmp_path / "copy"
    await asyncio.to_thread(_copy, data, copy)
    await asyncio.to_thread(node.start)
    await hears(here)
    for number in range(5):
        await _sent_once(here, {"type": "late", "n": number}, f"{number}")
    late: list[Any] = [await soon(there.receive(channel)) for _ in range(5)]
    node.kill()
    await asyncio.to_thread(_copy, copy, data)
    await asyncio.to_thread(node.start)
    sending = asyncio.create_task(_send_on(here))
    try:
        assert await soon(there.receive(channel)) == GAP
        # It goes on with what comes then.
        assert await soon(there.receive(channel)) == {"type": "new"}
    finally:
        sending.cancel()
        await asyncio.wait([sending])
    with pytest.raises(HistoryLost):
        await soon(here.group_history("kept", since=late[2].position))


async def _send_on(layer: RabbitMQChannelLayer) -> None:
    for number in itertools.count():
        await _sent_once(layer, {"type": "new"}, f"new-{number}")


def _copy(source: Any, target: Any) -> None:
    import shutil

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


# --- streams that are not as they were ------------------------------------------------------------


async def test_a_stream_that_an_operator_deletes_is_another_history(
    node: Node, make: Make, prefix: str
) -> None:
    here, there = (make(node.url, history=KEPT) for _ in range(2))
    channel = await kept_member(there)
    await here.group_send("kept", {"type": "old"})
    old: Any = await soon(there.receive(channel))
    await asyncio.to_thread(node.delete_queues, f"{prefix}:h.")
    await _sent_once(here, {"type": "new"}, "new")
    assert await soon(there.receive(channel)) == GAP
    assert await soon(there.receive(channel)) == {"type": "new"}
    with pytest.raises(HistoryLost):
        await soon(here.group_history("kept", since=old.position))
    assert await soon(here.group_history("kept")) == [{"type": "new"}]


async def test_processes_that_come_at_once_make_the_streams_together(
    node: Node, make: Make
) -> None:
    layers = [make(node.url, history=KEPT) for _ in range(6)]

    async def use(number: int, layer: RabbitMQChannelLayer) -> str:
        await layer.group_send("kept", {"type": "hello", "n": number})
        return await kept_member(layer)

    channels = await soon(asyncio.gather(*(use(*each) for each in enumerate(layers))))
    assert len(await layers[0].group_history("kept")) == 6
    await layers[0].group_send("kept", LAST)
    for layer, channel in zip(layers, channels, strict=True):
        await read_until(layer, channel, LAST)
        assert layer.stats()["reconnects"] == 0, "the server ended nobody's connection"


async def test_a_queue_that_is_no_stream_of_ours_is_named(
    node: Node, make: Make, prefix: str, connection: Connection
) -> None:
    layer = make(node.url, history=KEPT)
    name = name_of(prefix, shard_of(f"{prefix}:h.kept"))
    await soon(connection.channel().ask(commands.Queue.Declare(0, name, durable=True)))
    with pytest.raises(InvalidChannelLayerError, match=name):
        await soon(kept_member(layer))
    with pytest.raises(InvalidChannelLayerError, match=name):
        await soon(layer.group_send("kept", {"type": "hello"}))
    await soon(connection.channel().ask(commands.Queue.Delete(0, name)))
    await soon(kept_member(layer))


@pytest.mark.long
async def test_a_server_with_streams_disabled_is_told_and_used_when_they_are_enabled(
    tmp_path: Path, make: Make
) -> None:
    """As one is that was updated from a version without them; those of 3.12 have them always."""
    names = Names()
    node = Node(tmp_path, names)
    node.environment["RABBITMQ_FEATURE_FLAGS"] = "quorum_queue"
    try:
        await asyncio.to_thread(node.start)
        layer = make(node.url, history=KEPT)
        channel = await layer.new_channel()
        for call in (
            lambda: layer.group_send("kept", LAST),
            lambda: layer.group_add("kept", channel),
            lambda: layer.group_history("kept"),
        ):
            with pytest.raises(InvalidChannelLayerError, match="enable_feature_flag stream_queue"):
                await soon(call())
        await layer.group_add("room", channel)
        await layer.group_send("room", LAST)
        assert await soon(layer.receive(channel)) == LAST
        await asyncio.to_thread(node.ask, "rabbit_feature_flags:enable(stream_queue).")
        await soon(layer.group_add("kept", channel))
        await layer.group_send("kept", LAST)
        assert await soon(layer.receive(channel)) == LAST
    finally:
        node.kill()
        names.stop()


async def test_a_user_who_may_not_is_told_which_permission_is_missing(
    node: Node, make: Make, prefix: str
) -> None:
    url = node.user(f"{prefix}-no", f"^{prefix}($|[.])", ".*", ".*")
    layer = make(url, history=KEPT)
    with pytest.raises(BackendUnavailable, match="permission to configure"):
        await soon(layer.group_send("kept", {"type": "hello"}))
    with pytest.raises(BackendUnavailable, match="permission to configure"):
        await soon(kept_member(layer))


async def test_streams_that_drop_entries_too_early_are_told_of(
    node: Node, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    await kept_member(make(node.url, history=KEPT))
    longer = make(node.url, history={"kept*": HistoryPolicy(ttl=1_000_000.0)})
    with caplog.at_level(logging.WARNING, "fast_channels.rabbitmq"):
        await kept_member(longer)
    assert "7200 s, and a history of 1e+06 s is asked of it" in caplog.text


# --- reading --------------------------------------------------------------------------------------


async def test_a_read_passes_over_what_others_have_in_the_stream(
    process: Callable[[], Awaitable[Process]], prefix: str, connection: Connection
) -> None:
    reader = await process()
    topic = f"{prefix}:h.quiet"
    stream = name_of(prefix, shard_of(topic))
    await reader.publish(topic, b"first")
    position = (await reader.all(topic))[0].position
    other = Append(f"{prefix}:h.busy", [], 100, 60.0)
    body = message([pack(other, [(None, b"x")] * 10)], 0)
    for _ in range(6):
        await publish(connection, stream, *[body] * 1_000)
    await reader.publish(topic, b"second")
    history = reader.backend.history
    assert history is not None
    page = await soon(history.read(topic, position, 100))
    assert (list(page.entries), page.more) == ([], True), "it is bounded, and went on"
    assert page.position > position
    assert [each.payload for each in await reader.all(topic, position)] == [b"second"]
    late = await process()  # which has seen nothing of it
    assert [each.payload for each in (await soon(late_last(late, topic, 5)))] == [
        b"first",
        b"second",
    ]


async def late_last(process: Process, topic: str, count: int) -> list[Kept]:
    assert process.backend.history is not None
    return list((await process.backend.history.last(topic, count)).entries)


async def test_pages_that_follow_each_other_look_for_the_end_once(
    process: Callable[[], Awaitable[Process]], prefix: str
) -> None:
    one = await process()
    topic, history = f"{prefix}:h.room", one.backend.history
    assert history is not None
    sent = [[b"%d-%d" % (each, part) for part in range(5)] for each in range(10)]
    for some in sent:
        await soon(history.publish([Append(topic, [Entry(x) for x in some], 100, 60.0)]))
    found, place = await pages(history, topic, None, 2)
    assert found == [payload for some in sent for payload in some]
    await one.publish(topic, b"later")
    [later] = await one.all(topic, place)
    assert later.payload == b"later"
    # Each look is a message of the stream.
    assert (later.position.offset >> 16) - (place.offset >> 16) <= 4


async def test_a_page_has_what_was_sent_since_the_one_before(
    process: Callable[[], Awaitable[Process]], prefix: str
) -> None:
    one, other = await process(), await process()
    topic, history = f"{prefix}:h.room", one.backend.history
    assert history is not None
    place = None
    for number in range(20):  # another process sends two for each one that is read
        for _ in range(2):
            await other.publish(topic, b"%d" % number)
        page = await soon(history.read(topic, place, 1))
        assert [each.payload for each in page.entries] == [b"%d" % (number // 2)]
        place = page.position
        assert page.more
    found, _ = await pages(history, topic, place, 3)
    assert found == [b"%d" % (number // 2) for number in range(20, 40)]


async def test_readers_at_one_place_do_not_share_what_is_ahead(
    process: Callable[[], Awaitable[Process]], prefix: str
) -> None:
    one = await process()
    history = one.backend.history
    assert history is not None
    room = f"{prefix}:h.room"
    others = (f"{prefix}:h.room-{number}" for number in range(1_000))
    other = next(name for name in others if shard_of(name) == shard_of(room))
    both = [Append(room, [Entry(b"r"), Entry(b"s")], 100, 60.0)]
    both.append(Append(other, [Entry(b"o"), Entry(b"p")], 100, 60.0))
    for _ in range(5):
        await soon(history.publish(both))
    readers = [pages(history, topic, None, 1) for topic in (room, room, other, other)]
    found = [payloads for payloads, _ in await asyncio.gather(*readers)]
    assert found == [[b"r", b"s"] * 5] * 2 + [[b"o", b"p"] * 5] * 2
    first = await soon(history.read(room, None, 2))
    again = [await soon(history.read(room, first.position, 2)) for _ in range(2)]
    assert again[0] == again[1]


async def test_what_is_ahead_of_a_reader_who_stops_is_let_go(
    process: Callable[[], Awaitable[Process]], prefix: str, node: Node
) -> None:
    one = await process()
    topic, history = f"{prefix}:h.room", one.backend.history
    assert history is not None
    for _ in range(3):
        await one.publish(topic, b"entry")
    await one.all(topic)
    stream = name_of(prefix, shard_of(topic))
    await until(lambda: consumers(node, stream) == 1)  # who follows it
    page = await soon(history.read(topic, None, 1))
    assert page.more
    assert consumers(node, stream) == 2
    await until(lambda: consumers(node, stream) == 1)
    assert (await pages(history, topic, page.position, 1))[0] == [b"entry"] * 2


async def test_what_is_ahead_of_a_reader_has_a_limit(
    process: Callable[[], Awaitable[Process]], prefix: str, connection: Connection
) -> None:
    one = await process()
    topic = f"{prefix}:h.room"
    await one.publish(topic, bytes(1_000))
    scan = await Scan.begin(connection, name_of(prefix, shard_of(topic)), "first", 500)
    scan.most = 2_000
    for _ in range(3):
        await one.publish(topic, bytes(1_000))
    await until(lambda: scan.ended)
    with pytest.raises(BackendUnavailable):
        await scan.take(lambda *_: True, 1_000)


async def test_what_is_ahead_of_a_reader_is_not_of_another_time(
    process: Callable[[], Awaitable[Process]], prefix: str, node: Node
) -> None:
    one = await process()
    topic, history = f"{prefix}:h.room", one.backend.history
    assert history is not None
    for _ in range(3):
        await one.publish(topic, b"old")

    async def read_on() -> list[bytes]:
        async with asyncio.timeout(20):
            while True:
                try:
                    return (await pages(history, topic, page.position, 1))[0]
                except BackendUnavailable:
                    await asyncio.sleep(0.02)

    page = await soon(history.read(topic, None, 1))
    await asyncio.to_thread(node.cut_off)
    await asyncio.to_thread(node.let_in)
    assert await read_on() == [b"old"] * 2
    page = await soon(history.read(topic, None, 1))
    await asyncio.to_thread(node.delete_queues, f"{prefix}:h.")
    with pytest.raises(HistoryLost):
        await read_on()


async def pages(
    history: History, topic: str, place: Position | None, limit: int
) -> tuple[list[bytes], Position]:
    """Return all payloads after the place, read in pages, and the place after them."""
    found: list[bytes] = []
    more = True
    while more:
        page = await soon(history.read(topic, place, limit))
        found += [each.payload for each in page.entries]
        place, more = page.position, page.more
    assert place is not None
    return found, place


def consumers(node: Node, stream: str) -> int:
    """Return how many consumers the stream has at the node."""
    return int(
        node.ask(
            "length([P || Row <- ets:tab2list(consumer_created),"
            " {{resource, _, _, Name}, P, _} <- [element(1, Row)],"
            f' Name =:= <<"{stream}">>, is_process_alive(P)]).'
        )
    )


async def test_what_is_not_ours_in_a_stream_is_passed_over(
    process: Callable[[], Awaitable[Process]], prefix: str, connection: Connection
) -> None:
    reader = await process()
    topic = f"{prefix}:h.room"
    await reader.backend.subscribe([topic])
    good = message([pack(Append(topic, [], 9, 60.0), [(None, b"good")])], 0)
    stream = name_of(prefix, shard_of(topic))
    await publish(connection, stream, b"", b"{}", good[:-1], good[:20], os.urandom(50), good + b"x")
    await reader.publish(topic, b"end")
    await until(lambda: reader.kept and reader.kept[-1].payload == b"end")
    assert [each.payload for each in reader.kept] in ([b"good", b"end"], [b"end"])
    assert await reader.all(topic) == reader.kept


async def test_expired_entries_are_not_shown_to_who_has_no_position(
    process: Callable[[], Awaitable[Process]], prefix: str
) -> None:
    reader = await process()
    topic = f"{prefix}:h.room"
    history = reader.backend.history
    assert history is not None
    start = (await soon(history.last(topic, 0))).position
    await soon(history.publish([Append(topic, [Entry(b"short")], 9, 0.2)]))
    ends = time.time() + 0.3
    await reader.publish(topic, b"long")
    await asyncio.sleep(max(0.0, ends - time.time()))
    assert [each.payload for each in await reader.all(topic)] == [b"long"]
    assert [each.payload for each in await late_last(reader, topic, 5)] == [b"long"]
    assert [each.payload for each in await reader.all(topic, start)] == [b"short", b"long"]


async def test_history_cannot_be_read_while_the_server_takes_no_messages(
    node: Node, make: Make
) -> None:
    here, there = (make(node.url, history=KEPT, send_timeout=1.0) for _ in range(2))
    channel = await kept_member(there)
    await here.group_send("kept", {"type": "hello"})
    assert await soon(there.receive(channel)) == {"type": "hello"}
    await asyncio.to_thread(node.alarm, on=True)
    try:
        # What publishes first is what the server notices.
        with pytest.raises(BackendUnavailable):
            await soon(there.group_history("kept"))
        with pytest.raises(BackendUnavailable):
            await soon(there.group_history("kept"))
    finally:
        await asyncio.to_thread(node.alarm, on=False)
    await send_when_back(here, "kept", LAST)
    await read_until(there, channel, LAST)


# --- ids ------------------------------------------------------------------------------------------


async def test_a_second_entry_of_an_id_is_dropped_by_who_saw_only_the_second(
    process: Callable[[], Awaitable[Process]], prefix: str, connection: Connection
) -> None:
    """Two processes published it at once; neither could know of the other."""
    one = await process()
    topic = f"{prefix}:h.room"
    stream = name_of(prefix, shard_of(topic))
    known = id_of(topic, "order")
    append = Append(topic, [], 9, 60.0)
    await one.publish(topic, b"before")
    before = (await one.all(topic))[0].position
    seen = before.offset >> 16
    await publish(connection, stream, message([pack(append, [(known, b"first")])], seen))
    await one.publish(topic, b"between")
    middle = (await one.all(topic))[-1].position
    late = await process()
    await late.backend.subscribe([topic])  # it follows the stream from behind the first one
    await publish(connection, stream, message([pack(append, [(known, b"second")])], seen))
    await one.publish(topic, b"end")
    assert [each.payload for each in await one.all(topic, before)] == [b"first", b"between", b"end"]
    assert [each.payload for each in await one.all(topic, middle)] == [b"end"]
    assert [each.payload for each in await late.all(topic, middle)] == [b"end"]
    assert [each.payload for each in await late_last(late, topic, 2)] == [b"between", b"end"]
    await until(lambda: late.kept and late.kept[-1].payload == b"end")
    assert b"second" not in [each.payload for each in late.kept]


async def test_who_reads_on_from_the_first_entry_of_an_id_does_not_get_the_second(
    process: Callable[[], Awaitable[Process]], prefix: str, connection: Connection
) -> None:
    """A retry of what was perhaps sent; also where both went out in one message."""
    one = await process()
    topic = f"{prefix}:h.room"
    append = Append(topic, [], 9, 60.0)
    await one.publish(topic, b"before")
    seen = (await one.all(topic))[0].position.offset >> 16
    first, second = ((id_of(topic, name), name.encode()) for name in ("first", "second"))
    entries = [pack(append, [first, second, second]), pack(append, [first])]
    bodies = [message([each], seen) for each in entries]
    await publish(connection, name_of(prefix, shard_of(topic)), *bodies)
    await one.publish(topic, b"end")
    all_ = await one.all(topic)
    assert [each.payload for each in all_] == [b"before", b"first", b"second", b"end"]
    for number, each in enumerate(all_, 1):
        assert await one.all(topic, each.position) == all_[number:]


async def test_a_process_that_never_saw_an_id_does_not_publish_it_again(
    process: Callable[[], Awaitable[Process]], prefix: str
) -> None:
    one, other = await process(), await process()
    topic = f"{prefix}:h.room"
    await one.publish(topic, b"first", "order")
    await other.publish(topic, b"second", "order")
    await other.publish(topic, b"third", "another")
    assert [each.payload for each in await one.all(topic)] == [b"first", b"third"]

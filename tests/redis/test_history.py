"""Durable groups on Redis: what is kept where, and what a restart or a refusal means for them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import read_until, send_when_back, soon, until

from fast_channels.exceptions import BackendUnavailable, HistoryLost
from fast_channels.layers import Append, Entry, HistoryPolicy
from fast_channels_redis import RedisBackend, RedisChannelLayer
from fast_channels_redis.hosts import parse_hosts

from .conftest import Make
from .servers import SAVING, Server, running, version

KEPT = {"history": {"room*": HistoryPolicy(keep=100, ttl=60.0)}}
GAP = {"type": "channels.gap", "group": "room"}
LAST = {"type": "last"}


class Listener:
    """Takes what a backend delivers."""

    def __init__(self) -> None:
        self.came: list[bytes] = []

    def deliver(self, topic: str, payload: bytes, position: object = None) -> None:
        self.came.append(payload)

    def gap(self, cause: Exception, topics: object = None) -> None:
        pass


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[tuple[RedisBackend, Listener]]:
    """An open backend, and what it delivers."""
    backend, listener = RedisBackend(parse_hosts([url])), Listener()
    await backend.open(listener)
    try:
        yield backend, listener
    finally:
        await backend.close()


def append(topic: str, *entries: Entry, keep: int = 100, ttl: float = 60.0) -> Append:
    return Append(topic, entries, keep, ttl)


async def joined(layer: RedisChannelLayer, **options: Any) -> str:
    """Return a channel of the layer that is in the group."""
    channel = await layer.new_channel()
    await layer.group_add("room", channel, **options)
    return channel


async def numbers(layer: RedisChannelLayer, **options: Any) -> list[int]:
    """Return what the group's history holds."""
    return [each["n"] for each in await layer.group_history("room", **options)]


async def send(layer: RedisChannelLayer, *numbers: int) -> None:
    for n in numbers:
        await layer.group_send("room", {"type": "n", "n": n})


async def restarted(server: Server) -> None:
    server.kill()
    await asyncio.to_thread(server.start)


# --- restarts -------------------------------------------------------------------------------------


async def test_a_server_that_saves_every_append_goes_on_where_it_was(
    tmp_path: Path, make: Make
) -> None:
    with running(tmp_path, *SAVING) as server:
        here, there = make(server.url, **KEPT), make(server.url, **KEPT)
        channel = await joined(there)
        await send(here, 0, 1)
        position = (await here.group_history("room"))[0].position
        for n in (2, 3):
            await restarted(server)
            await send_when_back(here, "room", {"type": "n", "n": n})
        await here.group_send("room", LAST)
        came = await read_until(there, channel, LAST)
        assert [each.get("n") for each in came] == [0, 1, 2, 3]
        await here.flush()  # and of a position of long ago
        with pytest.raises(HistoryLost):
            await here.group_history("room", since=position)


@pytest.mark.parametrize("saved", ["nothing", "a snapshot", "appends, now and then"])
async def test_a_server_that_lost_or_may_have_lost_entries_has_another_history(
    tmp_path: Path, make: Make, saved: str
) -> None:
    every_second = ("--appendonly", "yes", "--appendfsync", "everysec")
    with running(tmp_path, *(every_second if saved.startswith("appends") else ())) as server:
        here, there = make(server.url, **KEPT), make(server.url, **KEPT)
        channel = await joined(there)
        await send(here, 0, 1)
        position = (await here.group_history("room"))[0].position
        for n in (0, 1):
            assert (await soon(there.receive(channel)))["n"] == n
        if saved == "a snapshot":
            server.command("SAVE")
        await restarted(server)
        assert await soon(there.receive(channel)) == GAP
        await send_when_back(here, "room", LAST)
        assert await soon(there.receive(channel)) == LAST
        with pytest.raises(HistoryLost, match="is another one than that of"):
            await here.group_history("room", since=position)
        left = len(await here.group_history("room"))
        assert left == 1 if saved == "nothing" else left >= 1


async def test_all_that_a_server_has_which_came_back_empty_reaches_members(
    tmp_path: Path, make: Make
) -> None:
    with running(tmp_path) as server:
        here, there = make(server.url, **KEPT), make(server.url, **KEPT)
        channel = await joined(there)
        await send(here, 0)
        assert (await soon(there.receive(channel)))["n"] == 0
        for _ in range(3):
            await restarted(server)
            await send_when_back(here, "room", {"type": "first"})
            await here.group_send("room", LAST)
            assert await read_until(there, channel, LAST) == [GAP, {"type": "first"}]


async def test_a_history_that_was_wiped_under_its_members_is_told_as_a_gap(
    fragile: Server, make: Make
) -> None:
    layer = make(fragile.url, **KEPT)
    channel = await joined(layer)
    await send(layer, 0)
    assert (await soon(layer.receive(channel)))["n"] == 0
    fragile.command("FLUSHALL")
    await layer.group_send("room", LAST)
    assert await read_until(layer, channel, LAST) == [GAP]


async def test_what_was_evicted_is_told_as_lost_and_the_end_is_still_known(
    server: Server, prefix: str
) -> None:
    topic = f"{prefix}:h.room"
    async with opened(server.url) as (backend, _):
        await backend.history.publish([append(topic, *(Entry(b"%d" % n) for n in range(3)))])
        kept = list((await backend.history.read(topic, None, 10)).entries)
        server.command("UNLINK", f"{{{topic}}}")
        await backend.history.publish([append(topic, Entry(b"3"))])
        for before in kept[:2]:
            with pytest.raises(HistoryLost, match="lacks"):
                await backend.history.read(topic, before.position, 10)
        page = await backend.history.read(topic, kept[2].position, 10)
        assert [each.payload for each in page.entries] == [b"3"]


# --- keys -----------------------------------------------------------------------------------------


async def test_every_key_of_a_history_expires_and_ids_leave_with_their_entries(
    server: Server, prefix: str
) -> None:
    topic = f"{prefix}:h.room"
    stream, meta, ids = keys = [f"{{{topic}}}{end}" for end in ("", "m", "i")]
    async with opened(server.url) as (backend, _):
        await backend.history.last(topic, 0)
        assert server.command("PTTL", meta) > 3_000_000
        for n in range(60):
            entries = [Entry(b"x", f"id-{n}-{m}") for m in range(5)]
            await backend.history.publish([append(topic, *entries, keep=10, ttl=30.0)])
        assert server.command("XLEN", stream) == 10
        assert server.command("ZCARD", ids) < 150  # of 300; those of one millisecond leave together
        assert [server.command("PTTL", key) > 29_000 for key in keys] == [True] * 3
        again = [Entry(b"y", f"id-59-{m}") for m in range(5)] + [Entry(b"z", "id-0-0")]
        await backend.history.publish([append(topic, *again, keep=10, ttl=30.0)])
        page = await backend.history.last(topic, 2)
        assert [each.payload for each in page.entries] == [b"x", b"z"]


async def test_entries_that_have_expired_leave_the_server_while_others_come(
    server: Server, prefix: str
) -> None:
    if version() < (6, 2):
        pytest.skip("Redis 6.0 trims by number alone")
    topic = f"{prefix}:h.room"
    async with opened(server.url) as (backend, _):
        await backend.history.last(topic, 0)
        now = int(server.command("TIME")[0]) * 1_000
        for age in (61_000, 30_000):  # as if they had come then
            server.command("XADD", f"{{{topic}}}", f"{now - age}-0", "p", age, "b", "0-0")
        await backend.history.publish([append(topic, Entry(b"x"), keep=10_000, ttl=60.0)])
        left = server.command("XRANGE", f"{{{topic}}}", "-", "+")
        assert [fields[b"p"] for _, fields in left] == [b"30000", b"x"]


async def test_positions_rise_even_when_the_stream_has_expired_and_the_clock_went_back(
    server: Server, prefix: str
) -> None:
    topic = f"{prefix}:h.room"
    future = 4_000_000_000_000
    async with opened(server.url) as (backend, _):
        end = (await backend.history.last(topic, 0)).position
        server.command("HSET", f"{{{topic}}}m", "end", f"{future}-7")
        await backend.history.publish([append(topic, Entry(b"0"), Entry(b"1"))])
        page = await backend.history.read(topic, end._replace(offset=(future << 64) + 7), 10)
        assert [each.position.offset - (future << 64) for each in page.entries] == [8, 9]


async def test_flush_takes_the_histories_of_its_own_prefix_alone(
    server: Server, make: Make, prefix: str
) -> None:
    layers = [make(server.url, prefix=prefix + end, **KEPT) for end in ("", "x", ":h")]
    for layer in layers:
        await send(layer, 1)
        await layer.send("jobs", LAST)
    await layers[0].flush()
    assert [await numbers(layer) for layer in layers] == [[], [1], [1]]
    for layer in layers[1:]:
        assert await soon(layer.receive("jobs")) == LAST


async def test_clearing_histories_leaves_queues_and_clearing_queues_leaves_histories(
    server: Server, prefix: str
) -> None:
    topic, queue = f"{prefix}:h.room", f"{prefix}:q.jobs"
    async with opened(server.url) as (backend, _):
        await backend.history.publish([append(topic, Entry(b"x"))])
        await backend.queues.put(queue, b"job", 60.0)
        await backend.queues.clear(prefix)
        assert len((await backend.history.last(topic, 5)).entries) == 1
        await backend.queues.put(queue, b"another", 60.0)
        await backend.history.clear(prefix)
        assert not (await backend.history.last(topic, 5)).entries
        assert (await soon(backend.queues.take(queue))).payload == b"another"


async def test_a_history_whose_hash_is_gone_begins_anew(server: Server, prefix: str) -> None:
    topic = f"{prefix}:h.room"
    async with opened(server.url) as (backend, _):
        await backend.history.publish([append(topic, Entry(b"x", "once"))])
        server.command("UNLINK", f"{{{topic}}}m")
        assert not (await backend.history.read(topic, None, 5)).entries
        await backend.history.publish([append(topic, Entry(b"y", "once"))])
        page = await backend.history.read(topic, None, 5)
        assert [each.payload for each in page.entries] == [b"y"]


async def test_databases_have_histories_of_their_own(server: Server, make: Make) -> None:
    one, other = make(server.url, **KEPT), make(f"{server.url}/3", **KEPT)
    channels = [await joined(one), await joined(other)]
    await send(one, 1)
    await send(other, 2)
    for layer, channel, n in ((one, channels[0], 1), (other, channels[1], 2)):
        assert (await soon(layer.receive(channel)))["n"] == n
        assert await numbers(layer) == [n]


# --- refusals -------------------------------------------------------------------------------------


async def test_scripts_that_the_server_forgot_are_loaded_again_and_nothing_is_sent_twice(
    fragile: Server, prefix: str
) -> None:
    topics = [f"{prefix}:h.room{n}" for n in range(5)]
    async with opened(fragile.url) as (backend, listener):
        await backend.subscribe(topics)
        for n in range(3):
            await backend.history.publish([append(topic, Entry(b"%d" % n)) for topic in topics])
            fragile.command("SCRIPT", "FLUSH")
        pages = [await backend.history.read(topic, None, 10) for topic in topics]
        assert [[each.payload for each in page.entries] for page in pages] == [
            [b"0", b"1", b"2"]
        ] * 5
        await until(lambda: len(listener.came) == 15)


async def test_one_topic_that_is_refused_does_not_keep_the_others(
    server: Server, make: Make, prefix: str
) -> None:
    layer = make(server.url, **KEPT)
    await layer.open()
    server.command("SET", f"{{{prefix}:h.room1}}m", "not ours")
    sends = [layer.group_send(f"room{n}", LAST) for n in range(4)]
    results = await asyncio.gather(*sends, return_exceptions=True)
    assert [result is None for result in results] == [True, False, True, True]
    assert "WRONGTYPE" in str(results[1])


async def test_a_full_server_keeps_and_delivers_nothing_and_says_so(
    fragile: Server, make: Make
) -> None:
    layer = make(fragile.url, **KEPT)
    channel = await joined(layer)
    await send(layer, 0)
    fragile.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(BackendUnavailable, match="redis is out of memory and took nothing"):
        await send(layer, 1)
    fragile.command("CONFIG", "SET", "maxmemory", "0")
    await send(layer, 2)
    assert [(await soon(layer.receive(channel)))["n"] for _ in range(2)] == [0, 2]
    assert await numbers(layer) == [0, 2]


async def test_a_replica_is_not_read_and_is_left_when_it_was_made_one(
    fragile: Server, server: Server, make: Make
) -> None:
    layer = make(fragile.url, **KEPT)
    await send(layer, 0)
    fragile.command("REPLICAOF", "127.0.0.1", server.port)
    with pytest.raises(BackendUnavailable, match="READONLY"):
        await send(layer, 1)
    with pytest.raises(BackendUnavailable, match="is a read-only"):
        await send(layer, 1)
    fragile.command("REPLICAOF", "NO", "ONE")
    await send_when_back(layer, "room", {"type": "n", "n": 2})
    assert 2 in await numbers(layer)


NEEDED = (
    "+hello +ping +select +publish +subscribe +unsubscribe +info +config|get +script|load +evalsha "
    "+hmget +hset +pexpire +unlink +time +exists +xadd +xdel +xtrim +xrange +xrevrange +xlen +zadd "
    "+zscore +zcard +zremrangebyscore +scan"
)


async def test_an_acl_user_needs_these_permissions_for_history(
    fragile: Server, make: Make, prefix: str
) -> None:
    if version() < (7, 0):
        pytest.skip("Redis 6 knows no permissions for CONFIG GET alone")
    allowed = ("resetchannels", f"&{prefix}:*", f"~{{{prefix}:h.*", "-@all", *NEEDED.split())
    fragile.command("ACL", "SETUSER", "app", "on", ">secret", *allowed)
    url = f"redis://app:secret@127.0.0.1:{fragile.port}"
    async with opened(url) as (backend, listener):
        topic = f"{prefix}:h.room"
        await backend.subscribe([topic])
        for _ in range(4):  # of one entry only, so that ids are trimmed
            named = [Entry(b"x", f"{n}") for n in range(3)] + [Entry(b"y")]
            await backend.history.publish([append(topic, *named, keep=1)])
        await until(lambda: len(listener.came) == 16)
        assert len((await backend.history.last(topic, 10)).entries) == 1
        page = await backend.history.read(topic, None, 10)
        assert not (await backend.history.read(topic, page.position, 10)).entries
        await backend.history.clear(f"{prefix}:h.")
    for missing, text in (
        ("xadd", "script"),
        ("evalsha", "evalsha"),
        ("info", "history needs the commands INFO and SCRIPT LOAD"),
    ):
        fragile.command("ACL", "SETUSER", "app", f"-{missing}")
        layer = make(url, prefix=prefix, **KEPT)
        with pytest.raises(BackendUnavailable) as caught:
            await send(layer, 1)
        assert "its user lacks permissions of docs/redis.md" in str(caught.value)
        assert text in str(caught.value)
        fragile.command("ACL", "SETUSER", "app", f"+{missing}")


async def test_an_entry_that_may_not_be_published_is_not_kept(
    fragile: Server, make: Make, prefix: str
) -> None:
    if version() < (6, 2):
        pytest.skip("Redis 6.0 has no permissions for channels")
    allowed = ("resetchannels", "&other", "~*", "+@all")
    fragile.command("ACL", "SETUSER", "app", "on", ">secret", *allowed)
    async with opened(f"redis://app:secret@127.0.0.1:{fragile.port}") as (backend, _):
        topic = f"{prefix}:h.room"
        with pytest.raises(BackendUnavailable, match="channel"):
            await backend.history.publish([append(topic, Entry(b"x"), Entry(b"y"))])
        assert not (await backend.history.last(topic, 10)).entries


async def test_garbage_on_a_history_s_channel_is_skipped(
    server: Server, make: Make, prefix: str
) -> None:
    layer = make(server.url, **KEPT)
    channel = await joined(layer)
    for garbage in (b"", b"x", b"a b c", b"e 1-x p", b"\xff 1-1 p", b"\x00" * 100):
        server.command("PUBLISH", f"{prefix}:h.room", garbage)
    server.command("XADD", f"{{{prefix}:h.room}}", "*", "foreign", "entry")
    await layer.group_send("room", LAST)
    assert await soon(layer.receive(channel)) == LAST
    assert await layer.group_history("room") == [LAST]
    assert layer.stats()["malformed"] >= 1

"""What PostgreSQL alone does to durable groups: crashes, backups, migrations, rights, trimming."""

import asyncio
import itertools
import os
import shutil
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.waiting import hears, read_until, send_when_back, soon

from fast_channels.exceptions import HistoryLost, InvalidChannelLayerError
from fast_channels.layers import Append, Entry, HistoryPolicy, Position
from fast_channels_postgres import PostgresBackend, PostgresChannelLayer
from fast_channels_postgres.history import PostgresHistory
from fast_channels_postgres.hosts import Source
from fast_channels_postgres.names import text
from fast_channels_postgres.pieces import Pieces

from .conftest import Make
from .servers import Server, binaries, running

HISTORY = {"kept*": HistoryPolicy(keep=1_000, ttl=60.0)}
FIRST_SCHEMA = (Path(__file__).parent / "schema_1.sql").read_text(encoding="utf-8")


class Deaf:
    """An inbox that nothing comes to."""

    def deliver(self, topic: str, payload: bytes, position: Position | None = None, /) -> None:
        raise AssertionError(topic)

    def gap(self, cause: Exception, topics: object = None, /) -> None:
        raise AssertionError(cause)


@pytest.fixture
async def history(server: Server) -> AsyncGenerator[PostgresHistory]:
    """A history of the shared server, as core gets it."""
    backend = PostgresBackend(Source(server.url))
    await backend.open(Deaf())
    yield backend.kept
    await backend.close()


def numbered(*numbers: int) -> list[dict[str, Any]]:
    """Return a message for each number."""
    return [{"type": "hello", "n": n} for n in numbers]


async def send(layer: PostgresChannelLayer, *numbers: int) -> None:
    """The group has a message for each number."""
    for message in numbered(*numbers):
        await layer.group_send("kept", message)


# --- what happens to the data ---------------------------------------------------------------------


async def test_what_was_accepted_before_a_crash_is_read_after_it(
    fragile: Server, make: Make
) -> None:
    here = make(fragile.url, history=HISTORY)
    there = make(fragile.url, history=HISTORY)
    channel = await there.new_channel()
    await there.group_add("kept", channel)
    await send(here, 1, 2)
    first = await soon(there.receive(channel))
    await asyncio.to_thread(fragile.kill)
    await asyncio.to_thread(fragile.start)
    await send_when_back(here, "kept", numbered(3)[0])
    assert await soon(here.group_history("kept", since=first.position)) == numbered(2, 3)
    assert [await soon(there.receive(channel)) for _ in range(2)] == numbered(2, 3), "and no gap"


async def test_a_replica_that_is_promoted_has_another_history(make: Make) -> None:
    with running() as primary:
        replica = Server()
        try:
            url = primary.url.replace("@", f"@127.0.0.1:{replica.port},")
            here, there = make(url, history=HISTORY), make(url, history=HISTORY)
            await send(here, 1)
            start = await here.group_position("kept")
            await asyncio.to_thread(replica.copy, primary)
            await send(here, 2)  # which the backup does not have
            channel = await there.new_channel()
            await there.group_add("kept", channel, since=start)
            assert await soon(there.receive(channel)) == numbered(2)[0]
            (replica.data / "postgresql.auto.conf").write_text("")  # nobody to follow
            await asyncio.to_thread(primary.kill)
            await asyncio.to_thread(replica.start)
            await replica.run("SELECT pg_promote()")
            gap = {"type": "channels.gap", "group": "kept"}
            assert await soon(there.receive(channel)) == gap
            await hears(there)
            await send_when_back(here, "kept", {"type": "last"})
            assert await read_until(there, channel, {"type": "last"}) == []
            with pytest.raises(HistoryLost, match="is another one"):
                await here.group_history("kept", since=start)
            assert await here.group_history("kept") == [*numbered(1), {"type": "last"}]
            await asyncio.gather(here.close(), there.close())
        finally:
            await asyncio.to_thread(replica.remove)


async def test_a_dump_that_was_restored_has_another_history(
    server: Server, make: Make, prefix: str
) -> None:
    for name in (f"{prefix}_a", f"{prefix}_b"):
        await server.run(f"CREATE DATABASE {name}")
    old = make(server.url_of("kit", f"{prefix}_a"), history=HISTORY)
    await send(old, 1, 2)
    first = (await old.group_history("kept"))[0]
    folder = binaries()
    dump = [folder / "pg_dump", "-d", server.url_of("kit", f"{prefix}_a")]
    restore = [folder / "psql", "-qd", server.url_of("kit", f"{prefix}_b")]
    run = asyncio.to_thread
    sql = (await run(subprocess.run, dump, check=True, capture_output=True)).stdout
    await run(subprocess.run, restore, input=sql, check=True, capture_output=True)
    new = make(server.url_of("kit", f"{prefix}_b"), history=HISTORY)
    await send(new, 3)
    assert await new.group_history("kept") == numbered(1, 2, 3)
    with pytest.raises(HistoryLost, match="is another one"):
        await new.group_history("kept", since=first.position)


async def test_what_a_copied_folder_does_not_have_is_lost_and_what_it_has_is_not(
    make: Make,
) -> None:
    with running() as server:
        before = make(server.url, history=HISTORY)
        await send(before, 1)
        await before.close()
        await asyncio.to_thread(server.kill)
        copy = server.folder / "copy"
        await asyncio.to_thread(shutil.copytree, server.data, copy)
        await asyncio.to_thread(server.start)
        between = make(server.url, history=HISTORY)
        await send(between, 2, 3)
        one, two, three = await between.group_history("kept")
        await between.close()
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(shutil.rmtree, server.data)
        await asyncio.to_thread(subprocess.run, ["cp", "-a", copy, server.data], check=True)
        await asyncio.to_thread(subprocess.run, _owned_as(server), check=True)
        await asyncio.to_thread(server.start)
        after = make(server.url, history=HISTORY)
        await send(after, 4, 5, 6)
        assert await after.group_history("kept", since=one.position) == numbered(4, 5, 6)
        for lost in (two, three):
            with pytest.raises(HistoryLost, match="it was rolled back"):
                await after.group_history("kept", since=lost.position)
        await after.close()


def _owned_as(server: Server) -> list[str]:
    """Return the command after which the copied data are the server's own again."""
    owner = server.folder.stat()
    return ["chown", "-R", f"{owner.st_uid}:{owner.st_gid}", str(server.data)]


# --- setting up -----------------------------------------------------------------------------------


async def test_a_database_of_the_first_version_is_brought_up_to_date_by_migrate(
    server: Server, make: Make, prefix: str
) -> None:
    await server.run(f"CREATE DATABASE {prefix}")
    url = server.url_of("kit", prefix)
    connection = await asyncpg.connect(url)
    await connection.execute(FIRST_SCHEMA)
    layer = make(url, history=HISTORY)
    await layer.send("jobs", {"type": "job"})  # needs no more than there is
    assert await connection.fetchval("SELECT version FROM fast_channels.version") == 1
    with pytest.raises(InvalidChannelLayerError, match=r"has version 1.*fast-channels-postgres m"):
        await send(layer, 1)
    await asyncio.gather(*(layer.migrate() for _ in range(3)))
    await send(layer, 1)
    assert await layer.group_history("kept") == numbered(1)
    assert await soon(layer.receive("jobs")) == {"type": "job"}
    await layer.migrate()
    assert await layer.group_history("kept") == numbered(1)
    assert await connection.fetchval("SELECT version FROM fast_channels.version") == 2
    await connection.close()


async def test_a_role_without_rights_is_told_what_to_grant(
    server: Server, make: Make, prefix: str
) -> None:
    await server.run(f"CREATE ROLE {prefix} LOGIN PASSWORD '{server.password}'")
    await server.run(f"CREATE DATABASE {prefix}")
    owner = make(server.url_of("kit", prefix), history=HISTORY)
    await owner.migrate()
    layer = make(server.url_of(prefix, prefix), history=HISTORY)
    with pytest.raises(InvalidChannelLayerError, match="GRANT USAGE ON SCHEMA fast_channels"):
        await send(layer, 1)
    connection = await asyncpg.connect(server.url_of("kit", prefix))
    await connection.execute(
        f"GRANT USAGE ON SCHEMA fast_channels TO {prefix};"
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA fast_channels "
        f"TO {prefix}"
    )
    await connection.close()
    await send(layer, 1)
    poor = await asyncpg.connect(server.url_of(prefix, prefix))
    await layer.group_send_in(poor, "kept", numbered(2)[0])
    await poor.close()
    assert await layer.group_history("kept") == numbered(1, 2)
    await layer.flush()
    assert await layer.group_history("kept") == []


async def test_what_sql_sends_to_a_durable_group_comes_and_is_not_kept(
    server: Server, make: Make, prefix: str
) -> None:
    layer = make(server.url, history=HISTORY)
    await layer.migrate()
    channel = await layer.new_channel()
    await layer.group_add("kept", channel)
    await server.run("SELECT fast_channels.group_send('kept', '{\"type\": \"row\"}', $1)", prefix)
    message = await soon(layer.receive(channel))
    assert message == {"type": "row"}
    assert not hasattr(message, "position")
    assert await layer.group_history("kept") == []


# --- what is kept ---------------------------------------------------------------------------------


async def test_what_nobody_appends_to_any_more_is_swept_and_then_forgotten(
    server: Server, history: PostgresHistory, prefix: str
) -> None:
    topics = [f"{prefix}:h.{name}" for name in ("idle", "busy")]
    for topic, ttl in zip(topics, (0.05, 60.0), strict=True):
        entries = [Entry(b"%d" % n) for n in range(1_500)]
        await history.publish([Append(topic, entries, 10_000, ttl)])
    end = (await history.last(topics[0], 0)).position
    await asyncio.sleep(0.05)  # it is time that has to pass
    await history.sweep()
    count = (
        "SELECT topic, kept, (SELECT count(*) FROM fast_channels.entries WHERE topic_id = t.id)"
        "FROM fast_channels.topics AS t WHERE starts_with(topic, $1) ORDER BY topic DESC"
    )
    assert [tuple(row) for row in await server.run(count, prefix)] == [
        (topics[0], 0, 0),
        (topics[1], 1_500, 1_500),
    ]
    assert not (await history.read(topics[0], end, 10)).entries, "its end is still known"
    known = "UPDATE fast_channels.topics SET known_until = now() WHERE topic = $1"
    await server.run(known, topics[0])
    await history.sweep()
    assert [row["topic"] for row in await server.run(count, prefix)] == [topics[1]]


async def test_a_smaller_keep_takes_effect_bit_by_bit(
    history: PostgresHistory, prefix: str
) -> None:
    topic = f"{prefix}:h.room"
    await history.publish([Append(topic, [Entry(b"")] * 2_500, 10_000, 60.0)])
    left: list[int] = []
    while not left or left[-1] > 10:
        await history.publish([Append(topic, [Entry(b"")], 10, 60.0)])
        left.append(len((await history.read(topic, None, 10_000)).entries))
    assert left == [1_500, 500, 10]


async def test_an_id_of_any_characters_is_known_until_its_entry_expires(
    server: Server, history: PostgresHistory, prefix: str
) -> None:
    topic, name = f"{prefix}:h.room", "\x00\ud800ü'\\"
    rows = "SELECT payload FROM fast_channels.entries JOIN fast_channels.topics AS t"
    rows += " ON t.id = topic_id WHERE topic = $1"
    expire = "UPDATE fast_channels.entries SET expires_at = now()"
    expire += " WHERE topic_id = (SELECT id FROM fast_channels.topics WHERE topic = $1)"
    for _ in range(2):
        for entries in ([Entry(b"1", name), Entry(b"2", name)], [Entry(b"3", name)]):
            await history.publish([Append(topic, entries, 10, 60.0)])
        assert [row["payload"] for row in await server.run(rows, topic)] == [b"1"]
        await server.run(expire, topic)
    more = [Entry(b"")] * 1_100  # than one append removes
    await history.publish([Append(topic, [*more, Entry(b"2", name)], 10_000, 60.0)])
    await server.run(expire, topic)
    await history.publish([Append(topic, [Entry(b"3", name)], 2**40, 1e300)])
    assert [each.payload for each in (await history.last(topic, 10)).entries] == [b"3"]


async def test_appends_to_many_topics_never_wait_for_each_other(
    server: Server, prefix: str
) -> None:
    backends = [PostgresBackend(Source(server.url)) for _ in range(3)]
    topics = [f"{prefix}:h.{number}" for number in range(8)]
    for backend in backends:
        await backend.open(Deaf())

    async def write(backend: PostgresBackend, turn: int) -> None:
        for number in range(15):
            order = topics[(number + turn) % 8 :] + topics[: (number + turn) % 8]
            entries = [Entry(b"%d %d" % (turn, number))]
            await backend.kept.publish([Append(each, entries, 100, 60.0) for each in order])

    await asyncio.gather(*(write(backend, turn) for turn, backend in enumerate(backends)))
    for topic in topics:
        payloads = [each.payload for each in (await backends[0].kept.last(topic, 100)).entries]
        assert len(payloads) == 45
        for turn in range(3):
            mine = [each for each in payloads if each.startswith(b"%d " % turn)]
            assert mine == [b"%d %d" % (turn, number) for number in range(15)]
    for backend in backends:
        await backend.close()


def test_pieces_that_do_not_fit_make_no_entry() -> None:
    pieces, body = Pieces(), text("", b"x").strip()
    whole = b"x", Position("e", 7)
    assert pieces.add("t", "7.e.1.1", body) == whole
    for mark in ("", "7", "7.e", "7.e.1", "x.e.1.1", "7.e.-1.1", "7.e.2.2", "7.e.9.3", "7.e.1.2"):
        assert pieces.add("t", mark, body) is None
    assert pieces.add("t", "7.e.2.2", body) == (b"xx", Position("e", 7))
    assert pieces.add("t", "7.e.1.2", body) is None
    pieces.clear()
    assert pieces.add("t", "7.e.2.2", body) is None


# --- in a transaction -----------------------------------------------------------------------------


async def test_an_open_transaction_holds_up_nobody_and_its_message_comes_at_its_commit(
    server: Server, make: Make
) -> None:
    layer = make(server.url, history=HISTORY)
    await layer.migrate()
    channel = await layer.new_channel()
    await layer.group_add("kept", channel)
    connection = await asyncpg.connect(server.url)
    async with connection.transaction():
        for message in numbered(1, 1, 2):
            await layer.group_send_in(connection, "kept", message)
        large = {"type": "large", "data": os.urandom(100_000)}
        await layer.group_send_in(connection, "kept", large)
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():  # a savepoint
                await layer.group_send_in(connection, "kept", {"type": "never"})
                raise ZeroDivisionError
        await send(layer, 0)
        assert await soon(layer.receive(channel)) == numbered(0)[0]
    expected = [*numbered(1, 1, 2), large]
    assert [await soon(layer.receive(channel)) for _ in range(4)] == expected
    assert await layer.group_history("kept") == [*numbered(0), *expected]
    assert await server.run("SELECT FROM fast_channels.pending") == []
    await connection.close()


async def test_a_serializable_transaction_fails_where_somebody_else_has_sent(
    server: Server, make: Make
) -> None:
    layer = make(server.url, history=HISTORY)
    await layer.migrate()
    connection = await asyncpg.connect(server.url)
    for meanwhile in ([1], []):
        transaction = connection.transaction(isolation="serializable")
        await transaction.start()
        await layer.group_send_in(connection, "kept", {"type": "row"})
        await send(layer, *meanwhile)
        if meanwhile:
            with pytest.raises(asyncpg.SerializationError):
                await transaction.commit()
        else:
            await transaction.commit()
    await connection.close()
    assert await layer.group_history("kept") == [*numbered(1), {"type": "row"}]


async def test_transactions_that_send_to_the_same_groups_in_any_order_all_commit(
    server: Server, make: Make
) -> None:
    layer = make(server.url, history=HISTORY)
    await layer.migrate()
    groups = [f"kept-{number}" for number in range(3)]

    async def write(order: tuple[str, ...]) -> None:
        connection = await asyncpg.connect(server.url)
        for _ in range(5):
            async with connection.transaction():
                for group in order:
                    await layer.group_send_in(connection, group, {"type": "hello"})
        await connection.close()

    await asyncio.gather(*map(write, itertools.permutations(groups)))
    for group in groups:
        assert len(await layer.group_history(group)) == 30

"""Groups and channels over one PostgreSQL server, and what SQL sends to them."""

import asyncio
import json

import asyncpg
import pytest
from tests.waiting import soon, until

from fast_channels.layers import ChannelLayer, Publication
from fast_channels_postgres import PostgresBackend, PostgresChannelLayer
from fast_channels_postgres.hosts import Source
from fast_channels_postgres.names import shard_name

from .conftest import Make
from .servers import Server


async def member(layer: PostgresChannelLayer, *groups: str) -> str:
    """Return a channel of the layer that is in the groups."""
    channel = await layer.new_channel()
    for group in groups:
        await layer.group_add(group, channel)
    return channel


async def test_a_group_message_reaches_members_in_every_process(server: Server, make: Make) -> None:
    here, there = make(server.url), make(server.url)
    channels = [(layer, await member(layer, "room")) for layer in (here, here, there)]
    await here.group_send("room", {"type": "hello", "data": b"\x00\xff"})
    for layer, channel in channels:
        assert await soon(layer.receive(channel)) == {"type": "hello", "data": b"\x00\xff"}


async def test_a_direct_message_reaches_a_channel_of_another_process(
    server: Server, make: Make
) -> None:
    here, there = make(server.url), make(server.url)
    channel = await there.new_channel()
    await here.send(channel, {"type": "hello"})
    assert await soon(there.receive(channel)) == {"type": "hello"}


async def test_a_message_of_a_megabyte_needs_no_table_and_no_right_but_to_connect(
    server: Server, make: Make
) -> None:
    await server.run(
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'poor') THEN "
        f"CREATE ROLE poor LOGIN PASSWORD '{server.password}'; END IF; END $$"
    )
    here, there = make(server.url_of("poor")), make(server.url_of("poor"))
    channel = await member(there, "room")
    message = {"type": "large", "data": bytes(range(256)) * 4_000}
    await here.group_send("room", message)
    assert await soon(there.receive(channel)) == message


async def test_a_process_has_one_connection_to_publish_and_one_to_listen(
    server: Server, make: Make, prefix: str
) -> None:
    layer = make(f"{server.url}?application_name={prefix}")
    channel = await member(layer, *(f"room-{number}" for number in range(50)))
    for number in range(50):
        await layer.group_send(f"room-{number}", {"type": "hello"})
        assert await soon(layer.receive(channel)) == {"type": "hello"}
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
    assert (await server.run(count, prefix))[0]["count"] == 2


async def test_ten_thousand_groups_take_a_bounded_number_of_names(
    server: Server, make: Make
) -> None:
    layer = make(server.url, linger=0.0)
    channel = await layer.new_channel()
    await asyncio.gather(*(layer.group_add(f"room-{n}", channel) for n in range(10_000)))
    for number in (0, 77, 9_999):
        await layer.group_send(f"room-{number}", {"type": "hello", "n": number})
        assert await soon(layer.receive(channel)) == {"type": "hello", "n": number}


async def test_names_of_every_length_reach_their_own_group(server: Server, make: Make) -> None:
    prefix = "p" * 63
    here, there = make(server.url, prefix=prefix), make(server.url, prefix=prefix)
    groups = ["g" * 98 + last for last in "aAb.-_"] + ["g", "G", "g" * 98]
    channels = {group: await member(there, group) for group in groups}
    for group in groups:
        await here.group_send(group, {"type": "hello", "group": group})
    for group, channel in channels.items():
        assert await soon(there.receive(channel)) == {"type": "hello", "group": group}


async def test_sql_sends_to_a_group_when_its_transaction_commits(
    server: Server, make: Make, prefix: str
) -> None:
    layer = make(server.url)
    await layer.migrate()
    channel = await member(layer, "room")
    send = "SELECT fast_channels.group_send('room', $1::jsonb, $2)"
    connection = await asyncpg.connect(server.url)
    try:
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():
                await connection.execute(send, json.dumps({"type": "never"}), prefix)
                raise ZeroDivisionError
        async with connection.transaction():
            for _ in range(3):  # equal ones stay apart
                await connection.execute(
                    send, json.dumps({"type": "row", "text": "ä ' \\"}), prefix
                )
    finally:
        await connection.close()
    for _ in range(3):
        assert await soon(layer.receive(channel)) == {"type": "row", "text": "ä ' \\"}
    assert layer.stats()["unread"] == 0


async def test_equal_payloads_of_one_batch_all_arrive(server: Server, prefix: str) -> None:
    came: list[tuple[str, bytes]] = []

    class Inbox:
        def deliver(self, topic: str, payload: bytes, /) -> None:
            came.append((topic, payload))

        def gap(self, cause: Exception, topics: object = None, /) -> None:
            raise AssertionError(cause)

    backend = PostgresBackend(Source(server.url))
    await backend.open(Inbox())
    try:
        topic = f"{prefix}:g.room"
        await backend.subscribe([topic])
        batch = [Publication(topic, payload) for payload in (b"same", b"same", b"", b"", b"other")]
        await asyncio.gather(*(backend.publish(batch) for _ in range(3)))
        await until(lambda: len(came) >= 15)
        assert came == batch * 3
    finally:
        await backend.close()


async def test_a_plain_notification_reaches_a_group(
    server: Server, make: Make, prefix: str
) -> None:
    layer = make(server.url)
    channel = await member(layer, "room")
    text = f'{prefix}:g.room {{"type": "hello", "n": 1}}'
    await server.run("SELECT pg_notify('fast_channels', $1)", text)
    assert await soon(layer.receive(channel)) == {"type": "hello", "n": 1}


async def test_how_full_the_servers_queue_is_can_be_read(server: Server, make: Make) -> None:
    layer = make(server.url)
    await layer.open()
    assert layer.stats()["notification_queue_percent"] == 0
    sleeper = await asyncpg.connect(server.url)
    try:
        await sleeper.execute("LISTEN anything")
        await sleeper.execute("BEGIN; SELECT 1")
        await server.run(
            "SELECT count(pg_notify('anything', n || repeat('x', 7000)))"
            "FROM generate_series(1, 50) AS t (n)"
        )
        await until(lambda: layer.stats()["notification_queue_percent"] == 1)
    finally:
        await sleeper.close()


@pytest.mark.parametrize(
    ("group", "message", "says"),
    [
        ("a room", '{"type": "x"}', "group name 'a room'"),
        ("room", '["type"]', 'a JSON object with a text "type"'),
        ("room", '{"type": 1}', 'a JSON object with a text "type"'),
        ("room", json.dumps({"type": "x", "data": "x" * 8_000}), "has room for 7999"),
    ],
)
async def test_sql_is_told_what_is_wrong_with_a_message(
    server: Server, make: Make, group: str, message: str, says: str
) -> None:
    await make(server.url).migrate()
    with pytest.raises(asyncpg.PostgresError, match=says):
        await server.run("SELECT fast_channels.group_send($1, $2::jsonb)", group, message)


async def test_what_others_notify_on_our_names_is_counted_or_skipped(
    server: Server, make: Make, prefix: str
) -> None:
    here, there = make(server.url), make(server.url)
    channel = await member(there, "room")
    topic = f"{prefix}:g.room"
    for text in ("", " ", "x", "\x01\x7f", topic, f"{topic} ", f"{topic} not base64!", "é" * 3_000):
        await server.run("SELECT pg_notify($1, $2)", shard_name(topic), text)
    await server.run("SELECT pg_notify($1, NULL)", shard_name(topic))
    await here.group_send("room", {"type": "last"})
    assert await soon(there.receive(channel)) == {"type": "last"}
    assert there.stats()["malformed"] == 3  # those that name the topic


async def test_text_that_is_no_utf8_costs_a_gap_and_nobody_is_deaf(
    server: Server, make: Make, prefix: str
) -> None:
    # Only a database without an encoding lets it through, and asyncpg gives the connection up.
    await server.run(f"CREATE DATABASE {prefix} ENCODING 'SQL_ASCII' TEMPLATE template0")
    layer = make(server.url_of("kit", prefix))
    channel = await member(layer, "room")
    stranger = await asyncpg.connect(server.url_of("kit", prefix))
    text = f"{prefix}:g.room ' || convert_from('\\xff80'::bytea, 'SQL_ASCII')"
    await stranger.execute(f"SELECT pg_notify('fast_channels', '{text})")
    await stranger.close()
    assert await soon(layer.receive(channel)) == {"type": "channels.gap", "group": "room"}
    await layer.group_send("room", {"type": "last"})
    assert await soon(layer.receive(channel)) == {"type": "last"}


async def test_two_layers_of_one_pool_and_one_url_reach_each_other(
    server: Server, make: Make
) -> None:
    async with asyncpg.create_pool(server.url, min_size=1, max_size=4) as pool:
        here, there = make(pool=pool), make(server.url)
        layers: list[ChannelLayer] = [here, there]
        channels = [await layer.new_channel() for layer in layers]
        for layer, channel in zip(layers, channels, strict=True):
            await layer.group_add("room", channel)
        await here.group_send("room", {"type": "hello"})
        for layer, channel in zip(layers, channels, strict=True):
            assert await soon(layer.receive(channel)) == {"type": "hello"}
        await here.send("jobs", {"type": "job"})
        assert await soon(here.receive("jobs")) == {"type": "job"}
        await here.close()
        async with asyncio.timeout(5):  # every connection is the pool's again
            borrowed = [await pool.acquire() for _ in range(4)]
        for connection in borrowed:
            assert await connection.fetchval("SELECT 1") == 1
            await pool.release(connection)

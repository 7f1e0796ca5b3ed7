"""What is said when a database, a role or a URL does not fit. No text holds the password."""

import asyncio
from contextlib import suppress

import asyncpg
import pytest
from tests.refusals import no_secret_is_told as no_secret_is_told
from tests.refusals import refused
from tests.waiting import soon

from fast_channels.exceptions import BackendUnavailable, InvalidChannelLayerError, PublishFailed
from fast_channels.layers import Publication, register_channel_layer, unregister_channel_layer
from fast_channels_postgres import PostgresBackend, PostgresChannelLayer
from fast_channels_postgres.command import main
from fast_channels_postgres.hosts import Source
from fast_channels_postgres.names import MAX_PAYLOAD

from .conftest import Make
from .servers import Server


async def test_an_unknown_database_a_wrong_password_and_a_dead_host_are_told(
    server: Server, make: Make
) -> None:
    at = f"postgres at 127.0.0.1:{server.port} cannot be used: "
    unknown = await refused(make(server.url_of("kit", "nowhere")))
    assert unknown == f'{at}database "nowhere" does not exist'
    wrong = await refused(make(server.url.replace(server.password, "guess")))
    assert wrong == f'{at}password authentication failed for user "kit"'
    dead = await refused(make(f"postgresql://kit:{server.password}@127.0.0.1:1,127.0.0.1:2/x"))
    assert "127.0.0.1:1 cannot be used" in dead
    assert "127.0.0.1:2 cannot be used" in dead


async def test_a_server_that_says_goodbye_in_the_middle_of_connecting_is_told(make: Make) -> None:
    seen, gone = asyncio.Event(), asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1_000)
        for kind, body in (
            (b"R", b"\0\0\0\0"),
            (b"S", b"client_encoding\0UTF8\0"),
            (b"S", b"server_version\x0015.0\0"),
            (b"Z", b"I"),
            (b"E", b"SFATAL\0C57P01\0Mterminating connection\0\0"),
        ):
            writer.write(kind + (4 + len(body)).to_bytes(4, "big") + body)
        await seen.wait()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        gone.set()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        text = await refused(make(f"postgresql://kit@127.0.0.1:{port}/x?sslmode=disable"))
        seen.set()
        await soon(gone.wait())
    assert text.endswith("cannot be used: it went away in the middle of connecting")


async def test_a_role_without_rights_is_told_which_right_which_feature_needs(
    server: Server, make: Make
) -> None:
    await server.run("CREATE ROLE bare LOGIN PASSWORD 'kit-secret'")
    await server.run("CREATE DATABASE rights")
    layer = make(server.url_of("bare", "rights"))
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", {"type": "hello"})
    assert await soon(layer.receive(channel)) == {"type": "hello"}  # what needs no right works
    for call in (layer.send("jobs", {"type": "job"}), layer.receive("jobs"), layer.migrate()):
        with pytest.raises(
            InvalidChannelLayerError, match=r"worker channels, .* CREATE on the data"
        ):
            await soon(call)


async def test_a_role_works_with_the_rights_that_the_error_names(
    server: Server, make: Make, prefix: str
) -> None:
    await server.run("CREATE ROLE granted LOGIN PASSWORD 'kit-secret'")
    await make(server.url).migrate()
    for right in (
        "USAGE ON SCHEMA fast_channels",
        "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA fast_channels",
    ):
        await server.run(f"GRANT {right} TO granted")
    layer = make(server.url_of("granted"))
    await layer.send("jobs", {"type": "job"})
    assert await soon(layer.receive("jobs")) == {"type": "job"}
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    send = "SELECT fast_channels.group_send('room', '{\"type\": \"hello\"}', $1)"
    await server.run(send, prefix, user="granted")
    assert await soon(layer.receive(channel)) == {"type": "hello"}


async def test_a_listener_that_hears_nothing_is_told_at_opening(server: Server, make: Make) -> None:
    # As behind a pooler: what is published does not come to the session that listens.
    await server.run("CREATE DATABASE elsewhere")
    text = await refused(make(server.url, listen_url=server.url_of("kit", "elsewhere")))
    assert "LISTEN has no effect" in text
    assert "PgBouncer in transaction mode" in text
    assert "listen_url" in text


async def test_a_listener_has_a_url_of_its_own(server: Server, make: Make, prefix: str) -> None:
    direct = f"{server.url}?application_name={prefix}"
    layer = make(server.url, listen_url=direct)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", {"type": "hello"})
    assert await soon(layer.receive(channel)) == {"type": "hello"}
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
    assert (await server.run(count, prefix))[0]["count"] == 1


async def test_a_read_only_replica_is_told_and_passed_over(server: Server, make: Make) -> None:
    replica = Server(max_connections="100")  # as many as its data were made for
    try:
        replica.create()
        (replica.data / "standby.signal").touch()
        await asyncio.to_thread(replica.start)
        text = await refused(make(replica.url))
        assert f"127.0.0.1:{replica.port} cannot be used: it is a read-only replica" in text
        hosts = f"127.0.0.1:{replica.port},127.0.0.1:{server.port}"
        layer = make(f"postgresql://kit:{server.password}@{hosts}/postgres")
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_send("room", {"type": "hello"})
        assert await soon(layer.receive(channel)) == {"type": "hello"}
        anything = make(f"{replica.url}?target_session_attrs=any")
        assert "a read-only replica cannot LISTEN" in await refused(anything)
    finally:
        await asyncio.to_thread(replica.remove)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://u:kit-secret@h/d", "begins with postgresql://"),
        ("postgresql://u:kit-secret@h:port/d", "port 'port' of host 'h'"),
        ("postgresql://u:kit-secret@h:70000/d", "port '70000' of host 'h'"),
        ("postgresql://u:kit-secret@a,,b/d", "has no name"),
        ("postgresql://u:kit-secret@a/d?sslmode", "has to be name=value"),
    ],
)
def test_a_url_that_is_wrong_is_told_before_any_connection(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        PostgresChannelLayer(url)
    assert Server.password not in str(caught.value)


def test_a_layer_takes_a_url_or_a_pool() -> None:
    with pytest.raises(TypeError, match="a url or a pool"):
        PostgresChannelLayer()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("postgres://kit:kit-secret@h/d", {}),
        ("postgresql://kit:kit-secret@h/d", {}),
        ("postgres", {"url": "postgresql://kit:kit-secret@h/d"}),
    ],
)
def test_a_layer_is_found_by_its_name_or_its_url(name: str, options: dict[str, str]) -> None:
    try:
        layer = register_channel_layer("default", name, capacity=7, **options)
        assert isinstance(layer, PostgresChannelLayer)
        assert layer.capacity == 7
        assert "kit-secret" not in repr(layer)
    finally:
        unregister_channel_layer("default")


async def test_a_pool_of_another_event_loop_is_told(server: Server, make: Make) -> None:
    async with asyncpg.create_pool(server.url, min_size=0, max_size=1) as pool:
        layer = make(pool=pool)
        with pytest.raises(BackendUnavailable, match="belongs to another event loop"):
            await asyncio.to_thread(asyncio.run, layer.open())


async def test_topics_and_payloads_that_no_statement_may_hold_are_refused_alone(
    server: Server,
) -> None:
    class Inbox:
        def deliver(self, topic: str, payload: bytes, /) -> None:
            raise AssertionError

        def gap(self, cause: Exception, topics: object = None, /) -> None:
            raise AssertionError

    backend = PostgresBackend(Source(server.url))
    await backend.open(Inbox())
    try:
        for topic in ("a'b", "a b", "a\\", "a,b", "a}", 'a"', "a\0", "é", "", "x" * 166):
            with pytest.raises(ValueError, match="must be 1 to 165 ASCII letters"):
                await backend.publish([Publication(topic, b"x")])
        with pytest.raises(PublishFailed, match=f"room for {MAX_PAYLOAD}"):
            await backend.publish([Publication("fc:g.a", b"x" * (MAX_PAYLOAD + 1))])
    finally:
        await backend.close()


async def test_the_command_migrates_and_tells_what_went_wrong(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asyncio.to_thread(main, ["migrate", server.url]) == 0
    assert "up to date" in capsys.readouterr().out
    assert await asyncio.to_thread(main, ["migrate", "postgresql://kit@127.0.0.1:1/x"]) == 1
    assert "127.0.0.1:1 cannot be used" in capsys.readouterr().err
    assert main(["sql"]) == 0
    sql = capsys.readouterr().out
    assert "CREATE TABLE IF NOT EXISTS fast_channels.jobs" in sql
    await server.run("DROP SCHEMA fast_channels CASCADE")
    connection = await asyncpg.connect(server.url)
    await connection.execute(sql)  # as a DBA would
    await connection.close()
    await server.run("SELECT count(*) FROM fast_channels.jobs")

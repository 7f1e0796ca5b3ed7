"""Passwords, ACL users, TLS, sockets; and what is said when they do not fit.

Whatever goes wrong, no log, error or repr holds the password.
"""

import asyncio
import re
import subprocess
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.refusals import SECRET, refused, works
from tests.refusals import no_secret_is_told as no_secret_is_told
from tests.waiting import read_until, send_when_back, soon, until
from tests.workspace.pages import blocks_of

from fast_channels.exceptions import BackendUnavailable, MessageTooLarge

from .conftest import Make
from .servers import Server, running, version
from .test_history import NEEDED


async def test_a_password_opens_and_a_wrong_one_is_told(guarded: Server, make: Make) -> None:
    await works(make(f"redis://:kit-secret@127.0.0.1:{guarded.port}"))
    at = f"redis at 127.0.0.1:{guarded.port}"
    wrong = await refused(make(f"redis://:{SECRET}@127.0.0.1:{guarded.port}"))
    assert wrong == f"{at} refused the password of user 'default'"
    assert await refused(make(guarded.url)) == f"{at} asks for a password, and none was given"


async def test_a_credential_provider_is_asked_at_every_connect(guarded: Server, make: Make) -> None:
    class Provider:
        asked = 0

        def get_credentials(self) -> tuple[str, str]:
            self.asked += 1
            return "default", "kit-secret"

    provider = Provider()
    layer = make({"host": "127.0.0.1", "port": guarded.port, "credential_provider": provider})
    await works(layer)
    assert provider.asked == 3


def permissions() -> list[str]:
    """Return the blocks about them in docs/redis.md: for every layer, and for durable groups."""
    page = Path(__file__).parents[2] / "docs" / "redis.md"
    blocks = [block.code for block in blocks_of(page.read_text("utf-8")) if not block.language]
    assert len(blocks) == 2
    return blocks


def test_the_page_lists_the_permissions_that_durable_groups_need() -> None:
    always, durable = (set(block.split()) for block in permissions())
    assert durable - {"~{fc:h.*"} <= set(NEEDED.split()) <= always | durable


async def test_an_acl_user_needs_these_permissions_and_no_more(
    fragile: Server, make: Make, prefix: str
) -> None:
    words = permissions()[0].replace("fc:", f"{prefix}:").replace(">password", f">{SECRET}").split()
    channels = [word for word in words if word == "resetchannels" or word[0] == "&"]
    if version() < (6, 2):
        words, channels = [word for word in words if word not in channels], []
    fragile.command(*words)
    layer = make(f"redis://app:{SECRET}@127.0.0.1:{fragile.port}")
    await works(layer)
    elsewhere = make(f"redis://app:{SECRET}@127.0.0.1:{fragile.port}", prefix="elsewhere")
    if channels:
        assert "NOPERM" in await refused(elsewhere)
    with pytest.raises(BackendUnavailable, match="NOPERM"):
        await elsewhere.send("jobs", {"type": "job"})


async def test_a_user_who_may_not_listen_is_told_so(fragile: Server, make: Make) -> None:
    channels = ["&*"] if version() >= (6, 2) else []
    fragile.command("ACL SETUSER app on", f">{SECRET}", "~*", *channels, "+@all", "-subscribe")
    text = await refused(make(f"redis://app:{SECRET}@127.0.0.1:{fragile.port}"))
    assert "refused SUBSCRIBE: NOPERM" in text


async def test_a_database_that_there_is_not_is_told(server: Server, make: Make) -> None:
    assert "has no database 99" in await refused(make(f"{server.url}/99"))


async def test_a_unix_socket_is_a_host_too(
    tmp_path_factory: pytest.TempPathFactory, make: Make
) -> None:
    folder = tmp_path_factory.mktemp("socket")
    with running(folder, "--unixsocket", folder / "redis.sock"):
        await works(make(f"unix://{folder}/redis.sock?db=2"))
    assert "cannot be reached" in await refused(make(f"unix://{folder}/redis.sock"))


@asynccontextmanager
async def answering(answer: bytes) -> AsyncGenerator[str]:
    """Something that is no Redis, and gives this answer to everything."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1_000):
            writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        yield f"redis://:{SECRET}@127.0.0.1:{listener.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak Redis' protocol"),
        (
            b"-ERR unknown command 'HELLO', with args beginning with: '2' 'AUTH' 'default' '%b'\r\n"
            % SECRET.encode(),
            "does not know HELLO: Redis 6 or newer",
        ),
        (b"-ERR go away, %b\r\n" % SECRET.encode(), "refused the handshake: ERR go away, [*]{3}"),
        (b"+%b\r\n" % SECRET.encode(), "does not speak Redis' protocol"),
        (b":1\r\n:2\r\n:3\r\n", "does not speak Redis' protocol|was not asked for"),
        (b"*2\r\n+mode\r\n+sentinel\r\n", "is a Sentinel; write redis[+]sentinel://"),
        (b"*2\r\n+mode\r\n+cluster\r\n", "is a node of a Cluster; write redis[+]cluster://"),
        (b"*2\r\n+role\r\n+replica\r\n", "is a read-only replica; name its master"),
    ],
)
async def test_what_is_not_the_redis_that_was_meant_is_told(
    answer: bytes, told: str, make: Make
) -> None:
    async with answering(answer) as url:
        text = await refused(make(url))
        assert re.search(told, text), text


async def test_a_cluster_without_sharded_pub_sub_is_refused(make: Make) -> None:
    hello = b"*6\r\n+mode\r\n+cluster\r\n+role\r\n+master\r\n+version\r\n+6.2.14\r\n"
    async with answering(hello) as url:
        text = await refused(make(url.replace("redis://", "redis+cluster://")))
    assert "is version 6.2.14; a Cluster needs Redis 7 or newer, or Valkey" in text


async def test_a_replica_is_refused_and_a_promoted_one_is_taken(
    fragile: Server, server: Server, make: Make
) -> None:
    fragile.command("REPLICAOF", "127.0.0.1", server.port)
    assert "is a read-only replica" in await refused(make(fragile.url))
    fragile.command("REPLICAOF", "NO", "ONE")
    await works(make(fragile.url))


async def test_memory_that_is_full_refuses_jobs_and_carries_messages(
    fragile: Server, make: Make
) -> None:
    layer = make(fragile.url)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    fragile.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(BackendUnavailable, match=r"is out of memory and took nothing: .*OOM"):
        await layer.send("jobs", {"type": "job"})
    await layer.group_send("room", {"type": "hello"})
    assert await soon(layer.receive(channel)) == {"type": "hello"}


async def test_a_payload_beyond_the_servers_limit_is_told_and_breaks_nothing_else(
    fragile: Server, make: Make
) -> None:
    fragile.command("CONFIG", "SET", "proto-max-bulk-len", "1mb")
    layer = make(fragile.url, max_message_size=4_000_000, capacity_bytes=8_000_000)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    with pytest.raises(MessageTooLarge):
        await layer.group_send("room", {"type": "huge", "data": "x" * 4_000_000})
    with pytest.raises(BackendUnavailable, match="invalid bulk length"):
        await layer.group_send("room", {"type": "large", "data": "x" * 2_000_000})
    await send_when_back(layer, "room", {"type": "hello"})
    assert await read_until(layer, channel, {"type": "hello"}) == []


# --- TLS --------------------------------------------------------------------------------------


def certificate(
    folder: Path,
    name: str,
    issuer: str | None = None,
    names: str = "DNS:localhost,IP:127.0.0.1",
) -> None:
    """Write ``name.key`` and ``name.crt``; without an issuer it may issue others."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}"]
    if issuer is None:
        command += ["-addext", "keyUsage=critical,keyCertSign"]  # Python 3.13 insists on it
    else:
        command += ["-CA", f"{issuer}.crt", "-CAkey", f"{issuer}.key"]
        command += ["-addext", f"subjectAltName={names}"]
        command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def secured(folder: Path, *options: str, config: str = "") -> Server:
    """Return a server, not started yet, that speaks TLS with the certificates of the folder."""
    server = Server(
        folder,
        *options,
        config=config,
        ssl=True,
        ssl_ca_certs=str(folder / "authority.crt"),
        ssl_certfile=str(folder / "client.crt"),
        ssl_keyfile=str(folder / "client.key"),
    )
    server.options += f"--port 0 --tls-port {server.port}".split()
    for option, name in (
        ("cert", "server.crt"),
        ("key", "server.key"),
        ("ca-cert", "authority.crt"),
    ):
        server.options += [f"--tls-{option}-file", str(folder / name)]
    return server


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server that speaks TLS, and wants certificates of its clients."""
    folder = tmp_path_factory.mktemp("tls")
    certificate(folder, "authority")
    certificate(folder, "stranger")
    for name in ("server", "client"):
        certificate(folder, name, "authority")
    server = secured(folder)
    try:
        yield server.start()
    finally:
        server.kill()


def certificates(folder: Path) -> str:
    """Return the options of a URL that name the client's files."""
    files = {"certfile": "client.crt", "keyfile": "client.key", "ca_certs": "authority.crt"}
    return "&".join(f"ssl_{option}={folder}/{name}" for option, name in files.items())


async def test_a_cluster_over_tls_needs_these_permissions(
    tls: Server, make: Make, prefix: str
) -> None:
    if version() < (7, 0):
        pytest.skip("Redis 6 has no sharded pub/sub, and its Clusters are refused")
    folder = tls.folder.parent
    node = secured(folder, "--cluster-enabled", "yes", "--tls-cluster", "yes")
    try:
        node.start().command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        node.command(
            "ACL SETUSER app on", f">{SECRET}", "resetchannels", f"&{prefix}:*",
            f"~{{{prefix}:q.}}*", f"~w{{{prefix}:q.}}*", "-@all", "+hello", "+ping",
            "+cluster|slots", "+spublish", "+ssubscribe", "+sunsubscribe", "+eval", "+time",
            "+lindex", "+lpop", "+llen", "+lpush", "+rpush", "+pttl", "+pexpire", "+blpop", "+scan",
            "+unlink",
        )  # fmt: skip
        url = f"rediss+cluster://app:{SECRET}@127.0.0.1:{node.port}?{certificates(folder)}"
        await until(lambda: b"cluster_state:ok" in node.command("CLUSTER", "INFO"))
        await works(make(url))
    finally:
        node.kill()


async def test_sentinels_over_tls_name_a_master_over_tls(tls: Server, make: Make) -> None:
    folder = tls.folder.parent
    monitor = f"tls-replication yes\nsentinel monitor over-tls 127.0.0.1 {tls.port} 1"
    sentinel = secured(folder, "--sentinel", config=monitor)
    try:
        sentinel.start()
        at = f"127.0.0.1:{sentinel.port}"
        await works(make(f"rediss+sentinel://{at}/over-tls?{certificates(folder)}"))
        assert "no Sentinel knows the master" in await refused(
            make(f"redis+sentinel://:{SECRET}@{at}/over-tls")
        )
        if version() < (6, 2):  # its Sentinels know no users
            return
        sentinel.command(
            "ACL SETUSER asker on", f">{SECRET}", "-@all", "+hello",
            "+sentinel|get-master-addr-by-name",
        )  # fmt: skip
        asker = f"sentinel_username=asker&sentinel_password={SECRET}"
        await works(make(f"rediss+sentinel://{at}/over-tls?{certificates(folder)}&{asker}"))
        wrong = asker.replace(SECRET, "wrong")
        assert "refused the password of user 'asker'" in await refused(
            make(f"rediss+sentinel://{at}/over-tls?{certificates(folder)}&{wrong}")
        )
    finally:
        sentinel.kill()


async def test_tls_with_client_certificates(tls: Server, make: Make) -> None:
    folder = tls.folder.parent
    files = f"ssl_certfile={folder}/client.crt&ssl_keyfile={folder}/client.key"
    authority = f"ssl_ca_certs={folder}/authority.crt"
    at = f"127.0.0.1:{tls.port}"
    layer = make(f"rediss://{at}?{files}&{authority}")
    await works(layer)
    for name in ("localhost", "127.0.0.1"):
        await works(make({"address": f"rediss://{name}:{tls.port}?{files}&{authority}"}))
    assert "certificate verify failed" in await refused(make(f"rediss://{at}?{files}"))
    stranger = f"ssl_certfile={folder}/stranger.crt&ssl_keyfile={folder}/stranger.key"
    for wrong in (f"rediss://{at}?{authority}", f"rediss://{at}?{authority}&{stranger}"):
        await refused(make(wrong))
    plain = await refused(make(f"redis://:{SECRET}@{at}"))
    assert plain.endswith("during the handshake (if it speaks TLS, write rediss://)")


async def test_a_server_that_another_authority_has_signed_or_of_another_name_is_refused(
    tls: Server, make: Make, tmp_path: Path
) -> None:
    folder = tls.folder.parent
    files = f"ssl_certfile={folder}/client.crt&ssl_keyfile={folder}/client.key"
    stranger = f"rediss://127.0.0.1:{tls.port}?{files}&ssl_ca_certs={folder}/stranger.crt"
    assert "certificate verify failed" in await refused(make(stranger))
    for name in ("authority.crt", "authority.key", "client.crt", "client.key"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    certificate(tmp_path, "server", "authority", names="DNS:elsewhere.example")
    elsewhere = secured(tmp_path)
    elsewhere.client_options["ssl_check_hostname"] = False
    try:
        url = f"rediss://127.0.0.1:{elsewhere.start().port}?{certificates(tmp_path)}"
        assert "not valid for '127.0.0.1'" in await refused(make(url))
        await works(make(f"{url}&ssl_check_hostname=false"))  # who says so trusts it anyway
    finally:
        elsewhere.kill()


async def test_a_tls_listener_comes_back(tls: Server, make: Make) -> None:
    folder = tls.folder.parent
    files = f"ssl_certfile={folder}/client.crt&ssl_keyfile={folder}/client.key"
    layer = make(f"rediss://127.0.0.1:{tls.port}?{files}&ssl_ca_certs={folder}/authority.crt")
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    with tls.client() as client:
        client.client_kill_filter(_type="pubsub")
    await until(lambda: layer.stats()["gaps"] == 1)
    await works(layer)


async def test_tls_to_a_server_that_speaks_none_is_told(server: Server, make: Make) -> None:
    text = await refused(make(f"rediss://127.0.0.1:{server.port}"))
    assert text.endswith("(if it speaks no TLS, write redis://)")

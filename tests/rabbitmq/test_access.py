"""Who is let in, what they may do, and what others put in our way."""

import asyncio
import subprocess
import time
from collections.abc import Generator
from pathlib import Path

import aio_pika
import pytest
from pamqp import commands
from pamqp.frame import marshal
from tests.ports import Port
from tests.refusals import SECRET, refused
from tests.waiting import read_until, soon, until

from fast_channels.exceptions import BackendUnavailable, MessageTooLarge, PublishFailed
from fast_channels.layers import Inbox, Publication
from fast_channels_rabbitmq import RabbitMQBackend
from fast_channels_rabbitmq.batches import MARK
from fast_channels_rabbitmq.urls import parse_servers

from .conftest import Make, member
from .servers import PASSWORD, USER, Node, running

LAST = {"type": "last"}


async def test_a_wrong_password_or_virtual_host_is_told(node: Node, make: Make) -> None:
    text = await refused(make(f"amqp://{USER}:{SECRET}@{node.address}"))
    assert f"rabbitmq at {node.address} refused: ACCESS_REFUSED - Login was refused" in text
    text = await refused(make(f"{node.url}/elsewhere"))
    assert "vhost 'elsewhere' refused: NOT_ALLOWED - vhost elsewhere not found" in text


async def test_virtual_hosts_have_nothing_in_common(node: Node, make: Make, prefix: str) -> None:
    await asyncio.to_thread(node.virtual_host, f"{prefix}/one")
    layers = (
        make(node.url),
        make(f"{node.url}/{prefix}%2Fone"),
        make(node.url, vhost=f"{prefix}/one"),
    )
    rooms = [await member(layer) for layer in layers]
    for number in (0, 1):
        await layers[number].group_send("room", {"type": "hello", "n": number})
        await layers[number].group_send("room", LAST)
    for layer, room, number in zip(layers, rooms, (0, 1, 1), strict=True):
        assert await read_until(layer, room, LAST) == [{"type": "hello", "n": number}]


async def test_the_heartbeat_that_is_asked_for_is_agreed_on(node: Node, make: Make) -> None:
    await make(f"{node.url}?heartbeat=7").open()
    await make(node.url, heartbeat=11).open()
    assert {7, 11} <= set(await asyncio.to_thread(node.heartbeats))


async def test_a_host_that_is_no_rabbitmq_is_told(make: Make) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert "does not speak AMQP 0-9-1" in await refused(make(f"amqp://127.0.0.1:{port}"))


async def test_a_server_that_is_too_old_is_told(make: Make) -> None:
    told = {"product": "RabbitMQ", "version": "3.9.29"}
    start = marshal(commands.Connection.Start(0, 9, told, "PLAIN", "en_US"), 0)

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        text = await refused(make(f"amqp://127.0.0.1:{port}"))
        assert f"rabbitmq at 127.0.0.1:{port} is RabbitMQ 3.9.29; 3.10 is the oldest" in text


async def test_hosts_are_tried_in_turn(node: Node, make: Make) -> None:
    for _ in range(4):  # whichever comes first
        layer = make([f"amqp://{USER}:{PASSWORD}@127.0.0.1:1", node.url])
        await layer.open()
        await layer.close()
    text = await refused(make(f"amqp://{USER}:{SECRET}@127.0.0.1:1,{node.address}"))
    assert "no server could be used" in text
    assert "127.0.0.1:1 cannot be reached" in text
    assert "Login was refused" in text


async def test_a_missing_permission_is_told_with_its_resource(
    node: Node, make: Make, prefix: str
) -> None:
    await make(node.url).open()  # makes the exchange
    url = await asyncio.to_thread(node.user, f"{prefix}-c", "^$", ".*", ".*")
    text = await refused(make(url))
    assert f"access to exchange '{prefix}' in vhost '/' refused for user '{prefix}-c'" in text
    assert "needs the permission to configure" in text
    url = await asyncio.to_thread(node.user, f"{prefix}-w", ".*", f"^{prefix}\\\\.", ".*")
    layer = make(url)
    await layer.open()
    with pytest.raises(BackendUnavailable, match=f"exchange '{prefix}'.*permission to write"):
        await layer.group_send("room", LAST)
    url = await asyncio.to_thread(node.user, f"{prefix}-r", ".*", ".*", f"^{prefix}\\\\.")
    layer = make(url)
    with pytest.raises(BackendUnavailable, match=f"exchange '{prefix}'.*permission to read"):
        await member(layer)


@pytest.mark.long
async def test_who_may_not_publish_listens_in_peace(node: Node, make: Make, prefix: str) -> None:
    url = await asyncio.to_thread(node.user, f"{prefix}-w", ".*", f"^{prefix}\\\\.", ".*")
    here, there = make(node.url), make(url)
    room = await member(there)
    await asyncio.sleep(7)  # it is time that has to pass: it looks twice whether it is still bound
    await here.group_send("room", LAST)
    assert await read_until(there, room, LAST) == []
    assert there.stats()["reconnects"] == 0


async def test_what_the_documentation_grants_is_enough(node: Node, make: Make, prefix: str) -> None:
    own = f"^{prefix}$|^{prefix}[.:]"
    url = await asyncio.to_thread(node.user, f"{prefix}-own", own, f"{own}|^amq\\\\.default$", own)
    layer = make(url)
    channel = await member(layer)
    await layer.group_send("room", LAST)
    assert await soon(layer.receive(channel)) == LAST
    await layer.send("jobs", LAST)
    assert await soon(layer.receive("jobs")) == LAST
    await layer.flush()


async def test_an_exchange_of_another_type_is_told(node: Node, make: Make, prefix: str) -> None:
    async with await aio_pika.connect(node.url) as connection:
        channel = await connection.channel()
        await channel.declare_exchange(prefix, "topic", durable=True)
    text = await refused(make(node.url))
    assert f"inequivalent arg 'type' for exchange '{prefix}'" in text
    assert "'direct'" in text


async def test_messages_of_others_arrive_or_are_counted_and_skipped(
    node: Node, make: Make, prefix: str
) -> None:
    layer = make(node.url)
    room = await member(layer)
    async with await aio_pika.connect(node.url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(prefix)
        bodies = [b"\x00garbage", b"", MARK + b"\xff\xff", MARK + b"\x01\x00\x00\x00\x01\xffx"]
        bodies += [MARK + b"\x05\x00\x00\x00\x01", b'{"type": "hello", "text": "from afar"}']
        for body in bodies:
            await exchange.publish(aio_pika.Message(body), f"{prefix}:g.room")
    assert await soon(layer.receive(room)) == {"type": "hello", "text": "from afar"}
    await layer.group_send("room", LAST)
    assert await read_until(layer, room, LAST) == []
    assert layer.stats()["malformed"] == 5


class Silent(Inbox):
    """Takes nothing."""

    def deliver(self, *_: object) -> None: ...

    def gap(self, *_: object) -> None: ...


async def test_of_a_batch_only_what_is_too_large_is_refused(node: Node, prefix: str) -> None:
    backend = RabbitMQBackend(parse_servers(node.url), exchange=prefix, max_payload=10_000)
    await backend.open(Silent())
    try:
        batch = [Publication(f"{prefix}:g.{size}", b"x" * size) for size in (5, 10_001, 10_000)]
        with pytest.raises(PublishFailed) as caught:
            await backend.publish(batch)
        assert list(caught.value.errors) == [1]
        assert isinstance(caught.value.errors[1], MessageTooLarge)
    finally:
        await backend.close()


# --- limits, TLS ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, and keys of a server and of a client that it has signed."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    (folder / "names").write_text("subjectAltName = IP:127.0.0.1\n")
    openssl("req", "-x509", *new, "-days", "2", "-subj", "/CN=kit authority",
            "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip
    openssl("req", "-x509", *new, "-days", "2", "-subj", "/CN=stranger",
            "-keyout", "stranger.key", "-out", "stranger.pem")  # fmt: skip
    for name in ("server", USER):
        openssl("req", *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", "request")
        openssl("x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2",
                "-CAcreateserial", "-extfile", "names", "-out", f"{name}.pem")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def strict(
    certificates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[tuple[Node, str]]:
    """A node that takes small messages only, and wants a certificate at that other address."""
    port = Port()
    config = (
        f"listeners.ssl.1 = 127.0.0.1:{port.number}\n"
        f"ssl_options.cacertfile = {certificates}/ca.pem\n"
        f"ssl_options.certfile = {certificates}/server.pem\n"
        f"ssl_options.keyfile = {certificates}/server.key\n"
        "max_message_size = 100000\n"
        "ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n"
        "ssl_cert_login_from = common_name\n"
        "auth_mechanisms.1 = PLAIN\nauth_mechanisms.2 = EXTERNAL\n"
    )
    folder = tmp_path_factory.mktemp("strict")
    with running(folder, config, "rabbitmq_auth_mechanism_ssl", also=port.number) as node:
        yield node, f"127.0.0.1:{port.number}"


@pytest.mark.timeout(120)
async def test_tls_with_a_clients_certificate_lets_in_who_it_names(
    strict: tuple[Node, str], certificates: Path, make: Make, node: Node
) -> None:
    _, address = strict
    files = {
        "tls_ca": f"{certificates}/ca.pem",
        "tls_cert": f"{certificates}/{USER}.pem",
        "tls_key": f"{certificates}/{USER}.key",
    }
    for url, options in (
        (f"amqps://{USER}:{PASSWORD}@{address}", {}),
        (f"amqps://{address}", {"auth": "external"}),
    ):
        layer = make(url, **options, **files)
        room = await member(layer)
        await layer.group_send("room", LAST)
        assert await soon(layer.receive(room)) == LAST
        await layer.close()
    text = await refused(make(f"amqps://{USER}:{PASSWORD}@{address}"))
    assert "CERTIFICATE_VERIFY_FAILED" in text or "certificate" in text
    stranger = {**files, "tls_ca": f"{certificates}/stranger.pem"}
    text = await refused(make(f"amqps://{USER}:{PASSWORD}@{address}", **stranger))
    assert "certificate verify failed" in text.lower().replace("_", " ")
    port = address.rpartition(":")[2]
    text = await refused(make(f"amqps://{USER}:{PASSWORD}@localhost:{port}", **files))
    assert "not valid for 'localhost'" in text
    without = {"tls_ca": files["tls_ca"]}
    assert "rabbitmq at" in await refused(make(f"amqps://{USER}:{PASSWORD}@{address}", **without))
    # The other way round: who speaks TLS to a port without it, or asks for what is not offered.
    assert "rabbitmq at" in await refused(make(f"amqps://{node.address}", **files))


@pytest.mark.timeout(120)
async def test_a_payload_over_the_servers_limit_is_told(
    strict: tuple[Node, str], make: Make
) -> None:
    node, _ = strict
    large = {"type": "large", "text": "x" * 200_000}
    layer = make(node.url)
    with pytest.raises(BackendUnavailable, match=r"larger than .*100000; register .*max_payload"):
        await layer.group_send("room", large)
    fitting = make(node.url, max_payload=90_000)
    room = await member(fitting)
    await fitting.group_send("room", large)  # in pieces
    assert await soon(fitting.receive(room)) == large


async def test_the_servers_clock_is_told_and_nothing_is_left_of_asking(
    node: Node, make: Make
) -> None:
    layer = make(node.url, prefix="clock")
    await layer.open()
    queues = node.queues()
    before = time.time()
    told = await soon(layer.describe())
    after = time.time()
    within = float(told["time_within"])
    assert before - within - 0.1 < float(told["time"]) < after + within + 0.1
    await until(lambda: node.queues() == queues)


@pytest.mark.parametrize("missing", ["configure", "write"])
async def test_a_user_who_may_not_ask_for_the_clock_is_told_the_rest(
    missing: str, node: Node, make: Make
) -> None:
    allowed = dict.fromkeys(("configure", "write", "read"), ".*")
    allowed[missing] = {"configure": "^off$|^off[.][0-9a-f]{18}$", "write": "^off"}[missing]
    layer = make(node.user(f"clock-{missing}", **allowed), prefix="off")
    told = await soon(layer.describe())
    assert told["server"] == "RabbitMQ"
    assert "time" not in told

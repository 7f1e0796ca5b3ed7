"""Users, tokens, nkeys, credentials, TLS, permissions; and what is said when they do not fit.

Whatever goes wrong, no log, error or repr holds the secret.
"""

import asyncio
import signal
import subprocess
from pathlib import Path

import nkeys
import pytest
from tests.refusals import SECRET, refused, works
from tests.refusals import no_secret_is_told as no_secret_is_told
from tests.waiting import soon

from fast_channels.exceptions import (
    BackendUnavailable,
    InvalidChannelLayerError,
    MessageTooLarge,
    PublishFailed,
)
from fast_channels.testing.conformance.process import Process
from fast_channels_nats import NatsBackend, NatsChannelLayer
from fast_channels_nats.urls import parse_servers

from .conftest import Make
from .operators import Operator
from .servers import Server, running


async def test_a_password_opens_and_a_wrong_one_is_told(guarded: Server, make: Make) -> None:
    await works(make(guarded.url, user="kit", password="kit-secret"))
    at = f"nats at {guarded.address}"
    wrong = await refused(make(f"nats://kit:{SECRET}@{guarded.address}"))
    assert wrong == f"{at} refused our credentials: Authorization Violation"
    nobody = await refused(make(guarded.url))
    assert nobody == f"{at} asks who we are, and no user, token or key was given"


async def test_a_token_opens(tmp_path: Path, make: Make) -> None:
    with running(tmp_path, f'authorization {{ token: "{SECRET}" }}') as server:
        await works(make(f"nats://{SECRET}@{server.address}"))
        assert "refused our credentials" in await refused(make(server.url, token="other"))


async def test_an_nkey_opens_and_another_one_is_refused(tmp_path: Path, make: Make) -> None:
    seeds = [nkeys.encode_seed(bytes([byte]) * 32, nkeys.PREFIX_BYTE_USER) for byte in (1, 2)]
    files = [tmp_path / f"{number}.nk" for number in range(2)]
    for file, seed in zip(files, seeds, strict=True):
        file.write_bytes(seed)
    public = nkeys.from_seed(bytearray(seeds[0])).public_key.decode()
    with running(tmp_path, f"authorization {{ users: [{{ nkey: {public} }}] }}") as server:
        await works(make(server.url, nkey=str(files[0])))
        assert "refused our credentials" in await refused(make(server.url, nkey=str(files[1])))
        absent = await refused(make(server.url, nkey=str(tmp_path / "absent")))
        assert absent.endswith("absent cannot be read: FileNotFoundError")
        files[0].write_text("no seed")
        assert "has no usable seed" in await refused(make(server.url, nkey=str(files[0])))


async def test_credentials_of_an_operators_account_open(tmp_path: Path, make: Make) -> None:
    operator, other = Operator(), Operator()
    known = operator.credentials(tmp_path / "known.creds", operator.app)
    unknown = other.credentials(tmp_path / "unknown.creds", other.app)
    with running(tmp_path, operator.config) as server:
        await works(make(server.url, credentials=known))
        assert "refused our credentials" in await refused(make(server.url, credentials=unknown))
        assert "asks who we are" in await refused(make(server.url))


async def test_credentials_are_read_again_when_the_connection_comes_back(
    tmp_path: Path, make: Make
) -> None:
    operator = Operator()
    file = tmp_path / "app.creds"
    operator.credentials(file, operator.app)
    with running(tmp_path, operator.config) as server:
        layer = make(server.url, credentials=str(file))
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        server.kill()
        renewed = Operator()
        renewed.credentials(file, renewed.app)
        server.config = renewed.config
        server.start()
        assert await soon(layer.receive(channel)) == {"type": "channels.gap", "group": "room"}
        await works(layer)


async def test_permissions_of_a_users_credentials_reach_who_asked(
    tmp_path: Path, make: Make, prefix: str
) -> None:
    operator = Operator()
    file = operator.credentials(
        tmp_path / "app.creds",
        operator.app,
        sub={"allow": [f"{prefix}.n.*"]},
        pub={"deny": [f"{prefix}.g.mute"]},
    )
    with running(tmp_path, operator.config) as server:
        layer = make(server.url, credentials=file)
        with pytest.raises(BackendUnavailable, match=rf'Subscription to "{prefix}.g.deaf"'):
            await layer.group_add("deaf", await layer.new_channel())
        with pytest.raises(BackendUnavailable, match=rf'Publish to "{prefix}.g.mute"'):
            await layer.group_send("mute", {"type": "no"})


async def test_a_file_that_holds_no_credentials_is_told(
    server: Server, tmp_path: Path, make: Make
) -> None:
    file = tmp_path / "user.creds"
    file.write_text(SECRET)
    told = await refused(make(server.url, credentials=str(file)))
    assert "user.creds is no credentials file" in told


async def test_tls_with_certificates_on_both_sides(tmp_path: Path, make: Make) -> None:
    authority = certificate(tmp_path, "authority")
    names = {name: certificate(tmp_path, name, authority) for name in ("server", "client")}
    config = (
        f'tls {{ cert_file: "{names["server"]}.pem", key_file: "{names["server"]}.key", '
        f'ca_file: "{authority}.pem", verify: true }}'
    )
    with running(tmp_path, config) as server:
        files = {
            "tls_ca": f"{authority}.pem",
            "tls_cert": f"{names['client']}.pem",
            "tls_key": f"{names['client']}.key",
        }
        await works(make(f"tls://{server.address}", **files))
        await works(make(f"nats://{server.address}", **files))
        untrusted = await refused(make(server.url))
        assert "did not agree on TLS" in untrusted
        assert "certificate verify failed" in untrusted
        nameless = await refused(make(f"tls://{server.address}", tls_ca=f"{authority}.pem"))
        assert str(server.port) in nameless
        stranger = {**files, "tls_ca": f"{certificate(tmp_path, 'stranger')}.pem"}
        assert "certificate verify failed" in await refused(
            make(f"tls://{server.address}", **stranger)
        )
        elsewhere = await refused(make(f"tls://localhost:{server.port}", **files))
        assert "not valid for 'localhost'" in elsewhere


async def test_a_server_without_tls_is_not_spoken_to_in_the_clear(
    server: Server, make: Make
) -> None:
    assert "speaks no TLS" in await refused(make(f"tls://{server.address}"))


async def test_what_is_not_permitted_reaches_who_asked(
    tmp_path: Path, make: Make, prefix: str
) -> None:
    user = (
        'user: app, password: "pw", permissions: { '
        f'publish: ["{prefix}.g.open", "{prefix}.g.deaf"], '
        f'subscribe: ["{prefix}.n.*", "{prefix}.g.open", "{prefix}.g.mute"] }}'
    )
    with running(tmp_path, f"authorization {{ users: [{{ {user} }}] }}") as server:
        layer = make(f"nats://app:pw@{server.address}")
        channel = await layer.new_channel()
        await layer.group_add("open", channel)
        with pytest.raises(BackendUnavailable, match=rf'Subscription to "{prefix}.g.deaf"'):
            await layer.group_add("deaf", channel)
        with pytest.raises(BackendUnavailable, match=rf'Publish to "{prefix}.g.mute"'):
            await layer.group_send("mute", {"type": "no"})
        sends = [layer.group_send(group, {"type": group}) for group in ("open", "mute", "open")]
        results = await asyncio.gather(*sends, return_exceptions=True)
        assert [type(result) for result in results] == [
            type(None),
            BackendUnavailable,
            type(None),
        ]
        for _ in range(2):
            assert await soon(layer.receive(channel)) == {"type": "open"}
        with pytest.raises(BackendUnavailable, match="refused"):
            await layer.send("jobs", {"type": "no"})


async def test_a_permission_that_is_taken_back_is_a_gap(
    tmp_path: Path, make: Make, prefix: str
) -> None:
    allowed = f'"{prefix}.n.*", "{prefix}.g.room", "{prefix}.g.secret"'
    config = (
        'authorization { users: [{ user: app, password: "pw", permissions: { publish: ">", '
        f"subscribe: [{allowed}] }} }}] }}"
    )
    with running(tmp_path, config) as server:
        layer = make(f"nats://app:pw@{server.address}")
        channels = {group: await layer.new_channel() for group in ("room", "secret")}
        for group, channel in channels.items():
            await layer.group_add(group, channel)
        server.config = config.replace(f', "{prefix}.g.secret"', "")
        server.configure()
        server.signal(signal.SIGHUP)
        gap = {"type": "channels.gap", "group": "secret"}
        assert await soon(layer.receive(channels["secret"])) == gap
        await layer.group_send("room", {"type": "last"})
        assert await soon(layer.receive(channels["room"])) == {"type": "last"}


async def test_only_these_permissions_are_needed(tmp_path: Path, make: Make, prefix: str) -> None:
    user = (
        'user: app, password: "pw", permissions: { '
        f'publish: ["{prefix}.>", "$JS.API.>", "$JS.ACK.>"], '
        f'subscribe: ["{prefix}.>", "_INBOX.>"] }}'
    )
    with running(tmp_path, f"authorization {{ users: [{{ {user} }}] }}") as server:
        await works(make(f"nats://app:pw@{server.address}"))


async def test_worker_queues_without_jetstream_are_refused_clearly(
    tmp_path: Path, make: Make
) -> None:
    with running(tmp_path, jetstream=False) as server:
        layer = make(server.url)
        for call in (layer.send("jobs", {"type": "job"}), layer.receive("jobs")):
            with pytest.raises(InvalidChannelLayerError, match="start nats-server with -js"):
                await soon(call)


async def test_an_account_without_jetstream_is_refused_clearly(tmp_path: Path, make: Make) -> None:
    accounts = (
        "accounts { plain { users: [{ user: plain, password: pw }] }, "
        "stored { jetstream: enabled, users: [{ user: stored, password: pw }] } }"
    )
    with running(tmp_path, accounts) as server:
        await works(make(f"nats://stored:pw@{server.address}"))
        layer = make(f"nats://plain:pw@{server.address}")
        for call in (layer.send("jobs", {"type": "job"}), layer.receive("jobs")):
            with pytest.raises(InvalidChannelLayerError, match="enable it for the account"):
                await soon(call)


async def test_a_jetstream_without_space_is_told_to_who_sends(tmp_path: Path, make: Make) -> None:
    with running(tmp_path, jetstream=False) as server:
        folder = server.folder / "jetstream"
        server.config = f'jetstream {{ store_dir: "{folder}", max_file: 100000 }}'
        server.kill()
        server.start()
        layer = make(server.url)
        job = {"type": "job", "text": "x" * 20_000}
        sent = 0
        with pytest.raises(BackendUnavailable, match="has no space left"):
            for sent in range(50):  # noqa: B007  # how many there was space for
                await layer.send("jobs", job)
        assert 0 < sent < 20
        assert await soon(layer.receive("jobs")) == job
        await sent_when_there_is_space(layer)


async def sent_when_there_is_space(layer: NatsChannelLayer) -> None:
    """A job was sent: the space of a finished one is free as soon as the server has read of it."""
    async with asyncio.timeout(15):
        while True:
            try:
                await layer.send("jobs", {"type": "small"})
                return
            except BackendUnavailable:
                await asyncio.sleep(0.01)


async def test_a_smaller_limit_of_the_server_is_told_and_can_be_said(
    tmp_path: Path, make: Make
) -> None:
    with running(tmp_path, "max_payload: 20000") as server:
        told = await refused(make(server.url))
        assert told.endswith("register the layer with max_payload=20000")
        layer = make(server.url, max_payload=20_000)
        await works(layer)
        channel = await layer.new_channel()
        large = {"type": "large", "text": "x" * 500_000}
        await layer.group_add("room", channel)
        await layer.group_send("room", large)
        assert await soon(layer.receive(channel)) == large
        await layer.send("jobs", large)
        assert await soon(layer.receive("jobs")) == large


async def test_only_what_is_above_the_limit_is_refused(server: Server, prefix: str) -> None:
    backend = NatsBackend(parse_servers(server.url, max_payload=5_000))
    process = Process(backend, 15)
    await backend.open(process)
    try:
        topic = f"{prefix}:g.room"
        await process.subscribe(topic)
        with pytest.raises(PublishFailed) as caught:
            await process.publish(topic, b"one", b"x" * 5_001, b"x" * 5_000)
        assert [(index, type(error)) for index, error in caught.value.errors.items()] == [
            (1, MessageTooLarge)
        ]
        assert await process.expect(topic, 2) == [b"one", b"x" * 5_000]
    finally:
        await process.close()


async def test_what_does_not_speak_nats_is_told(make: Make) -> None:
    async def chat(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(chat, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        assert "does not speak NATS' protocol" in await refused(make(f"nats://127.0.0.1:{port}"))


async def test_a_server_that_is_too_old_is_told(make: Make) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"version": "2.8.4", "max_payload": 1048576}\r\n')
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        told = await refused(make(f"nats://127.0.0.1:{port}"))
        assert told.endswith("is nats-server 2.8.4; 2.9 is the oldest")


def certificate(folder: Path, name: str, authority: Path | None = None) -> Path:
    """Make ``<name>.pem`` and ``<name>.key``; return their path without the ending."""
    path = folder / name
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-keyout", f"{path}.key", "-out", f"{path}.pem"]
    if authority is not None:
        command += ["-CA", f"{authority}.pem", "-CAkey", f"{authority}.key"]
        command += [
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=CA:FALSE",
        ]
    subprocess.run(command, check=True, capture_output=True)
    return path

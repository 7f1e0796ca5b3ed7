"""TLS: every ``sslmode`` of a URL, a CA of our own, client certificates, and what is told."""

import asyncio
import ssl
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.refusals import no_secret_is_told as no_secret_is_told
from tests.waiting import soon

from fast_channels.exceptions import BackendUnavailable

from .conftest import Make
from .servers import Server

DAYS = ("-days", "2")
NAME = "subjectAltName=DNS:localhost"


def certificate(folder: Path, name: str, subject: str, extension: str = "") -> Path:
    """Make ``name.crt`` and ``name.key``, signed by ``ca`` or, of a CA, by themselves."""
    made, key = folder / f"{name}.crt", folder / f"{name}.key"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        f"/CN={subject}",
    ]
    command += ["-keyout", str(key), "-out", str(made), *DAYS]
    if name not in ("ca", "other"):
        command += ["-CA", str(folder / "ca.crt"), "-CAkey", str(folder / "ca.key")]
        command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    else:
        command += ["-addext", "keyUsage=critical,keyCertSign"]  # Python 3.13 insists on it
    if extension:
        command += ["-addext", extension]
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o600)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates: of the CA, of another one, of the server, of the role ``certified``."""
    folder = tmp_path_factory.mktemp("tls")
    certificate(folder, "ca", "kit CA")
    certificate(folder, "other", "another CA")
    certificate(folder, "server", "localhost", NAME)
    certificate(folder, "certified", "certified")
    return folder


@pytest.fixture(scope="module")
def secure(folder: Path) -> Generator[Server]:
    """A server with TLS; it takes passwords with and without, and from one role certificates."""
    server = Server(
        ssl="on", ssl_cert_file="server.crt", ssl_key_file="server.key", ssl_ca_file="ca.crt"
    ).create()
    try:
        for name in ("server.crt", "server.key", "ca.crt"):
            server.put(name, (folder / name).read_text())
        server.put(
            "pg_hba.conf",
            "hostssl all certified 127.0.0.1/32 cert\n"
            "hostnossl all open 127.0.0.1/32 scram-sha-256\n"
            "hostssl all closed 127.0.0.1/32 scram-sha-256\n"
            "host all kit 127.0.0.1/32 scram-sha-256\n",
        )
        server.start()
        roles = [
            f"CREATE ROLE {role} LOGIN PASSWORD '{Server.password}'"
            for role in ("certified", "open", "closed")
        ]
        asyncio.run(server.run(f"DO $$ BEGIN {'; '.join(roles)}; END $$"))
        yield server
    finally:
        server.remove()


def by_name(url: str, *options: str) -> str:
    """Return the URL with the name that the certificate has."""
    url = url.replace("127.0.0.1", "localhost")
    return f"{url}?{'&'.join(options)}" if options else url


@pytest.mark.parametrize(
    ("options", "encrypted"),
    [
        ("sslmode=disable", False),
        ("sslmode=allow", False),
        ("sslmode=prefer", True),
        ("sslmode=require", True),
        ("sslmode=verify-ca&sslrootcert={ca}", True),
        ("sslmode=verify-full&sslrootcert={ca}", True),
        (None, True),
    ],
)
async def test_each_sslmode_does_what_it_says(
    secure: Server, make: Make, prefix: str, folder: Path, options: str | None, encrypted: bool
) -> None:
    given = [options.format(ca=folder / "ca.crt")] if options else []
    layer = make(by_name(secure.url, *given, f"application_name={prefix}"))
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", {"type": "hello"})
    assert await soon(layer.receive(channel)) == {"type": "hello"}
    await layer.send("jobs", {"type": "job"})
    query = (
        "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = $1"
    )
    assert {row["ssl"] for row in await secure.run(query, prefix)} == {encrypted}


@pytest.mark.parametrize(
    ("user", "options", "says"),
    [
        ("kit", "sslmode=verify-full&sslrootcert={other}", "its certificate is not trusted"),
        ("kit", "sslmode=verify-ca&sslrootcert={other}", "its certificate is not trusted"),
        ("kit", "sslmode=verify-full&sslrootcert={ca}.none", "a file is not there that sslr"),
        ("kit", "sslmode=always", "sslmode"),
        ("certified", "sslmode=require", "requires a valid client certificate"),
        ("closed", "sslmode=disable", "no encryption|SSL off"),
        ("open", "sslmode=require", "SSL encryption|SSL on"),
    ],
)
async def test_what_does_not_fit_is_told(
    secure: Server, make: Make, folder: Path, user: str, options: str, says: str
) -> None:
    options = options.format(ca=folder / "ca.crt", other=folder / "other.crt")
    with pytest.raises(BackendUnavailable, match=says) as caught:
        await make(by_name(secure.url_of(user), options)).open()
    assert f"postgres at localhost:{secure.port} cannot be used: " in str(caught.value)


async def test_a_certificate_for_another_name_is_told(
    secure: Server, make: Make, folder: Path
) -> None:
    url = f"{secure.url}?sslmode=verify-full&sslrootcert={folder / 'ca.crt'}"
    with pytest.raises(BackendUnavailable, match=r"not valid for '127\.0\.0\.1'"):
        await make(url).open()


async def test_a_server_without_tls_is_told(server: Server, make: Make) -> None:
    with pytest.raises(BackendUnavailable, match="rejected SSL upgrade"):
        await make(f"{server.url}?sslmode=require").open()


async def test_a_role_comes_in_by_its_certificate(secure: Server, make: Make, folder: Path) -> None:
    files = f"sslcert={folder / 'certified.crt'}&sslkey={folder / 'certified.key'}"
    url = f"postgresql://certified@localhost:{secure.port}/postgres?sslmode=verify-full"
    layer = make(f"{url}&sslrootcert={folder / 'ca.crt'}&{files}")
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", {"type": "hello"})
    assert await soon(layer.receive(channel)) == {"type": "hello"}


async def test_an_ssl_context_is_an_option_of_the_connection(
    secure: Server, make: Make, folder: Path
) -> None:
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    url = by_name(secure.url)
    await make(url, connect_options={"ssl": context}).open()
    strange = ssl.create_default_context(cafile=str(folder / "other.crt"))
    with pytest.raises(BackendUnavailable, match="its certificate is not trusted"):
        await make(url, connect_options={"ssl": strange}).open()


async def test_options_and_settings_reach_the_server(
    secure: Server, make: Make, prefix: str
) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
    await make(f"{secure.url}?options=-c%20application_name%3D{prefix}a").open()
    settings = {"application_name": f"{prefix}b"}
    await make(secure.url, connect_options={"server_settings": settings}).open()
    for last in "ab":
        assert (await secure.run(query, f"{prefix}{last}"))[0]["count"] == 2
    unknown = make(f"{secure.url}?no_such_setting=1")
    with pytest.raises(BackendUnavailable, match='parameter "no_such_setting"'):
        await unknown.open()

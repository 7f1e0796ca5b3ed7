"""PostgreSQL servers of our own: on free ports, in temporary folders, to be killed and frozen."""

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from tests.ports import Port

PATIENCE = 25.0
USERS = ("postgres", "nobody")
SETTINGS = {
    "fsync": "off",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "autovacuum": "off",
    "restart_after_crash": "off",
    "log_min_messages": "fatal",
}


def binaries() -> Path:
    """Return the folder of ``initdb`` and ``postgres``: on PATH, or where Debian has them."""
    given = os.environ.get("FAST_CHANNELS_POSTGRES_BIN")
    found = shutil.which("initdb")
    places = [given] if given else [str(Path(found).resolve().parent)] if found else []
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    places += [str(path) for path in sorted(versions, key=lambda path: int(path.parts[-2]))[::-1]]
    for place in places:
        if (Path(place) / "initdb").exists():
            return Path(place)
    raise RuntimeError("PostgreSQL's initdb was not found; run: make setup")


def identity() -> dict[str, Any]:
    """Return who runs the server: PostgreSQL refuses to be run by root."""
    if os.geteuid() != 0:
        return {}
    import pwd

    for name in USERS:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise RuntimeError(f"none of the users {', '.join(USERS)} exists to run PostgreSQL as")


def answers(port: int) -> bool:
    """True when who listens there answers a start-up message with a request for the password."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
            body = b"\x00\x03\x00\x00user\x00kit\x00database\x00postgres\x00\x00"
            probe.sendall((len(body) + 4).to_bytes(4, "big") + body)
            return probe.recv(1) == b"R"
    except OSError:
        return False


class Server:
    """One PostgreSQL server, restarted on the same port and with the same data."""

    password = "kit-secret"

    def __init__(self, auth: str = "scram-sha-256", **settings: str) -> None:
        self.auth = auth
        self._port = Port()
        self.port = self._port.number
        self.folder = Path(tempfile.mkdtemp(prefix="fc-postgres-"))
        self.data = self.folder / "data"
        self.settings = {**SETTINGS, "port": str(self.port), **settings}
        self.process: subprocess.Popen[bytes] | None = None
        self._identity = identity()

    @property
    def url(self) -> str:
        """The database, as its owner."""
        return self.url_of("kit")

    def url_of(self, user: str, database: str = "postgres") -> str:
        """Return the URL for a user, each of which has the same password."""
        return f"postgresql://{user}:{self.password}@127.0.0.1:{self.port}/{database}"

    def create(self) -> "Server":
        """Its data are there."""
        if self._identity:
            os.chown(self.folder, self._identity["user"], self._identity["group"])
        secret = self.folder / "secret"
        secret.write_text(self.password)
        secret.chmod(0o644)
        command = ["initdb", "-D", str(self.data), "-U", "kit", "-A", self.auth]
        command += ["--pwfile", str(secret), "-E", "UTF8", "--locale", "C", "--no-sync"]
        self._run(*command)
        return self

    def copy(self, primary: "Server") -> "Server":
        """Its data are those of a running server, whose replica it is until it is promoted."""
        if self._identity:
            os.chown(self.folder, self._identity["user"], self._identity["group"])
        command = ["pg_basebackup", "-D", str(self.data), "-d", primary.url, "-R"]
        self._run(*command, "--checkpoint=fast", "--no-sync")
        return self

    def _run(self, binary: str, *arguments: str) -> None:
        subprocess.run(
            [str(binaries() / binary), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            **self._identity,
        )

    def put(self, name: str, text: str) -> None:
        """Its data hold this file, which is its own."""
        path = self.data / name
        path.write_text(text)
        path.chmod(0o600)
        if self._identity:
            os.chown(path, self._identity["user"], self._identity["group"])

    def start(self) -> "Server":
        """It takes connections."""
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        options = [f"-c{name}={value}" for name, value in self.settings.items()]
        options += [f"-cunix_socket_directories={self.folder}", "-clisten_addresses=127.0.0.1"]
        deadline = time.monotonic() + PATIENCE
        self.process = self._launch(options)
        while not answers(self.port):
            text = (self.folder / "log").read_text()
            ended = self.process.poll() is not None
            if time.monotonic() > deadline or (ended and "still in use" not in text[-500:]):
                raise RuntimeError(f"postgres did not start: {text}")
            time.sleep(0.02)
            if ended:  # a session that was beginning when it was killed has its memory a while
                self.process = self._launch(options)
        return self

    def _launch(self, options: list[str]) -> "subprocess.Popen[bytes]":
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [str(binaries() / "postgres"), "-D", str(self.data), *options],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **self._identity,
            )

    def _processes(self) -> list[psutil.Process]:
        """Return its processes: each session has one, in a process group of its own."""
        if self.process is None or self.process.poll() is not None:
            return []
        main = psutil.Process(self.process.pid)
        return [main, *main.children()]

    def kill(self) -> None:
        """Every process of it is gone, as with ``kill -9``."""
        processes = self._processes()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if self.process is not None:
            self.process.wait()
            self.process = None
        deadline = time.monotonic() + PATIENCE
        while any(map(_runs, processes)) and time.monotonic() < deadline:
            time.sleep(0.002)  # they hold the shared memory until they are gone

    def freeze(self) -> None:
        """It holds its connections and does nothing."""
        for process in self._processes():
            process.suspend()

    def thaw(self) -> None:
        """It goes on."""
        for process in self._processes():
            process.resume()

    async def run(self, sql: str, *arguments: object, user: str = "kit") -> list[Any]:
        """Return the rows of one statement, on a connection of its own."""
        connection = await asyncpg.connect(self.url_of(user))
        try:
            return list(await connection.fetch(sql, *arguments))
        finally:
            await connection.close()

    def remove(self) -> None:
        """Nothing is left of it."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _runs(process: psutil.Process) -> bool:
    """True until it has ended; its new parent may leave it a zombie for a while."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def running(auth: str = "scram-sha-256", **settings: str) -> Generator[Server]:
    """A server for the time of the ``with``."""
    server = Server(auth, **settings)
    try:
        yield server.create().start()
    finally:
        server.remove()


@contextmanager
def pooled(server: Server) -> Generator[str]:
    """A PgBouncer in transaction mode before the server; yields the URL of its database."""
    program = shutil.which("pgbouncer")
    if program is None:
        raise RuntimeError("pgbouncer was not found; run: make setup")
    folder = Path(tempfile.mkdtemp(prefix="fc-pgbouncer-"))
    held, who = Port(), identity()
    port = held.number
    users, config = folder / "users", folder / "pgbouncer.ini"
    users.write_text(f'"kit" "{server.password}"\n')
    config.write_text(
        f"[databases]\n* = host=127.0.0.1 port={server.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = scram-sha-256\nauth_file = {users}\npool_mode = transaction\n"
    )
    if who:
        for path in (folder, users, config):
            os.chown(path, who["user"], who["group"])
    log = (folder / "log").open("wb")
    process = subprocess.Popen([program, str(config)], stdout=log, stderr=log, cwd=folder, **who)
    try:
        deadline = time.monotonic() + PATIENCE
        while not answers(port):
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"pgbouncer did not start: {(folder / 'log').read_text()}")
            time.sleep(0.02)
        yield server.url.replace(f":{server.port}/", f":{port}/")
    finally:
        process.kill()
        process.wait()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


async def terminate(server: Server, application: str) -> None:
    """Every connection that goes by this name is ended by the server."""
    await server.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
        application,
    )
    await asyncio.sleep(0)

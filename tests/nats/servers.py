"""NATS servers of our own: on free ports, in temporary folders, to be killed and frozen."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.ports import Port

PATIENCE = 15.0
HEARD_SECONDS = 5.0
"""Followers of JetStream's leader answer it every second."""


def binary() -> str:
    """Return the server to test with: ``FAST_CHANNELS_NATS_SERVER``, or the one on PATH."""
    found = os.environ.get("FAST_CHANNELS_NATS_SERVER") or shutil.which("nats-server")
    if not found:
        raise RuntimeError("nats-server is not on PATH; run: make setup")
    return found


class Server:
    """One ``nats-server`` process, restarted on the same port and with the same options."""

    def __init__(self, folder: Path, config: str = "", *, jetstream: bool = True) -> None:
        self._port = Port()
        self.port = self._port.number
        self.folder = folder / str(self.port)
        self.folder.mkdir()
        self.config = config
        self.jetstream = jetstream
        self.login = ""
        """What stands before the host in its URL."""
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """What it calls itself in the cluster."""
        return f"s{self.port}"

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"nats://{self.login}{self.address}"

    def configure(self) -> Path:
        """Write its configuration as of now; return the file."""
        lines = [
            f'listen: "{self.address}"',
            f'log_file: "{self.folder}/log"',
            f'server_name: "{self.name}"',
            self.config,
        ]
        if self.jetstream:
            lines.append(f'jetstream {{ store_dir: "{self.folder}/jetstream" }}')
        file = self.folder / "nats.conf"
        file.write_text("\n".join(lines) + "\n")
        return file

    def launch(self) -> None:
        """It runs, and will answer soon."""
        command = [binary(), "-c", str(self.configure())]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )

    def start(self) -> "Server":
        """It answers."""
        self.launch()
        self.wait()
        return self

    def wait(self) -> None:
        """Return when it takes connections."""
        assert self.process is not None
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                    if probe.recv(4) == b"INFO":
                        return
            except OSError:
                pass
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(
                    f"nats-server did not start: {(self.folder / 'log').read_text()}"
                )
            time.sleep(0.01)

    def told(self) -> dict[str, Any]:
        """Return what it tells of itself to who connects."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as probe:
            line = probe.makefile("rb").readline()
        told: dict[str, Any] = json.loads(line.removeprefix(b"INFO "))
        return told

    def signal(self, number: int) -> None:
        """The process gets the signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """It is gone, as with ``kill -9``."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """It holds its connections and does nothing."""
        self.signal(signal.SIGSTOP)
        assert self.process is not None
        os.waitpid(self.process.pid, os.WUNTRACED)  # its threads stop one after another

    def thaw(self) -> None:
        """It goes on."""
        self.signal(signal.SIGCONT)


class Cluster:
    """Three servers with JetStream that know each other, and want a password."""

    password = "kit-secret"

    def __init__(self, folder: Path) -> None:
        self._held = [Port() for _ in range(6)]
        ports = [port.number for port in self._held[:3]]
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        self._monitors = [port.number for port in self._held[3:]]
        self.servers = [
            Server(
                folder,
                f'cluster {{ name: kit, listen: "127.0.0.1:{port}", routes: [{routes}] }}\n'
                f'http: "127.0.0.1:{monitor}"\n'
                f'authorization {{ user: kit, password: "{self.password}" }}\n'
                'lame_duck_duration: "60s", lame_duck_grace_period: "30s"',
            )
            for port, monitor in zip(ports, self._monitors, strict=True)
        ]
        for server in self.servers:
            server.login = f"kit:{self.password}@"

    @property
    def urls(self) -> list[str]:
        """Where they listen."""
        return [server.url for server in self.servers]

    def start(self) -> None:
        """Those that were not running take connections."""
        stopped = [server for server in self.servers if server.process is None]
        for server in stopped:
            server.launch()
        for server in stopped:
            server.wait()
        deadline = time.monotonic() + PATIENCE
        while any(
            len(server.told().get("connect_urls", ())) < 3 or not _joined(monitor)
            for server, monitor in zip(self.servers, self._monitors, strict=True)
        ):
            if time.monotonic() > deadline:
                raise RuntimeError("the servers did not find each other")
            time.sleep(0.02)

    def elect(self) -> None:
        """All run, and JetStream has a leader for itself and for every stream and consumer.

        Servers of a cluster take 4 to 9 seconds for that, which no option shortens. Now and then
        one of 2.10.27 that was started together with the others is not heard by them, until it is
        started again: so does this, as an operator would (docs/nats.md).
        """
        self.start()
        begun = again = time.monotonic()
        while unheard := self._unheard():
            if time.monotonic() - begun > 4 * PATIENCE:
                raise RuntimeError(f"JetStream's servers did not agree on their leaders: {unheard}")
            if time.monotonic() - again > PATIENCE:
                for server in self.servers:
                    if server.name in unheard:
                        server.kill()
                self.start()
                again = time.monotonic()
            time.sleep(0.05)

    def _unheard(self) -> set[str]:
        """Return the servers that are not well, or that JetStream's leader does not hear."""
        unheard: set[str] = set()
        for server, monitor in zip(self.servers, self._monitors, strict=True):
            told = asked(monitor, "jsz?accounts=1&streams=1&consumers=1")
            if not self._led(told) or asked(monitor, "healthz") != {"status": "ok"}:
                unheard.add(server.name)
            meta = told.get("meta_cluster") or {}
            if meta.get("leader") == server.name:
                followers = meta.get("replicas") or ()
                heard = {each["name"] for each in followers if each["active"] < HEARD_SECONDS * 1e9}
                unheard |= {each.name for each in self.servers} - heard - {server.name}
        return unheard

    def _led(self, told: dict[str, Any]) -> bool:
        streams = [
            stream
            for account in told.get("account_details") or ()
            for stream in account.get("stream_detail") or ()
        ]
        groups = [told.get("meta_cluster") or {}]
        for stream in streams:
            parts = [stream, *(stream.get("consumer_detail") or ())]
            groups += [part.get("cluster") or {} for part in parts]
        return all(group.get("leader") for group in groups)

    def kill(self) -> None:
        """All are gone, and nobody finds one that is still there meanwhile."""
        for server in self.servers:
            if server.process is not None:
                server.signal(signal.SIGSTOP)
        for server in self.servers:
            server.kill()


def _joined(monitor: int) -> bool:
    """Whether a server has all connections to the two others; from 2.10 on there are several."""
    pool: int = asked(monitor, "varz").get("cluster", {}).get("pool_size", 0)
    routes: int = asked(monitor, "routez").get("num_routes", 0)
    return routes >= 2 * (pool + 1)  # one more is for JetStream's own


def asked(monitor: int, what: str) -> dict[str, Any]:
    """Return what a server's monitoring tells; nothing when it cannot yet."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{monitor}/{what}", timeout=5) as answer:
            told: dict[str, Any] = json.load(answer)
            return told
    except (OSError, ValueError):
        return {}


@contextmanager
def running(folder: Path, config: str = "", *, jetstream: bool = True) -> Generator[Server]:
    """A server for the time of the ``with``."""
    server = Server(folder, config, jetstream=jetstream)
    try:
        yield server.start()
    finally:
        server.kill()

"""Every server and every framework here: how it is started, and what was seen of it.

What a server does not carry is stated, tested like everything else, and told in docs/servers.md.
"""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import websockets
from tests.ports import Port

HERE = Path(__file__).parent
PATIENCE = 20.0

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n"
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@dataclass(frozen=True)
class Server:
    """One server; the fields after ``listens`` are the columns of the page's table."""

    command: str
    """What follows ``python -m``; ``{port}`` and ``{application}`` are filled in."""

    listens: str
    """What it prints once it listens, and on which port."""

    reason: bool = True
    """The reason of ``close(code, reason)`` reaches the client."""

    client_code: int | None = None
    """What ``disconnect()`` gets for whatever code the client closed with; None: that code."""

    accept_headers: bool = True
    """The headers of ``accept()`` reach the client."""

    denial: bool = True
    """``deny(status, body)`` is answered so, and not with 403."""

    failed: int = 500
    """The status for a ``connect()`` that raised."""

    empty_frames: bool = True
    """An empty frame reaches the client."""

    waits: bool = True
    """``send()`` waits for a client that does not read, so that its mailbox can overflow."""

    lifespan: bool = True
    """Runs the application's lifespan."""

    largest: int | None = None
    """Bytes of a client's message above which the socket ends; None: more than is tried here."""

    stop: int = 1012
    """The close code that clients see when the server is told to stop (1006: no closing frame)."""

    stop_code: int | None = None
    """What ``disconnect()`` gets then, if it is called; None: it never is."""

    outstays: bool = False
    """Told to stop, it ends when the last client has left by itself."""

    stop_tells: bool = True
    """``disconnect()`` is called for sure then."""


UVICORN = r"Uvicorn running on http://127\.0\.0\.1:(\d+)"

SERVERS = {
    "uvicorn, websockets-sansio": Server(
        "uvicorn --port 0 --ws websockets-sansio --timeout-graceful-shutdown 5 {application}",
        UVICORN,
        stop_code=1012,
    ),
    "uvicorn, websockets": Server(
        "uvicorn --port 0 --ws websockets --timeout-graceful-shutdown 5 {application}",
        UVICORN,
        stop_code=1012,
    ),
    "uvicorn, wsproto": Server(
        "uvicorn --port 0 --ws wsproto --timeout-graceful-shutdown 5 {application}",
        UVICORN,
        stop_code=1012,
    ),
    "hypercorn": Server(
        "hypercorn --bind 127.0.0.1:0 --graceful-timeout 1 {application}",
        r"Running on http://127\.0\.0\.1:(\d+)",
        client_code=1006,
        # It awaits asyncio.Server.wait_closed(), which waits for connections since 3.12.1.
        outstays=sys.version_info >= (3, 12, 1),
        stop=1001,
        stop_code=1001,
    ),
    "daphne": Server(
        "daphne --bind 127.0.0.1 --port 0 {application}",
        r"Listening on TCP address 127\.0\.0\.1:(\d+)",
        reason=False,
        accept_headers=False,
        denial=False,
        empty_frames=False,
        waits=False,
        lifespan=False,
        largest=1_048_576,
        stop=1006,
        stop_tells=False,
    ),
    "granian": Server(
        "granian --interface asgi --host 127.0.0.1 --port {port} {application}",
        r"Listening at: http://127\.0\.0\.1:(\d+)",
        accept_headers=False,
        failed=403,
        stop=1006,
        stop_code=1005,
        stop_tells=False,
    ),
}


@dataclass(frozen=True)
class Framework:
    """What an application of the framework does with the sockets of ours."""

    routes: bool = True
    """The consumer finds the value of ``{room}`` in its scope."""

    failed: int | None = None
    """The status for a ``connect()`` that raised; None: as the server answers."""

    closes_again: bool = False
    """Closes a socket with 4500 after its consumer failed and has closed it with 1011.

    daphne then sends 4500, and uvicorn raises if the first is still under way, which is logged.
    """


FRAMEWORKS = {
    "bare": Framework(routes=False),
    "starlette": Framework(),
    "fastapi": Framework(),
    "quart": Framework(),
    "litestar": Framework(failed=403, closes_again=True),
    "django": Framework(),
    "django_channels": Framework(),
}


class Process:
    """A server that serves one of the applications, in a process of its own."""

    def __init__(self, server: str, framework: str, folder: Path) -> None:
        self.name = server
        self.server = SERVERS[server]
        self.framework = framework
        self.application = FRAMEWORKS[framework]
        self.output: list[str] = []
        self._listens = threading.Event()
        self._port = Port()
        command = self.server.command.format(
            port=self._port.number, application=f"apps.{framework}_app:application"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command.split()],
            cwd=HERE,
            env={**os.environ, "DJANGO_TEST_FOLDER": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.address = ""
        if not self._listens.wait(PATIENCE) or not self._answers():
            self.stop()
            raise AssertionError("\n".join(["it does not listen:", *self.output]))

    def _read(self) -> None:
        for line in self.process.stdout:
            self.output.append(line.rstrip())
            found = re.search(self.server.listens, line)
            if found:
                self.address = f"127.0.0.1:{found[1]}"
                self._listens.set()
        self._listens.set()

    def _answers(self) -> bool:
        """Whether a client gets through; granian says that it listens before it does."""
        deadline = time.monotonic() + PATIENCE
        while self.address and time.monotonic() < deadline:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(self.address.split(":")).close()
                return True
            time.sleep(0.01)
        return False

    def stop(self) -> None:
        """The process has ended, within a bounded time, and all its output is here."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)  # with what it has started itself
            self.process.wait()
            self._reader.join()
            self.process.stdout.close()

    def connect(self, path: str, **options):
        """A client's WebSocket."""
        origin = f"http://{self.address}"  # as a browser says; Channels' validator asks for it
        options = {"max_size": None, "ping_interval": None, "origin": origin, **options}
        return websockets.connect(f"ws://{self.address}{path}", **options)

    async def vanish(self, path: str, how: str = "reset") -> None:
        """Connect, and go without a closing frame, by a ``reset`` of TCP or a ``half-close``."""
        reader, writer = await asyncio.open_connection(*self.address.split(":"))
        writer.write(HANDSHAKE.format(path=path, address=self.address).encode())
        try:
            await reader.readuntil(b'"greeting"')
        except asyncio.IncompleteReadError as error:
            raise AssertionError(f"the server said {error.partial!r}") from None
        if how == "half-close":
            writer.write_eof()
            await reader.read()
            writer.close()
        else:
            linger = socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0"
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, *linger)
            writer.transport.abort()


class Inside:
    """What the server's process holds, asked over one connection that stays."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def now(self) -> dict:
        """What it holds now."""
        return (await self._http.get("/inside")).json()

    async def until(self, condition) -> dict:
        """Return what it holds when that meets the condition."""
        held = await self.now()
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition(held):
                    await asyncio.sleep(0.01)
                    held = await self.now()
        except TimeoutError:
            raise AssertionError(f"this is what it holds: {held}") from None
        return held

    async def announce(self, room: str, text: str, times: int = 1) -> dict:
        """Tell the room by an HTTP request; return what the process then held."""
        query = {"text": text, "times": times}
        return (await self._http.post(f"/announce/{room}", params=query)).json()


@contextlib.asynccontextmanager
async def inside(process: Process):
    """What tells of the process's inside."""
    async with httpx.AsyncClient(base_url=f"http://{process.address}", timeout=PATIENCE) as http:
        yield Inside(http)


@contextlib.contextmanager
def serving(server: str, framework: str, folder: Path) -> Iterator[Process]:
    """The framework's application under the server, until the block ends."""
    process = Process(server, framework, folder)
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.stop()

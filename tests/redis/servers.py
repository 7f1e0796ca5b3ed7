"""Redis servers of our own: on free ports, in temporary folders, to be killed and frozen."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import redis

PATIENCE = 15.0
BINARIES = ("redis-server", "valkey-server")


def binary() -> str:
    """Return the server to test with: ``FAST_CHANNELS_REDIS_SERVER``, or the one on PATH."""
    found = os.environ.get("FAST_CHANNELS_REDIS_SERVER") or next(
        filter(None, map(shutil.which, BINARIES)), None
    )
    if not found:
        raise RuntimeError(f"none of {', '.join(BINARIES)} is on PATH; run: make setup")
    return found


def free_port() -> int:
    """Return a port on which nobody listens now; also free is the one that a Cluster adds to it."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port > 50_000:  # a Cluster's bus listens on the port above it by 10,000
            continue
        with socket.socket() as bus:
            try:
                bus.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
        return port


class Server:
    """One ``redis-server`` process, restarted on the same port and with the same options."""

    def __init__(
        self, folder: Path, *options: object, config: str = "", **client_options: Any
    ) -> None:
        self.port = free_port()
        self.folder = folder / str(self.port)
        self.folder.mkdir()
        self.config = self.folder / "redis.conf"
        self.config.write_text(f'dir {self.folder}\nsave ""\n{config}\n')
        self.options = [str(option) for option in options]
        self.client_options = client_options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> "Server":
        """It answers."""
        command = [binary(), str(self.config)]
        if "--tls-port" not in self.options:
            command += ["--port", str(self.port)]
        command += [*self.options, "--logfile", str(self.folder / "log")]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with self.client() as client:
                    client.ping()
                    return self
            except redis.exceptions.ResponseError:
                return self  # it answers, if only that it wants a password
            except redis.exceptions.RedisError as error:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    log = (self.folder / "log").read_text()
                    raise RuntimeError(f"redis-server did not start: {log}") from error
                time.sleep(0.01)

    def client(self, **options: Any) -> redis.Redis:
        """Return a plain client, to look from outside."""
        return redis.Redis(port=self.port, **{**self.client_options, **options})

    def command(self, *args: Any) -> Any:
        """Return the reply to one command."""
        with self.client() as client:
            return client.execute_command(*args)

    def kill(self) -> None:
        """It is gone, as with ``kill -9``."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """It holds its connections and does nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def running(
    folder: Path, *options: object, config: str = "", **client_options: Any
) -> Generator[Server]:
    """A server for the time of the ``with``."""
    server = Server(folder, *options, config=config, **client_options)
    try:
        yield server.start()
    finally:
        server.kill()


class Proxy:
    """A road to a server that can go dead without a word: bytes vanish, sockets stay open."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.dead = False
        """Nothing passes any more, on old connections and on new ones."""
        self.connections = 0
        self._target = target
        self._doomed: set[asyncio.StreamWriter] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any] | None] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}"

    def forget(self) -> None:
        """Nothing passes any more on the connections of now."""
        self._doomed = set(self._writers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        self.connections += 1
        self._tasks.add(asyncio.current_task())
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, back}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, back))
                group.create_task(self._carry(there, writer))
        finally:
            writer.close()
            back.close()
            self._writers -= {writer, back}
            self._tasks.discard(asyncio.current_task())

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            if not self.dead and sink not in self._doomed:
                sink.write(data)
        if sink not in self._doomed and not self.dead:
            sink.close()

    async def close(self) -> None:
        """Every connection is gone."""
        tasks = [task for task in self._tasks if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def proxied(target: int) -> AsyncGenerator[Proxy]:
    """A proxy in front of that port, for the time of the ``async with``."""
    proxy = Proxy(target)
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()
            await proxy.close()

"""Web servers: uvicorn with uvloop, which serves an application of ``benchmarks.sides.apps``."""

import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks.launch import ROOT, environment

STARTING: Final = 180.0
"""Seconds in which a server has to take connections."""


@dataclass(frozen=True)
class Server:
    """A server that takes connections."""

    port: int
    pid: int


@contextmanager
def serve(python: str, app: str, ws: str, url: str) -> Generator[Server, None, None]:
    """Serve an application until the end of the ``with``; raises ``RuntimeError`` if it cannot.

    ``ws`` is uvicorn's WebSocket implementation, ``url`` the broker's, ``memory://`` for none.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    options = f"--factory --port {port} --ws {ws} --loop uvloop --lifespan auto --backlog 4096"
    quiet = "ignore:The `websockets` implementation is deprecated"  # measured while it lasts
    command = [python, "-W", quiet, "-m", "uvicorn", f"benchmarks.sides.apps:{app}"]
    # Not "error": peers complain of clients that leave.
    command += [*options.split(), "--no-access-log", "--log-level", "critical"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(BENCH_URL=url))
    try:
        deadline = time.monotonic() + STARTING
        while not is_open(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server of {app} did not start: {' '.join(command)}")
            time.sleep(0.05)
        yield Server(port, process.pid)
    finally:
        process.kill()
        process.wait()


def is_open(port: int) -> bool:
    """Return whether somebody listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

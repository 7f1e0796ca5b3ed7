"""Every measurement runs in a process of its own; peers run in an environment of their own.

The peers' environment (``.bench/peers``, made at first use) is needed because the release that we
are compared with has our import name. Servers and loops have the same versions in both.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / ".bench"
OURS = sys.executable
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
PATIENCE = 180.0
"""Seconds after which a measurement that has not ended has failed."""


def peers() -> str:
    """Return the Python of the peers' environment, which is made if it is not there."""
    return install("peers", "fast-channels==1.1.0", "channels>=4.3,<5", "picows>=2.3,<3", "psutil")


def install(environment: str, *wanted: str) -> str:
    """Return the Python of ``.bench/<environment>``, which is made if it is not there.

    Servers and loops have the versions that are installed here.
    """
    same = [f"{name}=={version(name)}" for name in ("uvloop", "uvicorn", "websockets")]
    return plain_install(environment, *wanted, "httptools", *same)


def plain_install(environment: str, *wanted: str) -> str:
    """Return the Python of ``.bench/<environment>``, which has what is wanted, nothing else."""
    folder = BENCH / environment
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    text = "\n".join([sys.version, *wanted])
    if python.exists() and stamp.exists() and stamp.read_text() == text:
        return str(python)
    print(f"bench: installing into {folder.relative_to(ROOT)}:", *wanted, file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    uv = find_uv()
    if uv:
        subprocess.run([*uv, "venv", "-q", "-p", sys.executable, str(folder)], check=True)
        subprocess.run([*uv, "pip", "install", "-q", "-p", str(python), *wanted], check=True)
    else:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *wanted], check=True)
    stamp.write_text(text)
    return str(python)


def find_uv() -> list[str] | None:
    """Return the command that runs uv, if there is one."""
    if shutil.which("uv"):
        return ["uv"]
    return [sys.executable, "-m", "uv"] if find_spec("uv") else None


def in_turns(*sides: Sequence[object]) -> list[dict[str, list[float]]]:
    """Measure every side in each of the rounds; return what each measured, by name.

    A side is what ``measure`` takes.
    """
    results: list[dict[str, list[float]]] = [{} for _ in sides]
    for _ in range(ROUNDS):
        for side, result in zip(sides, results, strict=True):
            for name, value in measure(*side).items():
                result.setdefault(name, []).append(value)
    return results


def measure(*side: object) -> dict[str, Any]:
    """Run a worker and return what it measured; ``side``: a Python, a module, its arguments."""
    python, module, *args = map(str, side)
    command = [python, "-m", f"benchmarks.{module}", *args]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, timeout=PATIENCE, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@dataclass(frozen=True)
class Server:
    """A server that takes connections."""

    port: int
    pid: int


@contextmanager
def serve(python: str, app: str, ws: str) -> Generator[Server, None, None]:
    """Serve an application by uvicorn and uvloop until the end of the ``with``.

    ``app`` is a function of ``benchmarks.apps``, or ``module:function`` of another module here.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    options = f"--factory --port {port} --ws {ws} --loop uvloop --lifespan auto --backlog 4096"
    factory = f"benchmarks.{app if ':' in app else f'apps:{app}'}"
    quiet = "ignore:The `websockets` implementation is deprecated"  # measured while it lasts
    command = [python, "-W", quiet, "-m", "uvicorn", factory, *options.split()]
    # Not "error": peers complain of clients that leave.
    command += ["--no-access-log", "--log-level", "critical"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment())
    try:
        deadline = time.monotonic() + PATIENCE
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


def environment() -> dict[str, str]:
    """Return the environment without what would mix the two worlds."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}

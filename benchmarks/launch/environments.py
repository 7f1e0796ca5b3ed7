"""The libraries that are compared, each in an environment of its own under ``.bench/libraries``.

An environment is made when a side first needs it, with the newest releases that its requirements
allow; ``make clean`` forgets them all. Servers and loops have the same versions in all of them.
"""

import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from typing import Final

from benchmarks.launch import BENCH, OURS, ROOT

LIBRARIES: Final[dict[str, tuple[str, ...]]] = {
    "channels": ("channels>=4.3,<5", "channels-redis>=4.3,<5", "django>=5.2,<6", "hiredis"),
    "fast-channels": ("fast-channels[redis]==1.1.0", "hiredis"),
    "litestar": ("litestar[redis]>=2.25,<3", "asyncpg", "psycopg[binary]", "hiredis"),
    # Its metadata allow redis-py 8, with which it hears nothing.
    "broadcaster": ("broadcaster[redis,postgres]>=0.3.1,<0.4", "redis<5.3", "hiredis"),
    "socketio": ("python-socketio>=5.18,<6", "redis", "hiredis"),
    "channels-postgres": ("channels-postgres>=1.1.4,<2", "psycopg[binary]"),
    "channels-rabbitmq": ("channels-rabbitmq>=4.0,<5",),
    "channels-nats": ("channels-nats>=0.6.1,<1",),
    # Of the clients it takes the least CPU by far: they should not be what is measured.
    "clients": ("picows>=2.3,<3", "psutil"),
}
"""Requirements by the environment's name."""

PLOTTING: Final = ("matplotlib==3.10.8",)
"""Exactly one release, so that a plot changes only with its figures."""

TOLD: Final = (
    *("fast-channels", "fast-channels-redis", "fast-channels-postgres"),
    *("fast-channels-rabbitmq", "fast-channels-nats"),
    *("channels", "channels-redis", "channels-postgres", "channels-rabbitmq", "channels-nats"),
    *("litestar", "broadcaster", "python-socketio", "django"),
    *("redis", "hiredis", "asyncpg", "psycopg", "aio-pika", "carehare", "nats-py", "msgspec"),
    *("uvloop", "uvicorn", "websockets", "picows"),
)
"""Distributions whose versions a result names."""

LIST = (
    "import importlib.metadata as m, json; print(json.dumps("
    "{d.metadata['Name'].lower().replace('_', '-'): d.version for d in m.distributions()}))"
)


def python(environment: str | None) -> str:
    """Return the environment's Python, installing it if need be; None is this one."""
    if environment is None:
        return OURS
    same = [f"{name}=={version(name)}" for name in ("uvloop", "uvicorn", "websockets")]
    return install(f"libraries/{environment}", *LIBRARIES[environment], "httptools", *same)


def plotter() -> str:
    """Return the Python that has matplotlib."""
    return install("plots", *PLOTTING)


def versions(environment: str | None) -> dict[str, str]:
    """Return what an environment has of the distributions that a result names."""
    BENCH.mkdir(exist_ok=True)
    done = subprocess.run(
        [python(environment), "-c", LIST], check=True, stdout=subprocess.PIPE, cwd=BENCH
    )
    found: dict[str, str] = json.loads(done.stdout)
    return {name: found[name] for name in TOLD if name in found}


def install(environment: str, *wanted: str) -> str:
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

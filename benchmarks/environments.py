"""The libraries that are compared, each in an environment of its own under ``.bench/libraries``.

An environment is made when a side first needs it, with the newest releases that its requirements
allow; ``make clean`` forgets them all. Servers and loops have the same versions in all of them.
"""

import json
import subprocess
from typing import Final

from benchmarks.processes import BENCH, OURS, install, plain_install

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
    return install(f"libraries/{environment}", *LIBRARIES[environment])


def plotter() -> str:
    """Return the Python that has matplotlib."""
    return plain_install("plots", *PLOTTING)


def versions(environment: str | None) -> dict[str, str]:
    """Return what an environment has of the distributions that a result names."""
    BENCH.mkdir(exist_ok=True)
    done = subprocess.run(
        [python(environment), "-c", LIST], check=True, stdout=subprocess.PIPE, cwd=BENCH
    )
    found: dict[str, str] = json.loads(done.stdout)
    return {name: found[name] for name in TOLD if name in found}

"""A WebSocket broadcast over Redis: the server's CPU for each frame delivered.

As ``broadcast``: uvicorn with uvloop, 500 connections, 10 broadcasts a second of 100 bytes, but
through a Redis server of our own. Every library is measured in turns with ours, each in an
environment of its own, through its Redis pub/sub layer (``redis_apps``).
"""

import os
from collections.abc import Iterator

from benchmarks.broadcast import TARGETS as IMPLEMENTATIONS
from benchmarks.broadcast import in_turns
from benchmarks.processes import OURS, ROUNDS, install
from benchmarks.redis_layers import redis_server
from benchmarks.table import Row, compare

TARGETS = {"litestar": 0.8, "fast_channels": 0.35, "django_channels": 0.2}
WANTED = {
    "litestar": ("litestar[redis]>=2.25,<3", "hiredis"),
    "fast_channels": ("fast-channels[redis]==1.1.0", "hiredis"),
    "django_channels": ("channels>=4.3,<5", "channels-redis>=4.3,<5", "django>=5.2,<6", "hiredis"),
}


def rows() -> Iterator[Row]:
    """Yield a row for each of uvicorn's WebSocket implementations and each peer."""
    pythons = {peer: install(f"{peer}-broadcast", *wanted) for peer, wanted in WANTED.items()}
    with redis_server() as port:
        os.environ["BENCH_REDIS_URL"] = f"redis://127.0.0.1:{port}"
        for ws in IMPLEMENTATIONS:
            for peer, target in TARGETS.items():
                theirs = (pythons[peer], f"redis_apps:{peer}")
                ours, other = in_turns(ws, ROUNDS, theirs, (OURS, "redis_apps:ours"))
                yield compare("redis broadcast", f"{ws}, {peer}", ours, other, "us", at_most=target)

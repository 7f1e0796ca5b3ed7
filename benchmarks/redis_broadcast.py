"""A WebSocket broadcast over Redis: the server's CPU for each frame delivered.

As ``broadcast``: uvicorn with uvloop, 500 connections, 10 broadcasts a second of 100 bytes, but
through a Redis server of our own. Every library is measured in turns with ours, each in an
environment of its own, through its Redis pub/sub layer (``sides.apps``).
"""

import os
from collections.abc import Iterator

from benchmarks.broadcast import TARGETS as IMPLEMENTATIONS
from benchmarks.broadcast import in_turns
from benchmarks.environments import python
from benchmarks.processes import OURS, ROUNDS
from benchmarks.servers import running
from benchmarks.table import Row, compare

TARGETS = {"litestar": 0.8, "fast_channels": 0.35, "django_channels": 0.2}
PEERS = {
    "litestar": ("litestar", "litestar_redis"),
    "fast_channels": ("fast-channels", "fast_channels_1_1_redis"),
    "django_channels": ("channels", "channels_redis_pubsub"),
}
"""The environment of each, and the application there."""


def rows() -> Iterator[Row]:
    """Yield a row for each of uvicorn's WebSocket implementations and each peer."""
    with running("redis") as broker:
        os.environ["BENCH_URL"] = broker.url
        for ws in IMPLEMENTATIONS:
            for peer, target in TARGETS.items():
                environment, app = PEERS[peer]
                theirs = (python(environment), f"sides.apps:{app}")
                ours, other = in_turns(ws, ROUNDS, theirs, (OURS, "sides.apps:ours_redis"))
                yield compare("redis broadcast", f"{ws}, {peer}", ours, other, "us", at_most=target)

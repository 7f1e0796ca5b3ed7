"""A WebSocket broadcast over Redis: the server's CPU for each frame delivered, in microseconds.

As ``broadcast``: uvicorn with uvloop, 500 connections, 10 broadcasts a second of 100 bytes, but
through a Redis server of our own. Every library is measured in turns with ours, each in an
environment of its own, through its Redis pub/sub layer (``sides.apps``).
"""

from collections.abc import Iterator
from typing import Final

from benchmarks.comparisons.table import Row, compare
from benchmarks.comparisons.turns import ROUNDS
from benchmarks.comparisons.web import IMPLEMENTATIONS, broadcast
from benchmarks.launch import OURS
from benchmarks.launch.brokers import running
from benchmarks.launch.environments import python

PEERS: Final = (
    ("litestar", "litestar", "litestar_redis", 0.8),
    ("fast_channels", "fast-channels", "fast_channels_1_1_redis", 0.35),
    ("django_channels", "channels", "channels_redis_pubsub", 0.2),
)
"""The name of each, its environment, the application there, and what ours may cost of it."""


def rows() -> Iterator[Row]:
    """Yield a row for each of uvicorn's WebSocket implementations and each peer."""
    own = (OURS, "ours_redis")
    with running("redis") as broker:
        for ws in IMPLEMENTATIONS:
            for peer, environment, app, limit in PEERS:
                ours, theirs = broadcast(ws, broker.url, ROUNDS, own, (python(environment), app))
                case = f"{ws}, {peer}"
                yield compare("redis broadcast", case, ours, theirs, "us", at_most=limit)

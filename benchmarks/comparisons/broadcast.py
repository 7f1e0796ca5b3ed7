"""A WebSocket broadcast from end to end: the server's CPU for each frame delivered.

uvicorn with uvloop serves 500 connections of clients in another process. A client sends a JSON
message of 100 bytes 10 times a second, and every client gets it; ours through ``receive_json``, the
memory layer's ``group_send``, and in each consumer the handler's ``send_json``. The CPU is user and
system time of the server's process, from the first broadcast to the last delivery, after a warm-up;
microseconds.

References, in turns of one second with ours:
- a bare ASGI application that encodes once and calls each connection's ``send`` in a loop; five
  rounds of three turns, each round on fresh servers;
- the same consumer on fast-channels 1.1 and its in-memory layer; one round, for information.
"""

from collections.abc import Iterator
from typing import Final

from benchmarks.comparisons.table import Row, compare
from benchmarks.comparisons.turns import ROUNDS
from benchmarks.comparisons.web import IMPLEMENTATIONS, broadcast
from benchmarks.launch import OURS
from benchmarks.launch.environments import python

TARGETS: Final = {"websockets-sansio": 1.6, "websockets": 1.45}


def rows() -> Iterator[Row]:
    """Yield two rows for each of uvicorn's WebSocket implementations."""
    own, older = (OURS, "ours_memory"), (python("fast-channels"), "fast_channels_1_1_memory")
    for ws in IMPLEMENTATIONS:
        ours, bare = broadcast(ws, "memory://", ROUNDS, own, (OURS, "bare"))
        case, limit = f"{ws}, bare ASGI loop", TARGETS[ws]
        yield compare("broadcast", case, ours, bare, "us", at_most=limit)
        ours, theirs = broadcast(ws, "memory://", 1, own, older)
        yield compare("broadcast", f"{ws}, fast-channels 1.1", ours, theirs, "us")

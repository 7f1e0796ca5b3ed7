"""A WebSocket broadcast from end to end: the server's CPU for each frame delivered.

uvicorn with uvloop serves 500 connections of clients in another process. One client sends a JSON
message of 100 bytes 10 times a second, and every client gets it; ours through ``receive_json``, the
memory layer's ``group_send``, and in each consumer the handler's ``send_json``. The CPU is user and
system time of the server's process, from the first broadcast to the last delivery, after a warm-up.

References, each with fresh servers in turns with ours:
- a bare ASGI application that encodes once and calls each connection's ``send`` in a loop;
- the same consumer on fast-channels 1.1 and its in-memory layer, for information.
"""

from collections.abc import Iterator
from typing import Final

from benchmarks.processes import OURS, ROUNDS, measure, peers, serve
from benchmarks.table import Row, compare

CONNECTIONS: Final = 500
SECONDS: Final = 3.0
TARGETS: Final = {"websockets-sansio": 1.6, "websockets": 1.45}


def rows() -> Iterator[Row]:
    """Yield two rows for each of uvicorn's WebSocket implementations."""
    for ws, target in TARGETS.items():
        sides = {"ours": (OURS, "chat"), "bare": (OURS, "bare"), "theirs": (peers(), "chat")}
        cpu: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(ROUNDS):
            for name, (python, app) in sides.items():
                cpu[name].append(cost(python, app, ws))
        yield compare(
            "broadcast", f"{ws}, bare ASGI loop", cpu["ours"], cpu["bare"], "us", at_most=target
        )
        case = f"{ws}, fast-channels 1.1"
        yield compare("broadcast", case, cpu["ours"], cpu["theirs"], "us")


def cost(python: str, app: str, ws: str) -> float:
    """Return the CPU microseconds for each delivery of a fresh server."""
    with serve(python, app, ws) as server:
        worker = ("uvloop", "broadcast", server.port, server.pid, CONNECTIONS, SECONDS)
        return measure(peers(), "clients", *map(str, worker))["cpu_us"]
